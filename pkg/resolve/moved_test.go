package resolve_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/ringfence/ringfence/pkg/resolve"
)

// TestMoves: an address moves when its first name comes and when its last one goes, and is
// shown with all names that it stands for.
func TestMoves(t *testing.T) {
	memory := func(byName map[string][]string) resolve.Memory {
		m := resolve.NewMemory()
		for _, name := range []string{"a.example", "b.example"} {
			k := resolve.Known{Name: name, Owners: []string{"acme"}}
			for _, a := range byName[name] {
				k.Addresses = append(k.Addresses, resolve.KnownAddress{Address: netip.MustParseAddr(a), Via: "A"})
			}
			m.Names = append(m.Names, k)
		}
		return m
	}
	before := memory(map[string][]string{"a.example": {"192.0.2.1", "192.0.2.2"}, "b.example": {"192.0.2.2", "192.0.2.3"}})
	after := memory(map[string][]string{"a.example": {"192.0.2.4", "192.0.2.1"}, "b.example": {"192.0.2.4", "192.0.2.2"}})
	var got []string
	for _, m := range after.Moves(before) {
		got = append(got, fmt.Sprint(m.Address, " ", m.Gone, " ", m.Reason))
	}
	want := []string{"192.0.2.4 false acme: a.example A; acme: b.example A", "192.0.2.3 true acme: b.example A"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if moves := after.Moves(after); len(moves) > 0 {
		t.Errorf("nothing has moved, but got %v", moves)
	}
}
