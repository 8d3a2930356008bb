package plan

import (
	"net/netip"
	"slices"

	"go4.org/netipx"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Explain gives each changed address a reason: for a new one where it comes from, for a
// removed one why it was there. why says what has changed in the policy or on the host;
// it becomes the reason of changed rules, unless it is empty.
func (p *Plan) Explain(was, will ruleset.Origins, why string) {
	p.Was, p.Will = was, will
	before, after := was.Index(), will.Index()
	for i, c := range p.Changes {
		switch {
		case c.Kind == KindElement && c.Reason == "":
			p.Changes[i].Reason = elementReason(c, before, after)
		case c.Kind == KindChain && why != "" && slices.Contains([]string{rulesDiffer, missing, unasked}, c.Reason):
			p.Changes[i].Reason = why
		}
	}
}

// Deletes reports whether an element is removed.
func (p *Plan) Deletes() bool {
	return slices.ContainsFunc(p.Changes, func(c Change) bool { return c.Kind == KindElement && c.Action == Delete })
}

func elementReason(c Change, was, will ruleset.Index) string {
	prefix, err := ruleset.ParsePrefix(c.Value)
	if err != nil {
		if c.Action == Add {
			return "ports of the policy"
		}
		return unasked
	}
	if c.Action == Add {
		return will.Why(c.Name, prefix)
	}
	if why := was.Why(c.Name, prefix); why != "" {
		return "was " + why
	}
	return unasked
}

// minus returns the addresses of a that b lacks, as prefixes.
func minus(a, b *netipx.IPSet) []netip.Prefix {
	var builder netipx.IPSetBuilder
	builder.AddSet(a)
	builder.RemoveSet(b)
	return ipSet(&builder).Prefixes()
}

func ipSet(builder *netipx.IPSetBuilder) *netipx.IPSet {
	set, err := builder.IPSet()
	if err != nil {
		// An IPSet fails on an invalid range only, and a set holds none.
		panic("subtract sets: " + err.Error())
	}
	return set
}

// Removed returns the addresses that belong to a provider or are trusted now, and will
// not after the plan.
func (p *Plan) Removed() *netipx.IPSet {
	names := []string{"providers4", "providers6", "trusted4", "trusted6"}
	var builder netipx.IPSetBuilder
	for _, name := range names {
		have := p.Have.Sets[name].Elements
		if len(have) == 0 {
			continue // there may be very many that come
		}
		gone, _ := ruleset.Delta(have, p.Want.Sets[name].Elements)
		builder.AddSet(ruleset.Union(plainPrefixes(gone)))
	}
	set := ipSet(&builder)
	if len(set.Ranges()) == 0 {
		return set
	}
	// Sets are large and changes small: what stays is only looked at where it matters.
	for _, name := range names {
		for _, gone := range set.Ranges() {
			for _, e := range ruleset.Overlapping(p.Want.Sets[name].Elements, gone) {
				if e.Plain() {
					builder.RemoveRange(netipx.IPRangeFrom(e.From, e.To))
				}
			}
		}
	}
	return ipSet(&builder)
}
