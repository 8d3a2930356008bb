package cli

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

	"github.com/ringfence/ringfence/pkg/catalog"
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
	p, err := catalog.Parse("policy.yaml", []byte(text))
	labtest.Must(s.t, err)
	site := &site{policy: p, text: text, asked: true}
	site.answers = questions{targets: targets(p), terms: site.terms()}.ask(s.t.Context(), s.lookup, s.lookup)
	site.remember(resolve.NewMemory(), s.now())
	d, err := site.desired(nil)
	labtest.Must(s.t, err)
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
