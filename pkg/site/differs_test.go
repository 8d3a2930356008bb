package site_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// TestDiffersFrom: the reason of changed rules is what has changed in the policy or on the
// host, and AsksTheSame says whether there is any.
func TestDiffersFrom(t *testing.T) {
	host := func(change func(*ruleset.Host)) ruleset.Host {
		h := router()
		change(&h)
		return h
	}
	same := func(*ruleset.Host) {}
	const acme = "providers: [{name: acme, registrars: [sip.acme.example]}]\n"
	for _, test := range []struct {
		name         string
		policy, then string
		now, before  func(*ruleset.Host)
		want         string
		differs      bool
	}{
		{name: "nothing", now: same, before: same},
		{name: "mode", policy: "mode: monitor\n", now: same, before: same, want: "mode is monitor, it was enforce", differs: true},
		{name: "interfaces", policy: "interfaces: [wan]\n", now: same, before: same, want: "interfaces are [wan], they were []", differs: true},
		{name: "trusted interfaces", policy: "trusted: {interfaces: [lan]}\n", now: same, before: same, want: "trusted.interfaces are [lan], they were []", differs: true},
		{name: "action", policy: "unknown: {action: accept}\n", now: same, before: same, want: "unknown.action is accept, it was drop", differs: true},
		{name: "replies", policy: "unknown: {allow_replies: true}\n", now: same, before: same, want: "unknown.allow_replies is true, it was false", differs: true},
		{
			name: "forwarding", now: same, before: func(h *ruleset.Host) { h.Forwards = false },
			want: "this host forwards now", differs: true,
		},
		{name: "no forwarding", now: func(h *ruleset.Host) { h.Forwards = false }, before: same, want: "this host does not forward any more", differs: true},
		{
			name: "translation", now: func(h *ruleset.Host) { h.Forwards, h.Translates = false, true }, before: func(h *ruleset.Host) { h.Forwards = false },
			want: "rules of another program may change where packets are sent to", differs: true,
		},
		{
			name: "no translation", now: func(h *ruleset.Host) { h.Forwards = false }, before: func(h *ruleset.Host) { h.Forwards, h.Translates = false, true },
			want: "no rule changes any more where packets are sent to", differs: true,
		},
		{name: "no classifier", now: func(h *ruleset.Host) { h.Engine = "" }, before: same, want: "the engine is off, it was bpf", differs: true},
		{
			name: "two things", policy: "mode: monitor\nunknown: {action: accept}\n", now: same, before: same,
			want: "mode is monitor, it was enforce; unknown.action is accept, it was drop", differs: true,
		},
		{
			name: "a VLAN on what is fenced", policy: "interfaces: [wan]\n", then: "interfaces: [wan]\n",
			now: func(h *ruleset.Host) {
				h.Interfaces = append(h.Interfaces, ruleset.Interface{Name: "wan.7", Kind: "vlan", Parent: "wan"})
			}, before: same, want: "wan.7 stands on what is fenced", differs: true,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			now, before := newSite(t, acme+test.policy, host(test.now)), newSite(t, acme+test.then, host(test.before))
			if got := now.DiffersFrom(before); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
			if got := now.AsksTheSame(before); got == test.differs {
				t.Errorf("it asks the same: %t", got)
			}
			// Other addresses, or another version of the classifier, alone are no other rules.
			before.Classify(nil)
			now.Classifier.Program = program("ringfence:2")
			now.Classify(nil)
			now.Memory = remembered(0, 0)
			if got := now.AsksTheSame(before); got == test.differs {
				t.Errorf("with other addresses it asks the same: %t", got)
			}
		})
	}
}

