package rules_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/rules"
)

// FuzzReadProvider looks for a file that makes ReadProvider panic, that it
// refuses without a place, or that it accepts and no policy can use.
func FuzzReadProvider(f *testing.F) {
	for _, seed := range []string{acme, template, "", "- a", "title: [", "registrars: {a: b}", "a: &a [*a]", "? [x]\n: y", "title: \x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := rules.ReadProvider("acme.yaml", []byte(text))
		if err != nil {
			mistakes, ok := errors.AsType[policy.Mistakes](err)
			if !ok {
				t.Fatalf("error of type %T: %v", err, err)
			}
			for _, m := range mistakes {
				if m.File != "acme.yaml" || m.Line < 1 || m.Col < 1 || m.Text == "" {
					t.Errorf("mistake without a place: %#v", m)
				}
			}
			return
		}
		prefixes, err := p.Prefixes()
		if err != nil {
			t.Fatal(err)
		}
		preset := policy.Preset{Registrars: p.Registrars, Addresses: prefixes, Parameters: p.Parameters}
		lines := strings.Join(p.PolicyLines(p.Examples()), "\n")
		if _, err := policy.Parse("policy.yaml", strings.NewReader("version: 1\nproviders:\n"+lines+"\n"), policy.Available{
			Presets: policy.PresetMap{"acme": preset}, SignatureLists: []string{"scanners"},
		}); err != nil {
			t.Errorf("%v\n%s\n%s", err, lines, text)
		}
	})
}
