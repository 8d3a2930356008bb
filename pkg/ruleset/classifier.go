package ruleset

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Classifier maps the name of an interface to the name of the program that marks
// packets there. A program's name holds a hash of all that it does. Interfaces without
// a program are not in it; the zero Classifier has none.
type Classifier map[string]string

// Reading is what the classifier reads, and where it writes what it finds.
type Reading struct {
	UDP, TCP []uint16 // the ports whose packets it reads
	Mark     MarkBits
	// Bounded says that no more is read than a processor has time for: what the
	// classifier finds is only counted.
	Bounded bool
	// Registers gives REGISTERs classes of their own: those that end a registration, and
	// those with something behind them.
	Registers bool
}

// Interfaces are those with a program, sorted.
func (c Classifier) Interfaces() []string { return slices.Sorted(maps.Keys(c)) }

// Equal reports whether the same programs are attached to the same interfaces.
func (c Classifier) Equal(o Classifier) bool { return maps.Equal(c, o) }

// String writes one line for each interface, sorted; "" for none.
func (c Classifier) String() string {
	var b strings.Builder
	for _, name := range c.Interfaces() {
		fmt.Fprintf(&b, "classifier %q %s\n", name, c[name])
	}
	return b.String()
}
