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

// TestForeignTable: a table of ringfence's name is only replaced if it may be ringfence's
// own; the refusal names what would be lost.
func TestForeignTable(t *testing.T) {
	counters := []string{"dropped_unknown", "dropped_banned"}
	whole := func(change func(s *ruleset.State)) *ruleset.State {
		return table(func(s *ruleset.State) {
			s.Counters = counters
			if change != nil {
				change(s)
			}
		})
	}
	const why = "refused by guard foreign-table: another program has made a table inet ringfence (chains: prerouting, sip; " +
		"sets: banned4, ports, providers4; rules: 2), which ringfence would remove"
	for _, test := range []struct {
		name string
		have *ruleset.State
		want string
	}{
		{"there is none", &ruleset.State{}, ""},
		{"one of an earlier ringfence", whole(nil), ""},
		{"without a counter of ours", table(nil), why},
		{"with an element of others", whole(func(s *ruleset.State) {
			edit(s.Sets, "providers4", func(set *ruleset.Set) { set.Elements = append(set.Elements, ruleset.Element{Foreign: "*"}) })
		}), why},
		{"with a set of others", whole(func(s *ruleset.State) {
			edit(s.Sets, "ports", func(set *ruleset.Set) { set.Foreign = "map" })
		}), why},
		{"with a rule of others", whole(func(s *ruleset.State) {
			edit(s.Chains, "sip", func(c *ruleset.Chain) { c.Rules[0] = ruleset.ForeignRule("meta 1=0x0001") })
		}), why},
		{"with a chain of others", whole(func(s *ruleset.State) {
			edit(s.Chains, "prerouting", func(c *ruleset.Chain) { c.Foreign = "type nat" })
		}), why},
		{"with an object of others", whole(func(s *ruleset.State) { s.ForeignObjects = []ruleset.ForeignObject{{Kind: "quota", Name: "q"}} }), why},
		{"dormant", whole(func(s *ruleset.State) { s.Flags = "dormant" }), why},
		{
			"empty", &ruleset.State{Exists: true},
			"refused by guard foreign-table: another program has made a table inet ringfence (chains: none; sets: none; rules: 0), which ringfence would remove",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := plan.Diff(test.have, whole(nil)).Check(plan.ForeignTable(counters, "table inet ringfence", "nft list table inet ringfence"))
			got := ""
			if refusal, ok := errors.AsType[*plan.Refusal](err); ok {
				got = refusal.Error()
				if refusal.WayOut != "look at it (nft list table inet ringfence) and give it another name, or delete it" {
					t.Errorf("the way out is %q", refusal.WayOut)
				}
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestManyInside: a refusal names the first networks, counts the others, names who is
// there, and its way out has the line for the policy, with nothing twice in it.
func TestManyInside(t *testing.T) {
	inside := plan.Inside{Seen: []netip.Addr{netip.MustParseAddr("192.168.0.20"), netip.MustParseAddr("fd00::20")}}
	for _, p := range prefixes("192.168.0.0/24", "192.168.1.0/24", "192.168.2.0/24", "192.168.3.0/24", "192.168.4.0/24", "fd00::/64", "192.168.6.0/24") {
		inside.Networks = append(inside.Networks, ruleset.Network{Interface: "lan", Prefix: p})
	}
	err := plan.Diff(&ruleset.State{}, table(nil)).Check(plan.CutInside(inside, prefixes("192.168.2.0/24", "2001:db8::/32")))
	refusal, ok := errors.AsType[*plan.Refusal](err)
	if !ok {
		t.Fatalf("the guard says %v", err)
	}
	const why = "phones in 192.168.0.0/24 on lan, 192.168.1.0/24 on lan, 192.168.2.0/24 on lan, 192.168.3.0/24 on lan, 192.168.4.0/24 on lan, and 2 more " +
		"could no longer reach this host (seen there: 192.168.0.20, fd00::20)"
	const wayOut = `write addresses: [192.168.2.0/24, "2001:db8::/32", 192.168.0.0/24, 192.168.1.0/24, 192.168.3.0/24, 192.168.4.0/24, "fd00::/64", 192.168.6.0/24]` +
		" under trusted in the policy, or list only the outside interfaces in interfaces"
	if refusal.Why != why {
		t.Errorf("it says %q", refusal.Why)
	}
	if refusal.WayOut != wayOut {
		t.Errorf("the way out is %q", refusal.WayOut)
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
