package compile_test

import (
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// TestWhatRulesNameIsThere: every set, chain and counter that a rule names is in the table,
// whatever the policy and the host.
func TestWhatRulesNameIsThere(t *testing.T) {
	for _, unknown := range []string{"drop", "accept", "register", "accept, require_user_agent: [Yealink]", "register, require_user_agent: [Yealink]"} {
		for _, more := range []string{"", "mode: monitor", "bans: {duration: 0s}", "events: {keep: 0s}", "guessing: {failures: 0}", "trusted: {addresses: [192.168.0.0/16], asymmetric: [10.200.0.0/16]}"} {
			for _, host := range []ruleset.Host{{}, {Engine: "bpf"}, {Engine: "bpf", Classified: []string{"eth0"}, ByHand: true, Forwards: true}} {
				text := "unknown: {action: " + unknown + "}\n" + more
				p, err := policy.Parse("policy.yaml", strings.NewReader("version: 1\n"+text), policy.Available{Engines: []policy.Engine{policy.EngineBPF}})
				if err != nil {
					continue // the two do not go together
				}
				s, _ := compile.State(p, nil, host)
				for name, c := range s.Chains {
					for _, r := range c.Rules {
						if missing := lacks(s, r); missing != "" {
							t.Errorf("%s, %+v: rule %q of chain %s needs %s", text, host, r, name, missing)
						}
					}
				}
			}
		}
	}
}

var (
	setNames     = regexp.MustCompile(`@(\w+)`)
	chainNames   = regexp.MustCompile(`(?:goto|jump) (\w+)`)
	counterNames = regexp.MustCompile(`counter name "(\w+)"`)
)

// lacks returns what a rule names that is not in the table.
func lacks(s *ruleset.State, r ruleset.Rule) string {
	for _, set := range setNames.FindAllStringSubmatch(r.String(), -1) {
		if _, ok := s.Sets[set[1]]; !ok && set[1] != "th" {
			return "set " + set[1]
		}
	}
	for _, chain := range chainNames.FindAllStringSubmatch(r.String(), -1) {
		if _, ok := s.Chains[chain[1]]; !ok {
			return "chain " + chain[1]
		}
	}
	for _, counter := range counterNames.FindAllStringSubmatch(r.String(), -1) {
		if !slices.Contains(s.Counters, counter[1]) {
			return "counter " + counter[1]
		}
	}
	return ""
}

// TestOrderDoesNotMatter compiles the same facts in different orders.
func TestOrderDoesNotMatter(t *testing.T) {
	p := parse(t, addressed)
	name := compile.Name{Host: "sip.acme.example", Registrar: true}
	var list []compile.Address
	for i := range 200 {
		list = append(list, compile.Address{Addr: netip.AddrFrom4([4]byte{198, 51, 99, byte(i)}), Via: "A"})
	}
	first, firstOrigins := compile.State(p, map[compile.Name][]compile.Address{name: list}, ruleset.Host{})
	r := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		again, origins := compile.State(p, map[compile.Name][]compile.Address{name: list}, ruleset.Host{})
		if !plan.Diff(first, again).Empty() {
			t.Fatal("the same addresses in another order give another state")
		}
		if !slices.Equal(firstOrigins.All("providers4"), origins.All("providers4")) {
			t.Fatal("the same addresses in another order have other origins")
		}
	}
}
