package plan

import (
	"fmt"
	"slices"
	"strings"
)

// allowedSets hold the addresses that may reach the SIP ports.
var allowedSets = []string{"providers4", "providers6", "trusted4", "trusted6"}

// Summary says in a few words what a plan corrects.
func Summary(p *Plan) string {
	switch {
	case p.Empty():
		return "nothing to do"
	case !p.Have.Exists && p.Have.Place != "":
		return "the fence was gone and is back"
	case !p.Have.Exists:
		return "the table was gone and is back"
	}
	words, other := p.allowedDelta()
	if other > 0 {
		words = append(words, plural(other, "other difference")+" corrected")
	}
	return strings.Join(words, ", ")
}

// Changed says in a few words how a plan changes the rules.
func Changed(p *Plan) string {
	switch {
	case !p.Have.Exists:
		var all tally
		for _, set := range allowedSets {
			for _, e := range p.Want.Sets[set].Elements {
				all.add(e.From != e.To)
			}
		}
		return "the first: " + all.text()
	case p.Empty():
		return "the rules did not change"
	}
	words, other := p.allowedDelta()
	if other > 0 {
		words = append(words, plural(other, "other change"))
	}
	return strings.Join(words, ", ")
}

// allowedDelta says in a few words how the allowed addresses change, and counts
// the other changes.
func (p *Plan) allowedDelta() (words []string, other int) {
	var added, removed tally
	for _, c := range p.Changes {
		network := strings.ContainsAny(c.Value, "/-")
		switch {
		case !c.Allowed():
			other++
		case c.Action == Add:
			added.add(network)
		default:
			removed.add(network)
		}
	}
	gone := removed.text()
	if added.networks+removed.networks == 0 {
		gone = fmt.Sprint(removed.addresses)
	}
	if none := (tally{}); added != none || removed != none {
		words = append(words, added.text()+" added, "+gone+" removed")
	}
	return words, other
}

// Allowed reports whether the change is about an address that may reach the SIP ports,
// or that may not any more.
func (c Change) Allowed() bool { return c.Kind == KindElement && slices.Contains(allowedSets, c.Name) }

// tally counts allowed addresses, and networks apart from them.
type tally struct{ addresses, networks int }

func (t *tally) add(network bool) {
	if network {
		t.networks++
	} else {
		t.addresses++
	}
}

func (t tally) text() string {
	switch {
	case t.networks == 0:
		return plural(t.addresses, "allowed address")
	case t.addresses == 0:
		return plural(t.networks, "allowed network")
	}
	return plural(t.addresses, "allowed address") + " and " + plural(t.networks, "network")
}

func plural(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "s"):
		return fmt.Sprintf("%d %ses", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
