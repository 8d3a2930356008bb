package ruleset

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Origin is one reason why addresses are in a set.
type Origin struct {
	Prefix netip.Prefix `json:"prefix"`
	// Owner is the provider, or the part of the policy ("trusted", "bans") or of the
	// host ("own address"), that the prefix belongs to.
	Owner string `json:"owner"`
	// Name is the name that was resolved, "" for an address that the policy or a preset
	// lists.
	Name string `json:"name,omitempty"`
	// Via is the chain of records from the name to the address, as in "SRV _sip._udp ->
	// edge.example.net A", or the place where an address is listed.
	Via string `json:"via,omitempty"`
}

// String writes the origin for people, without the prefix: "acme: sip.acme.example SRV
// _sip._udp -> edge.example.net A".
func (o Origin) String() string {
	why := strings.TrimSpace(o.Name + " " + o.Via)
	if why == "" {
		return o.Owner
	}
	return o.Owner + ": " + why
}

// Origins says where the addresses of the sets come from.
type Origins struct {
	// Sets maps the name of a set to its origins, which are sorted by prefix and text.
	Sets map[string][]Origin
	// Listed are further origins, nil for none. They may be very many, and are seldom
	// asked for.
	Listed Listed
	// Providers are all providers of the policy, also those without addresses.
	Providers []string
}

// Listed are origins that are only made when they are needed.
type Listed interface {
	// Touches reports whether any of them that belong to the set has an address of the
	// prefix.
	Touches(set string, p netip.Prefix) bool
	// Of returns all that belong to the set, sorted by prefix and text.
	Of(set string) []Origin
}

// Compare orders origins by prefix and text.
func (o Origin) Compare(other Origin) int {
	if c := o.Prefix.Compare(other.Prefix); c != 0 {
		return c
	}
	return strings.Compare(o.String(), other.String())
}

// All returns all origins of a set, sorted by prefix and text.
func (o Origins) All(set string) []Origin {
	if o.Listed == nil {
		return o.Sets[set]
	}
	listed := o.Listed.Of(set)
	if len(o.Sets[set]) == 0 {
		return listed
	}
	all := slices.Concat(listed, o.Sets[set])
	slices.SortStableFunc(all, Origin.Compare)
	return slices.Compact(all)
}

// Addresses counts the prefixes of the provider in all sets.
func (o Origins) Addresses(provider string) int {
	n := 0
	count := func(list []Origin) {
		for _, origin := range list {
			if origin.Owner == provider {
				n++
			}
		}
	}
	for _, set := range []string{"providers4", "providers6"} {
		count(o.Sets[set])
		if o.Listed != nil {
			count(o.Listed.Of(set))
		}
	}
	return n
}

// Of returns all origins of the set that cover the prefix, the longest first, and then
// those that lie within it.
func (o Origins) Of(set string, p netip.Prefix) []Origin { return o.of(set, p, every) }

// of is Of where the prefixes of the set have only these lengths, the longest first.
func (o Origins) of(set string, p netip.Prefix, lengths []int) []Origin {
	found := touching(o.Sets[set], p, lengths)
	if o.Listed == nil || !o.Listed.Touches(set, p) {
		return found
	}
	found = append(found, touching(o.Listed.Of(set), p, lengths)...)
	slices.SortStableFunc(found, func(a, b Origin) int {
		covers := func(o Origin) int {
			if o.Prefix.Bits() > p.Bits() {
				return -1
			}
			return o.Prefix.Bits()
		}
		return cmp.Or(cmp.Compare(covers(b), covers(a)), a.Compare(b))
	})
	return found
}

// every is every length of a prefix, the longest first.
var every = func() (lengths []int) {
	for bits := 128; bits >= 0; bits-- {
		lengths = append(lengths, bits)
	}
	return lengths
}()

