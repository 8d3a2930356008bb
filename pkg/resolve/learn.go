package resolve

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Learn returns the memory after results. A name may have several: it was asked
// again at once (Suspicious says when), and each is an answer of its own. Names of
// the policy without a result stay as they were; names that it does not list
// are forgotten, so that their addresses leave at once.
//
//	an address in an answer              stays, or comes in at once
//	an address that a good answer lacks  leaves when good answers have lacked it for hold
//	a question that failed               what it gave stays as it is
//	no record of one type, while the     what it gave is missing from a good answer, and
//	registrar has others                 leaves after hold, but not within 72 h
//	no record or no name any more,       like a failure
//	only rejected addresses
//	nothing would be left of a name      what there was stays
//	an address that the filter rejects   never comes in, nor stays; it is noted
//	more records than the limit          like a failure (the resolver has decided)
//	most of a provider is new at once    comes in with the second answer that has it
//	while the old addresses are gone
//
// A question that never had records, as _sips._tcp of most providers, is no
// problem. The time that an address is missing is counted from lookup to lookup, by
// the clock that only goes forward. Learn is pure.
func (m Memory) Learn(results []Result, settings Settings, now Moment) Memory {
	next := NewMemory()
	next.Refresh.Time, next.Lists = m.Refresh.Time, m.Lists
	if len(results) > 0 || len(settings.Names) == 0 {
		next.Refresh.Time = now.Time
	}
	m = m.Filtered(settings.Filter)
	suspicious := m.suspicious(results, settings)
	index, places := m.index(), placesOf(results)
	for _, name := range settings.Names {
		known := name.of(index)
		known.Owners = name.Owners
		o := newObservation(known, settings, now)
		for _, i := range places[name.Target] {
			o.gather(results[i], suspicious[i])
		}
		problems := m.Refresh.of(name.Target)
		if o.results > 0 {
			known, problems = o.learn()
		}
		next.Names = append(next.Names, known)
		next.Refresh.Failures = append(next.Refresh.Failures, problems...)
	}
	next.Refresh.Failures = append(next.Refresh.Failures, m.Refresh.ofLists()...)
	next.Refresh.OK = len(next.Refresh.Failures) == 0
	return next
}

// placesOf says where in the results those of each target are.
func placesOf(results []Result) map[Target][]int {
	places := map[Target][]int{}
	for i, r := range results {
		places[r.Target] = append(places[r.Target], i)
	}
	return places
}

// of are the failures of one target.
func (r Refreshed) of(t Target) []Problem {
	return slices.DeleteFunc(slices.Clone(r.Failures), func(p Problem) bool { return p.Target != t })
}

func (o *observation) learn() (Known, []Problem) {
	k := o.known
	next := Known{Name: k.Name, Registrar: k.Registrar, Owners: k.Owners, Looked: o.now}
	next.Quarantined = o.quarantine()
	next.Addresses = o.bounded(o.addresses(next.Quarantined))
	next.Cut = o.wasCut()
	if len(next.Addresses) == 0 {
		next.Addresses = k.Addresses
	}
	if len(k.Addresses) > 0 && !slices.ContainsFunc(next.Addresses, o.stands) {
		next.KeptSince = orNow(k.KeptSince, o.now)
	}
	next.Rejected = o.reject()
	var problems []Problem
	next.Questions, problems = o.answers(next.Addresses)
	problems = append(problems, o.nothing(next.Rejected, len(problems) == 0)...)
	for i := range problems {
		problems[i].Target = k.target()
	}
	if len(problems) > 0 {
		next.Failures = k.Failures + 1
	}
	next.Next = Span(nextLookup(o, next.Failures, len(next.Quarantined) > 0))
	return next, problems
}

// stands reports whether an address has its own reason to stay.
func (o *observation) stands(a KnownAddress) bool {
	return len(a.Sources) > 0 && o.settings.Filter.rejectKnown(o.known, a) == ""
}

// orNow returns since when a present condition holds.
func orNow(since time.Time, now Moment) time.Time {
	if since.IsZero() {
		return now.Time
	}
	return since
}

// maxQuarantined limits what a server that makes up addresses can add to the memory.
const maxQuarantined = 256

// quarantine returns the addresses that wait for another answer after this lookup.
func (o *observation) quarantine() []QuarantinedAddress {
	var quarantined []QuarantinedAddress
	waiting := map[netip.Addr]QuarantinedAddress{}
	for _, h := range o.known.Quarantined {
		h.For += Span(o.passed)
		if time.Duration(h.For) > o.settings.Hold {
			continue
		}
		waiting[h.Address] = h
		if o.found[h.Address] == nil {
			quarantined = append(quarantined, h)
		}
	}
	for a, s := range o.found {
		before, waits := waiting[a]
		_, known := o.known.address(a)
		if known || waits || s.suspicious < s.answers || s.answers > 1 {
			continue
		}
		before.Address, before.Via, before.Since = a, s.via, o.now.Time
		before.Contradicted = o.sound > 0
		quarantined = append(quarantined, before)
	}
	slices.SortFunc(quarantined, func(a, b QuarantinedAddress) int {
		if c := b.Since.Compare(a.Since); c != 0 {
			return c
		}
		return a.Address.Compare(b.Address)
	})
	return quarantined[:min(len(quarantined), maxQuarantined)]
}

