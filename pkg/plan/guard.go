package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Guard looks at a whole plan and refuses it with a *Refusal, or lets it pass
// with nil.
type Guard func(*Plan) error

// Refusal is a guard's no. Nothing was changed.
type Refusal struct {
	// Guard is the guard's name.
	Guard string
	// Why is a sentence without its period.
	Why string
	// WayOut says what to do instead.
	WayOut string
	// Subjects are what an override of the guard must name, such as providers; none
	// if it need not name anything.
	Subjects []string
}

// The names of the guards.
const (
	GuardForeignTable  = "foreign-table"
	GuardEmptyProvider = "empty-provider"
	GuardCutInside     = "cut-inside"
	GuardProtected     = "protected"
)

func (r *Refusal) Error() string {
	return fmt.Sprintf("refused by guard %s: %s", r.Guard, r.Why)
}

// Check asks each guard and returns the first refusal.
func (p *Plan) Check(guards ...Guard) error {
	for _, g := range guards {
		if err := g(p); err != nil {
			return err
		}
	}
	return nil
}

// ForeignTable refuses a plan that would replace or remove a table which another
// program has made under the name of ringfence's. It is for hosts where nobody
// has applied anything yet: later, whatever another program puts into the table
// is drift. A table is taken for one that an earlier ringfence has left, and
// lost its state of, if it has all of the given counters and nothing that
// ringfence does not write. place is how the back
// end calls it, look the command that shows it.
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
			Why: fmt.Sprintf("another program has made a %s (chains: %s; sets: %s; rules: %d), and ringfence would remove it",
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

// EmptyProvider refuses a plan that leaves a provider of the policy without a
// single address: its calls would be dropped. Providers in allowed may be
// empty; failed says, by provider, why nothing was found.
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

// CutInside refuses a plan for a host that forwards when a fenced interface
// leads to a network of the site's own that the policy does not trust: what the
// phones there send to their provider would be dropped on its way out. trusted
// is what the policy lists, for the line that corrects it.
func CutInside(inside []ruleset.Network, trusted []netip.Prefix) Guard {
	return func(p *Plan) error {
		if !p.Want.Exists || len(inside) == 0 {
			return nil
		}
		var networks []string
		for _, p := range trusted {
			networks = append(networks, yamlPrefix(p))
		}
		for _, i := range inside {
			if network := yamlPrefix(i.Prefix); !slices.Contains(networks, network) {
				networks = append(networks, network)
			}
		}
		return &Refusal{
			Guard: GuardCutInside,
			Why:   CutText(inside),
			WayOut: fmt.Sprintf("write addresses: [%s] under trusted in the policy, or list only the outside interfaces in interfaces",
				strings.Join(networks, ", ")),
		}
	}
}

// yamlPrefix writes a prefix so that it can stand in a list of the policy.
func yamlPrefix(p netip.Prefix) string {
	if p.Addr().Is6() {
		return fmt.Sprintf("%q", ruleset.PrefixText(p))
	}
	return ruleset.PrefixText(p)
}

// CutText says which phones lose their provider.
func CutText(inside []ruleset.Network) string {
	const most = 5
	names := make([]string, 0, most+1)
	for i, n := range inside {
		if i == most {
			names = append(names, fmt.Sprintf("and %d more networks", len(inside)-most))
			break
		}
		names = append(names, n.String())
	}
	return "this host forwards, and phones in " + strings.Join(names, ", ") + " could no longer reach their provider"
}

// FindInside returns the networks that CutInside speaks of: the site's own, on an
// interface for which fenced is true, and not wholly within allowed.
func FindInside(host ruleset.Host, fenced func(name string) bool, allowed []netip.Prefix) []ruleset.Network {
	if !host.Forwards {
		return nil
	}
	trusted := ruleset.Union(allowed)
	return slices.DeleteFunc(host.OwnNetworks(), func(n ruleset.Network) bool {
		return !fenced(n.Interface) || trusted.ContainsPrefix(n.Prefix)
	})
}
