package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Guard looks at a whole plan. It refuses the plan with a *Refusal, or returns nil.
type Guard func(*Plan) error

// Refusal is the error of a guard that refused. Nothing was changed.
type Refusal struct {
	// Guard is the guard's name.
	Guard string
	// Why is the reason, a sentence without its period.
	Why string
	// WayOut says what to do instead.
	WayOut string
	// Subjects are what an override of the guard must name, such as providers. It is
	// empty if an override names nothing.
	Subjects []string
}

// The names of the guards.
const (
	GuardForeignTable  = "foreign-table"
	GuardEmptyProvider = "empty-provider"
	GuardCutInside     = "cut-inside"
	GuardCutLive       = "cut-live"
	GuardProtected     = "protected"
)

func (r *Refusal) Error() string {
	return fmt.Sprintf("refused by guard %s: %s", r.Guard, r.Why)
}

// Check asks each guard in turn and returns the first refusal.
func (p *Plan) Check(guards ...Guard) error {
	for _, g := range guards {
		if err := g(p); err != nil {
			return err
		}
	}
	return nil
}

// ForeignTable refuses a plan that would replace or remove a table of ringfence's name
// that another program has made. It is for hosts where nothing was applied yet: later,
// whatever another program puts into the table is drift. A table with all of the given
// counters, and with nothing that ringfence does not write, is taken for one of an
// earlier ringfence whose state was lost. place is what the back end calls the table,
// look the command that shows it.
func ForeignTable(counters []string, place, look string) Guard {
	return func(p *Plan) error {
		if !p.Have.Exists || p.Have.OnlyOurs() && subset(counters, p.Have.Counters) {
			return nil
		}
		rules := 0
		for _, c := range p.Have.Chains {
			rules += len(c.Rules)
		}
		return &Refusal{
			Guard: GuardForeignTable,
			Why: fmt.Sprintf("another program has made a %s (chains: %s; sets: %s; rules: %d), which ringfence would remove",
				place, names(p.Have.Chains), names(p.Have.Sets), rules),
			WayOut: "look at it (" + look + ") and give it another name, or delete it",
		}
	}
}

func names[V any](things map[string]V) string {
	if len(things) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(things)), ", ")
}

func subset(some, all []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}

// EmptyProvider refuses a plan that leaves a provider of the policy without any
// address: its calls would be dropped. Providers in allowed may be empty; failed says,
// by provider, why no address was found.
func EmptyProvider(allowed []string, failed map[string]string) Guard {
	return func(p *Plan) error {
		if !p.Want.Exists {
			return nil
		}
		var empty, why []string
		for _, provider := range p.Will.Providers {
			if p.Will.Addresses(provider) > 0 || slices.Contains(allowed, provider) {
				continue
			}
			empty = append(empty, provider)
			if f := failed[provider]; f != "" {
				why = append(why, f)
			}
		}
		if len(empty) == 0 {
			return nil
		}
		text := "no address is known for provider " + strings.Join(empty, ", ") + ", so its calls would be dropped"
		if len(why) > 0 {
			text += " (" + strings.Join(why, "; ") + ")"
		}
		return &Refusal{
			Guard:    GuardEmptyProvider,
			Why:      text,
			WayOut:   "check the name server and the names, or list the provider's addresses in the policy",
			Subjects: empty,
		}
	}
}

// Inside are networks of the site that a fence cuts off.
type Inside struct {
	Networks []ruleset.Network
	// Forwards says that the host does, so that phones there lose their provider; on
	// others they lose the host, and Seen are some that are there.
	Forwards bool
	Seen     []netip.Addr
}

// CutInside refuses a plan that fences an interface which leads to a network of the site
// that the policy does not trust. trusted is what the policy lists; the refusal prints the
// corrected line.
func CutInside(inside Inside, trusted []netip.Prefix) Guard {
	return func(p *Plan) error {
		if !p.Want.Exists || len(inside.Networks) == 0 {
			return nil
		}
		var networks []string
		for _, p := range trusted {
			networks = append(networks, yamlPrefix(p))
		}
		for _, i := range inside.Networks {
			if network := yamlPrefix(i.Prefix); !slices.Contains(networks, network) {
				networks = append(networks, network)
			}
		}
		return &Refusal{
			Guard: GuardCutInside,
			Why:   inside.String(),
			WayOut: fmt.Sprintf("write addresses: [%s] under trusted in the policy, or list only the outside interfaces in interfaces",
				strings.Join(networks, ", ")),
		}
	}
}

// CutLive refuses a plan that drops what comes in by flows that are up now. flows returns
// those, for a table that is there now or is not.
func CutLive(flows func(fenced bool) []ruleset.Flow) Guard {
	return func(p *Plan) error {
		if !p.Want.Exists {
			return nil
		}
		cut := flows(p.Have.Exists)
		if len(cut) == 0 {
			return nil
		}
		return &Refusal{
			Guard: GuardCutLive,
			Why:   "these exchange SIP with this host or its phones now, and would be dropped: " + shortList(cut, mostFlows),
			WayOut: "list those that are yours under trusted.addresses or as a provider's addresses in the policy " +
				"(a scanner that gets answers is among them too)",
		}
	}
}

// mostFlows is how many flows are named.
const mostFlows = 100

// shortList names the first of many.
func shortList[T fmt.Stringer](items []T, most int) string {
	var texts []string
	for i, item := range items {
		if i == most {
			texts = append(texts, fmt.Sprintf("and %d more", len(items)-most))
			break
		}
		texts = append(texts, item.String())
	}
	return strings.Join(texts, ", ")
}

// yamlPrefix writes a prefix as an entry of a YAML list.
func yamlPrefix(p netip.Prefix) string {
	if p.Addr().Is6() {
		return fmt.Sprintf("%q", ruleset.PrefixText(p))
	}
	return ruleset.PrefixText(p)
}

// String says which phones are cut off.
func (i Inside) String() string {
	const most = 5
	if i.Forwards {
		return "this host forwards, and phones in " + shortList(i.Networks, most) + " could no longer reach their provider"
	}
	text := "phones in " + shortList(i.Networks, most) + " could no longer reach this host"
	if len(i.Seen) > 0 {
		text += " (seen there: " + shortList(i.Seen, most) + ")"
	}
	return text
}

// FindInside returns the networks that CutInside is about: the site's own, on an
// interface for which fenced returns true, and not wholly covered by allowed.
func FindInside(host ruleset.Host, fenced func(name string) bool, allowed []netip.Prefix) []ruleset.Network {
	networks := slices.DeleteFunc(host.OwnNetworks(), func(n ruleset.Network) bool { return !fenced(n.Interface) })
	if len(networks) == 0 {
		return nil
	}
	var near []netip.Prefix
	for _, p := range allowed {
		if slices.ContainsFunc(networks, func(n ruleset.Network) bool { return n.Prefix.Overlaps(ruleset.Canonical(p)) }) {
			near = append(near, p)
		}
	}
	trusted := ruleset.Union(near)
	return slices.DeleteFunc(networks, func(n ruleset.Network) bool { return trusted.ContainsPrefix(n.Prefix) })
}
