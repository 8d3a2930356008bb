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

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/daemon"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/host"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan/plantest"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// odd is a kernel that fails as a test says.
type odd struct {
	*plantest.Kernel
	refused error // by Probe

	mu                sync.Mutex
	unread, unwatched error
	watches           int
	end               context.CancelFunc // of the last watch
}

// fail sets the errors of Observe and Watch.
func (k *odd) fail(unread, unwatched error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.unread, k.unwatched = unread, unwatched
}

// silence ends the last watch, and lets no other begin.
func (k *odd) silence(why error) {
	k.fail(nil, why)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.end()
}

func (k *odd) Probe(context.Context) error { return k.refused }

func (k *odd) Observe(ctx context.Context) (*ruleset.State, error) {
	k.mu.Lock()
	err := k.unread
	k.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return k.Kernel.Observe(ctx)
}

func (k *odd) Watch(ctx context.Context) (<-chan backend.Touched, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.watches++
	if k.unwatched != nil {
		return nil, k.unwatched
	}
	ctx, k.end = context.WithCancel(ctx)
	return k.Kernel.Watch(ctx)
}

// TestTableIsNotReported: when the kernel reports no changes any more, it is asked to
// again, and what has happened in between is found.
func TestTableIsNotReported(t *testing.T) {
	k := &odd{}
	serveIn(t, openPolicy, func(s *service, w *fence.World) {
		k.Kernel = s.kernel
		w.Kernel = func() backend.Kernel { return k }
	}, func(s *service) {
		k.silence(errors.New("no buffer space"))
		synctest.Wait()
		s.kernel.Change(func(state *ruleset.State) { state.Counters = nil })
		time.Sleep(5 * time.Second)
		s.wants(t, 0, "was corrected")
		k.fail(nil, nil)
		time.Sleep(2 * time.Second)
		s.wants(t, 1, "was corrected")
	})
}

// TestFailuresOnce: an error that stays is logged once, and so is one of notifying systemd;
// after it is over the same error is logged again.
func TestFailuresOnce(t *testing.T) {
	k := &odd{}
	serveIn(t, openPolicy, func(s *service, w *fence.World) {
		k.Kernel = s.kernel
		w.Kernel = func() backend.Kernel { return k }
		s.daemon.Notify = func(string) error { return errors.New("no such file or directory") }
	}, func(s *service) {
		s.wants(t, 1, "notify systemd", "no such file or directory")
		for range 2 {
			k.fail(errors.New("operation not permitted"), nil)
			time.Sleep(10 * time.Minute)
			k.fail(nil, nil)
			time.Sleep(10 * time.Minute)
		}
		s.wants(t, 2, "level=ERROR", "reconcile the fence", "operation not permitted")
		s.wants(t, 1, "notify systemd", "no such file or directory")
	})
}

// TestAnotherRunHasTheLock: the service waits for a run that takes long, says so, and does
// its work when that has ended.
func TestAnotherRunHasTheLock(t *testing.T) {
	serve(t, func(s *service) {
		unlock, err := journal.Lock(s.ctx, s.folder+"/run", "apply")
		must(t, err)
		s.kernel.Change(func(state *ruleset.State) { *state = ruleset.State{} })
		time.Sleep(30 * time.Second)
		if s.logged("wait for another run", "ringfence apply") == 0 {
			t.Errorf("it does not say that it waits:\n%s", s.log.String())
		}
		unlock()
		time.Sleep(time.Minute)
		if !s.fenced(t) {
			t.Error("there is no fence")
		}
		s.wants(t, 0, "level=ERROR")
	})
}

// TestGoneWhileAnotherRunEnds: a table that goes when another run has given a generation its
// number, and holds the lock still, comes back at once: as the generation before, until the
// newer one can be put into force. A table that stands is left to that run.
func TestGoneWhileAnotherRunEnds(t *testing.T) {
	serve(t, func(s *service) {
		unlock, err := journal.Lock(s.ctx, s.folder+"/run", "apply")
		must(t, err)
		j := journal.Journal{Folder: s.folder + "/state"}
		e, err := j.Entry(1)
		must(t, err)
		next := *e
		pending, err := j.Begin(&next)
		must(t, err)
		must(t, pending.Finish())
		s.kernel.Change(func(state *ruleset.State) { state.Counters = state.Counters[1:] })
		synctest.Wait()
		s.wants(t, 0, "was corrected")
		s.kernel.Change(func(state *ruleset.State) { *state = ruleset.State{} })
		synctest.Wait()
		if !s.fenced(t) {
			t.Error("there is no fence")
		}
		s.wants(t, 1, "was corrected", "the table was gone and is back", "after=0s")
		unlock()
		time.Sleep(time.Minute)
		s.wants(t, 1, "keep a generation in force", "generation=2")
	})
}

