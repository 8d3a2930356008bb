package plan_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

func table(change func(s *ruleset.State)) *ruleset.State {
	prefix := netip.MustParsePrefix
	s := &ruleset.State{
		Exists: true, GenID: 7, Counters: []string{"dropped_unknown"},
		Sets: map[string]ruleset.Set{
			"providers4": {Key: ruleset.IPv4, Interval: true, Elements: ruleset.Addresses([]netip.Prefix{prefix("192.0.2.1/32"), prefix("203.0.113.0/24")})},
			"banned4":    {Key: ruleset.IPv4, Dynamic: true, Timeout: true, Size: 65535},
			"ports":      {Key: ruleset.Service, Timeout: true, Elements: ruleset.Services([]uint16{5060, 5061}, nil)},
		},
		Chains: map[string]ruleset.Chain{
			"sip": {Rules: []ruleset.Rule{
				ruleset.NewRule(ruleset.Source{Set: "providers4"}, ruleset.Verdict{Kind: ruleset.Accept}),
				ruleset.NewRule(ruleset.Count("dropped_unknown"), ruleset.Verdict{Kind: ruleset.Drop}),
			}},
			"prerouting": {Stage: ruleset.BeforeTracking},
		},
	}
	if change != nil {
		change(s)
	}
	return s
}

func edit[V any](m map[string]V, name string, f func(*V)) {
	v := m[name]
	f(&v)
	m[name] = v
}

