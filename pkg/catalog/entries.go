package catalog

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/rules"
)

// Entries returns the entries of a new policy for providers, each as its lines. A provider
// is given as a preset, with a colon and values for its parameters where it needs them
// (twilio:trunk=mycompany), or as a registrar's name. The warnings are about presets.
func Entries(texts []string, now time.Time) (entries [][]string, warnings []string, err error) {
	presets, err := Providers()
	if err != nil {
		return nil, nil, err
	}
	// A preset keeps its name, wherever it stands.
	taken := map[string]bool{}
	for _, text := range texts {
		name, _, _ := strings.Cut(text, ":")
		if _, ok := presets[name]; !ok {
			continue
		}
		if taken[name] {
			return nil, nil, fmt.Errorf("provider %s is given twice", name)
		}
		taken[name] = true
	}
	for _, text := range texts {
		name, values, _ := strings.Cut(text, ":")
		if preset, ok := presets[name]; ok {
			lines, err := presetLines(preset, values)
			if err != nil {
				return nil, nil, err
			}
			warnings = append(warnings, preset.Warnings(now)...)
			entries = append(entries, lines)
			continue
		}
		r, ok := policy.ParseRegistrar(text)
		if !ok || !r.Address.IsValid() && !strings.Contains(r.Host, ".") {
			return nil, nil, notice.WithHint(fmt.Errorf("there is no preset %q: the presets are %s", text, strings.Join(slices.Sorted(maps.Keys(presets)), ", ")),
				"or give the registrar's name as your phones have it: ringfence init --provider sip.provider.example")
		}
		short := providerNameOf(r)
		for base, n := short, 2; taken[short]; n++ {
			short = fmt.Sprintf("%s-%d", base, n)
		}
		taken[short] = true
		entries = append(entries, []string{
			"- name: " + rules.Word(short),
			fmt.Sprintf("  registrars: [%q]", text),
			"  # Servers that call you and have no DNS record; the provider's help pages list them.",
			"  addresses: []",
		})
	}
	return entries, warnings, nil
}

// presetLines returns a preset's entry, with values for its parameters, such as
// "trunk=mycompany".
func presetLines(preset rules.Provider, values string) ([]string, error) {
	with := map[string]string{}
	for value := range strings.SplitSeq(values, ",") {
		key, v, _ := strings.Cut(value, "=")
		known := slices.ContainsFunc(preset.Parameters, func(p policy.Parameter) bool { return p.Name == key })
		if value != "" && !known {
			return nil, notice.WithHint(fmt.Errorf("preset %s has no parameter %q", preset.Name, key), "see ringfence providers show %s", preset.Name)
		}
		with[key] = v
	}
	var missing, example []string
	for _, p := range preset.Parameters {
		if with[p.Name] == "" {
			missing = append(missing, fmt.Sprintf("%s (%s)", p.Name, p.Means))
		}
		example = append(example, p.Name+"="+p.Example)
	}
	if len(missing) > 0 {
		return nil, notice.WithHint(fmt.Errorf("preset %s needs %s", preset.Name, strings.Join(missing, ", ")),
			"write it like this: --provider %s:%s", preset.Name, strings.Join(example, ","))
	}
	lines := []string{fmt.Sprintf("# %s; from %s, %s", preset.Title, preset.Source, preset.Checked)}
	if preset.Caveat != "" {
		lines = append(lines, strings.Split(notice.Fold("# "+preset.Caveat, 76, "# "), "\n")...)
	}
	return append(lines, preset.PolicyLines(with)...), nil
}

// providerNameOf makes a provider's name from a registrar's: "acme" from
// sip.acme.example and from sip.acme.co.uk.
func providerNameOf(r policy.Registrar) string {
	domain, err := publicsuffix.EffectiveTLDPlusOne(r.Host)
	if err != nil {
		return "provider"
	}
	name, _, _ := strings.Cut(domain, ".")
	if name = strings.Trim(strings.ReplaceAll(name, "_", "-"), "-"); name == "" {
		return "provider"
	}
	return name
}
