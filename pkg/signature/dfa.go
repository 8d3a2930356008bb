package signature

import (
	"encoding/binary"
	"slices"
	"sort"
)

// Table is the automaton. It is walked byte by byte, from the request line or the
// first header on. The states are sorted, so that comparing a state's number shows
// what to do there:
//
//	0                      the headers are over
//	1                      in a header, or the rest of one, that no signature is about
//	2                      the same in the request line
//	3 .. Resting-1         in a value that may still contain something, all of which the
//	                       sieve finds
//	Resting .. Event-1     in the middle of a match; those from Shortcut on have a
//	                       shortcut: Shortcuts[state-Shortcut]
//	Event .. Sink-1        something was found: Events[state-Event]; below Judging only
//	                       signatures of class Label, of which only the first found
//	                       counts
//	Sink + i               signature i, of class Ban, was found: the end
type Table struct {
	Next    []uint16   // the next state by state * MaxClasses + class
	Classes [256]uint8 // the class of a byte

	Resting, Shortcut, Event, Judging, Sink uint16
	// Line is the state before the first byte of a header, Request the one before
	// the request line.
	Line, Request uint16
	Events        []Event
	Shortcuts     []Shortcut
	// Rows are the signatures with several conditions. Of those whose conditions have
	// all been found in a message, the first one counts.
	Rows []Row
}

// Event is what reaching a state means for the message.
type Event struct {
	// Signature is one more than the signature's index, 0 for none.
	Signature uint16
	// Conditions are those that match, by their bits.
	Conditions uint64
	// Ends is set if what is found only matches where the header ends here: where
	// neither a space nor a tab follows. With Return, the state is behind a carriage
	// return, and neither may another one or a line feed follow.
	Ends, Return bool
	// Ban is the signature's class. It is only set together with Ends: a signature
	// of class Ban that matches at once has its own state.
	Ban bool
	// Allowed is set if a required User-Agent was found.
	Allowed bool
}

// goesOn reports whether a byte says that the header does not end before it.
func (e Event) goesOn(b byte) bool {
	return e.Ends && (isBlank(b) || e.Return && (b == '\r' || b == '\n'))
}

func (e Event) labels() bool {
	return e.Signature != 0 && !e.Ban && !e.Allowed && e.Conditions == 0
}

// dfa is the automaton while it is made. Its states are numbered in the order in which
// they are found.
type dfa struct {
	nfa     *nfa
	parts   []part
	classes [256]uint8
	bytes   []byte // one of each class
	sets    [][]position
	numbers map[string]int32
	next    []int32 // as Table.Next; -1-i is the end with signature i
	key     []byte
}

// determine makes the DFA by the subset construction. It returns nil if there
// are too many states.
func determine(n *nfa, parts []part, classes [256]uint8, bytes []byte) *dfa {
	d := &dfa{nfa: n, parts: parts, classes: classes, bytes: bytes, numbers: map[string]int32{}}
	d.number([]position{ended})
	d.number([]position{inLine})
	d.number([]position{newLine})
	d.number(d.nfa.start())
	d.number([]position{inRequest})
	signatures := 0
	if len(parts) > 0 {
		signatures = 1 + parts[len(parts)-1].of
	}
	var to []position
	for state := 0; state < len(d.sets); state++ {
		if len(d.sets)+signatures > MaxStates {
			return nil
		}
		row := make([]int32, MaxClasses)
		for class, b := range bytes {
			to = n.step(d.sets[state], b, to)
			row[class] = d.number(to)
		}
		d.next = append(d.next, row...)
	}
	return d
}

// The states with fixed numbers.
const (
	endedState = iota
	inLineState
	newLineState
	requestState
)

// number returns the state for a set of positions.
func (d *dfa) number(set []position) int32 {
	if found := d.banned(set); found >= 0 {
		return int32(-1 - found)
	}
	d.key = d.key[:0]
	for _, p := range set {
		d.key = binary.LittleEndian.AppendUint32(d.key, uint32(p))
	}
	state, ok := d.numbers[string(d.key)]
	if !ok {
		state = int32(len(d.sets))
		d.numbers[string(d.key)] = state
		d.sets = append(d.sets, slices.Clone(set))
	}
	return state
}

// banned returns the first signature of class Ban that matches at a set of positions,
// whatever follows, or -1.
func (d *dfa) banned(set []position) int {
	found := -1
	for _, i := range d.found(set, Ban, false) {
		if found < 0 || i < found {
			found = i
		}
	}
	return found
}

// found returns the numbers of the parts of a class that match at a set of positions,
// either at once or if the header ends.
func (d *dfa) found(set []position, class Class, ends bool) []int {
	var found []int
	for _, p := range set {
		if p < firstNode {
			continue
		}
		x := &d.nfa.nodes[p.node()]
		ofRequests := x.kind == ofRequest || x.kind == inRequests
		var parts []int
		switch {
		case p.stance() == at && !ends:
			parts = x.here
		case (p.stance() == pastBreak || p.stance() == pastReturn) && ends != ofRequests:
			parts = x.ends
		}
		for _, i := range parts {
			if d.parts[i].class == class {
				found = append(found, d.parts[i].number)
			}
		}
	}
	slices.Sort(found)
	return found
}

