package ruleset_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// manyAddresses are addresses of both kinds of prefixes, of one family.
func manyAddresses(n int) []ruleset.Element {
	list := make([]netip.Prefix, n)
	for i := range list {
		list[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{32, byte(i >> 8), byte(i), 8}), 32-i%2)
	}
	return ruleset.Addresses(list)
}

// TestBase: a large set that is written as what differs from its base is read as it was, and
// not by another base.
func TestBase(t *testing.T) {
	listed := manyAddresses(3000)
	sets := map[string][]ruleset.Element{"providers4": listed, "trusted6": ruleset.Addresses(prefixes("2001:db8::/32", "fe80::1/128"))}
	packed := ruleset.AppendSets(nil, sets)
	read, rest, err := ruleset.CutSets(packed)
	if err != nil || len(rest) > 0 || len(read) != len(sets) {
		t.Fatalf("%d sets are read, %d bytes are left, %v", len(read), len(rest), err)
	}
	for name, elements := range sets {
		if !slices.Equal(elements, read[name]) {
			t.Errorf("set %s is read as another one", name)
		}
	}
	for n := 0; n < len(packed); n += 37 {
		if _, _, err := ruleset.CutSets(packed[:n]); err == nil {
			t.Fatalf("%d bytes of %d are read", n, len(packed))
		}
	}

	base := ruleset.NewBase(sets, nil)
	if same := ruleset.NewBase(read, packed); same.Key != base.Key {
		t.Error("the same sets have another key")
	}
	if other := ruleset.NewBase(map[string][]ruleset.Element{"providers4": listed[1:]}, nil); other.Key == base.Key {
		t.Error("other sets have the same key")
	}
	elements := ruleset.With(slices.Delete(slices.Clone(listed), 7, 9), ruleset.Addresses(prefixes("9.9.9.9/32", "203.0.113.0/24")))
	state := &ruleset.State{Exists: true, Sets: map[string]ruleset.Set{"providers4": {Key: ruleset.IPv4, Elements: elements}}}
	short, differ := base.Shorten(state)
	if d := differ["providers4"]; len(short.Sets["providers4"].Elements) != 0 || len(d.Gone) != 2 || len(d.Come) != 2 {
		t.Fatalf("%d elements are left, and %+v differs", len(short.Sets["providers4"].Elements), d)
	}
	wrong := map[string]ruleset.Difference{"providers4": {Gone: ruleset.Addresses(prefixes("9.9.9.9/32"))}}
	if base.Restore(short, wrong) {
		t.Error("an element is taken away that the base does not have")
	}
	if !base.Restore(short, differ) || !slices.Equal(short.Sets["providers4"].Elements, elements) {
		t.Error("the set is read as another one")
	}
}
