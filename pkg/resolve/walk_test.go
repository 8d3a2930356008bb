package resolve_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/resolve"
)

// zone answers questions from a small text: "name TYPE data", one record a
// line, or "name TYPE !kind" for a failure.
type zone struct {
	t       testing.TB
	records map[resolve.Question][]resolve.Record
	failed  map[resolve.Question]resolve.Kind
	names   map[string]bool

	mu    sync.Mutex
	asked map[resolve.Question]int
}

func newZone(t testing.TB, text string) *zone {
	t.Helper()
	z := &zone{t: t, records: map[resolve.Question][]resolve.Record{}, failed: map[resolve.Question]resolve.Kind{}, names: map[string]bool{}, asked: map[resolve.Question]int{}}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		q := resolve.Question{Name: f[0], Type: resolve.Type(f[1])}
		z.names[f[0]] = true
		if kind, ok := strings.CutPrefix(f[2], "!"); ok {
			z.failed[q] = resolve.Kind(kind)
			continue
		}
		r := resolve.Record{Owner: f[0], Type: q.Type, TTL: time.Minute}
		switch q.Type {
		case resolve.A, resolve.AAAA:
			r.Address = netip.MustParseAddr(f[2])
		case resolve.CNAME:
			r.Target = f[2]
		case resolve.SRV:
			fmt.Sscan(f[2], &r.Priority)
			r.Target, r.Port = strings.TrimSuffix(f[3], "."), 5060
		case resolve.NAPTR:
			fmt.Sscan(f[2], &r.Priority)
			r.Flags, r.Service, r.Regexp, r.Target = f[3], f[4], strings.Trim(f[5], "-"), f[6]
		}
		z.records[q] = append(z.records[q], r)
	}
	return z
}

// lookup answers as a recursive name server does, with all aliases on the way.
func (z *zone) lookup(_ context.Context, q resolve.Question) (resolve.Answer, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked[q]++
	if kind, ok := z.failed[q]; ok {
		return resolve.Answer{}, &resolve.Failure{Question: q, Kind: kind, Text: "the server is ill"}
	}
	var a resolve.Answer
	name := q.Name
	for range 20 {
		if found := z.records[resolve.Question{Name: name, Type: q.Type}]; len(found) > 0 {
			a.Records = append(a.Records, found...)
			return a, nil
		}
		alias := z.records[resolve.Question{Name: name, Type: resolve.CNAME}]
		if len(alias) == 0 {
			break
		}
		a.Records = append(a.Records, alias...)
		name = alias[0].Target
	}
	a.NoName = !z.names[name]
	return a, nil
}

func addresses(r resolve.Result) []string {
	var list []string
	for _, f := range r.Addresses() {
		list = append(list, f.Address.String()+" "+f.Via)
	}
	return list
}