// addresses returns the addresses of the name after this lookup.
func (o *observation) addresses(quarantined []QuarantinedAddress) []KnownAddress {
	// An answer of which nothing is confirmed is not a good one: no address ages by it.
	confirmed := o.suspicious == 0 || o.sound > 0
	in := map[netip.Addr]KnownAddress{}
	for _, a := range o.known.Addresses {
		a.Sources = o.known.sources(a)
		in[a.Address] = a
	}
	waits := map[netip.Addr]bool{}
	for _, h := range quarantined {
		waits[h.Address] = true
	}
	for a := range o.found {
		if _, known := in[a]; known || waits[a] {
			continue
		}
		confirmed = true
		in[a] = KnownAddress{Address: a, FirstSeen: o.now.Time}
	}
	var list []KnownAddress
	for _, a := range in {
		s := o.found[a.Address]
		a.Sources = o.sources(a, s, confirmed)
		a.MissingSince = missingSince(a.Sources)
		if s != nil {
			a.Via, a.TTL, a.LastSeen = s.via, int64(s.ttl/time.Second), o.now.Time
		}
		if len(a.Sources) > 0 {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b KnownAddress) int { return a.Address.Compare(b.Address) })
	return list
}

// sources returns the sources of an address after this lookup. s is where it was seen,
// nil if nowhere.
func (o *observation) sources(a KnownAddress, s *sighting, confirmed bool) []Source {
	var sources []Source
	if s != nil {
		for _, q := range s.sources {
			sources = append(sources, Source{Question: q})
		}
	}
	for _, old := range a.Sources {
		if slices.ContainsFunc(sources, func(o Source) bool { return o.Question == old.Question }) {
			continue
		}
		ages, limit := verdicts{o}.of(old.Question)
		switch {
		case !ages || !confirmed:
			old.UnheardFor += Span(o.passed)
		case old.MissingSince.IsZero():
			old.MissingSince, old.MissingFor, old.UnheardFor = o.now.Time, 0, 0
		default:
			old.MissingFor = Span(o.settings.missed(time.Duration(old.MissingFor), o.passed, o.measured, limit))
			old.UnheardFor = 0
		}
		if !old.MissingSince.IsZero() && ages && confirmed && time.Duration(old.MissingFor) >= limit {
			continue
		}
		sources = append(sources, old)
	}
	slices.SortFunc(sources, func(a, b Source) int { return compareQuestions(a.Question, b.Question) })
	return sources
}

// missingSince returns the time of the first good answer since which no answer has had
// an address, zero if one may have it.
func missingSince(sources []Source) time.Time {
	var latest time.Time
	for _, s := range sources {
		if s.MissingSince.IsZero() {
			return time.Time{}
		}
		if s.MissingSince.After(latest) {
			latest = s.MissingSince
		}
	}
	return latest
}

// reject returns the rejected addresses of this lookup.
func (o *observation) reject() []Rejected {
	var list []Rejected
	for _, a := range slices.SortedFunc(maps.Keys(o.rejected), netip.Addr.Compare) {
		if o.found[a] != nil {
			continue // somebody else who is believed gives it
		}
		r := Rejected{Address: a, Why: o.rejected[a], Times: 1}
		for _, old := range o.known.Rejected {
			if old.Address == a {
				r.Times += old.Times
			}
		}
		list = append(list, r)
	}
	return list
}

// nothing returns the problem of a name that has no address at all.
func (o *observation) nothing(rejected []Rejected, noOther bool) []Problem {
	switch {
	case len(o.found) > 0:
		return nil
	case len(rejected) > 0:
		texts := make([]string, len(rejected))
		for i, r := range rejected {
			texts[i] = r.String()
		}
		return []Problem{{Name: o.known.Name, Error: "all its addresses were rejected: " + strings.Join(texts, "; ")}}
	case noOther && o.known.Registrar:
		kinds := "NAPTR, SRV, A or AAAA"
		if o.known.target().isService() {
			kinds = "SRV"
		}
		return []Problem{{Name: o.known.Name, Error: "no address: it has no " + kinds + " record that leads to one" + o.saidBy()}}
	case noOther:
		return []Problem{{Name: o.known.Name, Error: "no address: it has no A or AAAA record" + o.saidBy()}}
	}
	return nil
}
