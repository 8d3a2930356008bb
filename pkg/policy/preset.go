package policy

import (
	"fmt"
	"slices"
	"strings"
)

// preset adds what the preset of a provider holds. with is the place of its values.
func (c *checker) preset(f providerFile, with scalar, p *Provider, allowed *allowList) {
	s := f.Preset
	if !s.written() {
		if len(f.With) > 0 {
			c.mistake(with, "with gives values to a preset, and this provider has none: add preset, or remove with")
		}
		return
	}
	var names []string
	if c.available.Presets != nil {
		names = c.available.Presets.Names()
	}
	if !slices.Contains(names, s.text) {
		c.mistake(s, "there is no preset %q: the presets are %s; or list the provider's registrars", s.text, strings.Join(names, ", "))
		return
	}
	preset, err := c.available.Presets.Preset(s.text)
	if err != nil {
		c.mistake(s, "preset %q cannot be read: %v", s.text, err)
		return
	}
	p.Preset, p.List = s.text, preset.List
	values, ok := c.values(f, preset)
	for _, a := range preset.Addresses {
		p.Addresses = append(p.Addresses, Address{a, "preset " + s.text})
		*allowed = append(*allowed, placed{a, s})
	}
	if !ok {
		return // the mistake is reported already, and an incomplete name would only cause another
	}
	for _, text := range preset.Registrars {
		if r, ok := c.registrar(scalar{values.Replace(text), s.line, s.col}); ok {
			p.Registrars = append(p.Registrars, r)
		}
	}
}

// presetValue matches one label of a domain name (RFC 1035 section 2.3.1, and digits
// first, RFC 1123 section 2.1). A dot is refused, because a value with one is the whole
// name, and the preset would append its end a second time.
var presetValue = expression(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)

// values pairs the preset's parameters with the values that the provider gives. It
// returns false if some are missing or wrong.
func (c *checker) values(f providerFile, preset Preset) (*strings.Replacer, bool) {
	good := true
	mistake := func(at scalar, format string, args ...any) {
		good = false
		c.mistake(at, format, args...)
	}
	given := map[string]bool{}
	var pairs []string
	for _, a := range f.With {
		i := slices.IndexFunc(preset.Parameters, func(p Parameter) bool { return p.Name == a.name.text })
		switch {
		case len(preset.Parameters) == 0:
			mistake(a.name, "preset %q takes no values: remove %s", f.Preset.text, a.name.text)
			continue
		case i < 0:
			mistake(a.name, "preset %q has no %q: it takes %s", f.Preset.text, a.name.text, parameterNames(preset.Parameters))
			continue
		}
		p := preset.Parameters[i]
		given[p.Name] = true
		if !presetValue().MatchString(a.value.text) {
			mistake(a.value, "%s is %q: write %s, one word of letters, digits and hyphens, such as %s", p.Name, a.value.text, p.Means, p.Example)
		}
		pairs = append(pairs, "{"+p.Name+"}", a.value.text)
	}
	for _, p := range preset.Parameters {
		if !given[p.Name] {
			mistake(f.Preset, "preset %q needs %s: add with: {%s: %s}, where %s is %s", f.Preset.text, p.Name, p.Name, p.Example, p.Name, p.Means)
		}
	}
	return strings.NewReplacer(pairs...), good
}

func parameterNames(parameters []Parameter) string {
	var names []string
	for _, p := range parameters {
		names = append(names, fmt.Sprintf("%s (%s)", p.Name, p.Means))
	}
	return strings.Join(names, ", ")
}
