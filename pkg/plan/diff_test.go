package plan_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/plan/plantest"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// random makes any table that a policy, or another program, could make.
func random(r *rand.Rand) *ruleset.State {
	if r.IntN(10) == 0 {
		return &ruleset.State{}
	}
	s := &ruleset.State{Exists: true, Sets: map[string]ruleset.Set{}, Chains: map[string]ruleset.Chain{}}
	for _, name := range []string{"allowed_provider", "dropped_unknown", "dropped_spoofed"} {
		if r.IntN(4) > 0 {
			s.Counters = append(s.Counters, name)
		}
	}
	slices.Sort(s.Counters)
	var sets []string
	for _, name := range []string{"providers4", "trusted4", "banned4", "ports_udp"} {
		if r.IntN(5) == 0 {
			continue
		}
		sets = append(sets, name)
		set := ruleset.Set{Key: ruleset.IPv4, Interval: name != "banned4"}
		switch name {
		case "banned4":
			set.Dynamic, set.Timeout, set.Size = true, true, uint32(1+r.IntN(2))
		case "ports_udp":
			set = ruleset.Set{Key: ruleset.Port, Timeout: true}
			for range r.IntN(3) {
				set.Elements = append(set.Elements, ruleset.Element{Port: uint16(5060 + r.IntN(4))})
			}
			slices.SortFunc(set.Elements, ruleset.Element.Compare)
			set.Elements = slices.Compact(set.Elements)
		default:
			var prefixes []netip.Prefix
			for range r.IntN(6) {
				prefixes = append(prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(32))}), 28+r.IntN(5)))
			}
			set.Elements = ruleset.Addresses(prefixes)
		}
		s.Sets[name] = set
	}
	chains := []string{"sip", "pass", "fence", "prerouting"}
	for i, name := range chains {
		c := ruleset.Chain{}
		if name == "prerouting" {
			c = ruleset.Chain{Type: "filter", Hook: "prerouting", Priority: int32(-310 + 120*r.IntN(2)), Policy: "accept"}
		}
		for range r.IntN(4) {
			var statements []ruleset.Statement
			if len(sets) > 0 && r.IntN(2) == 0 {
				if set := sets[r.IntN(len(sets))]; set == "ports_udp" {
					statements = append(statements, ruleset.DestinationPort{Protocol: ruleset.UDP, Set: set})
				} else {
					statements = append(statements, ruleset.Source{Set: set})
				}
			}
			if len(s.Counters) > 0 && r.IntN(2) == 0 {
				statements = append(statements, ruleset.Count(s.Counters[r.IntN(len(s.Counters))]))
			}
			verdict := ruleset.Verdict{Kind: ruleset.Drop}
			if i > 0 && r.IntN(2) == 0 {
				verdict = ruleset.Verdict{Kind: ruleset.Goto, Chain: chains[r.IntN(i)]}
			}
			c.Rules = append(c.Rules, ruleset.NewRule(append(statements, verdict)...))
		}
		s.Chains[name] = c
	}
	return s
}

// vandalise changes a table as no policy would.
func vandalise(r *rand.Rand, s *ruleset.State) {
	if !s.Exists {
		return
	}
	switch r.IntN(9) {
	case 8:
		s.Chains["__chain0"] = ruleset.Chain{Bound: true, Rules: []ruleset.Rule{ruleset.ForeignRule("accept")}}
		c := s.Chains["fence"]
		c.Rules = append(c.Rules, ruleset.ForeignRule("jump __chain0 "))
		s.Chains["fence"] = c
	case 0:
		s.Flags = "dormant"
	case 1:
		s.Chains["intruder"] = ruleset.Chain{Rules: []ruleset.Rule{ruleset.ForeignRule("socket")}}
		c := s.Chains["fence"]
		c.Rules = append(c.Rules, ruleset.NewRule(ruleset.Verdict{Kind: ruleset.Jump, Chain: "intruder"}))
		s.Chains["fence"] = c
	case 2:
		s.Sets["intruder"] = ruleset.Set{Key: "type 9", Foreign: "map"}
	case 3:
		s.Strangers = append(s.Strangers, ruleset.Stranger{Kind: "quota", Type: 2, Name: "q"})
	case 4:
		s.Counters = append(s.Counters, "zz_intruder")
	case 5:
		if set, ok := s.Sets["ports_udp"]; ok {
			set.Elements = append(set.Elements, ruleset.Element{Port: 9999, Timeout: 10})
			s.Sets["ports_udp"] = set
		}
	case 6:
		if set, ok := s.Sets["providers4"]; ok {
			set.Elements = append([]ruleset.Element{{Foreign: "*"}}, set.Elements...)
			s.Sets["providers4"] = set
		}
	case 7:
		for name, c := range s.Chains {
			c.Foreign = "comment"
			s.Chains[name] = c
			break
		}
	}
}

