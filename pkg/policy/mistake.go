package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Mistake is one error in a policy file, and what to do about it.
type Mistake struct {
	File      string
	Line, Col int // from 1
	Text      string
	// See says where to look up what may be written, "" if the text says it.
	See Topic
}

// Topic is something that can be looked up.
type Topic string

// SeeSignatures is the list of all signatures.
const SeeSignatures Topic = "signatures"

func (m Mistake) Error() string { return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Col, m.Text) }

// Mistakes are all mistakes of one file, in the order of the file.
type Mistakes []Mistake

func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i, mistake := range m {
		lines[i] = mistake.Error()
	}
	return strings.Join(lines, "\n")
}

// Sorted returns the mistakes in the order of the file, each once.
func (m Mistakes) Sorted() Mistakes {
	slices.SortStableFunc(m, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col), strings.Compare(a.Text, b.Text))
	})
	return slices.Compact(m)
}
