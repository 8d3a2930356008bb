// Package site brings together what a policy is compiled with: the facts of the
// host and what is remembered of names. Out of these it makes the desired state
// with the origin of each address, the settings that answers are learned by, the
// guards that a change must pass, the interfaces whose packets are classified, and
// warnings.
//
// It is pure. Reading the policy and the host, asking name servers, loading the
// classifier and changing the kernel are others' work; what they find out is
// handed in.
package site

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Site is a policy with everything around it that it is compiled with.
type Site struct {
	Policy *policy.Policy
	Text   string // of the policy
	Source string // the file that it was read from
	Host   ruleset.Host
	// Answers are those to all questions that the policy's names raise; Asked says
	// whether any was put.
	Answers []resolve.Result
	Asked   bool
	Memory  resolve.Memory // of the policy's names
	// Retired is what is remembered of other names: a rollback may bring them
	// back.
	Retired resolve.Memory
	// Classifier is what is known of the classifier.
	Classifier Classifier
}

// keepRetired is how long a name is remembered that no policy in force asks for.
const keepRetired = 366 * 24 * time.Hour

// Remember fills in the site's memory from what was remembered and the answers.
func (s *Site) Remember(old resolve.Memory, now resolve.Moment) {
	targets := Targets(s.Policy)
	s.Memory = old.Only(targets)
	s.Retired = old.Without(targets).SeenSince(now.Time.Add(-keepRetired))
	if s.Asked {
		s.Memory = s.Memory.Learn(s.Answers, s.Settings(), now)
	} else {
		s.Memory = s.Memory.Filtered(AddressFilter(s.Policy, s.Host))
	}
}

// Whole is what is remembered of all names, the retired ones too.
func (s *Site) Whole() resolve.Memory { return s.Memory.Merge(s.Retired) }

// Settings are what policy and host say about names.
func (s *Site) Settings() resolve.Settings {
	dns := s.Policy.DNS
	settings := resolve.Settings{
		Filter: AddressFilter(s.Policy, s.Host),
		Hold:   dns.Hold, Min: dns.Min, Max: dns.Max, StaleAlarm: dns.StaleAlarm,
	}
	for _, t := range Targets(s.Policy) {
		settings.Names = append(settings.Names, resolve.Name{Target: t, Owners: Owners(s.Policy, t)})
	}
	return settings
}

// Owners are the providers whose registrar a name is, or the trusted.
func Owners(p *policy.Policy, t resolve.Target) []string {
	if !t.Registrar {
		return []string{"trusted"}
	}
	var owners []string
	for _, provider := range p.Providers {
		if slices.ContainsFunc(provider.Registrars, func(r policy.Registrar) bool { return r.Host == t.Name }) {
			owners = append(owners, provider.Name)
		}
	}
	return owners
}

// Targets are the names that the policy asks for.
func Targets(p *policy.Policy) []resolve.Target {
	var targets []resolve.Target
	for _, n := range compile.Names(p) {
		targets = append(targets, resolve.Target{Name: n.Host, Registrar: n.Registrar})
	}
	return targets
}

// AddressFilter says which addresses the policy's names may not stand for.
func AddressFilter(p *policy.Policy, h ruleset.Host) resolve.AddressFilter {
	s := resolve.AddressFilter{Listed: ruleset.Union(p.Allowed())}
	for _, i := range h.Interfaces {
		for _, address := range i.Addresses {
			s.Own = append(s.Own, address.Addr())
		}
	}
	return s
}

// Compile makes the desired state, with the classifier as Classify has decided,
// and says where its addresses come from.
func (s *Site) Compile() (*ruleset.State, ruleset.Origins) {
	addresses := map[compile.Name][]compile.Address{}
	for _, n := range compile.Names(s.Policy) {
		for _, known := range s.Memory.Addresses(resolve.Target{Name: n.Host, Registrar: n.Registrar}) {
			addresses[n] = append(addresses[n], compile.Address{Addr: known.Address, Via: known.Via})
		}
	}
	state, origins := compile.State(s.Policy, addresses, s.Host)
	state.Classifier = s.Classifier.Desired
	return state, origins
}

// DiffersFrom says in a few words what makes the rules of a site, other than its
// addresses, differ from those of the site before.
func (s *Site) DiffersFrom(before *Site) string {
	var differences []string
	note := func(differs bool, format string, args ...any) {
		if differs {
			differences = append(differences, fmt.Sprintf(format, args...))
		}
	}
	now, then := s.Policy, before.Policy
	note(now.Monitor != then.Monitor, "mode is %s, it was %s", Mode(now), Mode(then))
	note(!slices.Equal(now.Interfaces, then.Interfaces), "interfaces are %v, they were %v", now.Interfaces, then.Interfaces)
	note(now.Unknown.Accept != then.Unknown.Accept, "unknown.action is %s, it was %s", action(now), action(then))
	note(now.Unknown.AllowReplies != then.Unknown.AllowReplies, "unknown.allow_replies is %t, it was %t", now.Unknown.AllowReplies, then.Unknown.AllowReplies)
	note(s.Host.Forwards && !before.Host.Forwards, "this host forwards now")
	note(!s.Host.Forwards && before.Host.Forwards, "this host does not forward any more")
	engine, engineThen := compile.Engine(now, s.Host), compile.Engine(then, before.Host)
	note(engine != engineThen, "the engine is %s, it was %s", engine, engineThen)
	return strings.Join(differences, "; ")
}

// AsksTheSame reports whether the same rules come of both sites with the memory of
// the other one.
func (s *Site) AsksTheSame(other *Site) bool {
	same := *s
	same.Memory = other.Memory
	before, _ := same.Compile()
	now, _ := other.Compile()
	before.Classifier, now.Classifier = nil, nil
	return plan.Diff(before, now).Empty()
}

// Mode is the mode of a policy by its name.
func Mode(p *policy.Policy) string {
	if p.Monitor {
		return "monitor"
	}
	return "enforce"
}

func action(p *policy.Policy) string {
	if p.Unknown.Accept {
		return "accept"
	}
	return "drop"
}

// FromMemory counts the names that go by what earlier answers said.
func (s *Site) FromMemory() int {
	n := 0
	for _, t := range Targets(s.Policy) {
		failed := slices.ContainsFunc(s.Memory.Refresh.Failures, func(p resolve.Problem) bool { return p.Target == t })
		if (!s.Asked || failed) && len(s.Memory.Addresses(t)) > 0 {
			n++
		}
	}
	return n
}

// Size says how many addresses the policy's names stand for.
func (s *Site) Size() string {
	names := len(Targets(s.Policy))
	if names == 0 {
		return "no names"
	}
	return notice.Count(names, "name") + " with " + notice.Count(s.Memory.Count(), "address")
}

// Mentioned reads names: they must be the policy's, or be asked for because of one
// of those.
func (s *Site) Mentioned(names []string, memory resolve.Memory) ([]string, error) {
	var known []string
	for _, name := range names {
		r, ok := policy.ParseRegistrar(name)
		asked := slices.ContainsFunc(memory.Names, func(k resolve.Known) bool {
			return slices.ContainsFunc(k.Questions, func(q resolve.KnownAnswer) bool { return q.Name == r.Host })
		})
		if !ok || r.Host == "" || !asked && !slices.ContainsFunc(Targets(s.Policy), func(t resolve.Target) bool { return t.Name == r.Host }) {
			return nil, fmt.Errorf("the policy has no name %q, and none leads to it", name)
		}
		known = append(known, r.Host)
	}
	return known, nil
}
