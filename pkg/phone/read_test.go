package phone_test

import (
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/phone"
)

// acme is a maker without mistakes.
const acme = `title: Acme
firmware: {example: 1.2}
sources:
  guide: {title: Acme guide, url: "https://acme.example/guide"}
file: {name: <mac>.cfg, format: cfg, line: "{key}={value}", comment: "# {text}"}
settings:
  - name: trusted
    per: account
    key: line.{account}.trusted
    value: "1"
    means: Takes SIP only from its server.
    firmware: all
    sources: [guide]
    confidence: high
  - name: port
    when: port
    value: "{port}"
    means: The phone's own port.
    from: "1.1"
    sources: [guide]
    confidence: medium
families:
  - name: one
    title: A1
    models: [A1]
    accounts: 2
    read: "1.2"
    keys: {port: [local.port]}
`

// TestMistakes makes one mistake at a time.
func TestMistakes(t *testing.T) {
	if _, err := phone.Read(map[string][]byte{"acme": []byte(acme)}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, old, with, want string }{
		{"unknown key", "value: \"1\"", "value: \"1\"\n    valu: 2", "field valu not found"},
		{"repeated key", "title: Acme\n", "title: Acme\ntitle: Acme\n", "already defined"},
		{"no title", "title: Acme\n", "", "title, firmware.example or families are missing"},
		{"no source", "    sources: [guide]\n    confidence: high", "    confidence: high", "setting trusted: source is missing"},
		{"a source that is not there", "sources: [guide]", "sources: [guides]", `setting trusted: there is no source "guides"`},
		{"a source without URL", "https://", "", "source guide needs a title and a URL"},
		{"no confidence", "confidence: high", "confidence: sure", `setting trusted: confidence is "sure"`},
		{"low, and nobody says so", "confidence: high", "confidence: low", "setting trusted: low confidence: unconfirmed must say what is not confirmed"},
		{"a comment that ends a comment", "from its server", "from --its server", "a pair of hyphens"},
		{"a caveat that ends a comment", "title: Acme\n", "title: Acme\ncaveats: [a -- b]\n", "a pair of hyphens"},
		{"two lines", "Takes SIP only from its server.", `"Takes\nSIP"`, "has a line break"},
		{"the same setting twice", "name: port", "name: trusted", `setting "trusted": the name is missing or used twice`},
		{"a port without a port", `"{port}"`, `"5070"`, "setting port: a value with {port} needs when: port"},
		{"an account too few", "    per: account\n", "", "setting trusted: per: account needs {account}"},
		{"keys too many", "[local.port]", "[local.port, other.port]", "family one: setting port has 2 keys, want 1"},
		{"keys of nothing", "{port: [local.port]}", "{ports: [local.port]}", `family one: there is no setting "ports"`},
		{"a model in small letters", "[A1]", "[a1]", `family one: model "a1"`},
		{"no firmware", "    read: \"1.2\"\n", "", "family one: setting port: neither it nor the family says which firmware"},
		{"no version", `"1.1"`, "newer", `setting port: firmware "newer" is not a version`},
		{"another format", "format: cfg", "format: ini", `file.format is "ini", want cfg or xml`},
		{"no place for the value", "{key}={value}", "{key}", "file needs a name, a line with {key} and {value}"},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := strings.Replace(acme, test.old, test.with, 1)
			if text == acme {
				t.Fatal("nothing was changed")
			}
			_, err := phone.Read(map[string][]byte{"acme": []byte(text)})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
		})
	}
}
