package phone

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"

	"github.com/ringfence/ringfence/pkg/source"
)

// Read reads and checks the files about makers. Their keys are the makers' names. It
// returns the makers sorted by name.
func Read(files map[string][]byte) ([]Maker, error) {
	var makers []Maker
	for _, name := range slices.Sorted(maps.Keys(files)) {
		m := Maker{Name: name}
		if err := yaml.Load(files[name], &m, yaml.WithKnownFields()); err != nil {
			return nil, fmt.Errorf("read phones of %s: %w", name, err)
		}
		if err := m.check(); err != nil {
			return nil, fmt.Errorf("read phones of %s: %w", name, err)
		}
		makers = append(makers, m)
	}
	return makers, nil
}

// check returns the first thing wrong with a maker's data.
func (m *Maker) check() error {
	if m.Title == "" || len(m.Families) == 0 || m.Firmware.Example == "" {
		return fmt.Errorf("title, firmware.example or families are missing")
	}
	for name, source := range m.Sources {
		if source.Title == "" || !strings.HasPrefix(source.URL, "https://") {
			return fmt.Errorf("source %s needs a title and a URL", name)
		}
	}
	if err := m.File.check(); err != nil {
		return err
	}
	texts := append([]string{m.Title, m.Web}, m.Caveats...)
	for _, f := range m.Families {
		texts = append(append(texts, f.Title, f.Read), f.Caveats...)
	}
	for _, source := range m.Sources {
		texts = append(texts, source.Title, source.URL)
	}
	if err := checkTexts(texts); err != nil {
		return err
	}
	families := map[string]bool{}
	for _, f := range m.Families {
		if f.Name == "" || families[f.Name] {
			return fmt.Errorf("family %q: the name is missing or used twice", f.Name)
		}
		families[f.Name] = true
	}
	settings := map[string]bool{}
	for _, s := range m.Settings {
		if s.Name == "" || settings[s.Name] {
			return fmt.Errorf("setting %q: the name is missing or used twice", s.Name)
		}
		settings[s.Name] = true
		if err := m.checkSetting(s); err != nil {
			return fmt.Errorf("setting %s: %w", s.Name, err)
		}
	}
	for _, f := range m.Families {
		if err := m.checkFamily(f); err != nil {
			return fmt.Errorf("family %s: %w", f.Name, err)
		}
	}
	return nil
}

func (f File) check() error {
	if f.Name == "" || !strings.Contains(f.Line, "{key}") || !strings.Contains(f.Line, "{value}") || !strings.Contains(f.Comment, "{text}") {
		return fmt.Errorf("file needs a name, a line with {key} and {value}, and a comment with {text}")
	}
	if f.Format != CFG && f.Format != XML {
		return fmt.Errorf("file.format is %q, want cfg or xml", f.Format)
	}
	return nil
}

func (m *Maker) checkSetting(s Setting) error {
	texts := []string{s.Means, s.Firmware, s.Optional, s.Unconfirmed, s.Page, s.Key, s.Value}
	switch {
	case s.Means == "":
		return fmt.Errorf("means is missing")
	case len(s.Sources) == 0:
		return fmt.Errorf("source is missing")
	case !s.Confidence.Valid():
		return fmt.Errorf("confidence is %q, want high, medium or low", s.Confidence)
	case s.Confidence == source.Low && s.Unconfirmed == "":
		return fmt.Errorf("low confidence: unconfirmed must say what is not confirmed")
	case !slices.Contains([]string{"", "account"}, s.Per):
		return fmt.Errorf("per is %q, want account or nothing", s.Per)
	case !slices.Contains([]string{"", "port", "no-port", "srv"}, s.When):
		return fmt.Errorf("when is %q, want port, no-port, srv or nothing", s.When)
	case strings.Contains(s.Value, "{port") != (s.When == "port" && s.Value != "0" && s.Value != ""):
		return fmt.Errorf("a value with {port} needs when: port, and when: port needs such a value")
	case s.Key != "" && (s.Per == "account") != strings.Contains(s.Key+strings.Join(s.Group, ""), "{account}"):
		return fmt.Errorf("per: account needs {account} in the key or its group, and {account} needs per: account")
	}
	if err := checkTexts(texts); err != nil {
		return err
	}
	for _, source := range s.Sources {
		if _, ok := m.Sources[source]; !ok {
			return fmt.Errorf("there is no source %q", source)
		}
	}
	for _, name := range s.Families {
		if !slices.ContainsFunc(m.Families, func(f Family) bool { return f.Name == name }) {
			return fmt.Errorf("there is no family %q", name)
		}
	}
	for _, text := range []string{s.From, s.Before} {
		if _, err := (Firmware{}).parse(text); err != nil {
			return err
		}
	}
	return nil
}

// checkTexts refuses texts that cannot be in a comment. In XML a comment ends at the
// first pair of hyphens.
func checkTexts(texts []string) error {
	for _, text := range texts {
		if strings.Contains(text, "--") || strings.ContainsAny(text, "\r\n") || strings.HasSuffix(text, "-") {
			return fmt.Errorf("%q has a line break or a pair of hyphens, which a comment cannot have", text)
		}
	}
	return nil
}

var pattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Z0-9]+\*?$`) })

func (m *Maker) checkFamily(f Family) error {
	if f.Title == "" || f.Accounts < 1 || len(f.Models) == 0 {
		return fmt.Errorf("title, models or accounts are missing")
	}
	for _, model := range f.Models {
		if !pattern().MatchString(model) {
			return fmt.Errorf("model %q: write it in upper-case letters and digits, with a * at the end for a prefix", model)
		}
	}
	if f.File != nil {
		if err := f.File.check(); err != nil {
			return err
		}
	}
	for name, keys := range f.Keys {
		i := slices.IndexFunc(m.Settings, func(s Setting) bool { return s.Name == name })
		if i < 0 {
			return fmt.Errorf("there is no setting %q", name)
		}
		want := 1
		if m.Settings[i].Per == "account" {
			want = f.Accounts
		}
		if len(keys) != want {
			return fmt.Errorf("setting %s has %d keys, want %d", name, len(keys), want)
		}
	}
	none := true
	for _, s := range m.Settings {
		if !f.has(s) {
			continue
		}
		none = false
		if s.Firmware == "" && f.Read == "" {
			return fmt.Errorf("setting %s: neither it nor the family says which firmware it is for", s.Name)
		}
	}
	if none {
		return fmt.Errorf("it has no settings")
	}
	return nil
}
