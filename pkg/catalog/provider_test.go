package catalog_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/notice"
)

// TestDescribe: what providers show prints of each preset can be written into a policy,
// and says what the preset is known by; lists are never null in JSON.
func TestDescribe(t *testing.T) {
	all, err := catalog.Providers()
	if err != nil {
		t.Fatal(err)
	}
	for name := range all {
		p, err := catalog.FindProvider(name)
		if err != nil {
			t.Fatal(err)
		}
		r := catalog.Describe(p, day(t))
		text := "version: 1\nproviders:\n  " + strings.ReplaceAll(r.Policy, "\n", "\n  ") + "\n"
		parsed, err := catalog.Parse("policy.yaml", []byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if n := len(parsed.Providers[0].Registrars); n != len(r.Registrars) || len(parsed.Providers[0].Addresses) != len(r.Addresses) {
			t.Errorf("%s: a policy with it has %d names and %d addresses, it says %s", name, n, len(parsed.Providers[0].Addresses), r.KnownBy())
		}
		if r.Parameters == nil || r.Registrars == nil || r.Addresses == nil || r.Records == nil || r.Warnings == nil {
			t.Errorf("%s: a list is null", name)
		}
	}
	for name, want := range map[string]string{
		"telnyx": "5 names, 16 prefixes", "twilio": "1 name, 8 prefixes, and your trunk", "46elks": "1 name, 2 prefixes",
	} {
		if got := catalog.Describe(all[name], day(t)).KnownBy(); got != want {
			t.Errorf("%s is known by %s, want %s", name, got, want)
		}
	}
	if _, err := catalog.FindProvider("telnix"); err == nil || notice.Hint(err) != "ringfence providers lists them; any other provider can be written by hand" {
		t.Errorf("telnix: %v (%s)", err, notice.Hint(err))
	}
}

// TestMakers: every maker that ringfence ships has phones, and is found by its name.
func TestMakers(t *testing.T) {
	makers, err := catalog.Makers()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range makers {
		names = append(names, m.Name)
		if len(m.Families) == 0 {
			t.Errorf("%s has no phones", m.Name)
		}
	}
	for _, name := range []string{"yealink", "grandstream", "polycom", "snom", "cisco"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is missing in %q", name, names)
		}
	}
}
