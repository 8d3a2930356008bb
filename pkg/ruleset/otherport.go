package ruleset

import (
	"fmt"
	"math/bits"
	"strconv"
)

// OtherPort matches a packet whose port differs from Port in one of the upper Bits of its
// 16 bits. A packet without ports, such as a later fragment, does not match.
//
// It reads both ports at once and masks them: the kernel does that without a call of a
// function, which a comparison with a range takes.
type OtherPort struct {
	Source bool // the source port in place of the destination port
	Port   uint16
	Bits   int // 1 to 16
}

// OtherPorts matches packets to (or from) ports that are none of these services: as many
// as one comparison can tell. It returns false if that is none.
func OtherPorts(services []Element, source bool) (OtherPort, bool) {
	s := OtherPort{Source: source, Bits: 16}
	if len(services) == 0 {
		return s, false
	}
	first := services[0].Port
	for _, e := range services {
		s.Bits = min(s.Bits, bits.LeadingZeros16(first^e.Port))
	}
	s.Port = first & s.mask()
	return s, s.Bits > 0
}

// Matches reports whether a port is another one.
func (s OtherPort) Matches(port uint16) bool { return port&s.mask() != s.Port }

func (s OtherPort) mask() uint16 { return ^uint16(0) << (16 - s.Bits) }

// Words are the mask of both ports and what the rest is compared with.
func (s OtherPort) Words() (mask, value uint32) {
	mask, value = uint32(s.mask()), uint32(s.Port)
	if s.Source {
		mask, value = mask<<16, value<<16
	}
	return mask, value
}

// OtherPortOf is the opposite of Words.
func OtherPortOf(mask, value uint32) (OtherPort, bool) {
	s := OtherPort{Source: mask > 0xffff}
	if s.Source {
		mask, value = mask>>16|mask<<16, value>>16|value<<16
	}
	s.Port, s.Bits = uint16(value), bits.OnesCount32(mask)
	if s.Bits == 0 || s.Bits > 16 {
		return OtherPort{}, false
	}
	return s, mask == uint32(s.mask()) && value == value&mask
}

func (s OtherPort) String() string {
	mask, value := s.Words()
	return fmt.Sprintf("@th,0,32 & 0x%x != 0x%x", mask, value)
}

func (OtherPort) statement() {}

func parseOtherPort(groups []string) (Statement, bool) {
	mask, maskErr := strconv.ParseUint(groups[1], 16, 32)
	value, valueErr := strconv.ParseUint(groups[2], 16, 32)
	s, ok := OtherPortOf(uint32(mask), uint32(value))
	return s, ok && maskErr == nil && valueErr == nil
}
