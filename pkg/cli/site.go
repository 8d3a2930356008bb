package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/classifier"
	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// site is a policy with everything around it that it is compiled with.
type site struct {
	policy *policy.Policy
	text   string // of the policy
	source string // the file that it was read from
	host   ruleset.Host
	// answers are those to all questions that the policy's names raise; nil if
	// nobody was asked.
	answers []resolve.Result
	asked   bool
	memory  resolve.Memory // of the policy's names
	// retired is what is remembered of other names: a rollback may bring them
	// back.
	retired resolve.Memory
	// program recognises scanners, eyes is where it stands; both are nil if nobody
	// does. blind says why it does not stand on an interface where it should;
	// standing, if it is not nil, is what stays because nothing else can be put
	// there. present are the names of the interfaces that there are now, nil if
	// those of host are.
	program        *classifier.Program
	signatures     int // that it knows
	eyes, standing ruleset.Classifier
	blind          map[string]error
	present        []string
}

// keepRetired is how long a name is remembered that no policy in force asks for.
const keepRetired = 366 * 24 * time.Hour

// remember fills in the site's memory from what was remembered and the answers.
func (s *site) remember(old resolve.Memory, now resolve.Moment) {
	targets := targets(s.policy)
	s.memory = old.Only(targets)
	s.retired = old.Without(targets).SeenSince(now.Time.Add(-keepRetired))
	if s.asked {
		s.memory = s.memory.Learn(s.answers, s.terms(), now)
	} else {
		s.memory = s.memory.Screened(screen(s.policy, s.host))
	}
}

// terms are what policy and host say about names.
func (s site) terms() resolve.Terms {
	dns := s.policy.DNS
	terms := resolve.Terms{
		Screen: screen(s.policy, s.host),
		Hold:   dns.Hold, Min: dns.Min, Max: dns.Max, StaleAlarm: dns.StaleAlarm,
	}
	for _, t := range targets(s.policy) {
		terms.Names = append(terms.Names, resolve.Name{Target: t, Owners: owners(s.policy, t)})
	}
	return terms
}

// owners are the providers whose registrar a name is, or the trusted.
func owners(p *policy.Policy, t resolve.Target) []string {
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

func targets(p *policy.Policy) []resolve.Target {
	var targets []resolve.Target
	for _, n := range compile.Names(p) {
		targets = append(targets, resolve.Target{Name: n.Host, Registrar: n.Registrar})
	}
	return targets
}

// screen says which addresses the policy's names may not stand for.
func screen(p *policy.Policy, h ruleset.Host) resolve.Screen {
	s := resolve.Screen{Listed: ruleset.Union(p.Allowed())}
	for _, i := range h.Interfaces {
		for _, address := range i.Addresses {
			s.Own = append(s.Own, address.Addr())
		}
	}
	return s
}

// compile makes the desired state.
func (s site) compile() (*ruleset.State, ruleset.Origins) {
	addresses := map[compile.Name][]compile.Address{}
	for _, n := range compile.Names(s.policy) {
		for _, known := range s.memory.Addresses(resolve.Target{Name: n.Host, Registrar: n.Registrar}) {
			addresses[n] = append(addresses[n], compile.Address{Addr: known.Address, Via: known.Via})
		}
	}
	return compile.State(s.policy, addresses, s.host)
}

// desired makes the desired state, with the classifier. before is what the
// addresses that are there now were compiled from; nil is not known. Its error is
// about signatures.
func (s *site) desired(before *site) (control.Desired, error) {
	if err := s.classify(); err != nil {
		return control.Desired{}, err
	}
	state, origins := s.compile()
	state.Classifier = s.eyes
	d := control.Desired{State: state, Will: origins}
	if before != nil {
		d.Why = s.differsFrom(before)
		d.Was = func() ruleset.Origins {
			_, was := before.compile()
			return was
		}
	}
	return d, nil
}

// differsFrom says in a few words what makes the rules of a site, other than its
// addresses, differ from those of the site before.
func (s site) differsFrom(before *site) string {
	var differences []string
	note := func(differs bool, format string, args ...any) {
		if differs {
			differences = append(differences, fmt.Sprintf(format, args...))
		}
	}
	now, then := s.policy, before.policy
	note(now.Monitor != then.Monitor, "mode is %s, it was %s", modeText(now), modeText(then))
	note(!slices.Equal(now.Interfaces, then.Interfaces), "interfaces are %v, they were %v", now.Interfaces, then.Interfaces)
	note(now.Unknown.Accept != then.Unknown.Accept, "unknown.action is %s, it was %s", actionText(now), actionText(then))
	note(now.Unknown.AllowReplies != then.Unknown.AllowReplies, "unknown.allow_replies is %t, it was %t", now.Unknown.AllowReplies, then.Unknown.AllowReplies)
	note(s.host.Forwards && !before.host.Forwards, "this host forwards now")
	note(!s.host.Forwards && before.host.Forwards, "this host does not forward any more")
	engine, engineThen := compile.Engine(now, s.host), compile.Engine(then, before.host)
	note(engine != engineThen, "the engine is %s, it was %s", engine, engineThen)
	return strings.Join(differences, "; ")
}

func modeText(p *policy.Policy) string {
	if p.Monitor {
		return "monitor"
	}
	return "enforce"
}

func actionText(p *policy.Policy) string {
	if p.Unknown.Accept {
		return "accept"
	}
	return "drop"
}

// rememberedOnly counts the names that go by what earlier answers said.
func (s site) rememberedOnly() int {
	n := 0
	for _, t := range targets(s.policy) {
		failed := slices.ContainsFunc(s.memory.Refresh.Failures, func(p resolve.Problem) bool { return p.Target == t })
		if (!s.asked || failed) && len(s.memory.Addresses(t)) > 0 {
			n++
		}
	}
	return n
}

// size says how many addresses the policy's names stand for.
func (s site) size() string {
	names := len(targets(s.policy))
	if names == 0 {
		return "no names"
	}
	return count(names, "name") + " with " + count(s.memory.Count(), "address")
}

// guards are those that a new policy must pass.
func (s site) guards(o applyOptions) []plan.Guard {
	if s.policy.Monitor {
		return nil // nothing is dropped
	}
	guards := []plan.Guard{plan.EmptyProvider(o.allowEmpty, failedProviders(s.policy, s.memory.Refresh.Failures))}
	if !o.allowCutInside && !s.policy.Unknown.Accept {
		guards = append(guards, plan.CutInside(s.inside(o.accepted), s.policy.Trusted.Addresses))
	}
	return guards
}

// inside are the networks inside that the site would cut off, without those
// that were accepted.
func (s site) inside(accepted []ruleset.Network) []ruleset.Network {
	return slices.DeleteFunc(plan.FindInside(s.host, s.policy.Fences, s.policy.Allowed()), func(n ruleset.Network) bool {
		return slices.Contains(accepted, n)
	})
}