func TestEverythingBehindAName(t *testing.T) {
	for _, test := range []struct {
		name, zone string
		want       []string
	}{
		{"A and AAAA", "sip.example A 192.0.2.1\nsip.example AAAA 2001:db8::1", []string{"192.0.2.1 A", "2001:db8::1 AAAA"}},
		{
			"NAPTR and SRV only, a target in another domain",
			"sip.example NAPTR 10 s SIP+D2U - _sip._udp.sip.example\n_sip._udp.sip.example SRV 10 edge.net.\nedge.net A 192.0.2.1\nedge.net AAAA 2001:db8::1",
			[]string{"192.0.2.1 SRV _sip._udp -> edge.net A", "2001:db8::1 SRV _sip._udp -> edge.net AAAA"},
		},
		{
			"SRV names that only NAPTR tells",
			"sip.example NAPTR 10 s SIPS+D2T - _sips._tcp.cluster.net\n_sips._tcp.cluster.net SRV 10 edge.net.\nedge.net A 192.0.2.1",
			[]string{"192.0.2.1 NAPTR SIPS+D2T -> SRV _sips._tcp.cluster.net -> edge.net A"},
		},
		{
			"NAPTR straight to addresses",
			"sip.example NAPTR 10 a SIP+D2U - edge.net\nedge.net A 192.0.2.1",
			[]string{"192.0.2.1 NAPTR SIP+D2U -> edge.net A"},
		},
		{
			"all priorities, all three names, and the name itself",
			"_sip._udp.sip.example SRV 10 a.net.\n_sip._udp.sip.example SRV 20 b.net.\n_sip._tcp.sip.example SRV 10 c.net.\n_sips._tcp.sip.example SRV 10 d.net.\n" +
				"a.net A 192.0.2.1\nb.net A 192.0.2.2\nc.net A 192.0.2.3\nd.net A 192.0.2.4\nsip.example A 192.0.2.5",
			[]string{
				"192.0.2.1 SRV _sip._udp -> a.net A", "192.0.2.2 SRV _sip._udp -> b.net A", "192.0.2.3 SRV _sip._tcp -> c.net A",
				"192.0.2.4 SRV _sips._tcp -> d.net A", "192.0.2.5 A",
			},
		},
		{
			"order and preference exclude nothing",
			"sip.example NAPTR 10 s SIP+D2U - u.net\nsip.example NAPTR 90 s SIP+D2T - t.net\nu.net SRV 10 a.net.\nt.net SRV 10 b.net.\na.net A 192.0.2.1\nb.net A 192.0.2.2",
			[]string{"192.0.2.1 NAPTR SIP+D2U -> SRV u.net -> a.net A", "192.0.2.2 NAPTR SIP+D2T -> SRV t.net -> b.net A"},
		},
		{
			"what NAPTR says of other services, flags and expressions leads nowhere",
			"sip.example NAPTR 10 s E2U+sip - _sip._udp.net\nsip.example NAPTR 10 u SIP+D2U !.*!sip:x! _sip._udp.net\nsip.example NAPTR 10 p SIP+D2U - _sip._udp.net\n_sip._udp.net SRV 10 a.net.\na.net A 192.0.2.1",
			nil,
		},
		{"SRV target . is no target", "_sip._udp.sip.example SRV 10 .\nsip.example A 192.0.2.1", []string{"192.0.2.1 A"}},
		{"an SRV target that is an alias", "_sip._udp.sip.example SRV 10 a.net.\na.net CNAME b.net\nb.net CNAME c.net\nc.net A 192.0.2.1", []string{"192.0.2.1 SRV _sip._udp -> a.net A"}},
		{"8 aliases", aliases(8) + "n8.example A 192.0.2.1", []string{"192.0.2.1 A"}},
		{"9 aliases", aliases(9) + "n9.example A 192.0.2.1", nil},
		{"a circle of aliases", "sip.example CNAME b.example\nb.example CNAME sip.example", nil},
		{"NAPTR in a circle", "sip.example NAPTR 10 s SIP+D2U - sip.example\nsip.example A 192.0.2.1", []string{"192.0.2.1 A"}},
		{"65 addresses are not believed", pool(65) + "sip.example AAAA 2001:db8::1", []string{"2001:db8::1 AAAA"}},
		{"an IPv4 address in AAAA", "sip.example AAAA ::ffff:192.0.2.1", []string{"192.0.2.1 AAAA"}},
		{"one type fails, the other does not", "sip.example A !servfail\nsip.example AAAA 2001:db8::1", []string{"2001:db8::1 AAAA"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			z := newZone(t, test.zone)
			results := resolve.Resolve(t.Context(), z.lookup, []resolve.Target{{Name: "sip.example", Registrar: true}})
			if diff := cmp.Diff(test.want, addresses(results[0])); diff != "" {
				t.Error(diff)
			}
			for q, n := range z.asked {
				if n > 1 {
					t.Errorf("%s was asked %d times", q, n)
				}
			}
		})
	}
}

func aliases(n int) string {
	text := "sip.example CNAME n1.example\n"
	for i := 1; i < n; i++ {
		text += fmt.Sprintf("n%d.example CNAME n%d.example\n", i, i+1)
	}
	return text
}

func pool(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "sip.example A 192.0.%d.%d\n", i/256, i%256)
	}
	return b.String()
}

// TestHostsAreAskedLess: a trusted host has A and AAAA, and no SIP.
func TestHostsAreAskedLess(t *testing.T) {
	z := newZone(t, "office.example A 192.0.2.1\n_sip._udp.office.example SRV 10 a.net.\na.net A 192.0.2.2")
	results := resolve.Resolve(t.Context(), z.lookup, []resolve.Target{{Name: "office.example"}})
	if diff := cmp.Diff([]string{"192.0.2.1 A"}, addresses(results[0])); diff != "" {
		t.Error(diff)
	}
	if len(z.asked) != 2 {
		t.Errorf("%d questions, want 2: %v", len(z.asked), z.asked)
	}
}

