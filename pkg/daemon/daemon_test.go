package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/daemon"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/plan/plantest"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// buffer is one that may be read while a service writes to it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// states are what was sent to systemd.
type states struct {
	mu   sync.Mutex
	list []string
}

func (s *states) add(state string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, state)
	return nil
}

// all are those so far.
func (s *states) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

// service is a daemon on a kernel in memory, in a world in which minutes pass at
// once.
type service struct {
	kernel     *plantest.Kernel
	classifier *plantest.Classifier
	log        buffer
	fence      *fence.Fence
	looks      int // at the host, one a reconciliation
	told       states
	daemon     *daemon.Daemon
	another    *fence.Fence // another run on the same host
	folder     string
	ctx        context.Context // of the time in which the service runs
}

const openPolicy = `version: 1
providers:
  - name: acme
    addresses: [203.0.113.5]
unknown: {action: accept}
`

func (s *service) logger() *slog.Logger { return slog.New(slog.NewTextHandler(&s.log, nil)) }

// serve applies a policy, and runs the service while live lets time pass.
func serve(t *testing.T, live func(s *service)) *service {
	t.Helper()
	return serveIn(t, openPolicy, func(*service, *fence.World) {}, live)
}

// serveIn does so with another policy, in a world that prepare has changed.
func serveIn(t *testing.T, policy string, prepare func(s *service, w *fence.World), live func(s *service)) *service {
	t.Helper()
	folder, err := os.MkdirTemp("/dev/shm", "ringfence")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(folder) })
	s := &service{kernel: &plantest.Kernel{}, classifier: &plantest.Classifier{}, folder: folder}
	synctest.Test(t, func(t *testing.T) {
		log := s.logger()
		d := daemon.New(log)
		s.daemon = d
		d.Notify = s.told.add
		start := time.Now()
		world := fence.World{
			Kernel:     func() backend.Kernel { return s.kernel },
			Classifier: s.classifier,
			Host: func() (ruleset.Host, error) {
				s.looks++
				return ruleset.Host{Interfaces: []ruleset.Interface{{Name: "eth0"}}, Outside: []string{"eth0"}}, nil
			},
			Servers: func() (resolve.Servers, error) { return resolve.Servers{}, nil },
			Hosts:   func() (resolve.Hosts, error) { return nil, nil },
			Lookup:  func(resolve.Servers) (first, again resolve.Lookup) { return nil, nil }, // there are no names
			Now: func() resolve.Moment {
				return resolve.Moment{Time: time.Now(), Boot: "test", Up: resolve.Span(time.Since(start))}
			},
		}
		prepare(s, &world)
		s.fence = fence.New(fence.Config{
			StateDir: folder + "/state", RunDir: folder + "/run", User: "somebody", Notice: d.Notice, Log: log,
		}, world)
		s.another = fence.New(fence.Config{StateDir: folder + "/state", RunDir: folder + "/run", User: "somebody", Log: slog.New(slog.DiscardHandler)}, world)
		_, err = s.fence.Apply(t.Context(), policyOf(t, policy), fence.ApplyOptions{})
		must(t, err)
		s.looks = 0
		ctx, cancel := context.WithCancel(t.Context())
		s.ctx = ctx
		var running sync.WaitGroup
		running.Go(func() { must(t, d.Run(ctx, s.fence.Reconciler())) })
		synctest.Wait()
		live(s)
		cancel()
		running.Wait()
	})
	return s
}

