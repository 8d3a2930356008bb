package resolve

import (
	"net/netip"
	"slices"
	"strings"
)

// Move is an address that answers have brought or taken.
type Move struct {
	Address netip.Addr
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
			moves = append(moves, Move{Address: a, Reason: is[a]})
		}
	}
	for _, a := range sorted(was) {
		if _, stays := is[a]; !stays {
			moves = append(moves, Move{Address: a, Gone: true, Reason: was[a]})
		}
	}
	return moves
}

// reasons says for each address which names it stands for.
func (m Memory) reasons() map[netip.Addr]string {
	reasons := map[netip.Addr]string{}
	for _, k := range m.Names {
		for _, a := range k.Addresses {
			text := strings.Join(k.Owners, ", ") + ": " + k.Name + " " + a.Via
			if other := reasons[a.Address]; other != "" {
				text = other + "; " + text
			}
			reasons[a.Address] = text
		}
	}
	return reasons
}

func sorted(reasons map[netip.Addr]string) []netip.Addr {
	var list []netip.Addr
	for a := range reasons {
		list = append(list, a)
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return list
}
