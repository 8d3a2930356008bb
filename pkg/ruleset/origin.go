package ruleset

import (
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
	// Sets maps the name of a set to its origins, which are sorted by prefix.
	Sets map[string][]Origin `json:"sets,omitempty"`
	// Providers are all providers of the policy, also those without addresses.
	Providers []string `json:"providers,omitempty"`
}

// Addresses counts the prefixes of the provider in all sets.
func (o Origins) Addresses(provider string) int {
	n := 0
	for _, set := range []string{"providers4", "providers6"} {
		for _, origin := range o.Sets[set] {
			if origin.Owner == provider {
				n++
			}
		}
	}
	return n
}

// Of returns all origins of the set that cover the prefix, the longest first, and then
// those that lie within it.
func (o Origins) Of(set string, p netip.Prefix) []Origin {
	origins := o.Sets[set]
	at := func(p netip.Prefix) []Origin {
		i, _ := slices.BinarySearchFunc(origins, p, func(o Origin, p netip.Prefix) int { return o.Prefix.Compare(p) })
		return origins[i:]
	}
	var found []Origin
	for bits := p.Bits(); bits >= 0; bits-- {
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
func (o Origins) Why(set string, p netip.Prefix) string {
	var reasons []string
	seen := map[string]bool{}
	for _, origin := range o.Of(set, p) {
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