func policyOf(t *testing.T, text string) fence.Policy {
	t.Helper()
	p, err := catalog.Parse("policy.yaml", []byte(text))
	must(t, err)
	return fence.Policy{Policy: p, Text: text, Source: "policy.yaml"}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestNoticesOnce: what is wrong is logged once for as long as it is wrong, and
// said to be over when it is, and nothing of it goes past the log.
func TestNoticesOnce(t *testing.T) {
	s := serve(t, func(s *service) {
		s.classifier.Fail(errors.New("CAP_BPF is missing"))
		s.kernel.Change(func(state *ruleset.State) { state.Counters = nil })
		time.Sleep(time.Second)
		for range 8 {
			s.kernel.Change(func(state *ruleset.State) { *state = ruleset.State{GenID: state.GenID} })
			s.classifier.Detach()
			time.Sleep(time.Second)
		}
		time.Sleep(5 * time.Minute)
		s.classifier.Fail(nil)
		time.Sleep(2 * time.Minute)
	})
	for text, want := range map[string]int{"the fence works without it": 2, "every source that is not banned passes": 2, `msg=over about="unclassified: eth0"`: 1, "msg=over": 3, "unclassified: eth0": 2} {
		if n := strings.Count(s.log.String(), text); n != want {
			t.Errorf("%q is logged %d times, want %d:\n%s", text, n, want, s.log.String())
		}
	}
	for line := range strings.Lines(s.log.String()) {
		if !strings.HasPrefix(line, "time=") {
			t.Errorf("past the log: %s", line)
		}
	}
}

// TestDoesNotWakeItself: with nobody else at work there is one look a minute, and
// neither is the automaton compiled again then nor the kernel asked again whether it
// would take a program.
func TestDoesNotWakeItself(t *testing.T) {
	serve(t, func(s *service) {
		probes, programs := s.classifier.Probes, s.classifier.Programs
		s.kernel.Change(func(state *ruleset.State) { state.Counters = nil })
		time.Sleep(10*time.Minute + time.Second)
		synctest.Wait()
		// At the start one to take up the generation and one to reconcile, one for the
		// change, and one a minute.
		if s.looks < 12 || s.looks > 14 {
			t.Errorf("%d looks in ten minutes, want one a minute", s.looks)
		}
		if s.classifier.Probes != probes || s.classifier.Programs != programs {
			t.Errorf("%d probes and %d programs for ten minutes", s.classifier.Probes-probes, s.classifier.Programs-programs)
		}
		if s.kernel.Commits != 2 {
			t.Errorf("%d commits, want the one of apply and one after the change", s.kernel.Commits)
		}
	})
}

// TestCountedPacketsAreAnAlarm: what the table counts and should not is an alarm within two
// seconds, each counter once, and packets that go on coming cause no more looks than
// there are without them.
func TestCountedPacketsAreAnAlarm(t *testing.T) {
	for _, counter := range []struct{ name, alarm string }{
		{"allowed_scanner", "allowed-scanner: allowed addresses"}, {"unseen", "unseen: eth0"},
	} {
		s := serve(t, func(s *service) {
			alarms := func() int {
				synctest.Wait()
				return strings.Count(s.log.String(), counter.alarm)
			}
			s.kernel.Count("allowed_provider", 7)
			time.Sleep(90 * time.Second)
			if alarms() != 0 {
				t.Errorf("an alarm without a packet:\n%s", s.log.String())
			}
			s.kernel.Count(counter.name, 1)
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if alarms() != 1 {
				t.Errorf("%d alarms after two seconds:\n%s", alarms(), s.log.String())
			}
			s.looks = 0
			for n := range uint64(300) {
				s.kernel.Count(counter.name, n+2)
				time.Sleep(time.Second)
			}
		})
		if s.looks > 6 || strings.Count(s.log.String(), counter.alarm) != 1 {
			t.Errorf("%d looks in five minutes of %s:\n%s", s.looks, counter.name, s.log.String())
		}
	}
}

// TestEndsWhole: when Run returns, nothing of it goes on.
func TestEndsWhole(t *testing.T) {
	var looks int
	s := serve(t, func(*service) { time.Sleep(time.Second) })
	looks = s.looks
	s.kernel.Change(func(state *ruleset.State) { state.Counters = nil })
	if s.looks != looks || !strings.HasSuffix(strings.Join(s.told.all(), " "), "STOPPING=1") {
		t.Errorf("%d looks after the end; systemd was told %q", s.looks-looks, s.told.all())
	}
}