// TestRemember: the names of the policy keep their addresses; those of others are kept for
// a rollback for a year, and for no longer.
func TestRemember(t *testing.T) {
	s := newSite(t, withName, router())
	now := resolve.Moment{Time: noon}
	old := resolve.NewMemory()
	add := func(name string, seen time.Duration) {
		old.Names = append(old.Names, resolve.Known{Name: name, Registrar: true, Addresses: []resolve.KnownAddress{
			{Address: netip.MustParseAddr("203.0.113.5"), Via: "A", LastSeen: noon.Add(-seen)},
		}})
	}
	add("sip.acme.example", 800*24*time.Hour)
	add("sip.beta.example", 300*24*time.Hour)
	add("sip.gone.example", 400*24*time.Hour)
	names := func(m resolve.Memory) string {
		var list []string
		for _, k := range m.Names {
			list = append(list, k.Name)
		}
		slices.Sort(list)
		return strings.Join(list, " ")
	}
	s.Remember(old, now)
	if got, whole := names(s.Memory), names(s.Whole()); got != "sip.acme.example" || whole != "sip.acme.example sip.beta.example" {
		t.Errorf("it remembers %q, and in all %q", got, whole)
	}
	if n := s.FromMemory(); n != 1 {
		t.Errorf("%d names are used from memory", n)
	}
	if got := s.Size(); got != "1 name with 1 address" {
		t.Errorf("its size is %q", got)
	}
	s.Asked = true // and nothing was answered
	s.Remember(old, now)
	if got := s.Memory.Addresses(resolve.Target{Name: "sip.acme.example", Registrar: true}); len(got) != 1 {
		t.Errorf("a name that is not answered has %v", got)
	}
	if n := s.FromMemory(); n != 0 {
		t.Errorf("without a failure %d names are used from memory", n)
	}
	for policy, want := range map[string]string{
		"trusted: {addresses: [192.168.1.0/24]}\n": "no names",
		"mode: monitor\n":                          "in monitor mode (what would be dropped passes), no names",
	} {
		if got := newSite(t, policy, router()).Size(); got != want {
			t.Errorf("its size is %q, want %q", got, want)
		}
	}
}

// TestMentioned: a name that a user names must be one of the policy, or one that such a
// name leads to.
func TestMentioned(t *testing.T) {
	s := newSite(t, withName, router())
	m := resolve.Memory{Names: []resolve.Known{{Name: "sip.acme.example", Registrar: true, Questions: []resolve.KnownAnswer{{Name: "edge.acme.example", Type: resolve.A}}}}}
	for text, want := range map[string]string{
		"sip.acme.example": "sip.acme.example", "SIP.Acme.example.": "sip.acme.example", "sip:me@sip.acme.example:5060": "sip.acme.example",
		"edge.acme.example": "edge.acme.example", "other.example": "", "192.0.2.1": "", "not a name": "", "": "",
	} {
		got, err := site.Mentioned(s.Policy, []string{text}, m)
		if want == "" {
			if err == nil || !strings.Contains(err.Error(), "the policy has no name ") {
				t.Errorf("%q: %v, %v", text, got, err)
			}
		} else if err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%q: %v, %v, want %s", text, got, err, want)
		}
	}
	if _, err := site.Mentioned(s.Policy, []string{"sip.acme.example", "other.example"}, m); err == nil {
		t.Error("a second name that the policy does not have is accepted")
	}
}

// TestGuardsOfASite: a provider without an address is refused with the reason of its name,
// what was so before is not, and a flow that would end is refused.
func TestGuardsOfASite(t *testing.T) {
	s := newSite(t, "providers: [{name: acme, registrars: [sip.acme.example]}, {name: beta, registrars: [sip.beta.example]}]\ninterfaces: [wan]\n", router())
	s.Memory.Refresh.Failures = []resolve.Problem{
		{Name: "sip.acme.example", Type: resolve.A, Error: "timeout", Target: resolve.Target{Name: "sip.acme.example", Registrar: true}},
		{Name: "sip.beta.example", Error: "no address", Target: resolve.Target{Name: "sip.beta.example"}}, // a trusted host of the same name
	}
	refused := func(a site.Allowances) string {
		t.Helper()
		if err := planOf(s).Check(s.Guards(a)...); err != nil {
			return err.Error()
		}
		return ""
	}
	if got := refused(site.Allowances{}); got != "refused by guard empty-provider: no address is known for provider acme, beta, so its calls would be dropped (sip.acme.example A: timeout)" {
		t.Errorf("refused: %s", got)
	}
	if got := refused(site.Allowances{}.As(s)); got != "" {
		t.Errorf("what is so already is refused: %s", got)
	}
	monitored := *s.Policy
	monitored.Monitor = true
	before := *s
	before.Policy = &monitored
	if got := refused(site.Allowances{}.As(&before)); !strings.Contains(got, "no address is known for provider acme, beta") {
		t.Errorf("after monitor mode, which dropped nobody's calls: %q", got)
	}
	s.Contacts.Flows = []ruleset.Flow{{From: netip.MustParseAddr("198.51.100.9"), Protocol: ruleset.UDP, Port: 5060}}
	empty := site.Allowances{Empty: []string{"acme", "beta"}}
	if got := refused(empty); !strings.Contains(got, "guard cut-live") || !strings.Contains(got, "198.51.100.9 (UDP 5060)") {
		t.Errorf("a flow that would end: %q", got)
	}
	empty.CutLive = true
	if got := refused(empty); got != "" {
		t.Errorf("although it was agreed to: %s", got)
	}
	s.Policy.Monitor = true
	if got := s.Guards(site.Allowances{}); len(got) > 0 {
		t.Errorf("where nothing is dropped there are %d guards", len(got))
	}
	if !site.HasProvider(s.Policy, "acme") || site.HasProvider(s.Policy, "gamma") {
		t.Error("the policy has acme, and not gamma")
	}
}

