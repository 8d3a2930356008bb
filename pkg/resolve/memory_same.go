package resolve

import (
	"fmt"
	"strings"
)

// Same reports whether two memories are the same except for times.
func (m Memory) Same(other Memory) bool { return m.facts() == other.facts() }

// facts returns everything that has consequences, as text.
func (m Memory) facts() string {
	var b strings.Builder
	for _, k := range m.Names {
		fmt.Fprintln(&b, k.Name, k.Registrar, k.Owners, k.KeptSince.IsZero(), k.Cut.limits())
		for _, a := range k.Addresses {
			fmt.Fprintln(&b, a.Address, a.Via, a.MissingSince.IsZero())
		}
		for _, h := range k.Quarantined {
			fmt.Fprintln(&b, "quarantined", h.Address, h.Contradicted)
		}
		for _, r := range k.Rejected {
			fmt.Fprintln(&b, "rejected", r.Address, r.Why)
		}
		for _, a := range k.Questions {
			fmt.Fprintln(&b, a.Name, a.Type, a.Error, a.Accepted, min(a.Gone, goneTimes))
		}
	}
	for _, k := range m.Lists {
		k.writeFacts(&b)
	}
	return b.String()
}
