package fence_test

import (
	"bytes"
	"context"
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

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/daemon"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/host/system"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/plan/plantest"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// simulation is the service in a world in which weeks pass in seconds: its
// clocks, name servers and kernel are not real, all else is.
type simulation struct {
	t          *testing.T
	reconciler *fence.Reconciler
	kernel     *plantest.Kernel
	log        *bytes.Buffer
	start      time.Time

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
		log := slog.New(slog.NewTextHandler(s.log, nil))
		d := daemon.New(log)
		d.Check, d.Poll, d.Notify = time.Hour, time.Hour, func(string) error { return nil }
		world := testWorld(s.kernel)
		world.Now = s.now
		world.Lookup = func(resolve.Servers) (first, again resolve.Lookup) { return s.lookup, s.lookup }
		f := fence.New(fence.Config{
			StateDir: folder + "/state", RunDir: folder + "/run", User: "somebody", Notice: d.Notice, Log: log,
		}, world)
		s.zone(zone)
		_, err := f.Apply(t.Context(), policyOf(t, policy), fence.ApplyOptions{})
		labtest.Must(t, err)
		s.kernel.Commits = 0
		s.reconciler = f.Reconciler()

		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { labtest.Must(t, d.Run(ctx, s.reconciler)) })
		live(s)
		cancel()
		running.Wait()
		s.wantSaved()
		if t.Failed() {
			t.Log(s.log)
		}
	})
}

// testWorld is a world with a kernel in memory, on a host without a network.
func testWorld(kernel *plantest.Kernel) fence.World {
	return fence.World{
		Kernel:     func() backend.Kernel { return kernel },
		Classifier: &plantest.Classifier{Obstacle: plantest.ErrNoEBPF},
		Host:       func() (ruleset.Host, error) { return ruleset.Host{}, nil },
		Servers:    func() (resolve.Servers, error) { return resolve.Servers{}, nil },
		Hosts:      func() (resolve.Hosts, error) { return nil, nil },
		Lookup: func(resolve.Servers) (first, again resolve.Lookup) {
			silent := func(_ context.Context, q resolve.Question) (resolve.Answer, error) {
				return resolve.Answer{}, &resolve.Failure{Question: q, Kind: resolve.Timeout, Text: "no answer"}
			}
			return silent, silent
		},
		Now: system.Clock(slog.New(slog.DiscardHandler)),
	}
}

// policyOf parses a policy.
func policyOf(t testing.TB, text string) fence.Policy {
	t.Helper()
	p, err := catalog.Parse("policy.yaml", []byte(text))
	labtest.Must(t, err)
	return fence.Policy{Policy: p, Text: text, Source: "policy.yaml"}
}

// wantSaved compares what the service knows with what it leaves on disk.
func (s *simulation) wantSaved() {
	s.t.Helper()
	var saved resolve.Memory
	labtest.Must(s.t, s.reconciler.Journal().ReadAddresses(&saved, false))
	for i, k := range saved.Names {
		if known := s.reconciler.Memory().Names[i]; !k.Looked.Time.Equal(known.Looked.Time) || len(k.Addresses) != len(known.Addresses) {
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
		for _, a := range s.reconciler.Memory().Alarms(s.reconciler.Site().Settings(), now) {
			kinds = append(kinds, a.Kind)
		}
	})
	if !slices.Equal(kinds, alarms) {
		s.t.Errorf("after %s: alarms %v, want %v", day, kinds, alarms)
	}
}
