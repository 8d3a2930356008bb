package ruleset

import (
	"fmt"
	"strings"
	"time"
)

// MarkMask selects the bits of a packet's mark that the classifier sets, which begin at
// bit MarkShift. All other bits belong to other programs. The classifier's C source has
// the same bits (MARK).
const (
	MarkMask  uint32 = 0xf << MarkShift
	MarkShift        = 24
)

// Class is the classifier's result for a packet.
type Class uint32

// The classes.
const (
	Unclassified Class = 0
	Scanner      Class = 1 // a request that matches a signature of class ban
	KnownAgent   Class = 2 // a request with a User-Agent that require_user_agent allows
	OtherAgent   Class = 3 // a request without such a User-Agent
)

// Bits returns the class as it is in the mark.
func (c Class) Bits() uint32 { return uint32(c) << MarkShift }

// ClassOf returns the class in a mark.
func ClassOf(mark uint32) Class { return Class(mark >> MarkShift) }

// Mark matches the classifier's result for the packet.
type Mark struct {
	Class Class
	Not   bool
}

func (s Mark) String() string {
	operator := "=="
	if s.Not {
		operator = "!="
	}
	return fmt.Sprintf("meta mark & 0x%08x %s 0x%08x", MarkMask, operator, s.Class.Bits())
}

// ClearMark removes the classifier's result from the mark, so that no other program
// sees it.
type ClearMark struct{}

func (ClearMark) String() string {
	return fmt.Sprintf("meta mark set meta mark & 0x%08x", ^MarkMask)
}

// Unicast matches a source address that belongs to a single host.
type Unicast struct{}

func (Unicast) String() string { return "fib saddr type unicast" }

// Ban adds the source address to a set for a time, or starts its time again. If the set
// is full, the rule ends here, so no verdict may follow in the same rule.
type Ban struct {
	V6  bool
	Set string
	For time.Duration // whole milliseconds
}

func (s Ban) String() string {
	return fmt.Sprintf("update @%s { %s saddr timeout %s }", s.Set, family(s.V6), durationText(s.For))
}

// durationText writes a time as nft does, 1d2h3m4s5ms, without zero units.
func durationText(d time.Duration) string {
	var b strings.Builder
	for _, u := range durationUnits {
		if n := d / u.unit; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d -= n * u.unit
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}

var durationUnits = []struct {
	name string
	unit time.Duration
}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}}

// parseDuration reads what durationText writes.
func parseDuration(text string) (time.Duration, bool) {
	var d time.Duration
	rest := text
	for rest != "" {
		n, digits := 0, 0
		for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
			n = n*10 + int(rest[digits]-'0')
			digits++
		}
		name := strings.TrimRight(rest[digits:], "0123456789")
		if i := strings.IndexAny(rest[digits:], "0123456789"); i >= 0 {
			name = rest[digits : digits+i]
		}
		found := false
		for _, u := range durationUnits {
			if u.name == name {
				d += time.Duration(n) * u.unit
				found = true
			}
		}
		if !found || digits == 0 || digits > 9 {
			return 0, false
		}
		rest = rest[digits+len(name):]
	}
	return d, durationText(d) == text
}
