package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// setPrefix begins the names of all sets of ringfence's. ipset has one name space.
const setPrefix = "ringfence-"

// freshSuffix ends the name of a set that is being made to take another one's place.
const freshSuffix = "-new"

func isOurSet(name string) bool { return strings.HasPrefix(name, setPrefix) }

func setName(name string) string { return setPrefix + name }

// maxElements is how many elements a set of addresses may have. It takes memory only
// for those that it has.
const maxElements = 1 << 24

// The revisions of the types of sets: those of Linux 3.18, which every later kernel
// takes.
const (
	netRevision     = 6
	addressRevision = 4
	peerRevision    = 5
)

// The types of sets: of prefixes, and those that packets fill, with addresses, or with
// addresses and ports of a protocol.
const (
	netType     = "hash:net"
	addressType = "hash:ip"
	peerType    = "hash:ip,port"
)

// headerOf is what a set of ringfence's looks like in the kernel. Ports are not in
// sets here.
func headerOf(name string, s ruleset.Set) (setHeader, error) {
	h := setHeader{name: setName(name), family: unix.AF_INET}
	switch s.Key {
	case ruleset.IPv4, ruleset.IPv4Peer:
	case ruleset.IPv6, ruleset.IPv6Peer:
		h.family = unix.AF_INET6
	default:
		return h, fmt.Errorf("make set %s: no sets of type %s", name, s.Key)
	}
	if s.Foreign != "" {
		return h, fmt.Errorf("make set %s: it is foreign", name)
	}
	h.typeName, h.revision, h.maxElem = netType, netRevision, maxElements
	if s.Dynamic {
		h.typeName, h.revision, h.maxElem = addressType, addressRevision, s.Size
		if isBanned(name) {
			h.maxElem = roomFor(s.Size)
		}
		h.timeout, h.comment, h.hashSize = true, true, hashSizeFor(h.maxElem)
		h.counters = strings.HasPrefix(name, droppedSet) || s.Limited
	}
	if isPeer(s.Key) {
		h.typeName, h.revision = peerType, peerRevision
	}
	return h, nil
}

// isBanned reports whether a set is of sources that are banned for a time, whose number is
// limited by the policy.
func isBanned(name string) bool { return strings.TrimRight(name, "46") == bannedSet }

// isPeer reports whether the elements of a set are addresses with ports.
func isPeer(k ruleset.Key) bool { return k == ruleset.IPv4Peer || k == ruleset.IPv6Peer }

// hashSizeFor is how many buckets a set needs that packets fill. Only programs make a set's
// table larger: a packet whose bucket holds twelve already is not added (AHASH_MAX_SIZE).
func hashSizeFor(elements uint32) uint32 {
	const perBucket, least = 4, 1024
	return max(elements/perBucket, least)
}

// sameHeader reports whether a set that exists is as one that is wanted. The revision
// does not matter.
func sameHeader(have, want setHeader) bool {
	return have.typeName == want.typeName && have.family == want.family && have.maxElem == want.maxElem &&
		have.timeout == want.timeout && have.defaultTimeout == want.defaultTimeout && have.comment == want.comment && have.counters == want.counters && len(have.foreign) == 0
}

// observedSet is a set as ringfence's other parts know it. Whether rules keep a limit in
// it, they say.
func observedSet(h setHeader, entries []entry, limited bool) ruleset.Set {
	s, name := ruleset.Set{Key: ruleset.IPv4, Limited: limited}, strings.TrimPrefix(h.name, setPrefix)
	switch {
	case h.typeName == peerType && h.family == unix.AF_INET6:
		s.Key = ruleset.IPv6Peer
	case h.typeName == peerType:
		s.Key = ruleset.IPv4Peer
	case h.family == unix.AF_INET6:
		s.Key = ruleset.IPv6
	}
	if (h.typeName == addressType || h.typeName == peerType) && h.timeout {
		s.Timeout, s.Dynamic, s.Size = true, true, h.maxElem
		if isBanned(name) {
			s.SizeFrom, s.Size = most(h.maxElem), most(h.maxElem+1)-1
		}
	}
	wanted, err := headerOf(name, s)
	if err != nil || !sameHeader(h, wanted) {
		s.Foreign = h.String()
	}
	if !s.Dynamic {
		s.Elements = elementsOf(entries)
		s.Interval = slices.ContainsFunc(s.Elements, func(e ruleset.Element) bool { return e.From != e.To })
		s.Size = s.Room() // which sets here have whatever their header says
	}
	return s
}

// String writes a header as ipset does.
func (h setHeader) String() string {
	words := []string{h.typeName, fmt.Sprintf("maxelem %d", h.maxElem)}
	if h.timeout {
		words = append(words, fmt.Sprintf("timeout %d", h.defaultTimeout))
	}
	if h.counters {
		words = append(words, "counters")
	}
	if h.comment {
		words = append(words, "comment")
	}
	return strings.Join(append(words, h.foreign...), " ")
}

// halves are the two prefixes that stand for all addresses of a family: ipset takes no
// prefix of length 0.
func halves(v6 bool) [2]netip.Prefix {
	if v6 {
		return [2]netip.Prefix{netip.MustParsePrefix("::/1"), netip.MustParsePrefix("8000::/1")}
	}
	return [2]netip.Prefix{netip.MustParsePrefix("0.0.0.0/1"), netip.MustParsePrefix("128.0.0.0/1")}
}

// prefixesOf are the entries that hold the elements of a set.
func prefixesOf(elements []ruleset.Element) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, e := range elements {
		for _, p := range e.Prefixes() {
			if p.Bits() == 0 {
				h := halves(p.Addr().Is6())
				prefixes = append(prefixes, h[0], h[1])
				continue
			}
			prefixes = append(prefixes, p)
		}
	}
	return prefixes
}

// elementsOf are the elements that a set's entries stand for, sorted.
func elementsOf(entries []entry) []ruleset.Element {
	elements := make([]ruleset.Element, 0, len(entries))
	for _, x := range entries {
		e := ruleset.Element{From: x.prefix.Addr(), To: netipx.PrefixLastIP(x.prefix), Foreign: x.foreign}
		if x.comment != "" {
			e.Foreign = strings.TrimPrefix(e.Foreign+fmt.Sprintf(", comment %q", x.comment), ", ")
		}
		elements = append(elements, e)
	}
	for _, v6 := range []bool{false, true} {
		h := halves(v6)
		first, last := ruleset.Merged(h[:1])[0], ruleset.Merged(h[1:])[0]
		i, j := slices.Index(elements, first), slices.Index(elements, last)
		if i >= 0 && j >= 0 {
			elements[i].To = last.To
			elements = slices.Delete(elements, j, j+1)
		}
	}
	slices.SortFunc(elements, ruleset.Element.Compare)
	return elements
}

// plain are entries that are nothing but prefixes.
func plain(prefixes []netip.Prefix) []entry {
	entries := make([]entry, len(prefixes))
	for i, p := range prefixes {
		entries[i].prefix = p
	}
	return entries
}
