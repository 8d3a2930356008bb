// Package site combines what a policy is compiled with: the facts of the host and the
// memory of names. From these it makes the desired state with the origin of each
// address, the settings for learning answers, the guards that a change must pass, the
// interfaces on which packets are classified, and warnings.
//
// It is pure. It does not read the policy or the host, ask name servers, load the
// classifier or change the kernel; its callers do, and pass in the results.
package site

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"go4.org/netipx"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Site is a policy with everything that it is compiled with.
type Site struct {
	Policy *policy.Policy
	Text   string // of the policy
	Source string // the file that it was read from
	// Listed are the addresses of the policy, compiled; nil if that has not been done yet.
	Listed *compile.Listed
	Host   ruleset.Host
	// Answers are those to all questions for the policy's names. Asked says whether any
	// question was asked.
	Answers []resolve.Result
	Asked   bool
	// Lists are the answers of the servers of published lists.
	Lists  []resolve.ListResult
	Memory resolve.Memory // of the policy's names
	// Retired is the memory of other names, which a rollback may need.
	Retired resolve.Memory
	// Classifier is what is known about the classifier.
	Classifier Classifier
	// Contacts are the hosts that this one has to do with now.
	Contacts Contacts
}

// keepRetired is how long a name is remembered that no policy in force uses.
const keepRetired = 366 * 24 * time.Hour

// Remember sets the site's memory from an older one and the answers.
func (s *Site) Remember(old resolve.Memory, now resolve.Moment) {
	targets := Targets(s.Policy)
	s.Memory = old.Only(targets)
	s.Retired = old.Without(targets).SeenSince(now.Time.Add(-keepRetired))
	s.Retired.Lists = old.Lists.But(Lists(s.Policy), now.Time.Add(-keepRetired))
	if s.Asked {
		s.Memory = s.Memory.Learn(s.Answers, s.Settings(), now)
	} else {
		s.Memory = s.Memory.Filtered(s.filter())
	}
	s.Memory = s.Memory.LearnLists(s.Lists, resolve.Settings{
		Lists: Lists(s.Policy), Hold: s.Policy.DNS.Hold, Max: s.Policy.DNS.Max,
	}, now)
}

// Whole returns the memory of all names, the retired ones included.
func (s *Site) Whole() resolve.Memory { return s.Memory.Merge(s.Retired) }

// Settings returns what the policy and the host say about names.
func (s *Site) Settings() resolve.Settings {
	dns := s.Policy.DNS
	settings := resolve.Settings{
		Filter: s.filter(),
		Lists:  Lists(s.Policy),
		Hold:   dns.Hold, Min: dns.Min, Max: dns.Max, StaleAlarm: dns.StaleAlarm,
	}
	names := NamesOf(s.Policy)
	for _, t := range Targets(s.Policy) {
		settings.Names = append(settings.Names, names.Name(t))
	}
	return settings
}

// Names finds what a policy says about a name.
type Names map[string]resolve.Name

// NamesOf are the names of the registrars of a policy.
func NamesOf(p *policy.Policy) Names {
	names := Names{}
	for _, provider := range p.Providers {
		for _, r := range provider.Registrars {
			n := names[r.Host]
			if !slices.Contains(n.Owners, provider.Name) {
				n.Owners = append(n.Owners, provider.Name)
			}
			if len(n.Servers) == 0 {
				n.Servers = provider.DNS
			}
			names[r.Host] = n
		}
	}
	return names
}

// Name is a target with its owners, the providers whose registrar it is or the
// trusted, and the name servers that are asked for it.
func (n Names) Name(t resolve.Target) resolve.Name {
	name := resolve.Name{Owners: []string{"trusted"}}
	if t.Registrar {
		name = n[t.Name]
	}
	name.Target = t
	return name
}

// Targets returns the names that the policy needs resolved.
func Targets(p *policy.Policy) []resolve.Target {
	var targets []resolve.Target
	for _, n := range compile.Names(p) {
		targets = append(targets, resolve.Target{Name: n.Host, Registrar: n.Registrar})
	}
	return targets
}

// AddressFilter returns the rules for addresses that names must not have.
func AddressFilter(p *policy.Policy, h ruleset.Host) resolve.AddressFilter {
	// Policies are large, and few names have a private address.
	listed := sync.OnceValue(func() *netipx.IPSet { return ruleset.Union(p.Allowed()) })
	s := resolve.AddressFilter{Listed: func(a netip.Addr) bool { return listed().Contains(a) }}
	for _, i := range h.Interfaces {
		for _, address := range i.Addresses {
			s.Own = append(s.Own, address.Addr())
		}
	}
	return s
}

// filter are the rules for addresses that the site's names must not have. The addresses that
// the policy lists are compiled already.
func (s *Site) filter() resolve.AddressFilter {
	filter := AddressFilter(s.Policy, s.Host)
	filter.Listed = s.listed().Allows
	return filter
}

// Compile makes the desired state, with the classifier as Classify has decided, and the
// origins of its addresses.
func (s *Site) Compile() (*ruleset.State, ruleset.Origins) {
	state, origins := compile.StateWith(s.Policy, s.listed(), s.known(), s.compiledHost())
	state.Classifier = s.Classifier.Desired
	return state, origins
}

