package resolve

import (
	"net/netip"
	"slices"
	"strings"
)

// Move is an address or network that answers have brought or taken.
type Move struct {
	Address string
	Gone    bool
	// Reason says by which name it is or was allowed, and for whom.
	Reason string
}

// Moves are the addresses that this memory has and an earlier one had not, and the other
// way round, each with every name that it stands for. An address that only goes on to
// another name has not moved. It is pure.
func (m Memory) Moves(before Memory) []Move {
	was, is := before.reasons(), m.reasons()
	var moves []Move
	for _, a := range sorted(is) {
		if _, known := was[a]; !known {
			moves = append(moves, Move{Address: addressText(a), Reason: is[a]})
		}
	}
	for _, a := range sorted(was) {
		if _, stays := is[a]; !stays {
			moves = append(moves, Move{Address: addressText(a), Gone: true, Reason: was[a]})
		}
	}
	return moves
}

// reasons says for each address which names it stands for.
func (m Memory) reasons() map[netip.Prefix]string {
	reasons := map[netip.Prefix]string{}
	add := func(p netip.Prefix, owners []string, by string) {
		text := strings.Join(owners, ", ") + ": " + by
		if other := reasons[p]; other != "" {
			text = other + "; " + text
		}
		reasons[p] = text
	}
	for _, k := range m.Names {
		for _, a := range k.Addresses {
			add(netip.PrefixFrom(a.Address, a.Address.BitLen()), k.Owners, k.Name+" "+a.Via)
		}
	}
	for _, k := range m.Lists {
		for _, p := range k.Prefixes {
			add(p.Prefix, k.Owners, k.Origin())
		}
	}
	return reasons
}

func sorted(reasons map[netip.Prefix]string) []netip.Prefix {
	var list []netip.Prefix
	for a := range reasons {
		list = append(list, a)
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	return list
}

// addressText writes a single address without a length.
func addressText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
