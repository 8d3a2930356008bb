package resolve

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// observation collects the answers about one name at one time: usually one answer to
// each question, more if it was asked again.
type observation struct {
	known    Known
	settings Settings
	now      Moment
	passed   time.Duration // since the last lookup
	// measured is false if it is not known how much time has passed.
	measured bool

	asked map[Question]*heard
	order []Question // of asked, as in the tree
	found map[netip.Addr]*sighting
	// rejected are the addresses that the filter rejects, with the reason.
	rejected map[netip.Addr]string
	// cut are the limits that have cut something off. What was not asked then says
	// nothing.
	cut []CutBy
	// soonest is the shortest time that any answer may be kept that leads to an
	// address.
	soonest time.Duration
	// before is what is remembered of each question, and gave says which of them
	// addresses are remembered of.
	before map[Question]KnownAnswer
	gave   map[Question]bool

	// results counts those that it was made from, suspicious those of them that
	// have suspicious addresses, and sound those that have addresses and no suspicious
	// ones.
	results, suspicious, sound int
}

// heard combines all answers to one question.
type heard struct {
	question Question
	from     []Question
	answered bool
	err      error // of the last answer that failed, unless another did not
	noName   bool
	records  []Record
	most     int    // records in one answer
	believed bool   // an address that may be believed is among the records or behind them
	server   string // which has answered
	empty    []string
}

// sighting is an address in the answers of an observation.
type sighting struct {
	via     string
	ttl     time.Duration
	sources []Question
	// answers counts the results that have the address, and suspicious those in which
	// it is suspicious.
	answers, suspicious int
}

// newObservation makes an observation without results.
func newObservation(known Known, settings Settings, now Moment) *observation {
	o := &observation{
		known: known, settings: settings, now: now,
		asked: map[Question]*heard{}, found: map[netip.Addr]*sighting{}, rejected: map[netip.Addr]string{},
		soonest: LongestTTL, before: map[Question]KnownAnswer{}, gave: map[Question]bool{},
	}
	for _, a := range known.Questions {
		if _, ok := o.before[a.question()]; !ok {
			o.before[a.question()] = a
		}
	}
	for _, a := range known.Addresses {
		for _, s := range known.sources(a) {
			o.gave[s.Question] = true
		}
	}
	o.passed, o.measured = now.since(known.Looked)
	return o
}

// gather adds a result. suspicious are the addresses in it that are suspicious.
func (o *observation) gather(r Result, suspicious map[netip.Addr]bool) {
	seen := map[netip.Addr]bool{}
	nodes := map[Question]bool{}
	believed := believes(o.settings.Filter)
	for _, limit := range r.Cut {
		if !slices.Contains(o.cut, limit) {
			o.cut = append(o.cut, limit)
		}
	}
	r.each(func(n, parent *Node, via string, ttl time.Duration) {
		h := o.asked[n.Question]
		if h == nil {
			h = &heard{question: n.Question}
			o.asked[n.Question] = h
			o.order = append(o.order, n.Question)
		}
		if parent != nil && !slices.Contains(h.from, parent.Question) {
			h.from = append(h.from, parent.Question)
		}
		if !nodes[n.Question] { // a question is in the tree wherever a record leads to it
			nodes[n.Question] = true
			h.hear(n)
		}
		if believed(n) {
			h.believed = true
			o.soonest = min(o.soonest, n.TTL)
		}
		for _, record := range n.Records {
			if record.Address.IsValid() {
				o.see(record.Address.Unmap(), n.Question, via, ttl, suspicious, seen)
			}
		}
	})
	o.results++
	switch {
	case len(suspicious) > 0:
		o.suspicious++
	case len(seen) > 0:
		o.sound++
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
	h.answered, h.err, h.server = true, nil, n.Server
	h.records = append(h.records, n.Records...)
	h.most = max(h.most, len(n.Records))
	h.empty = n.emptyTargets()
}

// see records an address of an answer. seen are the addresses that this answer had
// already on another path.
func (o *observation) see(a netip.Addr, q Question, via string, ttl time.Duration, suspicious, seen map[netip.Addr]bool) {
	if why := o.settings.Filter.RejectFrom(q, a); why != "" {
		o.rejected[a] = why
		return
	}
	s := o.found[a]
	if s == nil {
		s = &sighting{via: via, ttl: ttl}
		o.found[a] = s
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
		if suspicious[a] {
			s.suspicious++
		}
	}
}

// believes returns what reports whether a node's records have, or lead to, an
// address that may be believed. It looks at each node once.
func believes(filter AddressFilter) func(*Node) bool {
	known := map[*Node]bool{}
	var believed func(n *Node) bool
	believed = func(n *Node) bool {
		b, seen := known[n]
		if !seen {
			b = slices.ContainsFunc(n.Records, func(r Record) bool {
				return r.Address.IsValid() && filter.RejectFrom(n.Question, r.Address) == ""
			}) || slices.ContainsFunc(n.Children, believed)
			known[n] = b
		}
		return b
	}
	return believed
}

// saidBy names the servers that have answered.
func (o *observation) saidBy() string {
	var servers []string
	for _, q := range o.order {
		if s := o.asked[q].server; s != "" && !slices.Contains(servers, s) {
			servers = append(servers, s)
		}
	}
	if len(servers) == 0 {
		return ""
	}
	slices.Sort(servers)
	return ", says " + strings.Join(servers, ", ")
}

// leads reports whether any record of the answer is of use.
func (h *heard) leads() bool {
	return slices.ContainsFunc(h.records, func(r Record) bool { return r.Unused() == "" })
}

// emptyTargets returns the names that the node's records lead to and that have no
// address of either family, as far as is known.
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

// was returns what is remembered about a question.
func (o *observation) was(q Question) KnownAnswer {
	if a, ok := o.before[q]; ok {
		return a
	}
	return KnownAnswer{Name: q.Name, Type: q.Type}
}

// wasGood reports whether a question ever had a usable answer.
func (o *observation) wasGood(q Question) bool {
	return !o.was(q).LastGood.IsZero() || o.gave[q]
}

// failure returns why a question has no good answer. It returns "" if it has one, if
// there never was anything, or if the provider has given up a type of record.
func (o *observation) failure(h *heard) (Kind, string) {
	q := h.question
	switch {
	case h.err != nil:
		f, ok := errors.AsType[*Failure](h.err)
		switch {
		case ok && f.Kind == Unasked:
			return "", "" // an alarm about the name says so
		case ok:
			return f.Kind, f.Text
		}
		return Malformed, h.err.Error()
	case h.believed || !o.wasGood(q) || verdicts{o}.givenUp(h):
		return "", ""
	case h.leads() && (q.Type == A || q.Type == AAAA):
		return Unbelieved, "it has only rejected addresses now"
	case h.leads() && verdicts{o}.unbelievedBehind(q):
		return Unbelieved, "its records lead only to rejected addresses now"
	case h.leads():
		return "", "" // the question that it led to says why
	case h.noName:
		return Gone, "the name does not exist any more" + h.saidBy()
	}
	return Gone, fmt.Sprintf("it has no %s record any more%s", q.Type, h.saidBy())
}

func (h *heard) saidBy() string {
	if h.server == "" {
		return ""
	}
	return ", says " + h.server
}
