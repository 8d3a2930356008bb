package report_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/report"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// TestWhyDropped: the sentence about a dropped source says what it sent, what it may be, and
// what would let it in.
func TestWhyDropped(t *testing.T) {
	now := time.Now()
	noon := time.Date(now.Year(), now.Month(), now.Day(), 12, 3, 0, 0, time.Local)
	p, err := policy.Parse("policy.yaml", strings.NewReader("version: 1\nproviders: [{name: acme, addresses: [203.0.113.1]}]\n"), policy.Available{})
	if err != nil {
		t.Fatal(err)
	}
	s := &site.Site{Policy: p}
	table, _ := compile.State(p, nil, ruleset.Host{})
	lately := func(method, agent, called, signature string) *site.Lately {
		return &site.Lately{Packets: 14, First: noon, Last: now.Add(-2 * time.Minute), Reason: "unknown", Method: method, UserAgent: agent, Called: called, Signature: signature}
	}
	for _, test := range []struct {
		address string
		live    site.Live
		want    string
	}{
		{"192.0.2.7", site.Live{Lately: lately("REGISTER", "Yealink SIP-T46S", "201", "")}, "dropped: unknown; 14 packets since 12:03, last 2 min ago, " +
			"REGISTER of 201 by Yealink SIP-T46S: a remote phone? ringfence allow 192.0.2.7 --for 2h, or add it to trusted.addresses"},
		{"192.0.2.8", site.Live{Lately: lately("INVITE", "", "492211234", "")}, "dropped: unknown; 14 packets since 12:03, last 2 min ago, " +
			`INVITE of 492211234: your provider's server? ringfence allow 192.0.2.8 --for 2h, or add to providers: - {name: my-provider, addresses: ["192.0.2.8"]}`},
		{"203.0.113.2", site.Live{Lately: lately("INVITE", "edge", "492211234", "")}, "dropped: unknown; 14 packets since 12:03, last 2 min ago, " +
			"INVITE of 492211234 by edge: another server of acme? ringfence allow 203.0.113.2 --for 2h, or add 203.0.113.2 to the addresses of provider acme"},
		{"192.0.2.9", site.Live{Lately: lately("OPTIONS", "friendly-scanner", "100", "friendly-scanner")}, "dropped: unknown; 14 packets since 12:03, last 2 min ago, " +
			"OPTIONS of 100 by friendly-scanner (friendly-scanner): a scanner, nothing to do"},
		{"192.0.2.9", site.Live{Lately: lately("", "", "", "")}, "dropped: unknown; 14 packets since 12:03, last 2 min ago: " +
			"if it is yours: ringfence allow 192.0.2.9 --for 2h, or add it to trusted.addresses"},
		{
			"192.0.2.10", site.Live{Former: &site.Former{As: "acme", Until: noon}}, "dropped: unknown; it was allowed until " + noon.Format("2 Jan 15:04") +
				" as acme: if it is yours: ringfence allow 192.0.2.10 --for 2h, or add it to trusted.addresses",
		},
	} {
		test.live.Table = table
		a, err := s.Why(test.live, site.Question{Address: netip.MustParseAddr(test.address), Interface: "eth0"})
		if err != nil {
			t.Fatal(err)
		}
		w := report.WhyOf(a, now)
		if w.Text != test.want {
			t.Errorf("%s\nwant\n%s", w.Text, test.want)
		}
		if w.Verdict != "dropped" || w.Reason != "unknown" || test.live.Lately != nil && (w.LastDropped == nil || w.Packets != 14) {
			t.Errorf("%+v", w)
		}
	}
}

// TestWhyForeign: what another program's rule in the table decides is not said to be the
// policy's choice.
func TestWhyForeign(t *testing.T) {
	p, err := policy.Parse("policy.yaml", strings.NewReader("version: 1\nproviders: [{name: acme, addresses: [203.0.113.1]}]\n"), policy.Available{})
	if err != nil {
		t.Fatal(err)
	}
	s := &site.Site{Policy: p}
	for _, test := range []struct {
		kind    ruleset.VerdictKind
		address string
		verdict string
	}{
		{ruleset.Drop, "203.0.113.1", "dropped"},
		{ruleset.Accept, "192.0.2.7", "allowed"},
	} {
		source := netip.MustParsePrefix(test.address + "/32")
		foreign := ruleset.NewRule(ruleset.Source{In: []netip.Prefix{source}}, ruleset.Verdict{Kind: test.kind})
		table, _ := compile.State(p, nil, ruleset.Host{})
		chain := table.Chains["sip"]
		chain.Rules = append([]ruleset.Rule{foreign}, chain.Rules...)
		table.Chains["sip"] = chain
		a, err := s.Why(site.Live{Table: table}, site.Question{Address: source.Addr(), Interface: "eth0"})
		if err != nil {
			t.Fatal(err)
		}
		w := report.WhyOf(a, time.Now())
		want := test.verdict + ": another program's rule in chain sip decides (" + foreign.String() + "): ringfence diff shows it, and ringfence refresh removes it"
		if w.Text != want || w.Reason != "foreign" || w.By != "another program" || w.Verdict != test.verdict {
			t.Errorf("%+v, want %s", w, want)
		}
	}
}
