package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// warnOf tells what is right by the letter and probably not what was meant.
func (a *app) warnOf(s *site) {
	a.warnOfPolicy(s.policy)
	for _, text := range interfaceWarnings(s.policy, s.host) {
		a.say("warning", text)
	}
	a.warnOfEngine(s)
}

// interfaceWarnings say which of the listed interfaces fence nothing, and what
// leads outside and is not fenced.
func interfaceWarnings(p *policy.Policy, host ruleset.Host) []string {
	if len(p.Interfaces) == 0 {
		return nil
	}
	var warnings []string
	for _, pattern := range p.Interfaces {
		if !slices.ContainsFunc(host.Interfaces, func(i ruleset.Interface) bool { return policy.Matches(pattern, i.Name) }) {
			warnings = append(warnings, fmt.Sprintf("no interface is called %s now: until there is one, it fences nothing", pattern))
		}
	}
	for _, i := range host.Interfaces {
		if i.Master != "" && p.Fences(i.Name) && !p.Fences(i.Master) {
			warnings = append(warnings, fmt.Sprintf("%s is a port of %s, and rules see its packets come in by that: write %s", i.Name, i.Master, i.Master))
		}
	}
	outside := slices.DeleteFunc(slices.Clone(host.Outside), p.Fences)
	if len(host.Outside) > 0 && len(outside) == len(host.Outside) {
		warnings = append(warnings, fmt.Sprintf("nothing that leads outside is fenced: the default route goes by %s, which is not among interfaces", strings.Join(outside, ", ")))
	}
	return warnings
}

// warnOfCut tells which phones inside the site cuts off from their provider.
func (a *app) warnOfCut(s *site) {
	if inside := s.cuts(); len(inside) > 0 {
		a.say("warning", plan.CutText(inside))
	}
}

// warnOfNewCut is warnOfCut for what has come over the host since.
func (a *app) warnOfNewCut(s, before *site) {
	var known []ruleset.Network
	if before != nil {
		known = before.cuts()
	}
	inside := slices.DeleteFunc(s.cuts(), func(n ruleset.Network) bool { return slices.Contains(known, n) })
	if len(inside) > 0 {
		a.say("warning", plan.CutText(inside)+"; list them under trusted.addresses, or only what leads outside in interfaces, and apply")
	}
}

// cuts are the networks inside whose phones the site cuts off.
func (s site) cuts() []ruleset.Network {
	if s.policy.Monitor || s.policy.Unknown.Accept {
		return nil
	}
	return s.inside(nil)
}

// warnOfPolicy is warnOf as far as the host does not matter.
func (a *app) warnOfPolicy(p *policy.Policy) {
	if len(p.Allowed())+len(compile.Names(p)) == 0 && !p.Unknown.Accept && !p.Monitor {
		a.say("warning", "nobody is allowed: with this policy every call is dropped")
	}
	if p.Unknown.Accept && p.Signatures.Engine == policy.EngineOff {
		a.say("warning", "unknown.action is accept, and signatures.engine is off: whoever is not banned passes, scanners too")
	}
	for _, text := range hitsHonest(p) {
		a.say("warning", text)
	}
}
