package plan

import (
	"fmt"
	"strings"

	"github.com/ringfence/ringfence/pkg/ruleset"
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
		var all []ruleset.Element
		for _, set := range allowedSets {
			all = append(all, p.Want.Sets[set].Elements...)
		}
		return "the first: " + plural(len(all), "allowed range")
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
	added, removed := 0, 0
	for _, c := range p.Changes {
		allowed := c.Kind == KindElement && (strings.HasPrefix(c.Name, "providers") || strings.HasPrefix(c.Name, "trusted"))
		switch {
		case allowed && c.Action == Add:
			added++
		case allowed:
			removed++
		default:
			other++
		}
	}
	if added+removed > 0 {
		words = append(words, fmt.Sprintf("%s added, %d removed", plural(added, "allowed address"), removed))
	}
	return words, other
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
