package plan_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

func TestEmptyProvider(t *testing.T) {
	p := plan.Diff(&ruleset.State{}, table(nil))
	p.Explain(ruleset.Origins{}, ruleset.Origins{
		Providers: []string{"acme", "beta", "gamma"},
		Sets:      map[string][]ruleset.Origin{"providers6": {{Prefix: netip.MustParsePrefix("2001:db8::1/128"), Owner: "beta"}}},
	}, "")
	for _, test := range []struct {
		name    string
		allowed []string
		failed  map[string]string
		want    string
		// what an override must name
		subjects string
	}{
		{
			"two are empty", nil,
			map[string]string{"acme": "sip.acme.example A: timeout"},
			"refused by guard empty-provider: no address is known for provider acme, gamma, so its calls would be dropped (sip.acme.example A: timeout)",
			"acme gamma",
		},
		{"one may be", []string{"gamma"}, nil, "refused by guard empty-provider: no address is known for provider acme, so its calls would be dropped", "acme"},
		{"both may be", []string{"acme", "gamma"}, nil, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := p.Check(plan.EmptyProvider(test.allowed, test.failed))
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			refusal, ok := errors.AsType[*plan.Refusal](err)
			if !ok || refusal.Error() != test.want || strings.Join(refusal.Subjects, " ") != test.subjects {
				t.Errorf("got %v (%+v)", err, refusal)
			}
		})
	}
	down := plan.Diff(table(nil), &ruleset.State{})
	if err := down.Check(plan.EmptyProvider(nil, nil)); err != nil {
		t.Errorf("taking down was refused: %v", err)
	}
}

func TestCutInside(t *testing.T) {
	host := ruleset.Host{Forwards: true, Interfaces: []ruleset.Interface{
		{Name: "lo", Addresses: prefixes("127.0.0.1/8", "::1/128")},
		{Name: "wan", Addresses: prefixes("203.0.113.2/24", "fe80::1/64")},
		{Name: "lan", Addresses: prefixes("192.168.1.1/24", "fd00:1::1/64", "192.168.1.2/24")},
		{Name: "ppp0", Addresses: prefixes("10.0.0.1/32")},
	}}
	dual := ruleset.Host{Forwards: true, Interfaces: []ruleset.Interface{
		{Name: "wan", Addresses: prefixes("203.0.113.2/24", "2001:db8:7::2/64")},
		{Name: "lan", Addresses: prefixes("192.168.1.1/24", "2001:db8:8::1/64")},
	}, Routed: []ruleset.Network{{Interface: "lan", Prefix: netip.MustParsePrefix("10.20.0.0/16")}}}
	all := func(name string) bool { return name != "lo" }
	for _, test := range []struct {
		name    string
		host    ruleset.Host
		fenced  func(string) bool
		allowed []netip.Prefix
		want    string
	}{
		{
			"nothing is trusted", host, all, nil,
			"refused by guard cut-inside: this host forwards, and phones in 192.168.1.0/24 on lan, fd00:1::/64 on lan could no longer reach their provider",
		},
		{
			"a part is trusted", host, all, prefixes("192.168.1.0/25", "fd00::/16"),
			"refused by guard cut-inside: this host forwards, and phones in 192.168.1.0/24 on lan could no longer reach their provider",
		},
		{"all is trusted", host, all, prefixes("192.168.0.0/16", "fd00::/16"), ""},
		{"two halves are trusted", host, all, prefixes("192.168.1.0/25", "192.168.1.128/25", "fd00::/16"), ""},
		{"only the outside is fenced", host, func(name string) bool { return name == "wan" }, nil, ""},
		{
			"public IPv6 and other routers", dual, all, prefixes("192.168.1.0/24"),
			"refused by guard cut-inside: this host forwards, and phones in 2001:db8:8::/64 on lan, 10.20.0.0/16 on lan could no longer reach their provider",
		},
		{
			"the host does not forward",
			ruleset.Host{Interfaces: host.Interfaces},
			all, prefixes("fd00::/16"),
			"refused by guard cut-inside: phones in 192.168.1.0/24 on lan could no longer reach this host",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := plan.Diff(&ruleset.State{}, table(nil))
			err := p.Check(plan.CutInside(plan.Inside{Networks: plan.FindInside(test.host, test.fenced, test.allowed), Forwards: test.host.Forwards}, test.allowed))
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestCutLive: flows that would end are named, and a fence that is taken down ends none.
func TestCutLive(t *testing.T) {
	flow := func(from string, p ruleset.Protocol) ruleset.Flow {
		return ruleset.Flow{From: netip.MustParseAddr(from), Protocol: p, Port: 5060}
	}
	guard := plan.CutLive(func(fenced bool) []ruleset.Flow {
		if fenced {
			return nil
		}
		return []ruleset.Flow{flow("192.0.2.7", ruleset.UDP), flow("2001:db8::7", ruleset.TCP)}
	})
	err := plan.Diff(&ruleset.State{}, table(nil)).Check(guard)
	if refusal, ok := errors.AsType[*plan.Refusal](err); !ok || !strings.Contains(refusal.Why, "192.0.2.7 (UDP 5060), 2001:db8::7 (TCP 5060)") {
		t.Errorf("the guard says %v", err)
	}
	for name, p := range map[string]*plan.Plan{
		"a fence that drops them already": plan.Diff(table(nil), table(nil)),
		"none that is wanted":             plan.Diff(table(nil), &ruleset.State{}),
	} {
		if err := p.Check(guard); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, t := range texts {
		list = append(list, netip.MustParsePrefix(t))
	}
	return list
}
