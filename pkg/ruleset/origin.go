package ruleset

import (
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

// Of returns the longest origin of the set that covers the prefix. If there is none, it
// returns one that lies within it.
func (o Origins) Of(set string, p netip.Prefix) (Origin, bool) {
	origins := o.Sets[set]
	at := func(p netip.Prefix) int {
		i, _ := slices.BinarySearchFunc(origins, p, func(o Origin, p netip.Prefix) int { return o.Prefix.Compare(p) })
		return i
	}
	for bits := p.Bits(); bits >= 0; bits-- {
		wider := netip.PrefixFrom(p.Addr(), bits).Masked()
		if i := at(wider); i < len(origins) && origins[i].Prefix == wider {
			return origins[i], true
		}
	}
	if i := at(p); i < len(origins) && p.Overlaps(origins[i].Prefix) {
		return origins[i], true
	}
	return Origin{}, false
}
