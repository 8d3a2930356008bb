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

// Interfaces returns the interfaces with a program, sorted.
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
