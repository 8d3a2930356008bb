package compile

import (
	"net/netip"
	"slices"
	"sync"

	"go4.org/netipx"

	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Listed are the addresses that a policy itself lists, compiled. They may be very many and
// change only with the policy, so they are compiled once, and shared by all states that
// are made with them: nobody may change them.
type Listed struct {
	sets    func() map[string][]ruleset.Element
	base    func() *ruleset.Base
	origins func() map[string][]ruleset.Origin

	mu   sync.Mutex
	last map[string]merged
}

// merged is a set as it was made last. Mostly, the next one is the same.
type merged struct {
	further, elements []ruleset.Element
	ranges            bool
}

// ListedIn are the addresses that a policy lists. They are compiled when they are needed.
func ListedIn(p *policy.Policy) *Listed {
	l := &Listed{sets: sync.OnceValue(func() map[string][]ruleset.Element {
		prefixes := map[string][]netip.Prefix{}
		eachListed(p, func(set string, prefix netip.Prefix, _ ruleset.Origin) {
			prefixes[set] = append(prefixes[set], prefix)
		})
		sets := map[string][]ruleset.Element{}
		for set, list := range prefixes {
			sets[set] = ruleset.Addresses(list)
		}
		return sets
	})}
	l.base = sync.OnceValue(func() *ruleset.Base { return ruleset.NewBase(l.Sets(), nil) })
	l.explain(p)
	return l
}

// ListedAs are those of a policy that ruleset.AppendSets has written.
func ListedAs(p *policy.Policy, packed []byte) (*Listed, error) {
	sets, _, err := ruleset.CutSets(packed)
	if err != nil {
		return nil, err
	}
	l := &Listed{
		sets: func() map[string][]ruleset.Element { return sets },
		base: sync.OnceValue(func() *ruleset.Base { return ruleset.NewBase(sets, packed) }),
	}
	l.explain(p)
	return l, nil
}

// explain makes the origins, when they are needed.
func (l *Listed) explain(p *policy.Policy) {
	l.origins = sync.OnceValue(func() map[string][]ruleset.Origin {
		all := originList{ruleset.Origins{Sets: map[string][]ruleset.Origin{}}}
		for set, elements := range l.Sets() {
			all.Sets[set] = make([]ruleset.Origin, 0, len(elements))
		}
		eachListed(p, func(set string, prefix netip.Prefix, o ruleset.Origin) {
			o.Prefix = prefix
			all.Sets[set] = append(all.Sets[set], o)
		})
		all.sort()
		return all.Sets
	})
}

// Make makes all that is made when it is needed: for who has no time for it later.
func (l *Listed) Make() {
	l.sets()
	l.base()
	l.origins()
}

// Base is what the large sets of a state that was made with these are written by.
func (l *Listed) Base() *ruleset.Base { return l.base() }

// Sets are the elements by the names of the sets.
func (l *Listed) Sets() map[string][]ruleset.Element { return l.sets() }

// eachListed calls f for every address that a policy lists, with the set that it belongs
// to and its origin but for the prefix.
func eachListed(p *policy.Policy, f func(set string, prefix netip.Prefix, o ruleset.Origin)) {
	each := func(kind string, prefix netip.Prefix, o ruleset.Origin) {
		prefix = ruleset.Canonical(prefix)
		f(setOf(kind, prefix.Addr()), prefix, o)
	}
	for _, provider := range p.Providers {
		for _, a := range provider.Addresses {
			each("providers", a.Prefix, ruleset.Origin{Owner: provider.Name, Via: a.From})
		}
		for _, r := range provider.Registrars {
			if r.Address.IsValid() {
				each("providers", single(r.Address), ruleset.Origin{Owner: provider.Name, Via: "registrars"})
			}
		}
	}
	for _, a := range p.Trusted.Addresses {
		each("trusted", a, ruleset.Origin{Owner: "trusted", Via: "addresses"})
	}
	for _, a := range p.Trusted.Asymmetric {
		each("asymmetric", a, ruleset.Origin{Owner: "trusted", Via: "asymmetric"})
	}
	for _, a := range p.Bans.Addresses {
		each("blocked", a, ruleset.Origin{Owner: "bans", Via: "addresses"})
	}
}

// Touches reports whether the policy lists an address of the prefix for the set.
func (l *Listed) Touches(set string, p netip.Prefix) bool {
	return len(ruleset.Overlapping(l.Sets()[set], netipx.RangeOfPrefix(p))) > 0
}

// Allows reports whether the policy lists an address for a provider or as trusted.
func (l *Listed) Allows(a netip.Addr) bool {
	r := netipx.RangeOfPrefix(single(a))
	return len(ruleset.Overlapping(l.Sets()[setOf("providers", a)], r)) > 0 ||
		len(ruleset.Overlapping(l.Sets()[setOf("trusted", a)], r)) > 0
}

// Of are the origins of the listed addresses of a set, sorted.
func (l *Listed) Of(set string) []ruleset.Origin { return l.origins()[set] }

// with are the elements of a set: the listed ones and those of further origins. It also
// reports whether any of them is more than one address.
func (l *Listed) with(set string, origins []ruleset.Origin) (elements []ruleset.Element, ranges bool) {
	list := make([]netip.Prefix, len(origins))
	for i, o := range origins {
		list[i] = o.Prefix
	}
	further := ruleset.Addresses(list)
	l.mu.Lock()
	defer l.mu.Unlock()
	last, made := l.last[set]
	if !made || !slices.Equal(last.further, further) {
		all := ruleset.With(l.Sets()[set], further)
		last = merged{further, all, hasRange(all)}
		if l.last == nil {
			l.last = map[string]merged{}
		}
		l.last[set] = last
	}
	return last.elements, last.ranges
}

// hasRange reports whether any element is more than one address.
func hasRange(elements []ruleset.Element) bool {
	return slices.ContainsFunc(elements, func(e ruleset.Element) bool { return e.From != e.To })
}
