package ruleset

import (
	"fmt"
	"time"
)

// Record adds the source address to a set for a time, or starts its time again, and
// counts the packet there. If the set is full, the rule ends here, so no verdict may
// follow in the same rule.
type Record struct {
	V6  bool
	Set string
	For time.Duration // whole milliseconds
}

func (s Record) String() string {
	return fmt.Sprintf("update @%s { %s saddr timeout %s counter }", s.Set, family(s.V6), durationText(s.For))
}

// Note adds the source address to a set for a time, which does not start again if it is
// there. If the set is full, the rule ends here.
type Note struct {
	V6  bool
	Set string
	For time.Duration // whole milliseconds
}

func (s Note) String() string {
	return fmt.Sprintf("add @%s { %s saddr timeout %s }", s.Set, family(s.V6), durationText(s.For))
}

// KeptFor is how long a source is kept whose packets were dropped.
const KeptFor = 24 * time.Hour

// Scanners begins the names of the sets of sources that the classifier has recognised as
// scanners.
const Scanners = "scanners"

// What a packet is reported with: the group of NFLOG, and the most bytes of the packet.
const (
	LogGroup = 5060
	LogBytes = 1024
)

// Log reports the packet, with a word, to the program that listens on the group. Without
// one it does nothing.
type Log string

func (s Log) String() string {
	return fmt.Sprintf("log prefix %q group %d snaplen %d", string(s), LogGroup, LogBytes)
}

func (Record) statement() {}
func (Note) statement()   {}
func (Log) statement()    {}

func (Record) passive() {}
func (Note) passive()   {}
func (Log) passive()    {}
