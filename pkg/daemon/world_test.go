package daemon_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/host"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// logged counts the lines of the log that have all the texts.
func (s *service) logged(texts ...string) (n int) {
	synctest.Wait()
	for line := range strings.Lines(s.log.String()) {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			n++
		}
	}
	return n
}

// wants fails unless so many lines of the log have all the texts.
func (s *service) wants(t *testing.T, n int, texts ...string) {
	t.Helper()
	if got := s.logged(texts...); got != n {
		t.Errorf("%q is logged %d times, want %d:\n%s", texts, got, n, s.log.String())
	}
}

func (s *service) fenced(t *testing.T) bool {
	t.Helper()
	state, err := s.kernel.Observe(s.ctx)
	must(t, err)
	return state.Exists
}

// statuses are those that were sent to systemd.
func (s *service) statuses() (list []string) {
	for _, state := range s.told.all() {
		if text, ok := strings.CutPrefix(state, "STATUS="); ok {
			list = append(list, text)
		}
	}
	return list
}

// TestAnotherRun: what another run puts into force is taken up within a second or two, as
// a new generation and not as damage; after down nothing is put up until up. systemd
// shows each status once.
func TestAnotherRun(t *testing.T) {
	s := serve(t, func(s *service) {
		_, err := s.another.Apply(s.ctx, policyOf(t, strings.ReplaceAll(openPolicy, "203.0.113.5", "203.0.113.6")), fence.ApplyOptions{})
		must(t, err)
		time.Sleep(2 * time.Second)
		s.wants(t, 1, "keep a generation in force", "generation=2")

		_, err = s.another.Down(s.ctx, false)
		must(t, err)
		time.Sleep(3 * time.Minute)
		if s.fenced(t) {
			t.Error("a fence that was taken down is up again")
		}
		s.wants(t, 1, "level=WARN", "the fence was taken down: doing nothing until ringfence apply or ringfence up")

		_, err = s.another.Up(s.ctx)
		must(t, err)
		time.Sleep(2 * time.Second)
		if !s.fenced(t) {
			t.Error("after up there is no fence")
		}
		s.wants(t, 0, "was corrected")
	})
	want := []string{
		"generation 1, no names", "generation 2, no names", "the fence was taken down: doing nothing until ringfence apply or ringfence up", "generation 2, no names",
	}
	if got := s.statuses(); !slices.Equal(got, want) {
		t.Errorf("systemd was told %q, want %q", got, want)
	}
	if told := s.told.all(); told[0] != "STATUS="+want[0] || told[1] != "READY=1" {
		t.Errorf("systemd was told %q", told)
	}
}

// TestCorrected: what another program does to the table is put back at once, and the log
// says who it was and what changed.
func TestCorrected(t *testing.T) {
	serve(t, func(s *service) {
		s.kernel.Change(func(state *ruleset.State) {
			set := state.Sets["providers4"]
			set.Elements = ruleset.Addresses([]netip.Prefix{netip.MustParsePrefix("198.51.100.9/32")})
			state.Sets["providers4"] = set
			state.Counters = state.Counters[1:]
		})
		synctest.Wait()
		state, err := s.kernel.Observe(s.ctx)
		must(t, err)
		if !state.Sets["providers4"].Contains(netip.MustParseAddr("203.0.113.5")) {
			t.Error("the provider's address is not back")
		}
		s.wants(t, 1, "level=WARN", "the fence was not as it should be and was corrected", `by="another (pid 1)"`, "after=0s")
		s.wants(t, 1, "msg=allowed", "address=203.0.113.5")
		s.wants(t, 1, `msg="not allowed any more"`, "address=198.51.100.9")
		s.wants(t, 1, "msg=change", "kind=counter", "action=add")
	})
}

// names is a name server with one name, which may fail.
type names struct {
	mu      sync.Mutex
	address string
	fails   bool
	asked   int
}

