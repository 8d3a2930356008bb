package resolve

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// look is everything that was heard about one name at one time: mostly one
// answer a question, more if it was asked again at once.
type look struct {
	known  Known
	terms  Terms
	now    Moment
	passed time.Duration // since the last look
	// measured is false if nobody knows how much time has passed.
	measured bool

	asked map[Question]*heard
	order []Question // of asked, as in the tree
	found map[netip.Addr]*sighting
	// rejected are the addresses that the screen rejects, with the reason.
	rejected map[netip.Addr]string
	// results counts those that the look was made from, doubted those of them that
	// have doubted addresses, and sound those that have addresses and no doubted
	// ones.
	results, doubted, sound int
}

// heard is what all answers to one question together say.
type heard struct {
	question Question
	from     []Question
	answered bool
	err      error // of the last answer that failed, unless another did not
	noName   bool
	records  []Record
	most     int  // records in one answer
	believed bool // an address that may be believed is among the records or behind them
	empty    []string
}

// sighting is an address in the answers of a look.
type sighting struct {
	via     string
	ttl     time.Duration
	sources []Question
	// answers counts the results that have it, and doubted those of them in which
	// it is doubted.
	answers, doubted int
}

// newLook makes a look at a name of no result yet.
func newLook(known Known, terms Terms, now Moment) *look {
	l := &look{
		known: known, terms: terms, now: now,
		asked: map[Question]*heard{}, found: map[netip.Addr]*sighting{}, rejected: map[netip.Addr]string{},
	}
	l.passed, l.measured = now.since(known.Looked)
	return l
}

// gather adds a result with the addresses in it that are doubted.
func (l *look) gather(r Result, doubted map[netip.Addr]bool) {
	seen := map[netip.Addr]bool{}
	nodes := map[Question]bool{}
	r.each(func(n, parent *Node, via string, ttl time.Duration) {
		h := l.asked[n.Question]
		if h == nil {
			h = &heard{question: n.Question}
			l.asked[n.Question] = h
			l.order = append(l.order, n.Question)
		}
		if parent != nil && !slices.Contains(h.from, parent.Question) {
			h.from = append(h.from, parent.Question)
		}
		if !nodes[n.Question] { // which stands wherever it was led to
			nodes[n.Question] = true
			h.hear(n)
		}
		h.believed = h.believed || n.believed(l.terms.Screen)
		for _, record := range n.Records {
			if record.Address.IsValid() {
				l.see(record.Address.Unmap(), n.Question, via, ttl, doubted, seen)
			}
		}
	})
	l.results++
	switch {
	case len(doubted) > 0:
		l.doubted++
	case len(seen) > 0:
		l.sound++
	}
}

func (h *heard) hear(n *Node) {
	if n.Err != nil {
		if !h.answered {
			h.err = n.Err
		}
		return
	}
	h.noName = n.NoName && (!h.answered || h.noName)
	h.answered, h.err = true, nil
	h.records = append(h.records, n.Records...)
	h.most = max(h.most, len(n.Records))
	h.empty = n.emptyTargets()
}

// see notes an address of an answer; seen are those that this answer has had
// before by another way.
func (l *look) see(a netip.Addr, q Question, via string, ttl time.Duration, doubted, seen map[netip.Addr]bool) {
	if why := l.terms.Screen.Reject(a); why != "" {
		l.rejected[a] = why
		return
	}
	s := l.found[a]
	if s == nil {
		s = &sighting{via: via, ttl: ttl}
		l.found[a] = s
	}
	if strings.Count(via, chainArrow) < strings.Count(s.via, chainArrow) {
		s.via = via
	}
	s.ttl = min(s.ttl, ttl)
	if !slices.Contains(s.sources, q) {
		s.sources = append(s.sources, q)
	}
	if !seen[a] {
		seen[a] = true
		s.answers++
		if doubted[a] {
			s.doubted++
		}
	}
}

// believed reports whether the node's records have, or lead to, an address that
// may be believed.
func (n *Node) believed(screen Screen) bool {
	return slices.ContainsFunc(n.Records, func(r Record) bool { return r.Address.IsValid() && screen.Reject(r.Address) == "" }) ||
		slices.ContainsFunc(n.Children, func(c *Node) bool { return c.believed(screen) })
}

// leads reports whether any record of the answer is of use.
func (h *heard) leads() bool {
	return slices.ContainsFunc(h.records, func(r Record) bool { return r.Unused() == "" })
}

