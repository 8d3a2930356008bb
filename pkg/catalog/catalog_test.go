package catalog_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/policy"
)

// TestReadOnce: the embedded files are read once, however many policies are parsed.
func TestReadOnce(t *testing.T) {
	parse := func() {
		if _, err := catalog.Parse("policy.yaml", []byte("version: 1\nproviders: [{preset: telnyx}]\n")); err != nil {
			t.Fatal(err)
		}
	}
	parse()
	once := testing.AllocsPerRun(5, parse)
	if once > 5000 {
		t.Errorf("parsing a policy again makes %.0f allocations: the presets are read again", once)
	}
}

// TestSignaturesOf: a policy gets the signatures of its lists, without those that are
// switched off or excepted, and its own.
func TestSignaturesOf(t *testing.T) {
	p, err := catalog.Parse("policy.yaml", []byte(`version: 1
providers: [{preset: telnyx}]
signatures:
  deny: [{name: own, header: user-agent, contains: "BadDialer"}]
  except: [sipsak]
`))
	if err != nil {
		t.Fatal(err)
	}
	wanted, err := catalog.SignaturesOf(p)
	if err != nil {
		t.Fatal(err)
	}
	all, err := catalog.Signatures()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]catalog.Signature{}
	for _, s := range wanted {
		names[s.Name] = s
	}
	if _, found := names["sipsak"]; found || names["own"].Source != "the policy" || len(wanted) < 10 || len(wanted) > len(all) {
		t.Errorf("of %d signatures the policy has %d: %v", len(all), len(wanted), names)
	}
	automaton, err := catalog.AutomatonOf(p)
	if err != nil || len(automaton.Signatures()) != len(wanted) {
		t.Errorf("%v; the automaton knows other signatures than the %d of the policy", err, len(wanted))
	}
}

// TestOldPresets: each preset that was not checked for more than 180 days is reported
// once, whatever today's date is.
func TestOldPresets(t *testing.T) {
	p := &policy.Policy{Providers: []policy.Provider{{Preset: "46elks"}, {Preset: "46elks"}, {Name: "acme"}}}
	for _, test := range []struct{ day, want string }{
		{"2026-11-23", ""},
		{"2126-11-22", "preset 46elks was last checked 36524 days ago, on 2026-11-22: compare it with its source (https://46elks.se/docs/ip-addresses)"},
	} {
		now, err := time.Parse(time.DateOnly, test.day)
		var warnings []string
		if err == nil {
			warnings, err = catalog.PresetWarnings(p, now)
		}
		if got := strings.Join(warnings, "\n"); err != nil || got != test.want {
			t.Errorf("on %s: %q (%v), want %q", test.day, got, err, test.want)
		}
	}
}

// TestTexts: the engine string looks for what is long enough to be nowhere by chance, and
// is refused where nothing can look for it.
func TestTexts(t *testing.T) {
	p, err := catalog.Parse("policy.yaml", []byte(`version: 1
backend: iptables-legacy
signatures:
  engine: string
  deny:
  - {name: own, header: user-agent, contains: "Bad Dialer 5000"}
  - {name: longer, header: user-agent, contains: "my Bad Dialer 5000"}
  - {name: short, header: user-agent, contains: "dialer"}
  - {name: an-option, header: user-agent, contains: "dialer -j ACCEPT"}
  - {name: two-spaces, header: user-agent, contains: "bad  dialer"}
  - {name: begins, header: user-agent, prefix: "another dialer"}
  - {name: several, all: [{header: user-agent, contains: "one dialer of two"}, {header: via, contains: "branch=z9hG4bK-dialer"}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	texts, err := catalog.TextsOf(p)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(texts.Texts, p.Signatures.Texts) || !slices.Contains(texts.Texts, "bad dialer 5000") || !slices.Contains(texts.Texts, "friendly-scanner") {
		t.Errorf("it looks for %q, the policy has %q", texts.Texts, p.Signatures.Texts)
	}
	if texts.Signatures <= len(texts.Texts) || texts.Of <= texts.Signatures {
		t.Errorf("%d texts stand for %d signatures of %d", len(texts.Texts), texts.Signatures, texts.Of)
	}
	for _, text := range texts.Texts {
		if text != "bad dialer 5000" && strings.Contains(text, "dialer") {
			t.Errorf("it looks for %q", text)
		}
	}
	for text, want := range map[string]string{
		"version: 1\nsignatures: {engine: string}\n":                                                                        "policy.yaml:2:22: signatures.engine: string needs iptables",
		"version: 1\nbackend: nftables\nsignatures: {engine: string}\n":                                                     "policy.yaml:3:22: signatures.engine: string needs iptables",
		"version: 1\nbackend: iptables\nunknown: {action: accept, require_user_agent: [a]}\nsignatures: {engine: string}\n": "policy.yaml:3:48: require_user_agent needs the classifier: do not set signatures.engine to string",
	} {
		if _, err := catalog.Parse("policy.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