// set changes what it answers.
func (n *names) set(address string, fails bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.address, n.fails = address, fails
}

// questions are how many it was asked.
func (n *names) questions() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

func (n *names) lookup(_ context.Context, q resolve.Question) (resolve.Answer, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	if n.fails {
		return resolve.Answer{}, &resolve.Failure{Question: q, Kind: resolve.ServFail, Text: "the server is ill"}
	}
	if q.Name != "sip.acme.example" || q.Type != resolve.A {
		return resolve.Answer{}, nil
	}
	return resolve.Answer{Records: []resolve.Record{{Owner: q.Name, Type: resolve.A, Address: netip.MustParseAddr(n.address), TTL: 5 * time.Minute}}}, nil
}

const namedPolicy = `version: 1
providers: [{name: acme, registrars: [sip.acme.example]}]
trusted: {addresses: [192.168.1.0/24]}
dns: {hold: 1h}
`

// TestNames: names are asked for when they are due, a new address is let in and logged with
// its reason, one that is gone leaves after the time that it is held, and a failure is
// logged once, and its end.
func TestNames(t *testing.T) {
	n := &names{address: "203.0.113.5"}
	serveIn(t, namedPolicy, func(_ *service, w *fence.World) {
		w.Lookup = func(resolve.Servers) (first, again resolve.Lookup) { return n.lookup, n.lookup }
	}, func(s *service) {
		before := n.questions()
		time.Sleep(time.Hour)
		if n.questions() == before {
			t.Error("nobody has asked for an hour")
		}
		s.wants(t, 0, "msg=allowed")
		n.set("203.0.113.6", false)
		time.Sleep(20 * time.Minute)
		s.wants(t, 1, "msg=allowed", "address=203.0.113.6", `reason="acme: sip.acme.example A"`)
		s.wants(t, 0, "not allowed any more")
		time.Sleep(2 * time.Hour)
		s.wants(t, 1, "not allowed any more", "address=203.0.113.5")
		n.set("203.0.113.6", true)
		time.Sleep(2 * time.Hour)
		s.wants(t, 1, "a name has failed; its known addresses are kept", "failure=\"sip.acme.example A: the server is ill\"")
		if !strings.Contains(strings.Join(s.statuses(), "\n"), "1 name with 1 address, ") {
			t.Errorf("systemd was told %q", s.statuses())
		}
		n.set("203.0.113.6", false)
		time.Sleep(2 * time.Hour)
		if s.logged("msg=over", "what=\"sip.acme.example A: the server is ill\"") != 1 {
			t.Errorf("the end of the failure is not logged:\n%s", s.log.String())
		}
		s.wants(t, 0, "was corrected")
	})
}

// watchedHost is a host that reports what changes on it.
type watchedHost struct {
	mu      sync.Mutex
	changes chan host.Change // of the last watch
	refused int              // so many attempts to watch it fail
	watched int
	looks   int
	facts   ruleset.Host
}

func (h *watchedHost) in(_ *service, w *fence.World) {
	h.facts = ruleset.Host{Interfaces: []ruleset.Interface{{Name: "eth0"}}, Outside: []string{"eth0"}}
	w.Host = func() (ruleset.Host, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.looks++
		return h.facts, nil
	}
	w.ResolverFiles = []string{"/etc/resolv.conf"}
	w.Watch = func(context.Context, []string) (<-chan host.Change, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.watched++
		if h.refused > 0 {
			h.refused--
			return nil, errors.New("too many open files")
		}
		h.changes = make(chan host.Change)
		return h.changes, nil
	}
}

// come adds an interface, without saying so.
func (h *watchedHost) come(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.facts.Interfaces = append(slices.Clone(h.facts.Interfaces), ruleset.Interface{Name: name})
}

// counted are how often it was looked at and watched.
func (h *watchedHost) counted() (looks, watched int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.looks, h.watched
}