// Origins are those of the state that Compile makes. To make them costs less.
func (s *Site) Origins() ruleset.Origins {
	return compile.OriginsWith(s.Policy, s.listed(), s.known(), s.compiledHost())
}

func (s *Site) compiledHost() ruleset.Host {
	host := s.Host
	host.Classified = s.Classifier.Desired.Interfaces()
	return host
}

func (s *Site) listed() *compile.Listed {
	if s.Listed == nil {
		s.Listed = compile.ListedIn(s.Policy)
	}
	return s.Listed
}

// known are the addresses that names and published lists have.
func (s *Site) known() compile.Known {
	known := compile.Known{Names: map[compile.Name][]compile.Address{}, Lists: published(s.Policy, s.Memory)}
	index := s.Memory.Index()
	for _, n := range compile.Names(s.Policy) {
		for _, a := range index.Addresses(resolve.Target{Name: n.Host, Registrar: n.Registrar}) {
			known.Names[n] = append(known.Names[n], compile.Address{Addr: a.Address, Via: a.Via})
		}
	}
	return known
}

// DiffersFrom says in a few words why the rules of a site, other than its addresses,
// differ from those of an earlier site.
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
	trusted, trustedThen := now.Trusted.Interfaces, then.Trusted.Interfaces
	note(!slices.Equal(trusted, trustedThen), "trusted.interfaces are %v, they were %v", trusted, trustedThen)
	fenced, fencedThen := compile.Fenced(now, s.Host), compile.Fenced(then, before.Host)
	appeared := slices.DeleteFunc(fenced, func(name string) bool { return now.Fences(name) || slices.Contains(fencedThen, name) })
	note(len(appeared) > 0, "%s stands on what is fenced", strings.Join(appeared, ", "))
	note(now.Unknown.Action != then.Unknown.Action, "unknown.action is %s, it was %s", now.Unknown.Action, then.Unknown.Action)
	note(now.Unknown.AllowReplies != then.Unknown.AllowReplies, "unknown.allow_replies is %t, it was %t", now.Unknown.AllowReplies, then.Unknown.AllowReplies)
	note(s.Host.Forwards && !before.Host.Forwards, "this host forwards now")
	note(!s.Host.Forwards && before.Host.Forwards, "this host does not forward any more")
	note(s.Host.Translates && !before.Host.Translates, "rules of another program may change where packets are sent to")
	note(!s.Host.Translates && before.Host.Translates, "no rule changes any more where packets are sent to")
	engine, engineThen := compile.Engine(now, s.Host), compile.Engine(then, before.Host)
	note(engine != engineThen, "the engine is %s, it was %s", engine, engineThen)
	return strings.Join(differences, "; ")
}

// AsksTheSame reports whether both sites give the same rules when the memory is
// exchanged.
func (s *Site) AsksTheSame(other *Site) bool {
	same := *s
	same.Memory = other.Memory
	before, _ := same.Compile()
	now, _ := other.Compile()
	before.Classifier, now.Classifier = nil, nil
	return plan.Diff(before, now).Empty()
}

// Mode returns the name of a policy's mode.
func Mode(p *policy.Policy) string {
	if p.Monitor {
		return "monitor"
	}
	return "enforce"
}

// FromMemory counts the names for which earlier answers are used: none was asked for, or
// one that failed has left an address that no answer has now.
func (s *Site) FromMemory() int {
	n := 0
	for _, t := range Targets(s.Policy) {
		failed := slices.ContainsFunc(s.Memory.Refresh.Failures, func(p resolve.Problem) bool { return p.Target == t })
		if !s.Asked && len(s.Memory.Addresses(t)) > 0 || failed && slices.ContainsFunc(s.Memory.Addresses(t), func(a resolve.KnownAddress) bool {
			return a.LastSeen.Before(s.Memory.Refresh.Time)
		}) {
			n++
		}
	}
	return n
}

// Size says how many addresses the policy's names have, and whether anything is dropped.
func (s *Site) Size() string {
	names := len(Targets(s.Policy))
	size := sizeText(names, s.Memory.Count()) + listsText(s.Memory)
	if s.Policy.Monitor {
		size = "in monitor mode (what would be dropped passes), " + size
	}
	return size
}

func sizeText(names, addresses int) string {
	if names == 0 {
		return "no names"
	}
	return notice.Count(names, "name") + " with " + notice.Count(addresses, "address")
}

// Mentioned reads names. Each must be in the policy, or must be asked for because of
// such a name.
func Mentioned(p *policy.Policy, names []string, memory resolve.Memory) ([]string, error) {
	var known []string
	for _, name := range names {
		if slices.ContainsFunc(Lists(p), func(l resolve.List) bool { return l.URL == name }) {
			known = append(known, name)
			continue
		}
		r, ok := policy.ParseRegistrar(name)
		asked := slices.ContainsFunc(memory.Names, func(k resolve.Known) bool {
			return slices.ContainsFunc(k.Questions, func(q resolve.KnownAnswer) bool { return q.Name == r.Host })
		})
		if !ok || r.Host == "" || !asked && !slices.ContainsFunc(Targets(p), func(t resolve.Target) bool { return t.Name == r.Host }) {
			return nil, fmt.Errorf("the policy has no name %q, and none leads to it", name)
		}
		known = append(known, r.Host)
	}
	return known, nil
}