// touching returns those that cover the prefix, the longest first, and then those that
// lie within it.
func touching(origins []Origin, p netip.Prefix, lengths []int) []Origin {
	at := func(p netip.Prefix) []Origin {
		i, _ := slices.BinarySearchFunc(origins, p, func(o Origin, p netip.Prefix) int { return o.Prefix.Compare(p) })
		return origins[i:]
	}
	var found []Origin
	for _, bits := range lengths {
		if bits > p.Bits() {
			continue
		}
		wider := netip.PrefixFrom(p.Addr(), bits).Masked()
		for _, origin := range at(wider) {
			if origin.Prefix != wider {
				break
			}
			found = append(found, origin)
		}
	}
	for _, origin := range at(p) {
		if !p.Overlaps(origin.Prefix) {
			break
		}
		if origin.Prefix != p {
			found = append(found, origin)
		}
	}
	return found
}

// mostReasons is how many reasons are written out. A prefix may hold thousands of names.
const mostReasons = 16

// Why says where the addresses of a prefix in a set come from, every reason once: "acme:
// sip.acme.example A; beta: addresses". Of a reason that holds only for a part of the
// prefix it names the part. It is "" if none is known.
func (o Origins) Why(set string, p netip.Prefix) string { return why(o.Of(set, p), p) }

// Index answers Why for very many prefixes: it knows which lengths the prefixes of each set
// have, mostly one, and makes the text of a reason once. It is good for as long as the
// origins stay as they are.
type Index struct {
	origins Origins
	lengths map[string][]int
	texts   map[Origin]string // without their prefixes
	// next is where in the listed origins of a set the one of the next prefix is, if they
	// are asked for in their order.
	next map[string]int
}

// Index returns an index of the origins.
func (o Origins) Index() Index {
	return Index{o, map[string][]int{}, map[Origin]string{}, map[string]int{}}
}

// Why is that of the origins.
func (x Index) Why(set string, p netip.Prefix) string {
	lengths, known := x.lengths[set]
	if !known {
		lengths = x.origins.lengths(set)
		x.lengths[set] = lengths
	}
	origins := x.following(set, p, lengths)
	if origins == nil {
		origins = x.origins.of(set, p, lengths)
	}
	if len(origins) != 1 || p.Bits() < origins[0].Prefix.Bits() {
		return why(origins, p)
	}
	only := origins[0]
	only.Prefix = netip.Prefix{}
	text, known := x.texts[only]
	if !known {
		text = why(origins, p)
		x.texts[only] = text
	}
	return text
}

// following is the only origin of a prefix where that is the one behind the origin that was
// found before, and nil where it may be otherwise. No prefix covers another of its length.
func (x Index) following(set string, p netip.Prefix, lengths []int) []Origin {
	if len(lengths) != 1 || p.Bits() != lengths[0] || x.origins.Listed == nil || len(x.origins.Sets[set]) > 0 {
		return nil
	}
	list, i := x.origins.Listed.Of(set), x.next[set]
	for i < len(list) && list[i].Prefix.Compare(p) < 0 {
		i++
	}
	x.next[set] = i
	other := func(i int) bool { return i < 0 || i >= len(list) || list[i].Prefix != p }
	if other(i) || !other(i-1) || !other(i+1) {
		return nil
	}
	x.next[set] = i + 1
	return list[i : i+1]
}

// lengths are those of the prefixes of a set, the longest first.
func (o Origins) lengths(set string) []int {
	var has [129]bool
	note := func(list []Origin) {
		for _, origin := range list {
			if bits := origin.Prefix.Bits(); bits >= 0 {
				has[bits] = true
			}
		}
	}
	note(o.Sets[set])
	if o.Listed != nil {
		note(o.Listed.Of(set))
	}
	return slices.DeleteFunc(slices.Clone(every), func(bits int) bool { return !has[bits] })
}

func why(origins []Origin, p netip.Prefix) string {
	var reasons []string
	seen := map[string]bool{}
	for _, origin := range origins {
		text := origin.String()
		if p.Bits() < origin.Prefix.Bits() {
			text += " (" + PrefixText(origin.Prefix) + ")"
		}
		if !seen[text] {
			seen[text] = true
			reasons = append(reasons, text)
		}
	}
	if more := len(reasons) - mostReasons; more > 0 {
		reasons = append(reasons[:mostReasons], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(reasons, "; ")
}