// TestAtBoot: a service that starts where there is no fence puts it up, which is no
// correction of what another program has done.
func TestAtBoot(t *testing.T) {
	s := serve(t, func(*service) {})
	s.log = buffer{}
	synctest.Test(t, func(t *testing.T) {
		s.kernel = &plantest.Kernel{}
		ctx, cancel := context.WithCancel(t.Context())
		s.ctx = ctx
		d, r := s.next(s.kernel)
		done := make(chan error)
		go func() { done <- d.Run(ctx, r) }()
		synctest.Wait()
		if !s.fenced(t) {
			t.Error("there is no fence")
		}
		s.wants(t, 1, "the fence is as it should be now", "the table was gone and is back")
		s.wants(t, 0, "was corrected")
		cancel()
		must(t, <-done)
	})
}

// TestUnreportedChange: a change of the table that was not reported is found with the next
// change of the host, and the log does not say that the host has caused it.
func TestUnreportedChange(t *testing.T) {
	var h watchedHost
	k := &odd{}
	serveIn(t, openPolicy, func(s *service, w *fence.World) {
		h.in(s, w)
		k.Kernel = s.kernel
		w.Kernel = func() backend.Kernel { return k }
	}, func(s *service) {
		k.silence(errors.New("no buffer space"))
		synctest.Wait()
		s.kernel.Change(func(state *ruleset.State) { state.Counters = nil })
		h.report(host.Change{What: "a route", Urgent: true})
		s.wants(t, 1, "level=WARN", "was corrected", `because="a route"`)
		s.wants(t, 0, "the host has changed")
	})
}

// TestNotes: a single event is logged once, and is not said to be over; a notice that
// stands is not over either while nothing can be read.
func TestNotes(t *testing.T) {
	k := &odd{}
	serveIn(t, openPolicy, func(s *service, w *fence.World) {
		k.Kernel = s.kernel
		w.Kernel = func() backend.Kernel { return k }
	}, func(s *service) {
		s.daemon.Notice(notice.Notice{Severity: notice.Note, Code: "test", Text: "the file was set aside"})
		s.classifier.Fail(errors.New("CAP_BPF is missing"))
		s.kernel.Change(func(state *ruleset.State) { *state = ruleset.State{GenID: state.GenID} })
		s.classifier.Detach()
		time.Sleep(2 * time.Minute)
		s.wants(t, 1, "level=INFO", "the file was set aside")
		s.wants(t, 1, "level=WARN", "the fence works without it")
		k.fail(errors.New("operation not permitted"), nil)
		time.Sleep(10 * time.Minute)
		s.wants(t, 0, "msg=over")
		k.fail(nil, nil)
		s.classifier.Fail(nil)
		time.Sleep(2 * time.Minute)
		if s.logged("msg=over") == 0 || s.logged("msg=over", "set aside") > 0 {
			t.Errorf("what is over is not said:\n%s", s.log.String())
		}
	})
}

// TestUnconfirmed: a service that has nothing else to do undoes a generation that nobody
// has confirmed in time.
func TestUnconfirmed(t *testing.T) {
	serve(t, func(s *service) {
		_, err := s.another.Apply(s.ctx, policyOf(t, strings.ReplaceAll(openPolicy, "203.0.113.5", "203.0.113.6")), fence.ApplyOptions{Confirm: time.Minute})
		must(t, err)
		allowed := func(address string) bool {
			state, err := s.kernel.Observe(s.ctx)
			must(t, err)
			return state.Sets["providers4"].Contains(netip.MustParseAddr(address))
		}
		time.Sleep(30 * time.Second)
		if !allowed("203.0.113.6") {
			t.Error("before the time is over the change is undone")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if allowed("203.0.113.6") || !allowed("203.0.113.5") {
			t.Errorf("after it the change stays:\n%s", s.log.String())
		}
	})
}

// next is a daemon that starts after the first has ended, and what it runs.
func (s *service) next(k backend.Kernel) (*daemon.Daemon, *fence.Reconciler) {
	d := daemon.New(s.logger())
	s.told = states{}
	d.Notify = s.told.add
	f := fence.New(fence.Config{StateDir: s.folder + "/state", RunDir: s.folder + "/run", User: "somebody", Log: s.logger()}, fence.World{
		Kernel: func() backend.Kernel { return k }, Classifier: s.classifier,
		Host:    func() (ruleset.Host, error) { return ruleset.Host{}, nil },
		Servers: func() (resolve.Servers, error) { return resolve.Servers{}, nil },
		Hosts:   func() (resolve.Hosts, error) { return nil, nil },
		Now:     func() resolve.Moment { return resolve.Moment{Time: time.Now()} },
	})
	return d, f.Reconciler()
}

// TestDoesNotStart: where the back end does not work, or its changes cannot be watched, or
// the fence cannot be put up, the service ends with the error, and systemd does not hear
// that it is ready.
func TestDoesNotStart(t *testing.T) {
	broken := errors.New("operation not permitted")
	for name, k := range map[string]*odd{"probe": {refused: broken}, "watch": {unwatched: broken}, "observe": {unread: broken}} {
		s := serve(t, func(*service) {})
		synctest.Test(t, func(t *testing.T) {
			k.Kernel = &plantest.Kernel{}
			d, r := s.next(k)
			if err := d.Run(t.Context(), r); !errors.Is(err, broken) {
				t.Errorf("%s: it ends with %v", name, err)
			}
			if slices.Contains(s.told.all(), "READY=1") {
				t.Errorf("%s: systemd was told %q", name, s.told.all())
			}
		})
	}
}
