package signature

import (
	"errors"
	"fmt"
	"slices"
	"sort"
)

// Limits of the table.
const (
	// MaxStates is the largest number of states, final ones included.
	MaxStates = 16384
	// MaxClasses is the largest number of classes of bytes. All bytes that occur in no
	// signature and no header's name are one class.
	MaxClasses = 64
)

// ErrTooMany says that the automaton of all signatures would be too large.
var ErrTooMany = errors.New("too many signatures")

// Compile makes the automaton of a list of signatures. requireUserAgent lists the
// User-Agents that are allowed: one of them is required at the beginning of the
// header's value. If it is empty, none is required. The error names the invalid
// signature, or it wraps ErrTooMany and names the limit and the signature that exceeded
// it.
func Compile(list []Signature, requireUserAgent []string) (*Automaton, error) {
	if err := check(list, requireUserAgent); err != nil {
		return nil, err
	}
	parts, rows, err := divide(list)
	if err != nil {
		return nil, err
	}
	nameOf := func(crossed int) string {
		if crossed < len(parts) {
			return fmt.Sprintf("signature %q", list[parts[crossed].of].Name)
		}
		return fmt.Sprintf("required User-Agent %q", requireUserAgent[crossed-len(parts)])
	}
	classes, bytes, crossed := classify(parts, requireUserAgent)
	if crossed >= 0 {
		return nil, fmt.Errorf("%w: with %s they use more than %d different bytes, which is the limit: leave some signatures out",
			ErrTooMany, nameOf(crossed), MaxClasses)
	}
	sieve, sieved := newSieve(parts, requireUserAgent)
	d := determine(newNFA(parts, requireUserAgent), parts, classes, bytes)
	if d == nil {
		crossed := sort.Search(len(parts)+len(requireUserAgent), func(i int) bool {
			some, require := parts[:min(i+1, len(parts))], requireUserAgent[:max(i+1-len(parts), 0)]
			return determine(newNFA(some, require), some, classes, bytes) == nil
		})
		return nil, fmt.Errorf("%w: with %s they need more than %d states, which is the limit: leave some signatures out",
			ErrTooMany, nameOf(crossed), MaxStates)
	}
	a := &Automaton{
		signatures: slices.Clone(list),
		required:   slices.Clone(requireUserAgent),
		table:      d.table(requireUserAgent, sieved),
		sieve:      sieve,
	}
	a.table.Rows = rows
	return a, nil
}

// classify divides the bytes into classes; bytes of one class mean the same to every
// signature and name. It returns one byte of each class, or the index of the signature
// for which no class was left. The required User-Agents come after the signatures.
func classify(list []part, required []string) (classes [256]uint8, bytes []byte, crossed int) {
	own := map[byte]bool{}
	use := func(text string) int {
		for i := range len(text) {
			if !isSpace(text[i]) {
				own[text[i]] = true
			}
		}
		return len(own)
	}
	// Other classes: any other byte, white space, carriage return.
	const others = 3
	use("\n:")
	for i, s := range list {
		if !s.isRequestLine() {
			for _, form := range forms(s.Header) {
				use(form)
			}
		}
		if use(normal(s.Value))+others > MaxClasses {
			return classes, nil, i
		}
	}
	for i, r := range required {
		if use(normal(userAgent+r))+others > MaxClasses {
			return classes, nil, len(list) + i
		}
	}
	number := map[byte]uint8{}
	for b := range 256 {
		key := fold(byte(b))
		switch {
		case isBlank(key):
			key = ' '
		case !own[key] && key != '\r':
			key = 0 // a byte that occurs in no text
		}
		class, ok := number[key]
		if !ok {
			class = uint8(len(bytes))
			number[key] = class
			bytes = append(bytes, byte(b))
		}
		classes[b] = class
	}
	return classes, bytes, -1
}

func check(list []Signature, required []string) error {
	var problems []error
	first := map[string]bool{}
	for _, s := range list {
		if err := s.Check(); err != nil {
			problems = append(problems, err)
		} else if first[s.Name] {
			problems = append(problems, fmt.Errorf("signature %q occurs twice", s.Name))
		}
		first[s.Name] = true
	}
	for _, r := range required {
		if err := checkValue(r); err != nil {
			problems = append(problems, fmt.Errorf("required User-Agent: %w", err))
		}
	}
	return errors.Join(problems...)
}
