package cli

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/plan/plantest"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// simulation is the service in a world in which weeks pass in seconds: its
// clocks, name servers and kernel are not real, all else is.
type simulation struct {
	t      *testing.T
	keeper *keeper
	kernel *plantest.Kernel
	log    *bytes.Buffer
	start  time.Time

	mu    sync.Mutex
	names dns.Handler
	wall  time.Duration // by which the wall clock is moved
	asked int           // questions
}

const simulatedPolicy = `version: 1
providers:
  - name: acme
    registrars: [sip.acme.example]
dns: {servers: [192.0.2.53]}
`

// simulate applies the policy at the beginning, with what a zone says then, and
// runs the service while the test lets time pass.
func simulate(t *testing.T, zone string, live func(s *simulation)) {
	simulatePolicy(t, simulatedPolicy, zone, live)
}

func simulatePolicy(t *testing.T, policy, zone string, live func(s *simulation)) {
	// Nothing of this has to survive the loss of power, and files are written for
	// weeks.
	folder, err := os.MkdirTemp("/dev/shm", "ringfence")
	labtest.Must(t, err)
	t.Cleanup(func() { os.RemoveAll(folder) })
	synctest.Test(t, func(t *testing.T) {
		s := &simulation{t: t, kernel: &plantest.Kernel{}, log: &bytes.Buffer{}, start: time.Now()}
		a := &app{
			stdin: strings.NewReader(""), stdout: s.log, stderr: s.log,
			stateDir: folder + "/state", runDir: folder + "/run", policyPath: "policy.yaml",
			log: slog.New(slog.NewTextHandler(s.log, nil)),
		}
		s.keeper = a.newKeeper()
		s.keeper.clock, s.keeper.table = s.now, s.kernel
		s.keeper.facts = func() (ruleset.Host, error) { return ruleset.Host{}, nil }
		s.keeper.lookup = func([]netip.AddrPort) (first, again resolve.Lookup) { return s.lookup, s.lookup }
		s.zone(zone)
		s.apply(a, policy)

		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			labtest.Must(t, s.keeper.Keep(ctx, control.Event{}))
			control.Runner{Keeper: s.keeper, Check: time.Hour}.Run(ctx)
		})
		live(s)
		cancel()
		running.Wait()
		s.keeper.end(ctx)
		s.wantSaved()
		if t.Failed() {
			t.Log(s.log)
		}
	})
}

// apply makes the first generation.
func (s *simulation) apply(a *app, text string) {
	s.t.Helper()
	p, err := parsePolicy("policy.yaml", []byte(text))
	labtest.Must(s.t, err)
	site := &site{policy: p, text: text, asked: true}
	site.answers = questions{targets: targets(p), terms: site.terms()}.ask(s.t.Context(), s.lookup, s.lookup)
	site.remember(resolve.NewMemory(), s.now())
	d := site.desired(nil)
	_, err = control.Controller{Kernel: s.kernel}.Sync(s.t.Context(), d, func(*plan.Plan) error { return nil })
	labtest.Must(s.t, err)
	pending, err := a.beginGeneration(site, d.State, "apply")
	labtest.Must(s.t, err)
	labtest.Must(s.t, pending.Finish())
	labtest.Must(s.t, a.keep(site))
	s.kernel.Commits = 0
}

// wantSaved compares what the service knows with what it leaves on disk.
func (s *simulation) wantSaved() {
	s.t.Helper()
	var saved resolve.Memory
	labtest.Must(s.t, s.keeper.journal().ReadAddresses(&saved, false))
	for i, k := range saved.Names {
		if known := s.keeper.memory.Names[i]; !k.Looked.Time.Equal(known.Looked.Time) || len(k.Addresses) != len(known.Addresses) {
			s.t.Errorf("%s is saved as of %s with %d addresses, and known as of %s with %d", k.Name, k.Looked.Time, len(k.Addresses), known.Looked.Time, len(known.Addresses))
		}
	}
}

func (s *simulation) now() resolve.Moment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return resolve.Moment{Time: time.Now().Add(s.wall), Boot: "simulated", Up: resolve.Span(time.Since(s.start))}
}

