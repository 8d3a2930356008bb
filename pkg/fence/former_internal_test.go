package fence

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// TestSought: which of very many addresses a table lets in is found in another way than by
// asking for each, and is the same.
func TestSought(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	some := func() netip.Addr {
		n := byte(random.IntN(64))
		if random.IntN(4) == 0 {
			return netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 15: n})
		}
		return netip.AddrFrom4([4]byte{192, 0, 2, n})
	}
	for range 2000 {
		var list sought
		for range random.IntN(40) {
			list = append(list, some())
		}
		slices.SortFunc(list, netip.Addr.Compare)
		state := &ruleset.State{Sets: map[string]ruleset.Set{}}
		for _, kind := range []string{"providers", "trusted"} {
			for range random.IntN(20) {
				a := some()
				e := ruleset.Element{From: a, To: a}
				for range random.IntN(3) {
					if next := e.To.Next(); next.IsValid() {
						e.To = next
					}
				}
				name := kind + familyOf(a)
				set := state.Sets[name]
				if !slices.ContainsFunc(set.Elements, func(o ruleset.Element) bool {
					return o.From.Compare(e.To) <= 0 && e.From.Compare(o.To) <= 0
				}) {
					set.Elements = append(set.Elements, e)
					slices.SortFunc(set.Elements, ruleset.Element.Compare)
				}
				state.Sets[name] = set
			}
		}
		in := list.allowedBy(state)
		for _, a := range list {
			if in[a] != allows(state, nil, a) {
				t.Fatalf("%s of %v is let in: %t", a, list, in[a])
			}
		}
	}
}