// report says what has changed.
func (h *watchedHost) report(c host.Change) {
	h.mu.Lock()
	changes := h.changes
	h.mu.Unlock()
	changes <- c
}

// lose ends the reports, as when an inotify queue overflows.
func (h *watchedHost) lose() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.changes)
}

// TestHostChanges: a new interface is judged at once, other changes are looked at together
// a moment later, and the log says what it was.
func TestHostChanges(t *testing.T) {
	var h watchedHost
	serveIn(t, openPolicy, h.in, func(s *service) {
		h.come("ppp0")
		h.report(host.Change{What: "interface ppp0 has come", Urgent: true})
		s.wants(t, 1, "the host has changed", `because="interface ppp0 has come"`, "after=0s")
		s.wants(t, 1, "msg=change", "kind=classifier", "name=ppp0", "action=add")

		time.Sleep(time.Second)
		before, _ := h.counted()
		h.come("ppp1")
		for _, what := range []string{"an address of ppp1", "a route", "an address of ppp1", "a rule"} {
			h.report(host.Change{What: what})
			time.Sleep(20 * time.Millisecond)
		}
		s.wants(t, 0, "ppp1", "because")
		time.Sleep(50 * time.Millisecond)
		s.wants(t, 1, "the host has changed", `because="an address of ppp1; a route; a rule"`)
		if looks, _ := h.counted(); looks != before+1 {
			t.Errorf("%d looks for changes that belong together", looks-before)
		}
		// Changes without end do not put it off.
		h.come("ppp2")
		for range 20 {
			h.report(host.Change{What: "a neighbour"})
			time.Sleep(40 * time.Millisecond)
		}
		s.wants(t, 1, "the host has changed", `because="a neighbour"`, "after=150ms")
	})
}

// TestResolverChanges: when the file changes by which the host's resolver goes, names are
// asked for at once.
func TestResolverChanges(t *testing.T) {
	var h watchedHost
	n := &names{address: "203.0.113.5"}
	serveIn(t, namedPolicy, func(s *service, w *fence.World) {
		h.in(s, w)
		w.Lookup = func(resolve.Servers) (first, again resolve.Lookup) { return n.lookup, n.lookup }
	}, func(*service) {
		before := n.questions()
		h.report(host.Change{What: "/etc/motd", Path: "/etc/motd"})
		time.Sleep(5 * time.Second)
		if n.questions() != before {
			t.Error("names are asked for after a change of another file")
		}
		h.report(host.Change{What: "/etc/resolv.conf", Path: "/etc/resolv.conf"})
		time.Sleep(5 * time.Second)
		if n.questions() == before {
			t.Error("names are not asked for")
		}
	})
}

// TestHostIsNotReported: while changes of the host are not reported, another run is found
// all the same, and watching is tried again; then everything is looked at.
func TestHostIsNotReported(t *testing.T) {
	var h watchedHost
	serveIn(t, openPolicy, func(s *service, w *fence.World) {
		h.in(s, w)
		h.refused = 3
	}, func(s *service) {
		s.wants(t, 1, "changes of the host are not reported", "too many open files")
		time.Sleep(10 * time.Second)
		_, watched := h.counted()
		if watched < 4 {
			t.Fatalf("after %d attempts the host is not watched", watched)
		}
		// A change comes while nothing is reported.
		h.come("ppp0")
		h.lose()
		time.Sleep(2 * time.Second)
		s.wants(t, 1, "msg=change", "kind=classifier", "name=ppp0")
		if _, again := h.counted(); again != watched+1 {
			t.Errorf("it was watched again %d times", again-watched)
		}
		_, err := s.another.Down(s.ctx, false)
		must(t, err)
		h.report(host.Change{Path: s.fence.Reconciler().StateFiles()[1]})
		time.Sleep(time.Second) // the lock is tried every few milliseconds
		s.wants(t, 1, "the fence was taken down")
	})
}
