package resolve

import "net/netip"

// Doubts returns the targets that should be asked again at once, best of
// somebody else: more than half of what a provider stands for is new, while
// more than half of what it stood for is gone. Either it has moved, and then
// the second answer says the same, or somebody lies. The results are one a
// target. Doubts is pure.
func (m Memory) Doubts(results []Result, terms Terms) []Target {
	var targets []Target
	for i, doubted := range m.Screened(terms.Screen).doubted(results, terms) {
		if len(doubted) > 0 {
			targets = append(targets, results[i].Target)
		}
	}
	return targets
}

// doubted returns, by result, the addresses in it that are doubted. The first
// results of all targets are judged together, then the second ones, and so on.
// The memory is screened.
func (m Memory) doubted(results []Result, terms Terms) []map[netip.Addr]bool {
	doubted := make([]map[netip.Addr]bool, len(results))
	for round := 0; ; round++ {
		looks := map[Target]*look{}
		places := map[Target]int{}
		times := map[Target]int{}
		for i, r := range results {
			if times[r.Target] == round {
				l := newLook(m.name(r.Target), terms, Moment{})
				l.gather(r, nil)
				looks[r.Target], places[r.Target] = l, i
			}
			times[r.Target]++
		}
		if len(looks) == 0 {
			return doubted
		}
		for _, owner := range terms.owners(looks) {
			fresh := m.replaced(terms.names(owner), looks)
			for t, l := range looks {
				for a := range l.found {
					if fresh[a] {
						if doubted[places[t]] == nil {
							doubted[places[t]] = map[netip.Addr]bool{}
						}
						doubted[places[t]][a] = true
					}
				}
			}
		}
	}
}

// replaced returns the new addresses of an owner, if more than half of its
// addresses are new and more than half of those that it had are gone; else
// none. What the looks do not speak of is as it was.
func (m Memory) replaced(names []Target, looks map[Target]*look) map[netip.Addr]bool {
	known, present, now := map[netip.Addr]bool{}, map[netip.Addr]bool{}, map[netip.Addr]bool{}
	for _, t := range names {
		l := looks[t]
		for _, a := range m.name(t).Addresses {
			known[a.Address] = true
			if a.MissingSince.IsZero() {
				present[a.Address] = true
			}
			if l == nil || !l.lacks(a) {
				now[a.Address] = true
			}
		}
		if l != nil {
			for a := range l.found {
				now[a] = true
			}
		}
	}
	fresh, stayed := map[netip.Addr]bool{}, 0
	for a := range now {
		if !known[a] {
			fresh[a] = true
		}
		if present[a] {
			stayed++
		}
	}
	if len(known) == 0 || 2*len(fresh) <= len(now) || 2*stayed >= len(present) && len(present) > 0 {
		return nil
	}
	return fresh
}

// lacks reports whether good answers say that an address is gone.
func (l *look) lacks(a KnownAddress) bool {
	if l.found[a.Address] != nil {
		return false
	}
	for _, s := range l.known.sources(a) {
		if ages, _ := l.verdict(s.Question); !ages {
			return false
		}
	}
	return true
}
