package resolve

import (
	"cmp"
	"slices"
)

// What one name may fill the memory with, in bytes of the file. Real names have a
// few thousand.
const (
	sizeOfAddresses = 500_000
	sizeOfQuestions = 300_000
	maxReferences   = 64 // questions that an address, or a question, comes from
	longestVia      = 128
)

// bounded are those of the addresses that there is room for: those of the last answers
// first, then those seen last.
func (o *observation) bounded(list []KnownAddress) []KnownAddress {
	most := maxAddresses
	for _, h := range o.asked {
		if h.most > maxRecords || o.was(h.question).Accepted > maxRecords {
			most += max(h.most, o.was(h.question).Accepted)
		}
	}
	if len(list) > most {
		slices.SortStableFunc(list, func(a, b KnownAddress) int { return b.LastSeen.Compare(a.LastSeen) })
		list = slices.Clip(list[:most])
		slices.SortFunc(list, func(a, b KnownAddress) int { return a.Address.Compare(b.Address) })
		if !slices.Contains(o.cut, CutByAddresses) {
			o.cut = append(o.cut, CutByAddresses)
		}
	}
	if most > maxAddresses {
		return list // somebody has accepted that
	}
	for references := maxReferences; references > 0; references /= 4 {
		size := 0
		for i := range list {
			list[i].Sources = referencesOf(list[i].Sources, references)
			size += list[i].size()
		}
		if size <= sizeOfAddresses {
			return list
		}
	}
	for i, a := range list {
		if len(a.Via) > longestVia {
			list[i].Via = a.Via[:longestVia/2] + "..." + a.Via[len(a.Via)-longestVia/2:]
		}
	}
	return list
}

// referencesOf are no more than so many sources, those first that have the address
// still.
func referencesOf(sources []Source, most int) []Source {
	if len(sources) <= most {
		return sources
	}
	sources = slices.Clone(sources)
	slices.SortStableFunc(sources, func(a, b Source) int { return a.MissingSince.Compare(b.MissingSince) })
	sources = slices.Clip(sources[:most])
	slices.SortFunc(sources, func(a, b Source) int { return compareQuestions(a.Question, b.Question) })
	return sources
}

// size is about what the address takes in the file.
func (a KnownAddress) size() int {
	n := 250 + len(a.Via)
	for _, s := range a.Sources {
		n += 100 + len(s.Question.Name)
	}
	return n
}

// boundedAnswers leaves out what was not asked now where it is too much, and then
// references.
func (o *observation) boundedAnswers(answers []KnownAnswer) []KnownAnswer {
	if len(answers) > 2*maxQuestions {
		slices.SortStableFunc(answers, func(a, b KnownAnswer) int {
			return cmp.Compare(unasked(o, a), unasked(o, b))
		})
		answers = slices.Clip(answers[:2*maxQuestions])
	}
	for references := maxReferences; references > 0; references /= 4 {
		size := 0
		for i, a := range answers {
			answers[i].From = a.From[:min(len(a.From), references)]
			size += 250 + len(a.Name) + len(a.Error)
			for _, q := range answers[i].From {
				size += 20 + len(q.Name)
			}
		}
		if size <= sizeOfQuestions {
			break
		}
	}
	return answers
}

func unasked(o *observation, a KnownAnswer) int {
	if o.asked[a.question()] == nil {
		return 1
	}
	return 0
}

// wasCut is what limits have cut off now, and since when something is.
func (o *observation) wasCut() *KnownCut {
	if len(o.cut) == 0 {
		return nil
	}
	slices.Sort(o.cut)
	since := o.now.Time
	if o.known.Cut != nil {
		since = o.known.Cut.Since
	}
	return &KnownCut{Limits: o.cut, Since: since}
}

func (c *KnownCut) limits() []CutBy {
	if c == nil {
		return nil
	}
	return c.Limits
}
