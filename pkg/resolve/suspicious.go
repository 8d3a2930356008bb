package resolve

import (
	"maps"
	"net/netip"
)

// Suspicious returns the targets that should be asked again at once, preferably from
// another server: more than half of a provider's addresses are new, while more than
// half of its earlier ones are gone. Either the provider has moved, and the second
// answer says the same, or an answer is false. There is one result for each target.
// Suspicious is pure.
func (m Memory) Suspicious(results []Result, settings Settings) []Target {
	var targets []Target
	for i, suspicious := range m.Filtered(settings.Filter).suspicious(results, settings) {
		if len(suspicious) > 0 {
			targets = append(targets, results[i].Target)
		}
	}
	return targets
}

// suspicious returns the suspicious addresses of each result. The first results of all
// targets are judged together, then the second ones, and so on. The memory is filtered.
func (m Memory) suspicious(results []Result, settings Settings) []map[netip.Addr]bool {
	suspicious := make([]map[netip.Addr]bool, len(results))
	index, places, owned := m.index(), placesOf(results), settings.owned()
	for round := 0; ; round++ {
		observations := map[Target]*observation{}
		for t, list := range places {
			if round < len(list) {
				o := newObservation(t.of(index), settings, Moment{})
				o.gather(results[list[round]], nil)
				observations[t] = o
			}
		}
		if len(observations) == 0 {
			return suspicious
		}
		fresh := map[netip.Addr]bool{}
		for _, names := range owned {
			maps.Copy(fresh, replaced(names, index, observations))
		}
		for t, o := range observations {
			marked := map[netip.Addr]bool{}
			for a := range o.found {
				if fresh[a] {
					marked[a] = true
				}
			}
			if len(marked) > 0 {
				suspicious[places[t][round]] = marked
			}
		}
	}
}

// replaced returns the new addresses of an owner, if more than half of its
// addresses are new and more than half of those that it had are gone; else
// none. What the observations do not speak of is as it was.
func replaced(names []Target, index map[Target]*Known, observations map[Target]*observation) map[netip.Addr]bool {
	known, present, now := map[netip.Addr]bool{}, map[netip.Addr]bool{}, map[netip.Addr]bool{}
	for _, t := range names {
		o := observations[t]
		for _, a := range t.of(index).Addresses {
			known[a.Address] = true
			if a.MissingSince.IsZero() {
				present[a.Address] = true
			}
			if o == nil || !o.lacks(a) {
				now[a.Address] = true
			}
		}
		if o != nil {
			for a := range o.found {
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
func (o *observation) lacks(a KnownAddress) bool {
	if o.found[a.Address] != nil {
		return false
	}
	for _, s := range o.known.sources(a) {
		if ages, _ := (verdicts{o}).of(s.Question); !ages {
			return false
		}
	}
	return true
}
