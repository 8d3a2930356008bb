package cli

import (
	"fmt"
	"slices"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// warnOf tells what is right by the letter and probably not what was meant.
func (a *app) warnOf(s *site) {
	a.warnOfPolicy(s.policy)
	for _, pattern := range s.policy.Interfaces {
		if !slices.ContainsFunc(s.host.Interfaces, func(i ruleset.Interface) bool { return policy.Matches(pattern, i.Name) }) {
			a.say("warning", fmt.Sprintf("no interface is called %s now: until there is one, it fences nothing", pattern))
		}
	}
}

// warnOfPolicy is warnOf as far as the host does not matter.
func (a *app) warnOfPolicy(p *policy.Policy) {
	if len(p.Allowed())+len(compile.Names(p)) == 0 && !p.Unknown.Accept && !p.Monitor {
		a.say("warning", "nobody is allowed: with this policy every call is dropped")
	}
	if p.Unknown.Accept {
		a.say("warning", "unknown.action is accept, and this version has no engine that recognises scanners: whoever is not in bans.addresses passes")
	}
	if len(p.Signatures.Deny) > 0 {
		a.say("warning", "signatures.deny has no effect: this version has no engine that reads SIP headers")
	}
}
