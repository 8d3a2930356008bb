package ruleset

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"go4.org/netipx"
)

// form is the syntax of one kind of statement.
type form struct {
	text *regexp.Regexp
	make func(groups []string) (Statement, bool)
}

// forms are those of all statements. They are compiled when the first rule is read.
var forms = sync.OnceValue(func() []form {
	plain := func(s Statement) func([]string) (Statement, bool) {
		return func([]string) (Statement, bool) { return s, true }
	}
	return append([]form{
		{regexp.MustCompile(`^iif(?:name)? (!= )?"([^"]+)"`), func(g []string) (Statement, bool) { return InInterface{Name: g[2], Not: g[1] != ""}, true }},
		{regexp.MustCompile(`^ip(6?) saddr (!= )?@(\w+)`), func(g []string) (Statement, bool) {
			return Source{V6: g[1] != "", Not: g[2] != "", Set: g[3]}, true
		}},
		{regexp.MustCompile(`^ip(6?) saddr \{ ([^}]+) \}`), parseSource},
		{regexp.MustCompile(`^fib saddr \. iif oif missing`), plain(ReversePathMissing{})},
		{regexp.MustCompile(`^ip6? saddr ([0-9a-f.:/]+)`), func(g []string) (Statement, bool) {
			p, err := ParsePrefix(g[1])
			return SourceNetwork{p}, err == nil
		}},
		{regexp.MustCompile(`^fib saddr type unicast`), plain(Unicast{})},
		{regexp.MustCompile(`^meta mark & (0x[0-9a-f]{8}) ([!=]=) (0x[0-9a-f]{8})`), parseMark},
		{regexp.MustCompile(`^meta mark set meta mark & (0x[0-9a-f]{8})(?: \| (0x[0-9a-f]{8}))?`), parseSetMark},
		{regexp.MustCompile(`^update @(\w+) \{ ip(6?) saddr timeout (\w+) \}`), func(g []string) (Statement, bool) {
			d, ok := parseDuration(g[3])
			return Ban{V6: g[2] != "", Set: g[1], For: d}, ok
		}},
		{regexp.MustCompile(`^update @(\w+) \{ ip(6?) saddr timeout (\w+) counter \}`), func(g []string) (Statement, bool) {
			d, ok := parseDuration(g[3])
			return Record{V6: g[2] != "", Set: g[1], For: d}, ok
		}},
		{regexp.MustCompile(`^add @(\w+) \{ ip(6?) saddr timeout (\w+) \}`), func(g []string) (Statement, bool) {
			d, ok := parseDuration(g[3])
			return Note{V6: g[2] != "", Set: g[1], For: d}, ok
		}},
		{regexp.MustCompile(fmt.Sprintf(`^log prefix "(\w+)" group %d snaplen %d`, LogGroup, LogBytes)), func(g []string) (Statement, bool) { return Log(g[1]), true }},
		{regexp.MustCompile(`^meta nfproto ipv6`), plain(IPv6Packet{})},
		{regexp.MustCompile(`^frag frag-off 0`), plain(FirstFragment{})},
		{regexp.MustCompile(`^meta l4proto != 255`), plain(HasTransport{})},
		{regexp.MustCompile(`^@th,0,32 & 0x([0-9a-f]+) != 0x([0-9a-f]+)`), parseOtherPort},
		{regexp.MustCompile(`^meta l4proto \. th dport @(\w+)`), func(g []string) (Statement, bool) { return Destination{Set: g[1]}, true }},
		{regexp.MustCompile(`^meta l4proto \. th dport \{ ([^}]+) \}`), parseDestination},
		{regexp.MustCompile(`^ct (status dnat|direction original|direction reply)`), func(g []string) (Statement, bool) { return Connection("ct " + g[1]), true }},
		{regexp.MustCompile(`^payload contains ("(?:[^"\\]|\\.)*")`), func(g []string) (Statement, bool) {
			text, err := strconv.Unquote(g[1])
			return Payload(text), err == nil
		}},
		{regexp.MustCompile(`^counter name "(\w+)"`), func(g []string) (Statement, bool) { return Count(g[1]), true }},
		{regexp.MustCompile(`^(jump|goto) (\w+)`), func(g []string) (Statement, bool) { return Verdict{VerdictKind(g[1]), g[2]}, true }},
		{regexp.MustCompile(`^(accept|drop|return)`), func(g []string) (Statement, bool) { return Verdict{Kind: VerdictKind(g[1])}, true }},
	}, peerForms()...)
})

// parse reads the text of a rule. It returns nil if ringfence cannot have written it.
func parse(text string) []Statement {
	var statements []Statement
	for rest := text; rest != ""; {
		s, length := parseOne(rest)
		if s == nil {
			return nil
		}
		statements = append(statements, s)
		rest = strings.TrimPrefix(rest[length:], " ")
	}
	if NewRule(statements...).text != text {
		return nil
	}
	return statements
}

func parseOne(text string) (Statement, int) {
	for _, f := range forms() {
		if groups := f.text.FindStringSubmatch(text); groups != nil {
			if s, ok := f.make(groups); ok {
				return s, len(groups[0])
			}
		}
	}
	return nil, 0
}

func parseMark(groups []string) (Statement, bool) {
	mask, maskErr := strconv.ParseUint(groups[1], 0, 32)
	mark, markErr := strconv.ParseUint(groups[3], 0, 32)
	bits := MarkBits(mask)
	ok := maskErr == nil && markErr == nil && bits.Valid()
	return Mark{Bits: bits, Class: bits.Class(uint32(mark)), Not: groups[2] == "!="}, ok
}

func parseSetMark(groups []string) (Statement, bool) {
	keep, keepErr := strconv.ParseUint(groups[1], 0, 32)
	set, setErr := strconv.ParseUint(cmp.Or(groups[2], "0"), 0, 32)
	bits := MarkBits(^uint32(keep) | uint32(set))
	ok := keepErr == nil && setErr == nil && bits.Valid()
	return SetMark{Bits: bits, Class: bits.Class(uint32(set))}, ok
}

func parseDestination(groups []string) (Statement, bool) {
	var s Destination
	for text := range strings.SplitSeq(groups[1], ", ") {
		protocol, number, _ := strings.Cut(text, " . ")
		port, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return nil, false
		}
		s.In = append(s.In, Element{Protocol: Protocol(protocol), Port: uint16(port)})
	}
	return s, true
}

func parseSource(groups []string) (Statement, bool) {
	s := Source{V6: groups[1] != ""}
	for text := range strings.SplitSeq(groups[2], ", ") {
		var e Element
		if err := e.UnmarshalText([]byte(text)); err == nil && e.From.IsValid() {
			s.In = append(s.In, netipx.IPRangeFrom(e.From, e.To).Prefixes()...)
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, false
		}
		s.In = append(s.In, p)
	}
	return s, true
}
