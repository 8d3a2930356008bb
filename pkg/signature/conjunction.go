package signature

import "fmt"

// A signature with several conditions is found in the same pass as all others: each
// condition has a bit of its own, which is set where it matches, and at the end of the
// message a row for each signature says which bits it needs.

// Limits of signatures with several conditions.
const (
	// MaxConditions is how many different conditions they can have in all.
	MaxConditions = 64
	// MaxRows is how many of them there can be.
	MaxRows = 64
)

// Row is a signature with several conditions.
type Row struct {
	Need      uint64 // the conditions, by their bits in Event.Conditions
	Signature uint16 // as in Event
	Ban       bool   // the signature's class
}

// part is what the automaton looks for in one header: a signature with one condition,
// or a condition of others.
type part struct {
	Condition
	class Class
	// number is the signature's index, or the condition's bit.
	number int
	of     int // the index of the (first) signature that it is a part of
}

// condition is the class of conditions of signatures that have several.
const condition Class = "condition"

// divide takes signatures, which must be valid, to pieces. The rows of class Ban come
// first.
func divide(list []Signature) (parts []part, rows []Row, err error) {
	bits := map[Condition]int{}
	var labels []Row
	for i, s := range list {
		if len(s.All) == 0 {
			parts = append(parts, part{s.Conditions()[0], s.Class, i, i})
			continue
		}
		row := Row{Signature: uint16(1 + i), Ban: s.Class == Ban}
		for _, c := range s.All {
			key := Condition{header(c.Header), c.Match, normal(c.Value)}
			bit, known := bits[key]
			if !known {
				bit = len(bits)
				bits[key] = bit
				parts = append(parts, part{c, condition, bit, i})
			}
			row.Need |= 1 << bit
		}
		if row.Ban {
			rows = append(rows, row)
		} else {
			labels = append(labels, row)
		}
		if len(bits) > MaxConditions || len(rows)+len(labels) > MaxRows {
			return nil, nil, fmt.Errorf("%w: with signature %q there are more than %d that have several conditions, or more than %d conditions of such: leave some signatures out",
				ErrTooMany, s.Name, MaxRows, MaxConditions)
		}
	}
	return parts, append(rows, labels...), nil
}

// conjoined is the row that counts of those whose conditions have all been found.
func (t *Table) conjoined(found uint64) (Row, bool) {
	for _, row := range t.Rows {
		if found&row.Need == row.Need {
			return row, true
		}
	}
	return Row{}, false
}