// TestServerThatFollowsNoAlias answers the alias only, as an authoritative
// server does for another zone.
func TestServerThatFollowsNoAlias(t *testing.T) {
	z := newZone(t, "sip.example CNAME a.net\na.net A 192.0.2.1")
	lazy := func(ctx context.Context, q resolve.Question) (resolve.Answer, error) {
		a, err := z.lookup(ctx, q)
		a.Records = a.Records[:min(len(a.Records), 1)]
		return a, err
	}
	results := resolve.Resolve(t.Context(), lazy, []resolve.Target{{Name: "sip.example"}})
	if diff := cmp.Diff([]string{"192.0.2.1 A"}, addresses(results[0])); diff != "" {
		t.Error(diff)
	}
}

// TestForeignRecordsAreIgnored: an answer that is about another name is none.
func TestForeignRecordsAreIgnored(t *testing.T) {
	other := func(_ context.Context, q resolve.Question) (resolve.Answer, error) {
		return resolve.Answer{Records: []resolve.Record{{Owner: "evil.example", Type: q.Type, Address: netip.MustParseAddr("6.6.6.6")}}}, nil
	}
	results := resolve.Resolve(t.Context(), other, []resolve.Target{{Name: "sip.example"}})
	if got := addresses(results[0]); len(got) != 0 {
		t.Errorf("believed %v", got)
	}
	if err := results[0].Roots[0].Err; err == nil || !strings.Contains(err.Error(), "is about evil.example instead") {
		t.Errorf("the failure is %v", err)
	}
}

// TestQuestionsShareTheirTime: 32 questions at a time, each asked once, and none
// after the time is over.
func TestQuestionsShareTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		underway, most, asked := 0, 0, 0
		slow := func(ctx context.Context, q resolve.Question) (resolve.Answer, error) {
			mu.Lock()
			underway++
			asked++
			most = max(most, underway)
			mu.Unlock()
			defer func() {
				mu.Lock()
				underway--
				mu.Unlock()
			}()
			select {
			case <-time.After(1900 * time.Millisecond): // none ends together with a limit
				return resolve.Answer{}, nil
			case <-ctx.Done():
				return resolve.Answer{}, &resolve.Failure{Question: q, Kind: resolve.Timeout}
			}
		}
		var targets []resolve.Target
		for i := range 100 {
			targets = append(targets, resolve.Target{Name: fmt.Sprintf("n%d.example", i), Registrar: true})
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		start := time.Now()
		results := resolve.Resolve(ctx, slow, targets)
		if took := time.Since(start); took != 20*time.Second {
			t.Errorf("took %s, want 20 s", took)
		}
		if most != 32 {
			t.Errorf("%d questions at a time, want 32", most)
		}
		failed := 0
		for _, r := range results {
			for _, n := range r.Roots {
				if n.Err != nil {
					failed++
				}
			}
		}
		// 800 questions; at most 10 rounds of 32 are answered in 20 s. Some are cut off when
		// the 5 s of their name are over, and others are asked in their place.
		if failed < 800-10*32 || failed > 800-9*32 || asked > 800-9*32 {
			t.Errorf("%d failed and %d were asked", failed, asked)
		}
	})
}

// TestOrderOfTree: what resolve prints is the same each time.
func TestOrderOfTree(t *testing.T) {
	z := newZone(t, "_sip._udp.sip.example SRV 20 b.net.\n_sip._udp.sip.example SRV 10 a.net.\na.net A 192.0.2.2\na.net A 192.0.2.1\nb.net A 192.0.2.3")
	results := resolve.Resolve(t.Context(), z.lookup, []resolve.Target{{Name: "sip.example", Registrar: true}})
	var lines []string
	var visit func([]*resolve.Node)
	visit = func(nodes []*resolve.Node) {
		for _, n := range nodes {
			for _, r := range n.Records {
				lines = append(lines, n.Question.String()+": "+r.String())
			}
			visit(n.Children)
		}
	}
	visit(results[0].Roots)
	want := []string{
		"_sip._udp.sip.example SRV: 10 0 5060 a.net (TTL 60 s)", "_sip._udp.sip.example SRV: 20 0 5060 b.net (TTL 60 s)",
		"a.net A: 192.0.2.1 (TTL 60 s)", "a.net A: 192.0.2.2 (TTL 60 s)", "b.net A: 192.0.2.3 (TTL 60 s)",
	}
	if !slices.Equal(want, lines) {
		t.Error(cmp.Diff(want, lines))
	}
}