// emptyTargets are the names that the node's records lead to and that have
// neither kind of address, as far as was heard.
func (n *Node) emptyTargets() []string {
	found, failed := map[string]bool{}, map[string]bool{}
	var names []string
	for _, child := range n.Children {
		if child.Question.Type != A && child.Question.Type != AAAA {
			continue
		}
		name := child.Question.Name
		names = append(names, name)
		found[name] = found[name] || len(child.Records) > 0
		failed[name] = failed[name] || child.Err != nil
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return found[name] || failed[name] })
}

// was is what is remembered of a question.
func (l *look) was(q Question) KnownAnswer {
	for _, a := range l.known.Questions {
		if a.question() == q {
			return a
		}
	}
	return KnownAnswer{Name: q.Name, Type: q.Type}
}

// wasGood reports whether a question once had an answer that could be used.
func (l *look) wasGood(q Question) bool {
	return !l.was(q).LastGood.IsZero() || slices.ContainsFunc(l.known.Addresses, func(a KnownAddress) bool {
		return slices.ContainsFunc(l.known.sources(a), func(s Source) bool { return s.Question == q })
	})
}

// failure says why a question has no good answer, "" if it has, or if there is
// nothing and never was, or if the provider has given up a type of record.
func (l *look) failure(h *heard) (Kind, string) {
	q := h.question
	switch {
	case h.err != nil:
		if f, ok := errors.AsType[*Failure](h.err); ok {
			return f.Kind, f.Text
		}
		return Malformed, h.err.Error()
	case h.believed || !l.wasGood(q) || l.givenUp(h):
		return "", ""
	case h.leads() && (q.Type == A || q.Type == AAAA):
		return Unbelieved, "only addresses that cannot be believed, where there were others"
	case h.leads() && l.unbelievedBehind(q):
		return Unbelieved, "only addresses that cannot be believed behind its records, where there were others"
	case h.leads():
		return "", "" // what it led to says why
	case h.noName:
		return Gone, "the name does not exist any more"
	}
	return Gone, fmt.Sprintf("no %s record any more, where there was one", q.Type)
}

func (l *look) unbelievedBehind(q Question) bool {
	for _, h := range l.asked {
		if slices.Contains(h.from, q) && (h.question.Type == A || h.question.Type == AAAA) && h.leads() {
			return true
		}
	}
	return false
}

// givenUp reports whether an answer without any record means that the provider
// has given up this type of record, because the same registrar has good
// addresses by another. Of a name that does not exist that can only be said if
// it is one of a service: another may have been deleted by mistake, together
// with all its types.
func (l *look) givenUp(h *heard) bool {
	if !h.answered || h.leads() || h.noName && !strings.HasPrefix(h.question.Name, "_") {
		return false
	}
	q := h.question
	if (q.Type == A || q.Type == AAAA) && q.Name != l.known.Name {
		other := l.asked[Question{q.Name, map[Type]Type{A: AAAA, AAAA: A}[q.Type]}]
		return other != nil && other.believed
	}
	return len(l.found) > 0
}

// verdict says whether a look lets the addresses age that a question once gave
// and that are not in its answer now, and how long they stay. A question that
// was not asked is judged by those whose records led to it once and do not any
// more.
func (l *look) verdict(q Question) (ages bool, limit time.Duration) {
	const deepest = 8 // NAPTR, SRV and A are three; a file may hold any circle
	return l.judge(q, deepest)
}

func (l *look) judge(q Question, depth int) (ages bool, limit time.Duration) {
	if h := l.asked[q]; h != nil {
		switch {
		case !h.answered:
			return false, 0
		case h.believed:
			return true, l.terms.Hold
		case l.givenUp(h):
			return true, max(l.terms.Hold, holdOfType)
		}
		return false, 0
	}
	from := l.was(q).From
	if len(from) == 0 {
		from = l.roots()
	}
	ages = len(from) > 0 && depth > 0
	for _, parent := range from {
		if !ages {
			break
		}
		parentAges, parentLimit := l.judge(parent, depth-1)
		ages, limit = parentAges, max(limit, parentLimit)
	}
	return ages, limit
}

// roots are the questions that may lead to others.
func (l *look) roots() []Question {
	return slices.DeleteFunc(slices.Clone(l.order), func(q Question) bool { return q.Type == A || q.Type == AAAA })
}
