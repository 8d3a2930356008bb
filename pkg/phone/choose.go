package phone

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Find returns the maker with a name, which may be any of its names.
func Find(makers []Maker, name string) (Maker, bool) {
	wanted := plain(name)
	i := slices.IndexFunc(makers, func(m Maker) bool {
		return slices.ContainsFunc(m.names(), func(known string) bool { return plain(known) == wanted })
	})
	if i < 0 {
		return Maker{}, false
	}
	return makers[i], true
}

// WithModel returns the makers that have a model with that name.
func WithModel(makers []Maker, model string) []Maker {
	var found []Maker
	for _, m := range makers {
		if model != "" && len(m.withModel(model)) > 0 {
			found = append(found, m)
		}
	}
	return found
}

func (m Maker) names() []string { return append([]string{m.Name, m.Title}, m.Also...) }

// plain returns a name without the differences in how people write it.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return -1
	}, name)
}

// model returns the name of a model as families list it. The maker's name and usual
// prefixes are dropped: T46S, SIP-T46S and Yealink T46S are the same.
func (m Maker) model(name string) string {
	wanted := plain(name)
	for _, prefix := range append(m.names(), m.Prefixes...) {
		if slices.ContainsFunc(m.Families, func(f Family) bool { return matches(f.Models, wanted) }) {
			break
		}
		wanted = strings.TrimPrefix(wanted, plain(prefix))
	}
	return wanted
}

// modelText returns a model's name as it is printed, "" if none was named. It has only
// letters and digits, so that any comment can contain it.
func (m Maker) modelText(name string) string {
	if name == "" {
		return ""
	}
	return m.model(name)
}

// withModel returns the families that have the model.
func (m Maker) withModel(name string) []Family {
	wanted := m.model(name)
	var found []Family
	for _, f := range m.Families {
		if matches(f.Models, wanted) {
			found = append(found, f)
		}
	}
	return found
}

func matches(patterns []string, model string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		prefix, ok := strings.CutSuffix(p, "*")
		return ok && strings.HasPrefix(model, prefix) || p == model
	})
}

// ErrModel means that no family has the named phone.
var ErrModel = errors.New("unknown model")

// family chooses the family of a model with its firmware. The model may be left out
// only if the maker has a single family.
func (m Maker) family(model string, v version) (Family, error) {
	if model == "" {
		if len(m.Families) == 1 {
			return m.Families[0], nil
		}
		return Family{}, fmt.Errorf("%w: the phones of %s need different settings, so name a model", ErrModel, m.Title)
	}
	found := m.withModel(model)
	if len(found) == 0 {
		return Family{}, fmt.Errorf("%w: nothing is known about a %s %q", ErrModel, m.Title, model)
	}
	for _, f := range found {
		if v.within(f.From, f.Before) {
			return f, nil
		}
	}
	return Family{}, fmt.Errorf("%w: nothing is known about a %s %q with that firmware", ErrModel, m.Title, model)
}

// has reports whether the family has the setting.
func (f Family) has(s Setting) bool {
	if _, ok := f.Keys[s.Name]; ok {
		return true
	}
	if len(s.Families) > 0 {
		return slices.Contains(s.Families, f.Name)
	}
	return s.Key != ""
}

// key returns the setting's key for an account of the family.
func (f Family) key(s Setting, account int) string {
	keys := f.Keys[s.Name]
	switch {
	case len(keys) == 0:
		return s.Key
	case s.Per == "account":
		return keys[account-1]
	}
	return keys[0]
}
