package catalog

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/source"
	"github.com/ringfence/ringfence/rules"
)

// Provider is what is known about a provider, as users see it.
type Provider struct {
	Name       string             `json:"name"`
	Title      string             `json:"title"`
	Kind       rules.Kind         `json:"kind"`
	Parameters []policy.Parameter `json:"parameters"`
	Registrars []string           `json:"registrars"`
	Addresses  []string           `json:"addresses"`
	List       *policy.List       `json:"list,omitempty"`
	Records    []string           `json:"records"`
	Ports      string             `json:"ports,omitempty"`
	Media      string             `json:"media,omitempty"`
	Source     string             `json:"source"`
	Checked    string             `json:"checked"`
	Confidence source.Confidence  `json:"confidence"`
	Caveat     string             `json:"caveat,omitempty"`
	Policy     string             `json:"policy"` // what to write into a policy
	Warnings   []string           `json:"warnings"`
}

// Describe says what is known about a provider at a time.
func Describe(p rules.Provider, now time.Time) Provider {
	return Provider{
		p.Name, p.Title, p.Kind, append([]policy.Parameter{}, p.Parameters...),
		append([]string{}, p.Registrars...), append([]string{}, p.Addresses...), p.List, append([]string{}, p.Records...),
		p.Ports, p.Media, p.Source, p.Checked, p.Confidence, p.Caveat,
		strings.Join(p.PolicyLines(p.Examples()), "\n"), append([]string{}, p.Warnings(now)...),
	}
}

// KnownBy counts the names and addresses of a provider's servers.
func (r Provider) KnownBy() string {
	var parts []string
	if n := len(r.Registrars); n > 0 {
		parts = append(parts, notice.Count(n, "name"))
	}
	if n := len(r.Addresses); n > 0 {
		parts = append(parts, notice.Count(n, "prefix"))
	}
	if r.List != nil {
		parts = append(parts, "a list")
	}
	for _, p := range r.Parameters {
		parts = append(parts, "and your "+p.Name)
	}
	return strings.Join(parts, ", ")
}

// FindProvider returns the preset of this name.
func FindProvider(name string) (rules.Provider, error) {
	known, err := Providers()
	if err != nil {
		return rules.Provider{}, err
	}
	p, ok := known[name]
	if !ok {
		return p, notice.WithHint(fmt.Errorf("there is no provider %q", name), "ringfence providers lists them; any other provider can be written by hand")
	}
	return p, nil
}

// PresetOf names the preset that lists an address, "" for none.
func PresetOf(a netip.Addr) string {
	for _, p := range listed() {
		if p.prefix.Contains(a) {
			return p.preset
		}
	}
	return ""
}

type listedPrefix struct {
	prefix netip.Prefix
	preset string
}

// listed are the addresses of all presets.
var listed = sync.OnceValue(func() []listedPrefix {
	known, _ := Providers() // without presets there is nothing to name
	var list []listedPrefix
	for _, name := range slices.Sorted(maps.Keys(known)) {
		prefixes, _ := known[name].Prefixes()
		for _, p := range prefixes {
			list = append(list, listedPrefix{p, name})
		}
	}
	return list
})