// with does something while the service, which asks for the time before
// whatever it does, can do nothing.
func (s *simulation) with(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// questions is how many were asked so far.
func (s *simulation) questions() (n int) {
	s.with(func() { n = s.asked })
	return n
}

// zone is what the name server says from now on, serve who says it.
func (s *simulation) zone(text string) {
	s.t.Helper()
	z, err := lab.NewZone(text)
	labtest.Must(s.t, err)
	s.serve(z)
}

func (s *simulation) serve(h dns.Handler) { s.with(func() { s.names = h }) }

// lookup asks the handler without a network.
func (s *simulation) lookup(_ context.Context, q resolve.Question) (resolve.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	kinds := map[resolve.Type]uint16{resolve.A: dns.TypeA, resolve.AAAA: dns.TypeAAAA, resolve.SRV: dns.TypeSRV, resolve.NAPTR: dns.TypeNAPTR}
	w := &noNetwork{}
	s.names.ServeDNS(w, new(dns.Msg).SetQuestion(dns.Fqdn(q.Name), kinds[q.Type]).SetEdns0(1232, false))
	switch {
	case w.m == nil:
		return resolve.Answer{}, &resolve.Failure{Question: q, Kind: resolve.Timeout, Text: "no answer"}
	case w.m.Rcode == dns.RcodeServerFailure:
		return resolve.Answer{}, &resolve.Failure{Question: q, Kind: resolve.ServFail, Text: "SERVFAIL"}
	}
	answer := resolve.Answer{NoName: w.m.Rcode == dns.RcodeNameError}
	for _, rr := range w.m.Answer {
		answer.Records = append(answer.Records, recordOf(rr))
	}
	return answer, nil
}

func recordOf(rr dns.RR) resolve.Record {
	name := func(n string) string { return strings.TrimSuffix(n, ".") }
	h := rr.Header()
	r := resolve.Record{Owner: name(h.Name), Type: resolve.Type(dns.TypeToString[h.Rrtype]), TTL: time.Duration(h.Ttl) * time.Second}
	switch rr := rr.(type) {
	case *dns.A:
		r.Address = netip.MustParseAddr(rr.A.String())
	case *dns.AAAA:
		r.Address = netip.MustParseAddr(rr.AAAA.String())
	case *dns.SRV:
		r.Target = name(rr.Target)
	}
	return r
}

// noNetwork is a connection that keeps the answer.
type noNetwork struct {
	dns.ResponseWriter
	m *dns.Msg
}

func (w *noNetwork) RemoteAddr() net.Addr { return &net.UDPAddr{} }

func (w *noNetwork) WriteMsg(m *dns.Msg) error {
	w.m = m
	return nil
}

// allowed are the providers' addresses in the kernel.
func (s *simulation) allowed() string {
	state, err := s.kernel.Observe(s.t.Context())
	labtest.Must(s.t, err)
	var list []string
	for _, set := range []string{"providers4", "providers6"} {
		for _, e := range state.Sets[set].Elements {
			list = append(list, e.String())
		}
	}
	return strings.Join(list, " ")
}

// after lets time pass and then wants these addresses and alarms.
func (s *simulation) after(d time.Duration, addresses string, alarms ...resolve.AlarmKind) {
	s.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	day := time.Since(s.start)
	if got := s.allowed(); got != addresses {
		s.t.Errorf("after %s: allowed are %s, want %s", day, got, addresses)
	}
	var kinds []resolve.AlarmKind
	now := s.now()
	s.with(func() {
		for _, a := range s.keeper.memory.Alarms(s.keeper.site.terms(), now) {
			kinds = append(kinds, a.Kind)
		}
	})
	if !slices.Equal(kinds, alarms) {
		s.t.Errorf("after %s: alarms %v, want %v", day, kinds, alarms)
	}
}

const (
	simulatedUDP  = "_sip._udp.sip.acme.example. 3600 IN SRV 10 50 5060 edge.acme.net.\nedge.acme.net. 3600 IN A 203.0.113.1\n"
	simulatedTCP  = "_sip._tcp.sip.acme.example. 3600 IN SRV 10 50 5060 edge2.acme.net.\nedge2.acme.net. 3600 IN A 203.0.113.3\n"
	simulatedName = "sip.acme.example. 3600 IN A 203.0.113.5\n"
	simulatedAAAA = "sip.acme.example. 3600 IN AAAA 2001:db8::1\n"
	simulated     = simulatedUDP + simulatedTCP + simulatedName + simulatedAAAA
	simulatedAll  = "203.0.113.1 203.0.113.3 203.0.113.5 2001:db8::1"
	aDay          = 24 * time.Hour
	aLook         = 66 * time.Minute // the longest between two looks at answers that may be kept for an hour
)

// TestWeeks lets weeks pass in which providers change in every way that they
// do.
func TestWeeks(t *testing.T) {
	t.Run("AAAA is dropped", func(t *testing.T) {
		simulate(t, simulated, func(s *simulation) {
			s.after(7*aDay, simulatedAll)
			s.zone(simulatedUDP + simulatedTCP + simulatedName)
			s.after(3*aDay-aLook, simulatedAll)
			s.after(3*aLook, "203.0.113.1 203.0.113.3 203.0.113.5")
			s.after(14*aDay, "203.0.113.1 203.0.113.3 203.0.113.5")
			s.commits(1)
		})
	})
	t.Run("_sip._tcp is dropped", func(t *testing.T) {
		simulate(t, simulated, func(s *simulation) {
			s.after(7*aDay, simulatedAll)
			s.zone(simulatedUDP + simulatedName + simulatedAAAA)
			s.after(3*aDay-aLook, simulatedAll)
			s.after(3*aLook, "203.0.113.1 203.0.113.5 2001:db8::1")
			s.after(14*aDay, "203.0.113.1 203.0.113.5 2001:db8::1")
			s.commits(1)
		})
	})
	t.Run("the provider moves completely", func(t *testing.T) {
		simulate(t, simulated, func(s *simulation) {
			s.after(7*aDay, simulatedAll)
			s.zone(strings.NewReplacer("203.0.113.", "198.51.100.", "2001:db8::", "2001:db8:ffff::").Replace(simulated))
			both := "198.51.100.1 198.51.100.3 198.51.100.5 203.0.113.1 203.0.113.3 203.0.113.5 2001:db8::1 2001:db8:ffff::1"
			s.after(aLook, both)
			s.after(aDay-2*aLook, both)
			s.after(5*aLook, "198.51.100.1 198.51.100.3 198.51.100.5 2001:db8:ffff::1")
			s.after(14*aDay, "198.51.100.1 198.51.100.3 198.51.100.5 2001:db8:ffff::1")
			s.commits(2)
		})
	})
	t.Run("to a standby site and back, three times", func(t *testing.T) {
		const site, standby = "sip.acme.example. 60 IN A 203.0.113.1\n", "sip.acme.example. 60 IN A 198.51.100.1\n"
		simulate(t, site, func(s *simulation) {
			s.after(aDay, "203.0.113.1")
			for range 3 {
				s.zone(standby)
				s.after(67*time.Second, "198.51.100.1 203.0.113.1")
				s.after(time.Hour, "198.51.100.1 203.0.113.1")
				s.zone(site)
				s.after(8*time.Hour, "198.51.100.1 203.0.113.1")
			}
			s.after(2*aDay, "203.0.113.1")
			s.commits(2)
		})
	})
	t.Run("a day without DNS, then 2 of 18", func(t *testing.T) {
		pool, addresses := simulatedPool(18)
		simulate(t, pool, func(s *simulation) {
			whole, err := lab.NewZone(pool)
			labtest.Must(t, err)
			s.after(aDay, addresses)
			s.serve(lab.Flapping(2)(whole))
			s.after(2*aDay, addresses)
			s.serve(lab.Silent(nil))
			s.after(aDay, addresses)
			s.serve(lab.Flapping(2)(whole))
			s.after(7*aDay, addresses)
			s.commits(0)
		})
	})
	t.Run("the name is gone for a week, and comes back", func(t *testing.T) {
		simulate(t, simulated, func(s *simulation) {
			s.zone("other.example. 60 IN A 192.0.2.1")
			s.after(aLook, simulatedAll)
			gone := slices.Repeat([]resolve.AlarmKind{resolve.AlarmGone}, 4)
			s.after(90*time.Minute, simulatedAll, gone...)
			s.after(14*aDay, simulatedAll, append(gone, resolve.AlarmStale, resolve.AlarmStale)...)
			s.zone(simulated)
			s.after(16*time.Minute, simulatedAll)
			s.commits(0)
		})
	})
}

// commits wants so many changes of the kernel so far.
func (s *simulation) commits(want int) {
	s.t.Helper()
	if s.kernel.Commits != want {
		s.t.Errorf("the kernel was changed %d times, want %d", s.kernel.Commits, want)
	}
}

func simulatedPool(n int) (zone, addresses string) {
	var lines, list []string
	for i := range n {
		a := fmt.Sprintf("203.0.113.%d", 1+2*i)
		lines, list = append(lines, "sip.acme.example. 600 IN A "+a), append(list, a)
	}
	return strings.Join(lines, "\n"), strings.Join(list, " ")
}

// TestADayOfAFlappingPool: it was never seen as a whole, and yet it is let in as
// a whole, and stays.
func TestADayOfAFlappingPool(t *testing.T) {
	pool, addresses := simulatedPool(18)
	whole, err := lab.NewZone(pool)
	labtest.Must(t, err)
	simulate(t, "sip.acme.example. 60 IN A 203.0.113.1", func(s *simulation) {
		s.serve(lab.Flapping(2)(whole))
		time.Sleep(time.Hour)
		synctest.Wait()
		filling := s.kernel.Commits
		if filling > 18 {
			t.Errorf("the kernel was changed %d times for 18 addresses", filling)
		}
		for range 23 {
			s.after(time.Hour, addresses)
		}
		s.commits(filling)
	})
}

// TestTheWallClockMoves a day forward, a day back, and by years: nothing leaves
// before its time, and nobody stops to ask.
func TestTheWallClockMoves(t *testing.T) {
	simulate(t, simulated, func(s *simulation) {
		s.after(aDay, simulatedAll)
		s.zone(simulatedUDP + simulatedTCP + simulatedName + "sip.acme.example. 3600 IN AAAA 2001:db8::9\n")
		s.after(12*time.Hour, simulatedAll+" 2001:db8::9")
		for _, jump := range []time.Duration{aDay, -2 * aDay, 20 * 365 * aDay, -20 * 365 * aDay} {
			s.with(func() { s.wall += jump })
			before := s.questions()
			s.after(2*time.Hour, simulatedAll+" 2001:db8::9")
			if looks := (s.questions() - before) / 10; looks < 1 || looks > 3 { // ten questions each
				t.Errorf("after a jump of %s there were %d looks in two hours", jump, looks)
			}
		}
		s.after(4*time.Hour+5*aLook, "203.0.113.1 203.0.113.3 203.0.113.5 2001:db8::9")
	})
}

// TestTimesAreNotWrittenAllTheTime: flash wears out. What changes is written at
// once, what only says that nothing has changed at most as often as a name is
// asked for.
func TestTimesAreNotWrittenAllTheTime(t *testing.T) {
	const many = "version: 1\nproviders: [{name: acme, registrars: [a.example, b.example, c.example, d.example]}]\ndns: {servers: [192.0.2.53]}\n"
	zone := func(last string) string {
		return "a.example. 61 IN A 203.0.113.1\nb.example. 73 IN A 203.0.113.3\nc.example. 87 IN A 203.0.113.5\nd.example. 99 IN A " + last + "\n"
	}
	simulatePolicy(t, many, zone("203.0.113.7"), func(s *simulation) {
		writes := func(d time.Duration) (n int) {
			mark := markOf(s.keeper.addressesFile())
			for range d / time.Second {
				time.Sleep(time.Second)
				synctest.Wait()
				if now := markOf(s.keeper.addressesFile()); !now.same(mark) {
					mark = now
					n++
				}
			}
			return n
		}
		before := s.questions()
		n := writes(time.Hour)
		if looks := (s.questions() - before) / 6; n < 30 || n > 60 || looks < 150 {
			t.Errorf("%d looks at a name, and nothing new: %d writes in an hour, want one a minute", looks, n)
		}
		s.zone(zone("203.0.113.9"))
		s.after(109*time.Second, "203.0.113.1 203.0.113.3 203.0.113.5 203.0.113.7 203.0.113.9")
		var saved resolve.Memory
		labtest.Must(t, s.keeper.journal().ReadAddresses(&saved, false))
		if saved.Count() != 5 {
			t.Errorf("%d addresses are saved, want 5", saved.Count())
		}
		for unsaved := false; !unsaved; { // so that the end has something to write
			time.Sleep(time.Second)
			synctest.Wait()
			s.with(func() { unsaved = s.keeper.unsaved })
		}
	})
}
