package resolve

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// answers records the result of each question, and returns those that are problems.
// addresses are those of the name after this lookup.
func (o *observation) answers(addresses []KnownAddress) ([]KnownAnswer, []Problem) {
	used := o.used(addresses)
	var answers []KnownAnswer
	var problems []Problem
	for _, q := range o.order {
		h := o.asked[q]
		a, why := o.answer(h, used[q])
		answers = append(answers, a)
		if why != "" {
			problems = append(problems, Problem{Name: q.Name, Type: q.Type, Error: why})
		}
		for _, target := range h.empty {
			problems = append(problems, Problem{Name: target, Error: "no address: " + q.String() + " leads to it, and it has no A or AAAA record" + h.saidBy()})
		}
	}
	// A question that was not asked because nothing leads to it now is remembered as
	// long as an address depends on it.
	for _, a := range o.known.Questions {
		if q := a.question(); o.asked[q] == nil && used[q] {
			answers = append(answers, a)
		}
	}
	answers = o.boundedAnswers(answers)
	slices.SortFunc(answers, func(a, b KnownAnswer) int { return compareQuestions(a.question(), b.question()) })
	return answers, problems
}

// answer records the result of one question. why is empty if that is not a problem.
func (o *observation) answer(h *heard, used bool) (a KnownAnswer, why string) {
	a = o.was(h.question)
	before := a
	a.From = o.leadingTo(h)
	if h.most > maxRecords {
		a.Accepted = max(a.Accepted, h.most)
	}
	a.Error, a.Kind, a.Since, a.Gone, a.GoneFor = "", "", time.Time{}, 0, 0
	kind, why := o.failure(h)
	switch {
	case why != "":
		a.Error, a.Kind, a.Since, a.LastFailure = why, kind, orNow(before.Since, o.now), o.now.Time
		if kind == Gone {
			a.Gone = before.Gone + 1
			if before.Gone > 0 {
				a.GoneFor = before.GoneFor + Span(o.passed)
			}
		}
	case h.believed:
		a.LastGood = o.now.Time
	case !used:
		a.LastGood = time.Time{} // all its addresses were removed: it is treated as if it never had any
	}
	return a, why
}

// leadingTo returns the questions whose records lead to one, or led to it and were not
// answered now.
func (o *observation) leadingTo(h *heard) []Question {
	from := slices.Clone(h.from)
	for _, q := range o.was(h.question).From {
		parent := o.asked[q]
		if (parent == nil || !parent.answered) && !slices.Contains(from, q) {
			from = append(from, q)
		}
	}
	slices.SortFunc(from, compareQuestions)
	return from
}

// used returns the questions on which addresses depend: those that gave them, and those
// that led there.
func (o *observation) used(addresses []KnownAddress) map[Question]bool {
	used := map[Question]bool{}
	var mark func(q Question)
	mark = func(q Question) {
		if used[q] {
			return
		}
		used[q] = true
		if h := o.asked[q]; h != nil {
			for _, parent := range o.leadingTo(h) {
				mark(parent)
			}
			return
		}
		for _, parent := range o.was(q).From {
			mark(parent)
		}
	}
	for _, a := range addresses {
		for _, s := range a.Sources {
			mark(s.Question)
		}
	}
	return used
}

func compareQuestions(a, b Question) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(string(a.Type), string(b.Type)))
}