// TestDoingThePlan does plans between random tables on a kernel that refuses
// what the real one refuses, and looks at what comes out.
func TestDoingThePlan(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 3000 {
		have, want := random(r), random(r)
		if r.IntN(2) == 0 {
			vandalise(r, have)
		}
		p := plan.Diff(have, want)
		got := plantest.Copy(have)
		for n, step := range p.Steps {
			if err := plantest.Do(got, step); err != nil {
				t.Fatalf("pair %d, step %d %#v: %v\nhave:\n%s\nwant:\n%s", i, n, step, err, have, want)
			}
		}
		if got.String() != want.String() {
			t.Fatalf("pair %d: %s", i, cmp.Diff(want.String(), got.String()))
		}
		if (len(p.Changes) == 0) != p.Empty() {
			t.Fatalf("pair %d: %d changes but %d steps", i, len(p.Changes), len(p.Steps))
		}
		if again := plan.Diff(got, want); !again.Empty() {
			t.Fatalf("pair %d: a second plan has %d steps", i, len(again.Steps))
		}
	}
}

func table(change func(s *ruleset.State)) *ruleset.State {
	prefix := netip.MustParsePrefix
	s := &ruleset.State{
		Exists: true, Generation: 7, Counters: []string{"dropped_unknown"},
		Sets: map[string]ruleset.Set{
			"providers4": {Key: ruleset.IPv4, Interval: true, Elements: ruleset.Addresses([]netip.Prefix{prefix("192.0.2.1/32"), prefix("203.0.113.0/24")})},
			"banned4":    {Key: ruleset.IPv4, Dynamic: true, Timeout: true, Size: 65535},
			"ports_udp":  {Key: ruleset.Port, Timeout: true, Elements: ruleset.Ports([]uint16{5060, 5061})},
		},
		Chains: map[string]ruleset.Chain{
			"sip": {Rules: []ruleset.Rule{
				ruleset.NewRule(ruleset.Source{Set: "providers4"}, ruleset.Verdict{Kind: ruleset.Accept}),
				ruleset.NewRule(ruleset.Count("dropped_unknown"), ruleset.Verdict{Kind: ruleset.Drop}),
			}},
			"prerouting": {Type: "filter", Hook: "prerouting", Priority: -310, Policy: "accept"},
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
		steps      string
	}{
		{"nothing", table(nil), table(nil), "", ""},
		{"take down", table(nil), &ruleset.State{}, "delete table ringfence  [taken down]", "DeleteTable"},
		{"an address moves", table(nil), table(func(s *ruleset.State) {
			edit(s.Sets, "providers4", func(set *ruleset.Set) {
				set.Elements = ruleset.Addresses([]netip.Prefix{netip.MustParsePrefix("192.0.2.2/32"), netip.MustParsePrefix("203.0.113.0/24")})
			})
		}), "delete element providers4 192.0.2.1 [was acme: sip.acme.example SRV _sip._udp -> a.example A]\nadd element providers4 192.0.2.2 [acme: sip.acme.example A]", "DeleteElements AddElements"},
		{"a range is cut", table(nil), table(func(s *ruleset.State) {
			edit(s.Sets, "providers4", func(set *ruleset.Set) {
				set.Elements = ruleset.Addresses([]netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("203.0.113.0/25")})
			})
		}), "delete element providers4 203.0.113.128/25 [nothing in the policy asks for it]", "DeleteElements AddElements"},
		{"intervals were split", table(func(s *ruleset.State) {
			edit(s.Sets, "providers4", func(set *ruleset.Set) {
				e := set.Elements[1]
				set.Elements = []ruleset.Element{
					set.Elements[0],
					{From: e.From, To: netip.MustParseAddr("203.0.113.127")},
					{From: netip.MustParseAddr("203.0.113.128"), To: e.To},
				}
			})
		}), table(nil), "change set providers4  [its elements are split or joined in another way]", "DeleteElements AddElements"},
		{"a port was given a lifetime", table(func(s *ruleset.State) {
			edit(s.Sets, "ports_udp", func(set *ruleset.Set) { set.Elements[0].Timeout = 1e10 })
		}), table(nil), "delete element ports_udp 5060 timeout 10s [nothing in the policy asks for it]\nadd element ports_udp 5060 [ports of the policy]", "FlushSet AddElements"},
		{"a catch-all", table(func(s *ruleset.State) {
			edit(s.Sets, "providers4", func(set *ruleset.Set) {
				set.Elements = append([]ruleset.Element{{Foreign: "*"}}, set.Elements...)
			})
		}), table(nil), "delete element providers4 [*] [nothing in the policy asks for it]", "FlushSet AddElements"},
		{
			"a set has another size", table(func(s *ruleset.State) {
				edit(s.Sets, "banned4", func(set *ruleset.Set) { set.Size = 10 })
			}), table(nil), "change set banned4 type ipv4_addr size 65535 flags dynamic,timeout [it was type ipv4_addr size 10 flags dynamic,timeout]",
			"FlushChain FlushChain DeleteSet AddSet AddRules",
		},
		{"a rule is gone", table(func(s *ruleset.State) {
			edit(s.Chains, "sip", func(c *ruleset.Chain) { c.Rules = c.Rules[:1] })
		}), table(nil), "change chain sip  [its rules differ]\n    + counter name \"dropped_unknown\" drop", "FlushChain AddRules"},
		{"rules changed places", table(func(s *ruleset.State) {
			edit(s.Chains, "sip", func(c *ruleset.Chain) { slices.Reverse(c.Rules) })
		}), table(nil), "change chain sip  [its rules differ]\n    - counter name \"dropped_unknown\" drop\n    + counter name \"dropped_unknown\" drop", "FlushChain AddRules"},
		{
			"another priority", table(func(s *ruleset.State) {
				edit(s.Chains, "prerouting", func(c *ruleset.Chain) { c.Priority = 0 })
			}), table(nil), "change chain prerouting type filter hook prerouting priority -310 policy accept [it was type filter hook prerouting priority 0 policy accept]",
			"FlushChain FlushChain DeleteChain AddChain AddRules",
		},
		{
			"dormant", table(func(s *ruleset.State) { s.Flags = "dormant" }), table(nil),
			`change table ringfence  [its flags were "dormant"]`, "DeleteTable AddTable AddCounter AddSet AddSet AddSet AddChain AddChain AddRules",
		},
		{
			"objects of others", table(func(s *ruleset.State) {
				s.Counters = []string{"dropped_unknown", "mine"}
				s.Strangers = []ruleset.Stranger{{Kind: "quota", Type: 2, Name: "q"}}
				s.Sets["m"] = ruleset.Set{Key: "type 9", Foreign: "map"}
				s.Chains["c"] = ruleset.Chain{}
			}), table(nil), "delete counter mine  [nothing in the policy asks for it]\ndelete counter q quota [nothing in the policy asks for it]\n" +
				"delete set m type 9 [nothing in the policy asks for it]\ndelete chain c  [nothing in the policy asks for it]",
			"FlushChain FlushChain FlushChain DeleteSet DeleteChain DeleteCounter DeleteStranger AddRules",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := plan.Diff(test.have, test.want)
			p.Explain(was, will, "")
			var changes, steps []string
			for _, c := range p.Changes {
				changes = append(changes, strings.TrimSpace(fmt.Sprintf("%s %s %s %s [%s]", c.Action, c.Kind, c.Name, c.Value, c.Reason)))
				for _, line := range c.Rules {
					changes = append(changes, "    "+line)
				}
			}
			for _, s := range p.Steps {
				steps = append(steps, strings.TrimPrefix(fmt.Sprintf("%T", s), "plan."))
			}
			if diff := cmp.Diff(test.changes, strings.Join(changes, "\n")); diff != "" {
				t.Error(diff)
			}
			if got := strings.Join(steps, " "); got != test.steps {
				t.Errorf("steps %s, want %s", got, test.steps)
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
