package signature

import (
	"cmp"
	"slices"
)

// Automaton finds all signatures in one pass over a message.
type Automaton struct {
	signatures []Signature
	required   []string
	table      Table
	sieve      Sieve
}

// Signatures returns the signatures that the automaton was made of, in the order of
// Table's indexes.
func (a *Automaton) Signatures() []Signature { return slices.Clone(a.signatures) }

// RequiresUserAgent reports whether requests are marked by their User-Agent.
func (a *Automaton) RequiresUserAgent() bool { return len(a.required) > 0 }

// Table returns the automaton's table. It must not be changed.
func (a *Automaton) Table() *Table { return &a.table }

// Sieve returns the automaton's sieve. It must not be changed.
func (a *Automaton) Sieve() *Sieve { return &a.sieve }

// Match says what a datagram of UDP is by its payload. It walks the table from the
// request line to the end of the headers. For a segment of TCP, the classifier goes on
// with what it knows of the connection where Match goes by the length.
func (a *Automaton) Match(payload []byte) Result {
	text := textOf(payload)
	if !isRequest(text) {
		return a.other(payload)
	}
	t := &a.table
	r := Result{Mark: None}
	allowed, found := false, uint64(0)
	for state, i := t.Request, 0; i < len(text) && state != endedState; i++ {
		state = t.Next[int(state)*MaxClasses+int(t.Classes[text[i]])]
		if state >= t.Sink {
			return Result{Scanner, a.signatures[state-t.Sink].Name}
		}
		if state < t.Event {
			continue
		}
		e := t.Events[state-t.Event]
		allowed = allowed || e.Allowed
		if i+1 < len(text) && e.goesOn(text[i+1]) {
			continue
		}
		found |= e.Conditions
		if e.Signature != 0 {
			name := a.signatures[e.Signature-1].Name
			if e.Ban {
				return Result{Scanner, name}
			}
			r.Signature = cmp.Or(r.Signature, name)
		}
	}
	if row, ok := t.conjoined(found); ok {
		name := a.signatures[row.Signature-1].Name
		if row.Ban {
			return Result{Scanner, name}
		}
		r.Signature = cmp.Or(r.Signature, name)
	}
	switch {
	case !a.RequiresUserAgent():
	case allowed:
		r.Mark = Allowed
	default:
		r.Mark = NotAllowed
	}
	return r
}

// other is what a datagram is that is no request.
func (a *Automaton) other(datagram []byte) Result {
	if a.RequiresUserAgent() && !isHarmless(datagram) {
		return Result{Mark: NotAllowed}
	}
	return Result{Mark: None}
}
