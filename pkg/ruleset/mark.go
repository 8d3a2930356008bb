package ruleset

import (
	"cmp"
	"fmt"
	"math/bits"
	"strings"
	"time"
)

// MarkBits are the four bits of a packet's mark in which the classifier says what a
// packet is, next to each other. All others belong to other programs. 0 stands for
// DefaultMarkBits.
type MarkBits uint32

// DefaultMarkBits are those of a policy that names none.
const DefaultMarkBits MarkBits = 0x0f000000

func (b MarkBits) mask() uint32 { return uint32(cmp.Or(b, DefaultMarkBits)) }

// Valid reports whether the bits are four next to each other.
func (b MarkBits) Valid() bool { return b>>bits.TrailingZeros32(uint32(b)) == 0xf }

// Shift is the number of the lowest of the bits.
func (b MarkBits) Shift() int { return bits.TrailingZeros32(b.mask()) }

// Of is a class as it is written in the mark.
func (b MarkBits) Of(c Class) uint32 { return uint32(c) << b.Shift() }

// Class reads the class out of a mark.
func (b MarkBits) Class(mark uint32) Class { return Class(mark & b.mask() >> b.Shift()) }

// Class is the classifier's result for a packet.
type Class uint32

// The classes.
const (
	Unclassified Class = 0 // the classifier has not seen it
	Scanner      Class = 1 // its request bears a signature of class ban
	KnownAgent   Class = 2 // a request whose User-Agent is allowed by require_user_agent
	OtherAgent   Class = 3 // a request without such a User-Agent, or what may be a part of one
	Seen         Class = 4 // nothing is known against it
	Unread       Class = 5 // there was no time to read it
	Unregister   Class = 6 // a REGISTER that ends a registration
	Followed     Class = 7 // a REGISTER with something behind its headers
)

// Mark matches what the classifier has said of the packet.
type Mark struct {
	Bits  MarkBits
	Class Class
	Not   bool
}

func (s Mark) String() string {
	operator := "=="
	if s.Not {
		operator = "!="
	}
	return fmt.Sprintf("meta mark & 0x%08x %s 0x%08x", s.Bits.mask(), operator, s.Bits.Of(s.Class))
}

// SetMark writes a class into the mark. Unclassified takes out of it what the classifier
// has put there, so that no other program sees it.
type SetMark struct {
	Bits  MarkBits
	Class Class
}

func (s SetMark) String() string {
	if s.Class == Unclassified {
		return fmt.Sprintf("meta mark set meta mark & 0x%08x", ^s.Bits.mask())
	}
	// As nft writes it: what is set afterwards need not be cleared before.
	class := s.Bits.Of(s.Class)
	return fmt.Sprintf("meta mark set meta mark & 0x%08x | 0x%08x", ^s.Bits.mask()|class, class)
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
