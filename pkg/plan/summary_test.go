package plan_test

import (
	"net/netip"
	"testing"

	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// allowing is the table with other allowed prefixes.
func allowing(texts ...string) *ruleset.State {
	return table(func(s *ruleset.State) {
		edit(s.Sets, "providers4", func(set *ruleset.Set) { set.Elements = ruleset.Addresses(prefixes(texts...)) })
	})
}

// TestSummary: addresses are counted as such, also where they follow one another, and
// networks apart from them.
func TestSummary(t *testing.T) {
	four := []string{"192.0.2.4/32", "192.0.2.5/32", "192.0.2.6/32", "192.0.2.7/32"}
	for _, test := range []struct {
		name             string
		have, want       *ruleset.State
		summary, changed string
	}{
		{"the first", &ruleset.State{}, allowing(four...), "the table was gone and is back", "the first: 4 allowed addresses"},
		{"a network too", &ruleset.State{}, allowing("192.0.2.1/32", "10.0.0.0/8"), "the table was gone and is back", "the first: 1 allowed address and 1 network"},
		{"nothing", allowing(four...), allowing(four...), "nothing to do", "the rules did not change"},
		{"neighbours come", allowing(), allowing(four...), "4 allowed addresses added, 0 removed", "4 allowed addresses added, 0 removed"},
		{"neighbours go", allowing(four...), allowing(four[3:]...), "0 allowed addresses added, 3 removed", "0 allowed addresses added, 3 removed"},
		{
			"a network goes", allowing("10.0.0.0/8"), allowing("192.0.2.1/32"),
			"1 allowed address added, 1 allowed network removed", "1 allowed address added, 1 allowed network removed",
		},
		{
			"a back end without tables", &ruleset.State{Place: "chains RINGFENCE-*"}, allowing("10.0.0.0/8", "192.168.0.0/16"),
			"the fence was gone and is back", "the first: 2 allowed networks",
		},
		{"several ports", table(func(s *ruleset.State) {
			edit(s.Sets, "ports", func(set *ruleset.Set) { set.Elements = nil })
		}), table(nil), "2 other differences corrected", "2 other changes"},
		{"another port", table(nil), table(func(s *ruleset.State) {
			edit(s.Sets, "ports", func(set *ruleset.Set) { set.Elements = ruleset.Services([]uint16{5060}, nil) })
		}), "1 other difference corrected", "1 other change"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := plan.Diff(test.have, test.want)
			if got := plan.Summary(p); got != test.summary {
				t.Errorf("the summary is %q, want %q", got, test.summary)
			}
			if got := plan.Changed(p); got != test.changed {
				t.Errorf("changed is %q, want %q", got, test.changed)
			}
		})
	}
}

// TestReasons: a line has every reason of its address, also when two names have it, when
// neighbours have different ones, and when a listed network covers a name's address.
func TestReasons(t *testing.T) {
	origin := func(prefix, owner, name, via string) ruleset.Origin {
		return ruleset.Origin{Prefix: netip.MustParsePrefix(prefix), Owner: owner, Name: name, Via: via}
	}
	origins := ruleset.Origins{Sets: map[string][]ruleset.Origin{"providers4": {
		origin("192.0.2.0/24", "beta", "", "addresses"),
		origin("192.0.2.9/32", "acme", "sip.acme.example", "A"),
		origin("203.0.113.10/32", "acme", "edge1.provider.example", "A"),
		origin("203.0.113.11/32", "acme", "a.example", "A"),
		origin("203.0.113.11/32", "other", "edge2.other.example", "A"),
	}}}
	want := []struct{ value, reason string }{
		{"192.0.2.0/24", "beta: addresses; acme: sip.acme.example A (192.0.2.9)"},
		{"203.0.113.10", "acme: edge1.provider.example A"},
		{"203.0.113.11", "acme: a.example A; other: edge2.other.example A"},
	}
	some := allowing("192.0.2.0/24", "192.0.2.9/32", "203.0.113.10/32", "203.0.113.11/32")
	come, gone := plan.Diff(allowing(), some), plan.Diff(some, allowing())
	come.Explain(ruleset.Origins{}, origins, "")
	gone.Explain(origins, ruleset.Origins{}, "")
	for _, p := range []*plan.Plan{come, gone} {
		if len(p.Changes) != len(want) {
			t.Fatalf("got %d changes, want %d: %v", len(p.Changes), len(want), p.Changes)
		}
		for i, c := range p.Changes {
			reason := want[i].reason
			if c.Action == plan.Delete {
				reason = "was " + reason
			}
			if c.Value != want[i].value || c.Reason != reason {
				t.Errorf("got %s %q, want %s %q", c.Value, c.Reason, want[i].value, reason)
			}
		}
	}
}

// TestForeignRule: a rule of another program stands in the plan as people read it.
func TestForeignRule(t *testing.T) {
	p := plan.Diff(table(func(s *ruleset.State) {
		edit(s.Chains, "sip", func(c *ruleset.Chain) {
			c.Rules = append([]ruleset.Rule{ruleset.ForeignRule("meta 1=0x0001").ShownAs("tcp dport 22 accept")}, c.Rules...)
		})
	}), table(nil))
	if len(p.Changes) != 1 || len(p.Changes[0].Rules) != 1 || p.Changes[0].Rules[0] != "- tcp dport 22 accept" {
		t.Errorf("the plan says %+v", p.Changes)
	}
}
