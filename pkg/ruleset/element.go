package ruleset

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"go4.org/netipx"
)

// Element is one element of a set: a range of addresses or one port of a transport
// protocol.
type Element struct {
	// From and To are the first and last address. Both are the zero Addr for a port.
	From, To netip.Addr
	Protocol Protocol // of a port
	Port     uint16
	// Timeout is the lifetime with which the element was added, 0 for none. The
	// remaining time is run-time state and not part of it.
	Timeout time.Duration
	// Foreign is text for what another program added and this type cannot express: a
	// comment, a counter, the catch-all "*". Such elements are only observed, never
	// made.
	Foreign string
}

// Addresses returns the canonical elements of a named set that cover exactly the given
// prefixes: sorted, one for each prefix, unmapped and masked, that is not covered by
// another one. Adjacent prefixes are not merged, so that an element never has to be
// rewritten because its neighbour comes or goes. Prefixes of both families give the
// elements of both, IPv4 first.
func Addresses(prefixes []netip.Prefix) []Element {
	canonical := make([]netip.Prefix, 0, len(prefixes))
	for _, p := range prefixes {
		if p = Canonical(p); p.IsValid() {
			canonical = append(canonical, p)
		}
	}
	slices.SortFunc(canonical, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	elements := make([]Element, 0, len(canonical))
	for _, p := range canonical {
		if n := len(elements); n > 0 && p.Addr().Compare(elements[n-1].To) <= 0 {
			continue // it is covered by the one before
		}
		elements = withoutHalves(append(elements, Element{From: p.Addr(), To: netipx.PrefixLastIP(p)}))
	}
	return elements
}

// withoutHalves makes one of the last two elements if they are the two halves of a family:
// ipset has no other way to say that.
func withoutHalves(elements []Element) []Element {
	n := len(elements)
	if n < 2 || !elements[n-2].From.IsUnspecified() || elements[n-2].To.Next() != elements[n-1].From {
		return elements
	}
	if elements[n-1].To.Next().IsValid() {
		return elements
	}
	return append(elements[:n-2], Element{From: elements[n-2].From, To: elements[n-1].To})
}

// With returns the canonical elements that cover what two canonical lists of one family
// cover. It costs little where more is short, and returns elements itself where that
// covers more.
func With(elements, more []Element) []Element {
	var further []Element
	for _, e := range more {
		if i := within(elements, e.From); i == len(elements) || elements[i].From.Compare(e.From) > 0 || e.To.Compare(elements[i].To) > 0 {
			further = append(further, e)
		}
	}
	if len(further) == 0 {
		return elements
	}
	merged := make([]Element, 0, len(elements)+len(further))
	for _, e := range further {
		// Of two ranges that overlap, one holds the other.
		before := within(elements, e.From)
		merged = append(merged, elements[:before]...)
		elements = elements[before:]
		covered := within(elements, e.To)
		if covered < len(elements) && elements[covered].From.Compare(e.To) <= 0 {
			covered++
		}
		merged, elements = append(merged, e), elements[covered:]
	}
	merged = append(merged, elements...)
	if len(merged) == 2 {
		merged = withoutHalves(merged)
	}
	return merged
}

// within finds the first element that does not end before an address.
func within(elements []Element, a netip.Addr) int {
	i, _ := slices.BinarySearchFunc(elements, a, func(e Element, a netip.Addr) int { return e.To.Compare(a) })
	return i
}

// Overlapping returns those of sorted elements that have an address in common with a range.
func Overlapping(elements []Element, r netipx.IPRange) []Element {
	elements = elements[within(elements, r.From()):]
	behind, _ := slices.BinarySearchFunc(elements, r.To(), func(e Element, a netip.Addr) int {
		if e.From.Compare(a) > 0 {
			return 1
		}
		return -1
	})
	return elements[:behind]
}

// Merged returns the elements of a set that never changes: those of Addresses, with
// adjacent ones merged.
func Merged(prefixes []netip.Prefix) []Element {
	ranges := Union(prefixes).Ranges()
	elements := make([]Element, len(ranges))
	for i, r := range ranges {
		elements[i] = Element{From: r.From(), To: r.To()}
	}
	return elements
}

// Delta returns the elements of have that are not in want, and those of want that are
// not in have. Both must be sorted.
func Delta(have, want []Element) (gone, come []Element) {
	if len(have) > 0 && len(have) == len(want) && &have[0] == &want[0] {
		return nil, nil // it is one list
	}
	for len(have) > 0 && len(want) > 0 {
		if have[0] == want[0] {
			have, want = have[1:], want[1:]
			continue
		}
		switch c := have[0].Compare(want[0]); {
		case c == 0:
			have, want = have[1:], want[1:]
		case c < 0:
			gone, have = append(gone, have[0]), have[1:]
		default:
			come, want = append(come, want[0]), want[1:]
		}
	}
	return append(gone, have...), append(come, want...)
}

// Plain reports whether the element consists of addresses alone.
func (e Element) Plain() bool { return e.From.IsValid() && e.Timeout == 0 && e.Foreign == "" }

// Union returns the set of all addresses of the given prefixes. An IPv4-mapped IPv6
// prefix counts as the IPv4 one. Invalid prefixes are ignored.
func Union(prefixes []netip.Prefix) *netipx.IPSet {
	var b netipx.IPSetBuilder
	for _, p := range prefixes {
		if p = Canonical(p); p.IsValid() {
			b.AddPrefix(p)
		}
	}
	set, err := b.IPSet()
	if err != nil {
		panic("unite prefixes: a valid prefix is refused")
	}
	return set
}

// Canonical returns p with an IPv4-mapped address unmapped and the host bits
// cleared.
func Canonical(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// Services returns the canonical elements for ports of UDP and of TCP. Raw SCTP, DCCP
// and UDP-Lite carry SIP as well, and have the ports that TCP has.
func Services(udp, tcp []uint16) []Element {
	var elements []Element
	for _, port := range udp {
		elements = append(elements, Element{Protocol: UDP, Port: port})
	}
	for _, protocol := range []Protocol{TCP, SCTP, DCCP, UDPLite} {
		for _, port := range tcp {
			elements = append(elements, Element{Protocol: protocol, Port: port})
		}
	}
	slices.SortFunc(elements, Element.Compare)
	return slices.Compact(elements)
}

// Compare orders elements by family, first address and port.
func (e Element) Compare(o Element) int {
	if c := e.From.Compare(o.From); c != 0 {
		return c // mostly, and lists are long
	}
	return cmp.Or(
		e.To.Compare(o.To),
		strings.Compare(string(e.Protocol), string(o.Protocol)),
		cmp.Compare(e.Port, o.Port),
		cmp.Compare(e.Timeout, o.Timeout),
		strings.Compare(e.Foreign, o.Foreign),
	)
}

// Prefixes returns the prefixes that cover exactly the element's addresses, none for a
// port.
func (e Element) Prefixes() []netip.Prefix {
	if !e.From.IsValid() {
		return nil
	}
	return netipx.IPRangeFrom(e.From, e.To).Prefixes()
}

// String writes the element as nft does: an address, a prefix where the range
// is one, else first-last; a port in decimal behind its protocol; then its lifetime.
func (e Element) String() string {
	var b strings.Builder
	switch {
	case e.From.IsValid():
		b.WriteString(rangeText(e.From, e.To))
	case e.Port != 0 || e.Foreign == "":
		if e.Protocol != "" {
			b.WriteString(string(e.Protocol) + " . ")
		}
		b.WriteString(strconv.Itoa(int(e.Port)))
	}
	if e.Timeout != 0 {
		b.WriteString(" timeout " + e.Timeout.String())
	}
	if e.Foreign != "" {
		b.WriteString(" [" + e.Foreign + "]")
	}
	return strings.TrimSpace(b.String())
}

func rangeText(from, to netip.Addr) string {
	if from == to {
		return from.String()
	}
	if p, ok := netipx.IPRangeFrom(from, to).Prefix(); ok {
		return p.String()
	}
	return from.String() + "-" + to.String()
}

// PrefixText writes a prefix, and a single address without its length.
func PrefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// MarshalText writes the element in a form that UnmarshalText can read.
func (e Element) MarshalText() ([]byte, error) {
	key := strconv.Itoa(int(e.Port))
	if e.Protocol != "" {
		key = string(e.Protocol) + "/" + key
	}
	if e.From.IsValid() {
		key = e.From.String()
		if e.From != e.To {
			key += "-" + e.To.String()
		}
	}
	if e.Timeout == 0 && e.Foreign == "" {
		return []byte(key), nil
	}
	return fmt.Appendf(nil, "%s %s %s", key, e.Timeout, e.Foreign), nil
}

// UnmarshalText reads what MarshalText wrote.
func (e *Element) UnmarshalText(text []byte) error {
	parts := strings.SplitN(string(text), " ", 3)
	*e = Element{}
	if len(parts) == 3 {
		timeout, err := time.ParseDuration(parts[1])
		if err != nil {
			return fmt.Errorf("read element %q: %w", text, err)
		}
		e.Timeout, e.Foreign = timeout, parts[2]
	}
	key := parts[0]
	if protocol, port, ok := strings.Cut(key, "/"); ok {
		e.Protocol, key = Protocol(protocol), port
	}
	from, to, isRange := strings.Cut(key, "-")
	if port, err := strconv.ParseUint(from, 10, 16); err == nil {
		e.Port = uint16(port)
		return nil
	}
	var err error
	if e.From, err = netip.ParseAddr(from); err != nil {
		return fmt.Errorf("read element %q: %w", text, err)
	}
	if e.To = e.From; isRange {
		if e.To, err = netip.ParseAddr(to); err != nil {
			return fmt.Errorf("read element %q: %w", text, err)
		}
	}
	return nil
}

// ParsePrefix reads a prefix, or an address, which becomes a prefix of that address
// alone.
func ParsePrefix(text string) (netip.Prefix, error) {
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return prefix, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%q is not an address", text)
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}
