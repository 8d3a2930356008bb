package resolve

import (
	"slices"
	"strings"
	"time"
)

// verdicts says what an observation means for what earlier answers gave.
type verdicts struct{ *observation }

func (o verdicts) unbelievedBehind(q Question) bool {
	for _, h := range o.asked {
		if slices.Contains(h.from, q) && (h.question.Type == A || h.question.Type == AAAA) && h.leads() {
			return true
		}
	}
	return false
}

// givenUp reports whether an answer without records means that the provider has given
// up this type of record, because the same registrar has good addresses by another
// type. If the name does not exist, this holds only for the name of a service: another
// name may have been deleted by mistake, together with all its types.
func (o verdicts) givenUp(h *heard) bool {
	if !h.answered || h.leads() || h.noName && !strings.HasPrefix(h.question.Name, "_") {
		return false
	}
	q := h.question
	if (q.Type == A || q.Type == AAAA) && q.Name != o.known.Name {
		other := o.asked[Question{q.Name, map[Type]Type{A: AAAA, AAAA: A}[q.Type]}]
		return other != nil && other.believed
	}
	return len(o.found) > 0
}

// of returns whether the addresses age that a question once gave and its present
// answer lacks, and how long they stay. A question that was not asked is judged by
// those whose records once led to it and do not any more.
func (o verdicts) of(q Question) (ages bool, limit time.Duration) {
	const deepest = 8 // NAPTR, SRV and A are three steps, but a file may contain any cycle
	return o.judge(q, deepest)
}

func (o verdicts) judge(q Question, depth int) (ages bool, limit time.Duration) {
	switch {
	case q.Type == HostsFile:
		return true, o.settings.Hold // the file was read, and has the name or not
	case o.asked[q] == nil && len(o.cut) > 0:
		return false, 0
	}
	if h := o.asked[q]; h != nil {
		switch {
		case !h.answered:
			return false, 0
		case h.believed:
			return true, o.settings.Hold
		case o.givenUp(h):
			return true, max(o.settings.Hold, holdOfType)
		}
		return false, 0
	}
	from := o.was(q).From
	if len(from) == 0 {
		from = o.roots()
	}
	ages = len(from) > 0 && depth > 0
	for _, parent := range from {
		if !ages {
			break
		}
		parentAges, parentLimit := o.judge(parent, depth-1)
		ages, limit = parentAges, max(limit, parentLimit)
	}
	return ages, limit
}

// roots returns the questions that may lead to others.
func (o verdicts) roots() []Question {
	return slices.DeleteFunc(slices.Clone(o.order), func(q Question) bool { return q.Type != NAPTR && q.Type != SRV })
}