// event returns the event of a state.
func (d *dfa) event(state int) Event {
	set := d.sets[state]
	var e Event
	for _, p := range set {
		if p >= firstNode && p.stance() == at && d.nfa.nodes[p.node()].allowed {
			e.Allowed = true
		}
	}
	behindReturn := slices.ContainsFunc(set, func(p position) bool { return p >= firstNode && p.stance() == pastReturn })
	if found := d.found(set, Label, false); len(found) > 0 {
		e.Signature = uint16(1 + found[0])
	} else if found := d.found(set, Ban, true); len(found) > 0 {
		e.Signature, e.Ends, e.Return, e.Ban = uint16(1+found[0]), true, behindReturn, true
	} else if found := d.found(set, Label, true); len(found) > 0 {
		e.Signature, e.Ends, e.Return = uint16(1+found[0]), true, behindReturn
	}
	// What matches at once and what needs the header's end are never found at the same
	// byte: the one ends in text, the other in a line break.
	for _, ends := range []bool{false, true} {
		for _, bit := range d.found(set, condition, ends) {
			e.Conditions |= 1 << bit
			e.Ends, e.Return = ends, ends && behindReturn
		}
	}
	return e
}

// rests reports whether nothing can match in a state but what the sieve finds, or, in
// the request line, nothing at all.
func (d *dfa) rests(state int, sieved func(header string) bool) bool {
	set := d.sets[state]
	if len(set) != 2 || set[0] != inLine && set[0] != inRequest || set[1] < firstNode || set[1].stance() != at {
		return false
	}
	for header, roots := range d.nfa.values {
		if set[1].node() == roots.anywhere {
			return sieved(header)
		}
	}
	return false
}

// table sorts the states into the table's order.
func (d *dfa) table(required []string, sieved func(header string) bool) Table {
	kinds, events := d.kinds(sieved)
	order := make([]int, len(d.sets))
	for state := range order {
		order[state] = state
	}
	shortcuts := d.shortcuts(required, func(state int32) bool { return kinds[state] == isOrdinary && state != newLineState })
	for state := range shortcuts {
		kinds[state] = isFast
	}
	sort.SliceStable(order, func(i, j int) bool { return kinds[order[i]] < kinds[order[j]] })

	numbers := make([]uint16, len(order))
	t := Table{Classes: d.classes, Sink: uint16(len(order))}
	t.Shortcut, t.Event, t.Judging = t.Sink, t.Sink, t.Sink
	for i, state := range order {
		numbers[state] = uint16(i)
		if kinds[state] <= isResting {
			t.Resting = uint16(i + 1)
		}
		if kinds[state] >= isFast {
			t.Shortcut = min(t.Shortcut, uint16(i))
		}
		if kinds[state] >= isLabelling {
			t.Event = min(t.Event, uint16(i))
			t.Events = append(t.Events, events[state])
		}
		if kinds[state] >= isEvent {
			t.Judging = min(t.Judging, uint16(i))
		}
	}
	number := func(state int32) uint16 {
		if state < 0 {
			return t.Sink + uint16(-1-state)
		}
		return numbers[state]
	}
	t.Line, t.Request = numbers[newLineState], numbers[requestState]
	t.Next = make([]uint16, len(order)*MaxClasses)
	for i, state := range order {
		for class := range d.bytes {
			t.Next[i*MaxClasses+class] = number(d.next[state*MaxClasses+class])
		}
		if kinds[state] == isFast {
			s := shortcuts[state]
			t.Shortcuts = append(t.Shortcuts, Shortcut{s.text, number(s.to)})
		}
	}
	return t
}

// kind is the kind of a state. The kinds are in the order of the table.
type kind int

const (
	isOver kind = iota
	isUnasked
	isUnaskedRequest
	isResting
	isOrdinary
	isFast
	isLabelling
	isEvent
)

// kinds returns the kind and the event of each state.
func (d *dfa) kinds(sieved func(header string) bool) ([]kind, []Event) {
	kinds, events := make([]kind, len(d.sets)), make([]Event, len(d.sets))
	for state := range d.sets {
		events[state] = d.event(state)
		switch {
		case state == endedState:
			kinds[state] = isOver
		case state == inLineState:
			kinds[state] = isUnasked
		case len(d.sets[state]) == 1 && d.sets[state][0] == inRequest:
			kinds[state] = isUnaskedRequest
		case events[state].labels():
			kinds[state] = isLabelling
		case events[state] != Event{}:
			kinds[state] = isEvent
		case d.rests(state, sieved):
			kinds[state] = isResting
		default:
			kinds[state] = isOrdinary
		}
	}
	return kinds, events
}
