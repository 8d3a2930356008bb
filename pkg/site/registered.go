package site

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// withPhone is a table as it would be once a phone has registered, from port 0, which is
// that of a packet whose port is not told.
func withPhone(t *ruleset.State, a netip.Addr) *ruleset.State {
	name := "phones4"
	if a.Is6() {
		name = "phones6"
	}
	phones, ok := t.Sets[name]
	if !ok {
		return t
	}
	with := *t
	with.Sets = maps.Clone(t.Sets)
	phones.Elements = append(slices.Clip(phones.Elements), ruleset.Element{From: a, To: a})
	with.Sets[name] = phones
	return &with
}
