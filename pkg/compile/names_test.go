package compile_test

import (
	"regexp"
	"testing"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// TestNamesExist: each set and each chain that a rule names is in the table, whatever a
// policy asks for and a host has.
func TestNamesExist(t *testing.T) {
	named := regexp.MustCompile(`@([a-z]\w+)|(?:jump|goto) (\w+)`)
	for _, action := range []string{"drop", "register", "accept"} {
		for _, more := range []string{"", ", allow_replies: true", ", require_user_agent: [Yealink]"} {
			for _, mode := range []string{"", "mode: monitor\n", "bans: {duration: 0s}\n", "guessing: {failures: 0}\n"} {
				for _, engine := range []string{"", "bpf"} {
					if action == "drop" && (more == ", require_user_agent: [Yealink]" || mode == "guessing: {failures: 0}\n") {
						continue // a mistake
					}
					text := mode + "unknown: {action: " + action + more + "}\n"
					s, _ := compile.State(parse(t, text), nil, ruleset.Host{Engine: engine, Forwards: true, ByHand: true})
					for name, c := range s.Chains {
						for _, r := range c.Rules {
							for _, m := range named.FindAllStringSubmatch(r.String(), -1) {
								_, set := s.Sets[m[1]]
								_, chain := s.Chains[m[2]]
								if m[1] != "th" && !set && !chain {
									t.Errorf("policy %q, engine %q: rule %q of chain %s names nothing", text, engine, r, name)
								}
							}
						}
					}
				}
			}
		}
	}
}
