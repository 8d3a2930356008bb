package policy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/policy"
)

// FuzzParse looks for text that makes Parse panic, that it refuses without a place and
// a way out, or whose mistakes use Go's terms.
func FuzzParse(f *testing.F) {
	f.Add(whole)
	for _, seed := range []string{
		"", "version: 1", "- a", "a: [b", "version: 1\n---\n", "version: !!binary aGk=", "? [a]\n: b",
		"ports: &a {udp: [1]}\nbans: *a", "version: 1\nproviders: [{name: a, registrars: [\"sip:[::1]:5060;x\"]}]",
		"version: 1\n<<: {mode: monitor}\n", "version: 1\ntrusted: {hosts: [\"\\u0130.example\"]}\n", "\x00", "version: \x01",
		"version: 1\nproviders: [{preset: twilio, with: {trunk: a}}, {preset: twilio, with: {? [] : x}}, {with: &x {}}]\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parse(text)
		if err == nil {
			if len(p.Ports.UDP)+len(p.Ports.TCP) == 0 {
				t.Error("a policy without ports was accepted")
			}
			p.Allowed()
			return
		}
		mistakes, ok := errors.AsType[policy.Mistakes](err)
		if !ok {
			t.Fatalf("error of type %T: %v", err, err)
		}
		for _, m := range mistakes {
			if m.File != "policy.yaml" || m.Line < 1 || m.Col < 1 || m.Text == "" {
				t.Errorf("mistake without a place: %#v", m)
			}
			for _, word := range []string{"policy.file", "policy.scalar", "File{", "!!", "unmarshal", "construct"} {
				if strings.Contains(m.Text, word) && !strings.Contains(text, word) {
					t.Errorf("mistake speaks of Go or of tags: %s", m)
				}
			}
		}
	})
}
