package site

import (
	"fmt"
	"slices"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Allowances say what guards would refuse and should accept.
type Allowances struct {
	// Empty are the providers that may be without an address.
	Empty []string
	// CutInside lets any network inside lose its provider or this host, Cut those that
	// have lost it already.
	CutInside bool
	Cut       []ruleset.Network
	// CutLive lets any flow end that is up now. Before is the site that is in force, nil
	// for none.
	CutLive bool
	Before  *Site
}

// As returns the allowances together with what another site already does, so that these
// do not stop an unrelated change.
func (a Allowances) As(before *Site) Allowances {
	origins := before.Origins()
	a.Empty = slices.Clone(a.Empty)
	for _, provider := range origins.Providers {
		// Nothing was dropped in monitor mode, so nobody has accepted it there.
		if origins.Addresses(provider) == 0 && !before.Policy.Monitor {
			a.Empty = append(a.Empty, provider)
		}
	}
	a.Cut = append(slices.Clone(a.Cut), before.Cuts().Networks...)
	a.Before = before
	return a
}

// Guards returns the guards that a new policy must pass.
func (s *Site) Guards(a Allowances) []plan.Guard {
	if s.Policy.Monitor {
		return nil // nothing is dropped
	}
	guards := []plan.Guard{plan.EmptyProvider(a.Empty, failedProviders(s.Policy, s.Memory.Refresh.Failures))}
	if !a.CutInside && !s.Policy.Unknown.Admits() {
		guards = append(guards, plan.CutInside(inside(s, a.Cut), s.Policy.Trusted.Addresses))
	}
	if !a.CutLive {
		guards = append(guards, plan.CutLive(func(fenced bool) []ruleset.Flow {
			if !fenced {
				return CutLive(s, nil)
			}
			return CutLive(s, a.Before)
		}))
	}
	return guards
}

// judges reports whether packets that come in by the named interface pass only if
// somebody is allowed.
func judges(s *Site, name string) bool {
	return compile.Fences(s.Policy, s.Host, name) && !s.Policy.Trusts(name)
}

// failedProviders says, by provider, why its names have no address.
func failedProviders(p *policy.Policy, failures []resolve.Problem) map[string]string {
	failed := map[string]string{}
	for _, provider := range p.Providers {
		for _, problem := range failures {
			if provider.List != nil && problem.Type == resolve.ListType && problem.Name == provider.List.URL {
				failed[provider.Name] = ProblemText(problem)
			}
		}
		for _, r := range provider.Registrars {
			for _, problem := range failures {
				if problem.Target.Registrar && problem.Target.Name == r.Host && failed[provider.Name] == "" {
					failed[provider.Name] = ProblemText(problem)
				}
			}
		}
	}
	return failed
}

// ProblemText says what is wrong with a name.
func ProblemText(p resolve.Problem) string {
	if p.Type == "" {
		return fmt.Sprintf("%s: %s", p.Name, p.Error)
	}
	return fmt.Sprintf("%s %s: %s", p.Name, p.Type, p.Error)
}

// HasProvider reports whether the policy has a provider of that name.
func HasProvider(p *policy.Policy, name string) bool {
	return slices.ContainsFunc(p.Providers, func(p policy.Provider) bool { return p.Name == name })
}
