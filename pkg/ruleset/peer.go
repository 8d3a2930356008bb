package ruleset

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// Peer is who is at the other end of a packet: what the packet is from or, of an answer,
// what it is to. It is an address, or an address with a port.
type Peer struct {
	V6     bool
	Answer bool
	Port   bool
}

func (p Peer) String() string {
	address, port := " saddr", " . th sport"
	if p.Answer {
		address, port = " daddr", " . th dport"
	}
	if !p.Port {
		port = ""
	}
	return family(p.V6) + address + port
}

// PeerIn matches the peer against a named set. For the source address alone there is
// Source.
type PeerIn struct {
	Peer
	Not bool
	Set string
}

func (s PeerIn) String() string { return fmt.Sprintf("%s %s@%s", s.Peer, not(s.Not), s.Set) }

// Learn adds the peer to a dynamic set for a time, or starts its time again. With a limit
// it matches only if the peer has met the rule more often than that. If the set is full,
// the rule ends here, so no verdict may follow in the same rule that must be reached.
type Learn struct {
	Peer
	Set  string
	For  time.Duration // whole milliseconds
	Over Limit
}

func (s Learn) String() string {
	text := fmt.Sprintf("%s timeout %s", s.Peer, durationText(s.For))
	if s.Over != (Limit{}) {
		text += " " + s.Over.String()
	}
	return fmt.Sprintf("update @%s { %s }", s.Set, text)
}

// Forget takes the peer out of a dynamic set.
type Forget struct {
	Peer
	Set string
}

func (s Forget) String() string { return fmt.Sprintf("delete @%s { %s }", s.Set, s.Peer) }

// Limit is how often something may happen: Burst times at once, and Rate times in each
// Per from then on. The zero Limit is none.
type Limit struct {
	Rate  uint64
	Per   time.Duration // a second, a minute, an hour, a day or a week
	Burst uint32
}

// defaultBurst is what nft leaves out of its listing.
const defaultBurst = 5

func (l Limit) String() string {
	unit := l.Per.String()
	for _, u := range limitUnits {
		if u.per == l.Per {
			unit = u.name
		}
	}
	text := fmt.Sprintf("limit rate over %d/%s", l.Rate, unit)
	if l.Burst != defaultBurst {
		text += fmt.Sprintf(" burst %d packets", l.Burst)
	}
	return text
}

var limitUnits = []struct {
	name string
	per  time.Duration
}{
	{"second", time.Second},
	{"minute", time.Minute},
	{"hour", time.Hour},
	{"day", 24 * time.Hour},
	{"week", 7 * 24 * time.Hour},
}

// NewLimit is the limit of so many times at once, and as many again in each time, in one
// of the units that a limit has.
func NewLimit(times uint32, within time.Duration) Limit {
	l := Limit{Rate: uint64(times), Per: time.Second, Burst: times}
	for _, u := range limitUnits {
		whole := uint64(times) * uint64(u.per)
		l.Rate, l.Per = whole/uint64(within), u.per
		if l.Rate > 0 && whole%uint64(within) == 0 {
			return l
		}
	}
	l.Rate = max(l.Rate, 1)
	return l
}

// SourcePort matches the transport protocol with the source port against a named set of
// ports, as Destination does with the destination port.
type SourcePort struct{ Set string }

func (s SourcePort) String() string { return "meta l4proto . th sport @" + s.Set }

// RepliedFrom matches a packet of a tracked connection by its protocol and by the port
// that replies are sent from, before any translation.
type RepliedFrom struct {
	Protocol Protocol
	Port     uint16
}

func (s RepliedFrom) String() string {
	return fmt.Sprintf("meta l4proto %s ct reply proto-src %d", s.Protocol, s.Port)
}

// Transport matches the transport protocol.
type Transport struct{ Protocol Protocol }

func (s Transport) String() string { return "meta l4proto " + string(s.Protocol) }

// TCPHeader matches a TCP segment by the length of its header in words of four bytes, 5
// to 15. What is behind the header is at a place that depends on it.
type TCPHeader struct{ Words int }

func (s TCPHeader) String() string { return fmt.Sprintf("tcp doff %d", s.Words) }

// Opening matches a TCP segment that opens a connection.
type Opening struct{}

func (Opening) String() string { return "tcp flags syn / syn,ack" }

// Fragment matches an IPv4 packet that is a part of another one. Of IPv6 there is
// FirstFragment: only that part has a transport header.
type Fragment struct{}

func (Fragment) String() string { return "ip frag-off & 16383 != 0" }

// Text matches bytes at a place behind the beginning of the transport header, 1 to 16 of
// them.
type Text struct {
	Offset int
	Text   string
}

// String writes the bytes as nft does, as one number.
func (s Text) String() string {
	number := strings.TrimLeft(fmt.Sprintf("%x", s.Text), "0")
	return fmt.Sprintf("@th,%d,%d 0x%s", 8*s.Offset, 8*len(s.Text), cmp.Or(number, "0"))
}

// Reaches matches a packet that has a byte at a place behind the beginning of the
// transport header.
type Reaches struct{ Offset int }

func (s Reaches) String() string { return fmt.Sprintf("@th,%d,8 >= 0x0", 8*s.Offset) }

func (PeerIn) statement()      {}
func (Learn) statement()       {}
func (Forget) statement()      {}
func (SourcePort) statement()  {}
func (RepliedFrom) statement() {}
func (Transport) statement()   {}
func (TCPHeader) statement()   {}
func (Opening) statement()     {}
func (Fragment) statement()    {}
func (Text) statement()        {}
func (Reaches) statement()     {}

// withSet is the statement with another named set, if it has one that can be replaced.
func withSet(statement Statement, names map[string]string) (Statement, bool) {
	switch s := statement.(type) {
	case Source:
		if other, ok := names[s.Set]; ok {
			return Source{V6: s.V6, Not: s.Not, Set: other}, true
		}
	case Destination:
		if other, ok := names[s.Set]; ok {
			return Destination{Set: other}, true
		}
	case SourcePort:
		if other, ok := names[s.Set]; ok {
			return SourcePort{Set: other}, true
		}
	case PeerIn:
		if other, ok := names[s.Set]; ok {
			s.Set = other
			return s, true
		}
	}
	return statement, false
}

// parsePeer reads a peer from the groups of peerForm.
func parsePeer(groups []string) (Peer, bool) {
	p := Peer{V6: groups[0] != "", Answer: groups[1] == "d", Port: groups[2] != ""}
	side := strings.TrimSuffix(strings.TrimPrefix(groups[2], " . th "), "port")
	return p, side == "" || side == groups[1]
}