func TestChanges(t *testing.T) {
	was := ruleset.Origins{Sets: map[string][]ruleset.Origin{
		"providers4": {{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Owner: "acme", Name: "sip.acme.example", Via: "SRV _sip._udp -> a.example A"}},
	}}
	will := ruleset.Origins{Sets: map[string][]ruleset.Origin{
		"providers4": {
			{Prefix: netip.MustParsePrefix("192.0.2.2/32"), Owner: "acme", Name: "sip.acme.example", Via: "A"},
			{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Owner: "beta", Via: "addresses"},
		},
	}}
	for _, test := range []struct {
		name       string
		have, want *ruleset.State
		changes    string
	}{
		{"nothing", table(nil), table(nil), ""},
		{"take down", table(nil), &ruleset.State{}, "delete table ringfence  [taken down]"},
		{"an address moves", table(nil), table(func(s *ruleset.State) {
			edit(s.Sets, "providers4", func(set *ruleset.Set) {
				set.Elements = ruleset.Addresses([]netip.Prefix{netip.MustParsePrefix("192.0.2.2/32"), netip.MustParsePrefix("203.0.113.0/24")})
			})
		}), "delete element providers4 192.0.2.1 [was acme: sip.acme.example SRV _sip._udp -> a.example A]\nadd element providers4 192.0.2.2 [acme: sip.acme.example A]"},
		{"a range is cut", table(nil), table(func(s *ruleset.State) {
			edit(s.Sets, "providers4", func(set *ruleset.Set) {
				set.Elements = ruleset.Addresses([]netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("203.0.113.0/25")})
			})
		}), "delete element providers4 203.0.113.128/25 [nothing in the policy asks for it]"},
		{"intervals were split", table(func(s *ruleset.State) {
			edit(s.Sets, "providers4", func(set *ruleset.Set) {
				e := set.Elements[1]
				set.Elements = []ruleset.Element{
					set.Elements[0],
					{From: e.From, To: netip.MustParseAddr("203.0.113.127")},
					{From: netip.MustParseAddr("203.0.113.128"), To: e.To},
				}
			})
		}), table(nil), "change set providers4  [it has the same addresses in another form]"},
		{"a port was given a lifetime", table(func(s *ruleset.State) {
			edit(s.Sets, "ports", func(set *ruleset.Set) { set.Elements[0].Timeout = 1e10 })
		}), table(nil), "delete element ports udp . 5060 timeout 10s [nothing in the policy asks for it]\nadd element ports udp . 5060 [ports of the policy]"},
		{"a catch-all", table(func(s *ruleset.State) {
			edit(s.Sets, "providers4", func(set *ruleset.Set) {
				set.Elements = append([]ruleset.Element{{Foreign: "*"}}, set.Elements...)
			})
		}), table(nil), "delete element providers4 [*] [nothing in the policy asks for it]"},
		{
			"a set has another size", table(func(s *ruleset.State) {
				edit(s.Sets, "banned4", func(set *ruleset.Set) { set.Size = 10 })
			}), table(nil), "change set banned4 type ipv4_addr size 65535 flags dynamic,timeout [it was type ipv4_addr size 10 flags dynamic,timeout]",
		},
		{
			"a set gains a flag", table(func(s *ruleset.State) {
				edit(s.Sets, "ports", func(set *ruleset.Set) { set.Timeout = false })
			}), table(nil), "change set ports type inet_proto . inet_service flags timeout [it gains the flag timeout]",
		},
		{
			"a set gets a limit and loses a flag", table(func(s *ruleset.State) {
				edit(s.Sets, "banned4", func(set *ruleset.Set) { set.Size, set.Dynamic, set.Timeout = 0, false, true })
				edit(s.Sets, "ports", func(set *ruleset.Set) { set.Dynamic = true })
			}), table(nil), "change set banned4 type ipv4_addr size 65535 flags dynamic,timeout [it gains the flag dynamic, it holds at most 65535 now]\n" +
				"change set ports type inet_proto . inet_service flags timeout [it loses the flag dynamic]",
		},
		{"a rule is gone", table(func(s *ruleset.State) {
			edit(s.Chains, "sip", func(c *ruleset.Chain) { c.Rules = c.Rules[:1] })
		}), table(nil), "change chain sip  [its rules differ]\n    + counter name \"dropped_unknown\" drop"},
		{"rules changed places", table(func(s *ruleset.State) {
			edit(s.Chains, "sip", func(c *ruleset.Chain) { slices.Reverse(c.Rules) })
		}), table(nil), "change chain sip  [its rules differ]\n    - counter name \"dropped_unknown\" drop\n    + counter name \"dropped_unknown\" drop"},
		{
			"another priority", table(func(s *ruleset.State) {
				edit(s.Chains, "prerouting", func(c *ruleset.Chain) { c.Stage = "type filter hook prerouting priority 0 policy accept" })
			}), table(nil), "change chain prerouting before connection tracking [it was type filter hook prerouting priority 0 policy accept]",
		},
		{
			"dormant", table(func(s *ruleset.State) { s.Flags = "dormant" }), table(nil),
			`change table ringfence  [its flags were "dormant"]`,
		},
		{
			"objects of others", table(func(s *ruleset.State) {
				s.Counters = []string{"dropped_unknown", "mine"}
				s.ForeignObjects = []ruleset.ForeignObject{{Kind: "quota", Type: 2, Name: "q"}}
				s.Sets["m"] = ruleset.Set{Key: "type 9", Foreign: "map"}
				s.Chains["c"] = ruleset.Chain{}
			}), table(nil), "delete counter mine  [nothing in the policy asks for it]\ndelete counter q quota [nothing in the policy asks for it]\n" +
				"delete set m type 9 [nothing in the policy asks for it]\ndelete chain c  [nothing in the policy asks for it]",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := plan.Diff(test.have, test.want)
			p.Explain(was, will, "")
			var changes []string
			for _, c := range p.Changes {
				changes = append(changes, strings.TrimSpace(fmt.Sprintf("%s %s %s %s [%s]", c.Action, c.Kind, c.Name, c.Value, c.Reason)))
				for _, line := range c.Rules {
					changes = append(changes, "    "+line)
				}
			}
			if diff := cmp.Diff(test.changes, strings.Join(changes, "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestChangeAsJSON(t *testing.T) {
	got, err := json.Marshal(plan.Change{Action: plan.Add, Kind: plan.KindElement, Name: "providers4", Value: "203.0.113.5", Reason: "acme: sip.acme.example A"})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"action":"add","kind":"element","name":"providers4","value":"203.0.113.5","reason":"acme: sip.acme.example A"}`
	if string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
