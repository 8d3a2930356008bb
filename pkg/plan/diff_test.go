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
		{
			"the first", &ruleset.State{}, &ruleset.State{
				Exists: true, Counters: []string{"dropped_unknown"},
				Sets:   map[string]ruleset.Set{"ports": {Key: ruleset.Service, Elements: ruleset.Services([]uint16{5060}, nil)}},
				Chains: map[string]ruleset.Chain{"sip": {}},
			},
			"add table ringfence  [it is missing]\nadd counter dropped_unknown  [the table is new]\nadd set ports inet_proto . inet_service [the table is new]\n" +
				"add element ports udp . 5060 [ports of the policy]\nadd chain sip without hook [the table is new]",
		},
		{
			"the first of a back end without tables", &ruleset.State{Place: "chains RINGFENCE-*"}, &ruleset.State{Exists: true, Counters: []string{"dropped_unknown"}},
			"add table ringfence  [it is missing]\nadd counter dropped_unknown  [the fence is new]",
		},
		{
			"a part is missing", table(func(s *ruleset.State) { delete(s.Chains, "sip"); s.Counters = nil }), table(nil),
			"add counter dropped_unknown  [it is missing]\nadd chain sip without hook [it is missing]",
		},
		{
			"what another back end has left", table(func(s *ruleset.State) { s.Others = []string{"chains RINGFENCE-*"} }), table(nil),
			"delete table chains RINGFENCE-*  [the policy's back end is another one]",
		},
		{
			"the classifier", table(func(s *ruleset.State) {
				s.Classifier = ruleset.Classifier{"eth0": "ringfence:1", "eth1": "ringfence:1", "eth2": "ringfence:1"}
			}), table(func(s *ruleset.State) {
				s.Classifier = ruleset.Classifier{"eth1": "ringfence:2", "eth2": "ringfence:1", "eth3": "ringfence:2"}
			}),
			"delete classifier eth0 ringfence:1 [no signatures are looked for there]\nchange classifier eth1 ringfence:2 [the signatures or ports have changed]\n" +
				"add classifier eth3 ringfence:2 [it recognises scanners]",
		},
		{
			"a set is not limited any more", table(nil), table(func(s *ruleset.State) {
				edit(s.Sets, "banned4", func(set *ruleset.Set) { set.Size = 0 })
			}), "change set banned4 type ipv4_addr flags dynamic,timeout [it is not limited any more]",
		},
		{
			"a set and a chain of others", table(func(s *ruleset.State) {
				edit(s.Sets, "ports", func(set *ruleset.Set) { set.Foreign = "map" })
				edit(s.Chains, "sip", func(c *ruleset.Chain) { c.Foreign = "device eth0" })
			}), table(nil), "change set ports type inet_proto . inet_service flags timeout [it was type inet_proto . inet_service flags timeout [map]]\n" +
				"change chain sip without hook [it was without hook [device eth0]]",
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

// TestWhatAPlanTouches: the back ends and control ask a plan what it leaves alone, and
// whether it takes addresses away.
func TestWhatAPlanTouches(t *testing.T) {
	classified := func(s *ruleset.State) { s.Classifier = ruleset.Classifier{"eth0": "ringfence:1"} }
	for _, test := range []struct {
		name                              string
		have, want                        *ruleset.State
		keepsRules, keepsClassifier, less bool
	}{
		{"nothing", table(nil), table(nil), true, true, false},
		{"the classifier", table(nil), table(classified), true, false, false},
		{"the rules", table(nil), allowing("192.0.2.1/32", "203.0.113.0/24", "192.0.2.9/32"), false, true, false},
		{"both", table(classified), allowing("192.0.2.1/32"), false, false, true},
		{"all goes", table(classified), &ruleset.State{}, false, false, false},
	} {
		p := plan.Diff(test.have, test.want)
		if p.KeepsRules() != test.keepsRules || p.KeepsClassifier() != test.keepsClassifier || p.Deletes() != test.less {
			t.Errorf("%s: keeps the rules: %t, the classifier: %t, deletes elements: %t", test.name, p.KeepsRules(), p.KeepsClassifier(), p.Deletes())
		}
	}
}

// TestRemoved: connections are forgotten of addresses that nothing allows any more: not of
// one that another set or a network still has, whatever form it has there.
func TestRemoved(t *testing.T) {
	for _, test := range []struct {
		name       string
		have, want string // sets with their elements
		removed    string
	}{
		{"nothing", "providers4=192.0.2.1", "providers4=192.0.2.1", ""},
		{"one goes", "providers4=192.0.2.1,192.0.2.2", "providers4=192.0.2.2", "192.0.2.1/32"},
		{"it is trusted now", "providers4=192.0.2.1", "trusted4=192.0.2.0/24", ""},
		{"a part stays", "providers4=192.0.2.0/24", "providers4=192.0.2.0/25 trusted4=192.0.2.200", "192.0.2.128/26 192.0.2.192/29 192.0.2.201/32 192.0.2.202/31 192.0.2.204/30 192.0.2.208/28 192.0.2.224/27"},
		{"both families", "providers6=2001:db8::1 trusted4=10.0.0.1", "", "10.0.0.1/32 2001:db8::1/128"},
		{"a ban ends", "banned4=192.0.2.1", "", ""},
		{"a set goes", "trusted6=2001:db8::/64", "providers4=192.0.2.1", "2001:db8::/64"},
	} {
		p := plan.Diff(sets(t, test.have), sets(t, test.want))
		var got []string
		for _, prefix := range p.Removed().Prefixes() {
			got = append(got, prefix.String())
		}
		if strings.Join(got, " ") != test.removed {
			t.Errorf("%s: %q, want %q", test.name, got, test.removed)
		}
	}
}

// sets is a table with nothing but address sets.
func sets(t *testing.T, text string) *ruleset.State {
	t.Helper()
	s := &ruleset.State{Exists: true, Sets: map[string]ruleset.Set{}}
	for part := range strings.FieldsSeq(text) {
		name, elements, _ := strings.Cut(part, "=")
		var list []netip.Prefix
		for element := range strings.SplitSeq(elements, ",") {
			p, err := ruleset.ParsePrefix(element)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, p)
		}
		key := ruleset.IPv4
		if strings.HasSuffix(name, "6") {
			key = ruleset.IPv6
		}
		s.Sets[name] = ruleset.Set{Key: key, Interval: true, Elements: ruleset.Addresses(list)}
	}
	return s
}

// TestWhyRulesChanged: changed rules get what has changed in the policy as their reason,
// and other lines keep theirs.
func TestWhyRulesChanged(t *testing.T) {
	have := table(func(s *ruleset.State) {
		s.Flags = "dormant"
		edit(s.Chains, "sip", func(c *ruleset.Chain) { c.Rules = c.Rules[:1] })
		edit(s.Chains, "prerouting", func(c *ruleset.Chain) { c.Stage = "" })
	})
	for why, want := range map[string]string{
		"":                    "table its flags were \"dormant\"; prerouting it was without hook; sip its rules differ",
		"mode is now enforce": "table its flags were \"dormant\"; prerouting it was without hook; sip mode is now enforce",
	} {
		p := plan.Diff(have, table(nil))
		p.Explain(ruleset.Origins{}, ruleset.Origins{}, why)
		var got []string
		for _, c := range p.Changes {
			name := c.Name
			if c.Kind == plan.KindTable {
				name = "table"
			}
			got = append(got, name+" "+c.Reason)
		}
		if strings.Join(got, "; ") != want {
			t.Errorf("%q: %q, want %q", why, strings.Join(got, "; "), want)
		}
	}
}
