package site_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// said are notices as a user reads them.
func said(notices []notice.Notice) []string {
	var list []string
	for _, n := range notices {
		list = append(list, fmt.Sprintf("%s: %s", n.Code, n.Text))
	}
	return list
}

// TestPolicyWarnings: what is valid and probably not meant is said in words that name the
// key and what follows.
func TestPolicyWarnings(t *testing.T) {
	const acme = "providers: [{name: acme, registrars: [sip.acme.example]}]\n"
	deny := func(match string) string {
		return acme + "signatures: {deny: [{name: own, header: user-agent, " + match + "}]}\n"
	}
	for _, test := range []struct {
		name, policy string
		want         []string
	}{
		{"a provider", acme, nil},
		{"nobody", "", []string{"nobody-allowed: no address is allowed: with this policy every call is dropped"}},
		{"nobody, and nothing is dropped", "mode: monitor\n", nil},
		{"only an interface", "trusted: {interfaces: [lan0]}\n", nil},
		{"everybody", "unknown: {action: accept}\n", nil},
		{"everybody, and scanners", "unknown: {action: accept}\nsignatures: {engine: \"off\"}\n", []string{
			"accepts-scanners: unknown.action is accept, and signatures.engine is off: every source that is not banned passes, scanners too",
		}},
		{"a good signature", deny("contains: BadDialer/1"), nil},
		{"a short text", deny("contains: bad"), []string{
			"matches-phones: signatures.deny: own looks for only 3 characters anywhere in a header, which an ordinary phone may send too: use prefix or exact, or at least 8",
		}},
		{"a short beginning", deny("prefix: b"), []string{
			"matches-phones: signatures.deny: own looks for only 1 character at the beginning of a header, which an ordinary phone may send too: use exact, or at least 3",
		}},
		{"what phones send", acme + "signatures: {deny: [{name: own, header: max-forwards, exact: \"70\"}]}\n", []string{
			`matches-phones: signatures.deny: own matches what ordinary phones send (max-forwards: "70"), which are then taken for scanners`,
		}},
	} {
		s := newSite(t, test.policy, router())
		if diff := cmp.Diff(test.want, said(site.PolicyWarnings(s.Policy))); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
	p := &policy.Policy{Doubts: policy.Mistakes{{File: "policy.yaml", Line: 3, Col: 5, Text: "192.168.1.1/24 has bits behind its length"}}}
	if diff := cmp.Diff([]string{"policy-doubt: policy.yaml:3:5: 192.168.1.1/24 has bits behind its length"}, said(site.FileWarnings(p))); diff != "" {
		t.Error(diff)
	}
}

// TestHostWarnings: a ban that has no effect, and a default route whose interface is
// trusted, are said; what is as it seems is not.
func TestHostWarnings(t *testing.T) {
	s := newSite(t, withName+"bans: {addresses: [203.0.113.0/24, 198.51.100.7]}\n", router())
	s.Memory = remembered(0, 0)
	if diff := cmp.Diff([]string{"ban-has-no-effect: bans.addresses has 203.0.113.5, which is allowed all the same: sip.acme.example stands for it"}, said(s.HostWarnings())); diff != "" {
		t.Error(diff)
	}
	s = newSite(t, withName+"bans: {addresses: [198.51.100.7]}\n", router())
	s.Memory = remembered(0, 0)
	if got := said(s.HostWarnings()); got != nil {
		t.Errorf("warnings: %q", got)
	}
	s = newSite(t, "trusted: {interfaces: [w*]}\n", router())
	if diff := cmp.Diff([]string{
		"trusted-outside: a default route goes by wan, which trusted.interfaces names: everybody who comes in there is let in",
	}, said(s.HostWarnings())); diff != "" {
		t.Error(diff)
	}
	h := router()
	h.Interfaces[1].Kind = "bridge"
	h.Interfaces = append(h.Interfaces, ruleset.Interface{Name: "eth0", Kind: "device", Master: "wan"})
	for i := range 7 {
		h.Interfaces = append(h.Interfaces, ruleset.Interface{Name: fmt.Sprint("vnet", i), Kind: "tun", Master: "wan"})
	}
	got := strings.Join(said(newSite(t, withName, h).HostWarnings()), "\n")
	if !strings.Contains(got, "vnet0, vnet1, vnet2, vnet3, vnet4 and 2 more") {
		t.Errorf("of many guests it says %q", got)
	}
}

// TestNameNotices: what is wrong with names is said once for all questions that failed for
// one reason, without what an alarm says already.
func TestNameNotices(t *testing.T) {
	acme, other := resolve.Target{Name: "sip.acme.example", Registrar: true}, resolve.Target{Name: "office.example"}
	var m resolve.Memory
	m.Refresh.Failures = []resolve.Problem{
		{Name: "sip.acme.example", Type: resolve.A, Error: "timeout", Target: acme},
		{Name: "sip.acme.example", Type: resolve.AAAA, Error: "timeout", Target: acme},
		{Name: "_sip._udp.sip.acme.example", Type: resolve.SRV, Error: "timeout", Target: acme},
		{Name: "edge.acme.example", Type: resolve.A, Error: "refused", Target: acme},
		{Name: "office.example", Error: "no address", Target: other},
	}
	m.Names = []resolve.Known{
		{Name: "sip.acme.example", Registrar: true, Rejected: []resolve.Rejected{{Address: netip.MustParseAddr("127.0.0.1"), Why: "is a loopback address"}}},
		{Name: "office.example", Rejected: []resolve.Rejected{{Address: netip.MustParseAddr("0.0.0.0"), Why: "is no address"}}}, // it has no other, which is said already
		{Name: "sip.beta.example", Registrar: true, Quarantined: []resolve.QuarantinedAddress{
			{Address: netip.MustParseAddr("192.0.2.7")}, {Address: netip.MustParseAddr("192.0.2.8"), Contradicted: true}, {Address: netip.MustParseAddr("192.0.2.9")},
		}},
	}
	want := []string{
		"address-rejected: sip.acme.example: left out 127.0.0.1, because it is a loopback address",
		"name-failed: sip.acme.example A: timeout (and 2 questions more about sip.acme.example)",
		"name-failed: edge.acme.example A: refused",
		"name-failed: office.example: no address",
		"address-quarantined: sip.beta.example: its answer lacks the known addresses, so a second answer is needed to accept 192.0.2.7, 192.0.2.9",
	}
	if diff := cmp.Diff(want, said(site.NameNotices(m, nil))); diff != "" {
		t.Error(diff)
	}
	alarms := []site.Alarm{{Name: "edge.acme.example", Type: resolve.A}}
	if got := strings.Join(said(site.NameNotices(m, alarms)), "\n"); strings.Contains(got, "edge.acme.example") || !strings.Contains(got, "office.example") {
		t.Errorf("beside an alarm about it: %s", got)
	}
	if !site.NeedsSomebody(m, nil) || !site.NeedsSomebody(resolve.Memory{}, alarms) || site.NeedsSomebody(resolve.Memory{}, nil) {
		t.Error("a failure or an alarm needs somebody, and nothing else does")
	}
}

// TestClassifierWarnings: where scanners pass, or phones are dropped, because nothing can
// read their packets, that is said with the reason; elsewhere it makes no difference.
func TestClassifierWarnings(t *testing.T) {
	obstacle := fmt.Errorf("bpf is not permitted")
	for _, test := range []struct{ policy, want string }{
		{"", ""},
		{"unknown: {action: accept}\n", "classifier-unavailable: unknown.action is accept, and scanners are not recognised: bpf is not permitted; every source that is not banned passes"},
		{"unknown: {action: accept}\nsignatures: {engine: \"off\"}\n", ""},
		{"unknown: {action: accept, require_user_agent: [Yealink]}\n", "classifier-unavailable: unknown phones are dropped, because the classifier does not read their User-Agent: bpf is not permitted"},
		{"mode: monitor\nunknown: {action: accept, require_user_agent: [Yealink]}\n", "classifier-unavailable: unknown phones would be dropped, because the classifier does not read their User-Agent: bpf is not permitted"},
	} {
		s := newSite(t, test.policy, router())
		s.Host.Engine, s.Classifier.Obstacle = "", obstacle
		if got := strings.Join(said(site.ClassifierWarnings(s)), "\n"); got != test.want {
			t.Errorf("%q: %s, want %s", test.policy, got, test.want)
		}
	}
}
