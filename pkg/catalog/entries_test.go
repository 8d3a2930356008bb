package catalog_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/policy"
)

// day is soon after the day when the presets were checked.
func day(t *testing.T) time.Time {
	t.Helper()
	now, err := time.Parse(time.DateOnly, "2026-11-23")
	if err != nil {
		t.Fatal(err)
	}
	return now
}

// TestEntries: what init writes for a provider is a policy with that provider, also where
// two have the same name and where YAML has a meaning of its own for one.
func TestEntries(t *testing.T) {
	for _, test := range []struct {
		providers string
		want      string // name: first registrar
	}{
		{"telnyx", "telnyx: sip.telnyx.com"},
		{"twilio:trunk=mycompany", "twilio: mycompany.pstn.twilio.com"},
		{"twilio:trunk=1234", "twilio: 1234.pstn.twilio.com"},
		{"twilio:trunk=null", "twilio: null.pstn.twilio.com"},
		{"sip.acme.co.uk", "acme: sip.acme.co.uk"},
		{"sip.acme.co.uk sip.acme.example reg.acme.example", "acme: sip.acme.co.uk, acme-2: sip.acme.example, acme-3: reg.acme.example"},
		{"telnyx sip.telnyx.example", "telnyx: sip.telnyx.com, telnyx-2: sip.telnyx.example"},
		{"sip.telnyx.example telnyx", "telnyx-2: sip.telnyx.example, telnyx: sip.telnyx.com"},
		{"sip:my_provider.example:5070", "my-provider: my_provider.example"},
		{"sip.null.example", "null: sip.null.example"},
		{"1234.example", "1234: 1234.example"},
		{"true.example", "true: true.example"},
		{"___.example", "provider: ___.example"},
		{"co.uk 192.0.2.7 [2001:db8::7]:5070", "provider: co.uk, provider-2: 192.0.2.7, provider-3: 2001:db8::7"},
	} {
		t.Run(test.providers, func(t *testing.T) {
			entries, warnings, err := catalog.Entries(strings.Fields(test.providers), day(t))
			if err != nil || len(warnings) > 0 {
				t.Fatalf("%v, warnings %q", err, warnings)
			}
			text := "version: 1\nproviders:\n"
			for _, lines := range entries {
				text += "  " + strings.Join(lines, "\n  ") + "\n"
			}
			p, err := catalog.Parse("policy.yaml", []byte(text))
			if err != nil {
				t.Fatalf("%v in\n%s", err, text)
			}
			var got []string
			for _, provider := range p.Providers {
				got = append(got, provider.Name+": "+first(provider))
			}
			if strings.Join(got, ", ") != test.want {
				t.Errorf("the policy has %s\n%s", strings.Join(got, ", "), text)
			}
		})
	}
}

// first is the host of a provider's first registrar.
func first(p policy.Provider) string {
	if r := p.Registrars[0]; r.Host == "" {
		return r.Address.String()
	}
	return p.Registrars[0].Host
}

// TestEntriesRefused: what is no provider is refused, and the hint says how to write one.
func TestEntriesRefused(t *testing.T) {
	for _, test := range []struct{ providers, err, hint string }{
		{"telnyx telnyx", "provider telnyx is given twice", ""},
		{"twilio", "preset twilio needs trunk (the trunk's name, what stands before .pstn.twilio.com)", "write it like this: --provider twilio:trunk=mycompany"},
		{"twilio:trunk=", "preset twilio needs trunk (the trunk's name, what stands before .pstn.twilio.com)", "write it like this: --provider twilio:trunk=mycompany"},
		{"twilio:trunk=a,colour=red", `preset twilio has no parameter "colour"`, "see ringfence providers show twilio"},
		{"telnyx:trunk=a", `preset telnyx has no parameter "trunk"`, "see ringfence providers show telnyx"},
		{"telnix", `there is no preset "telnix": the presets are 1und1, 46elks, `, "or give the registrar's name as your phones have it: ringfence init --provider sip.provider.example"},
		{"com", `there is no preset "com"`, "or give the registrar's name as your phones have it: ringfence init --provider sip.provider.example"},
		{"-", `there is no preset "-"`, "or give the registrar's name as your phones have it: ringfence init --provider sip.provider.example"},
	} {
		entries, _, err := catalog.Entries(strings.Fields(test.providers), day(t))
		if err == nil || !strings.HasPrefix(err.Error(), test.err) || notice.Hint(err) != test.hint || entries != nil {
			t.Errorf("%s: %v (hint %q), want %s (hint %q)", test.providers, err, notice.Hint(err), test.err, test.hint)
		}
	}
}
