package ruleset

import (
	"net/netip"
	"slices"
)

// WaysTo returns the interfaces by which answers to an address leave: that of the network
// that the host is connected to, of a private network behind another router, or else those
// that lead outside. It is none if the address is the host's own, or nothing is known.
func (h Host) WaysTo(a netip.Addr) []string {
	var ways []string
	longest := -1
	take := func(n Network) {
		switch {
		case !n.Prefix.Contains(a) || n.Prefix.Bits() < longest:
		case n.Prefix.Bits() > longest:
			ways, longest = []string{n.Interface}, n.Prefix.Bits()
		case !slices.Contains(ways, n.Interface):
			ways = append(ways, n.Interface)
		}
	}
	for _, i := range h.Interfaces {
		for _, own := range i.Addresses {
			if own.Addr() == a {
				return nil
			}
		}
		for _, n := range i.Connected() {
			take(n)
		}
	}
	for _, n := range h.Routed {
		take(n)
	}
	if longest >= 0 {
		return ways
	}
	return slices.Clone(h.Outside)
}