// TestLacksClassifier: a policy that cannot do without a classifier says which of its
// lines that is.
func TestLacksClassifier(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "",
		"signatures: {engine: bpf}\n": "signatures.engine is bpf",
		"unknown: {action: accept, require_user_agent: [Yealink]}\n": "unknown.require_user_agent needs the classifier",
		"unknown: {action: accept}\n":                                "",
	} {
		s := newSite(t, text, router())
		if got := s.LacksClassifier(); got != "" {
			t.Errorf("%q: with a classifier it lacks one: %s", text, got)
		}
		s.Host.Engine = ""
		if got := s.LacksClassifier(); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestReading: where unknown phones are dropped anyway, what the classifier costs is
// bounded; where some may pass, every packet is read.
func TestReading(t *testing.T) {
	for text, bounded := range map[string]bool{"": true, "unknown: {action: accept}\n": false} {
		s := newSite(t, text+"ports: {udp: [5070], tcp: [5071, 5072]}\n", router())
		r := s.Reading()
		if r.Bounded != bounded || !slices.Equal(r.UDP, []uint16{5070}) || !slices.Equal(r.TCP, []uint16{5071, 5072}) || uint32(r.Mark) != s.Policy.Signatures.Mark {
			t.Errorf("%q: it reads %+v", text, r)
		}
	}
}

// TestFencedInterfaces: these are where packets are judged, without lo and without the
// ports of a bridge.
func TestFencedInterfaces(t *testing.T) {
	h := router()
	h.Interfaces = append(h.Interfaces, ruleset.Interface{Name: "lo"}, ruleset.Interface{Name: "eth0", Master: "lan"}, ruleset.Interface{Name: "ppp0"})
	for text, want := range map[string]string{"": "lan wan ppp0", "interfaces: [wan, ppp*]\n": "wan ppp0", "interfaces: [nothing]\n": ""} {
		if got := strings.Join(newSite(t, text, h).FencedInterfaces(), " "); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// TestAddressFilter: a name must not stand for an address of this host, or a private one,
// unless the policy lists that.
func TestAddressFilter(t *testing.T) {
	p, err := policy.Parse("p", strings.NewReader("version: 1\ntrusted: {addresses: [10.7.0.0/16]}\n"), policy.Available{})
	if err != nil {
		t.Fatal(err)
	}
	filter := site.AddressFilter(p, router())
	for address, rejected := range map[string]bool{"203.0.113.9": false, "203.0.113.2": true, "192.168.1.1": true, "10.1.2.3": true, "10.7.2.3": false, "127.0.0.1": true} {
		why := filter.RejectFrom(resolve.Question{Name: "sip.acme.example", Type: resolve.A}, netip.MustParseAddr(address))
		if (why != "") != rejected {
			t.Errorf("%s is rejected: %q", address, why)
		}
	}
}

// planOf is the plan that makes the fence of a site.
func planOf(s *site.Site) *plan.Plan {
	want, origins := s.Compile()
	p := plan.Diff(&ruleset.State{}, want)
	p.Explain(ruleset.Origins{}, origins, "")
	return p
}
