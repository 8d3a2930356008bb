package nft

import (
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
	for _, name := range []string{"providers4", "trusted4", "banned4", "ports"} {
		if r.IntN(5) == 0 {
			continue
		}
		sets = append(sets, name)
		set := ruleset.Set{Key: ruleset.IPv4, Interval: name != "banned4"}
		switch name {
		case "banned4":
			set.Dynamic, set.Timeout, set.Size = true, true, uint32(1+r.IntN(2))
		case "ports":
			set = ruleset.Set{Key: ruleset.Service, Timeout: true}
			for range r.IntN(3) {
				set.Elements = append(set.Elements, ruleset.Element{Protocol: ruleset.UDP, Port: uint16(5060 + r.IntN(4))})
			}
			slices.SortFunc(set.Elements, ruleset.Element.Compare)
			set.Elements = slices.Compact(set.Elements)
		default:
			var prefixes []netip.Prefix
			for range r.IntN(6) {
				prefixes = append(prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(32))}), 28+r.IntN(5)))
			}
			set.Interval = slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return !p.IsSingleIP() })
			set.Elements = ruleset.Addresses(prefixes)
		}
		s.Sets[name] = set
	}
	chains := []string{"sip", "pass", "fence", "prerouting"}
	for i, name := range chains {
		c := ruleset.Chain{}
		if name == "prerouting" {
			c = ruleset.Chain{Stage: []ruleset.Stage{ruleset.BeforeTracking, ruleset.AfterTracking}[r.IntN(2)]}
		}
		for range r.IntN(4) {
			var statements []ruleset.Statement
			if len(sets) > 0 && r.IntN(2) == 0 {
				if set := sets[r.IntN(len(sets))]; set == "ports" {
					statements = append(statements, ruleset.Destination{Set: set})
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
		s.ForeignObjects = append(s.ForeignObjects, ruleset.ForeignObject{Kind: "quota", Type: 2, Name: "q"})
	case 4:
		s.Counters = append(s.Counters, "zz_intruder")
	case 5:
		if set, ok := s.Sets["ports"]; ok {
			set.Elements = append(set.Elements, ruleset.Element{Protocol: ruleset.UDP, Port: 9999, Timeout: 10})
			s.Sets["ports"] = set
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

// TestTransactions does the transactions between random tables on a kernel that
// refuses what the real one refuses, and looks at what comes out.
func TestTransactions(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 3000 {
		have, want := random(r), random(r)
		if r.IntN(2) == 0 {
			vandalise(r, have)
		}
		if changes := plan.Diff(have, want).Changes; (len(changes) == 0) != (len(transactions(have, want)) == 0) {
			t.Fatalf("pair %d: changes %v but transactions %v", i, changes, transactions(have, want))
		}
		got := plantest.Copy(have)
		for n, steps := range transactions(have, want) {
			for _, step := range steps {
				if err := do(got, step); err != nil {
					t.Fatalf("pair %d, transaction %d %#v: %v\nhave:\n%s\nwant:\n%s", i, n, step, err, have, want)
				}
			}
		}
		if got.String() != want.String() {
			t.Fatalf("pair %d: %s", i, cmp.Diff(want.String(), got.String()))
		}
		if again := transactions(got, want); len(again) > 0 {
			t.Fatalf("pair %d: there is left to do %v", i, again)
		}
	}
}

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

// TestSteps says what is done for each kind of difference; a bar ends a transaction.
func TestSteps(t *testing.T) {
	prefixes := func(texts ...string) ruleset.Set {
		var list []netip.Prefix
		for _, text := range texts {
			list = append(list, netip.MustParsePrefix(text))
		}
		ranges := slices.ContainsFunc(list, func(p netip.Prefix) bool { return !p.IsSingleIP() })
		return ruleset.Set{Key: ruleset.IPv4, Interval: ranges, Elements: ruleset.Addresses(list)}
	}
	provider := func(texts ...string) *ruleset.State {
		return table(func(s *ruleset.State) { s.Sets["providers4"] = prefixes(texts...) })
	}
	many := func(n int, more ...string) *ruleset.State {
		texts := more
		for i := range n {
			texts = append(texts, fmt.Sprintf("10.%d.%d.0/31", i/256, i%256))
		}
		return provider(texts...)
	}
	const replaced = "addSet | flushChain addRules | deleteSet addSet | flushChain addRules | deleteSet"
	for _, test := range []struct {
		name       string
		have, want *ruleset.State
		steps      string
	}{
		{"nothing", table(nil), table(nil), ""},
		{"take down", table(nil), &ruleset.State{}, "deleteTable"},
		{
			"a new table", &ruleset.State{}, table(nil),
			"addTable addCounter addSet addSet addSet addChain addRules | addChain",
		},
		{"an address moves", provider("192.0.2.1/32"), provider("192.0.2.2/32"), "deleteElements addElements"},
		{"an address comes beside", provider("192.0.2.1/32"), provider("192.0.2.1/32", "192.0.2.2/32"), "addElements"},
		{"a range comes", provider("192.0.2.1/32"), provider("192.0.2.1/32", "10.0.0.0/24"), replaced},
		{"the last range goes", provider("192.0.2.1/32", "10.0.0.0/24"), provider("192.0.2.1/32"), replaced},
		{"a range is cut", provider("203.0.113.0/24"), provider("203.0.113.0/25"), replaced},
		{"one range more of many", many(2000), many(2000, "192.0.2.0/24"), "addElements"},
		{"one of many grows", many(2000, "192.0.2.0/25"), many(2000, "192.0.2.0/24"), replaced},
		{"one of many is followed", many(2000, "192.0.2.0/25"), many(2000, "192.0.2.128/25"), replaced},
		{
			"what stands in was left behind", table(func(s *ruleset.State) { s.Sets["providers4_next"] = prefixes("192.0.2.0/24") }),
			provider("192.0.2.0/24"), "addSet | flushChain flushChain deleteSet addRules | deleteSet addSet | flushChain addRules | deleteSet",
		},
		{"a port was given a lifetime", table(func(s *ruleset.State) {
			edit(s.Sets, "ports", func(set *ruleset.Set) { set.Elements[0].Timeout = 1e10 })
		}), table(nil), "addSet | deleteSet addSet | deleteSet"},
		{"a catch-all", table(func(s *ruleset.State) {
			edit(s.Sets, "providers4", func(set *ruleset.Set) {
				set.Elements = append([]ruleset.Element{{Foreign: "*"}}, set.Elements...)
			})
		}), table(nil), replaced},
		{"a dynamic set has another size", table(func(s *ruleset.State) {
			edit(s.Sets, "banned4", func(set *ruleset.Set) { set.Size = 10 })
		}), table(nil), "flushChain flushChain deleteSet addSet addRules"},
		{"a rule is gone", table(func(s *ruleset.State) {
			edit(s.Chains, "sip", func(c *ruleset.Chain) { c.Rules = c.Rules[:1] })
		}), table(nil), "flushChain addRules"},
		{"another priority", table(func(s *ruleset.State) {
			edit(s.Chains, "prerouting", func(c *ruleset.Chain) { c.Stage = "type filter hook input priority 0 policy accept" })
		}), table(nil), "flushChain flushChain deleteChain addChain addRules"},
		{
			"dormant", table(func(s *ruleset.State) { s.Flags = "dormant" }), table(nil),
			"deleteTable addTable addCounter addSet addSet addSet addChain addRules | addChain",
		},
		{"objects of others", table(func(s *ruleset.State) {
			s.Counters = []string{"dropped_unknown", "mine"}
			s.ForeignObjects = []ruleset.ForeignObject{{Kind: "quota", Type: 2, Name: "q"}}
			s.Sets["m"] = ruleset.Set{Key: "type 9", Foreign: "map"}
			s.Chains["c"] = ruleset.Chain{}
		}), table(nil), "flushChain flushChain flushChain deleteSet deleteChain deleteCounter deleteForeignObject addRules"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, steps := range transactions(test.have, test.want) {
				var names []string
				for _, s := range steps {
					names = append(names, strings.TrimPrefix(fmt.Sprintf("%T", s), "nft."))
				}
				got = append(got, strings.Join(names, " "))
			}
			if got := strings.Join(got, " | "); got != test.steps {
				t.Errorf("steps %s, want %s", got, test.steps)
			}
		})
	}
}
