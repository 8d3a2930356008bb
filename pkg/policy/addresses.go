package policy

import (
	"net/netip"
	"slices"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// The shortest prefixes that may be allowed. A shorter one covers a large part of the
// internet, for which unknown.action: accept is the clearer way.
const (
	shortestAllowed4 = 8
	shortestAllowed6 = 24
)

// linkLocal6 may be trusted although it is short: it is not routed.
var linkLocal6 = netip.MustParsePrefix("fe80::/10")

// placed is a prefix with the place where it was written.
type placed struct {
	netip.Prefix
	at scalar
}

// allowList collects what the file allows, to detect what it also bans.
type allowList []placed

func (c *checker) allowedAddresses(list []scalar, allowed *allowList, linkLocal bool) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, s := range list {
		p, ok := c.prefix(s)
		if !ok {
			continue
		}
		shortest := shortestAllowed4
		if p.Addr().Is6() {
			shortest = shortestAllowed6
		}
		if p.Bits() < shortest && (!linkLocal || p != linkLocal6) {
			c.mistake(s, "%s is shorter than /%d and allows too much: use unknown.action: accept", p, shortest)
			continue
		}
		prefixes = append(prefixes, p)
		*allowed = append(*allowed, placed{p, s})
	}
	return prefixes
}

// bannedAddresses also reports, at both lines, what is both allowed and banned.
func (c *checker) bannedAddresses(list []scalar, allowed *allowList) []netip.Prefix {
	var prefixes []netip.Prefix
	var banned []placed
	for _, s := range list {
		if p, ok := c.prefix(s); ok {
			prefixes = append(prefixes, p)
			banned = append(banned, placed{p, s})
		}
	}
	if len(banned) == 0 {
		return nil // there may be very many that are allowed
	}
	bans, allows := newOverlaps(banned), newOverlaps(*allowed)
	for _, b := range banned {
		if a, ok := allows.find(b.Prefix); ok {
			c.mistake(b.at, "%s is banned here and allowed in line %d (%s): remove one of them",
				ruleset.PrefixText(b.Prefix), a.at.line, ruleset.PrefixText(a.Prefix))
		}
	}
	for _, a := range *allowed {
		if b, ok := bans.find(a.Prefix); ok {
			c.mistake(a.at, "%s is allowed here and banned in line %d (%s): remove one of them",
				ruleset.PrefixText(a.Prefix), b.at.line, ruleset.PrefixText(b.Prefix))
		}
	}
	return prefixes
}

// overlaps finds prefixes that have addresses in common with others, however many
// there are.
type overlaps struct {
	sorted  []placed
	first   map[netip.Prefix]placed
	lengths []int // of the prefixes
}

func newOverlaps(list []placed) *overlaps {
	o := &overlaps{sorted: slices.Clone(list), first: make(map[netip.Prefix]placed, len(list))}
	slices.SortStableFunc(o.sorted, func(a, b placed) int { return a.Addr().Compare(b.Addr()) })
	for _, p := range list {
		if _, ok := o.first[p.Prefix]; !ok {
			o.first[p.Prefix] = p
		}
		if !slices.Contains(o.lengths, p.Bits()) {
			o.lengths = append(o.lengths, p.Bits())
		}
	}
	return o
}

// find returns a prefix that overlaps with another one: it contains that one, or lies
// within it.
func (o *overlaps) find(p netip.Prefix) (placed, bool) {
	for _, bits := range o.lengths {
		if bits > p.Bits() {
			continue
		}
		if found, ok := o.first[netip.PrefixFrom(p.Addr(), bits).Masked()]; ok {
			return found, true
		}
	}
	i, _ := slices.BinarySearchFunc(o.sorted, p.Addr(), func(a placed, b netip.Addr) int { return a.Addr().Compare(b) })
	if i < len(o.sorted) && p.Contains(o.sorted[i].Addr()) {
		return o.sorted[i], true
	}
	return placed{}, false
}

// prefix reads an address or a prefix. Host bits are cleared, and an IPv4-mapped IPv6
// address becomes the IPv4 address.
func (c *scalars) prefix(s scalar) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(s.text)
	if err != nil {
		a, err := netip.ParseAddr(s.text)
		if err != nil {
			c.mistake(s, "%q is not an IP address or prefix: write one like 203.0.113.5, 203.0.113.0/24 or 2001:db8::/48; names belong under registrars or hosts", s.text)
			return p, false
		}
		if a.Zone() != "" {
			c.mistake(s, "%q names an interface: write the address without %%%s", s.text, a.Zone())
			return p, false
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p != p.Masked() {
		c.doubt(s, "%s is taken for the network %s: write that, or the address alone", s.text, ruleset.Canonical(p))
	}
	return ruleset.Canonical(p), true
}

// ParsePrefix reads an entry of addresses in a policy or a preset: a prefix, or an
// address, which becomes a prefix of that address alone.
func ParsePrefix(text string) (netip.Prefix, error) { return ruleset.ParsePrefix(text) }
