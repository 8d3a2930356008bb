package rules_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/ringfence/ringfence/rules"
)

// acme is a file in which everything is right.
const acme = `title: Acme Telephone
kind: dns+cidr
registrars: [sip.acme.example, edge.acme.example]
addresses: [203.0.113.0/28, 198.51.100.7, "2001:db8:113::/48"]
records: [A, SRV]
source: https://acme.example/help/firewall
checked: "2026-11-22"
confidence: high
`

const template = `title: Acme Trunks
kind: template
parameters:
  - {name: trunk, means: "the trunk's name", example: mycompany}
  - {name: site, means: where it is, example: berlin}
registrars: ["{trunk}.{site}.acme.example"]
source: https://acme.example/help/firewall
checked: "2026-11-22"
confidence: low
caveat: From an old list.
`

func read(t *testing.T, file, text string) rules.Provider {
	t.Helper()
	p, err := rules.ReadProvider(file, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestReadProvider(t *testing.T) {
	p := read(t, "here/acme.yaml", acme)
	if p.Name != "acme" || !p.HasSRV() || len(p.Registrars) != 2 || len(p.Addresses) != 3 {
		t.Errorf("read as %+v", p)
	}
	if read(t, "trunks.yaml", template).HasSRV() {
		t.Error("a provider without known records has SRV records")
	}
}

// TestProviderMistakes has one thing wrong at a time, so each file that is
// refused is refused for that reason.
func TestProviderMistakes(t *testing.T) {
	for _, test := range []struct{ name, old, with, want string }{
		{"unknown key", "kind:", "kinds: x\nkind:", `2:1: unknown key "kinds": known are title, kind, parameters (name, means, example), registrars, addresses, list (url, format), records, ports, media, source, checked, confidence, caveat`},
		{"repeated key", "kind: dns+cidr", "kind: dns+cidr\ntitle: Acme", `3:1: mapping key "title" already defined at line 1`},
		{"no title", "title: Acme Telephone\n", "", "1:1: title is missing: write the provider's name as people know it"},
		{"no source", "source: https://acme.example/help/firewall", "source: a friend", "6:9: source is missing: write where the data stands, with its URL"},
		{"no kind", "kind: dns+cidr\n", "", `1:1: kind is "": write dns, dns+cidr, cidr or template`},
		{"another kind", "dns+cidr", "dns", `2:7: kind is "dns", which does not agree with the rest: dns has registrars, cidr has addresses, dns+cidr has both, template has parameters`},
		{"a template without parameters", "dns+cidr", "template", `2:7: kind is "template", which does not agree with the rest: dns has registrars, cidr has addresses, dns+cidr has both, template has parameters`},
		{"no day", `"2026-11-22"`, "November", `7:10: checked is "November": write the day when the data was last compared with its source, such as "2026-11-22"`},
		{"no confidence", "high", "good", `8:13: confidence is "good": write high (read where the provider publishes it), medium (a good source at second hand) or low`},
		{"low without a reason", "high", "low", "8:13: with low confidence a caveat must say why"},
		{"no address", "198.51.100.7", "198.51.100.700", `4:29: "198.51.100.700" is no address or prefix: write one such as 203.0.113.5, 203.0.113.0/24 or 2001:db8::/48`},
		{"an address of an interface", "198.51.100.7", `"fe80::1%eth0"`, `4:29: "fe80::1%eth0" is no address or prefix: write one such as 203.0.113.5, 203.0.113.0/24 or 2001:db8::/48`},
		{"host bits", "203.0.113.0/28", "203.0.113.1/28", "4:13: 203.0.113.1/28 has bits behind its length: write 203.0.113.0/28"},
		{"too much", "203.0.113.0/28", "200.0.0.0/7", "4:13: 200.0.0.0/7 is shorter than /8 and allows too much"},
		{"a private address", "198.51.100.7", "192.168.1.7", "4:29: 192.168.1.7 is no public address"},
		{"the same twice", "198.51.100.7", "203.0.113.7", "4:29: 203.0.113.7 overlaps 203.0.113.0/28, which is listed too: remove the smaller one"},
		{"the same name twice", "edge.acme.example", "sip.acme.example", `3:32: "sip.acme.example" is already listed: remove one`},
		{"a URI", "edge.acme.example", `"sip:edge.acme.example"`, `3:32: "sip:edge.acme.example" is no domain name in lower case, such as sip.example.net, or {trunk}.example.net with a parameter`},
		{"a parameter that is not there", "edge.acme.example", `"{trunk}.acme.example"`, `3:32: "{trunk}.acme.example": there is no parameter "trunk"`},
		{"a strange record", "[A, SRV]", "[A, TXT]", "5:14: records: write each of A, AAAA, SRV and NAPTR at most once"},
		{"a published list without TLS", "records:", "list: {url: \"http://acme.example/list\", format: lines}\nrecords:", `5:13: "http://acme.example/list" is no address of a list: write one such as https://www.example.net/addresses.json`},
		{"a published list at an address", "records:", "list: {url: \"https://192.0.2.1/list\", format: lines}\nrecords:", `5:13: "https://192.0.2.1/list" is no address of a list: write one such as https://www.example.net/addresses.json`},
		{"a published list in no format", "records:", "list: {url: \"https://acme.example/list\", format: xml}\nrecords:", `5:50: format: "xml" is neither lines nor a JSONPath query such as $.prefixes[*].cidr`},
		{"a published list without a URL", "records:", "list: {format: lines}\nrecords:", `5:7: "" is no address of a list: write one such as https://www.example.net/addresses.json`},
		{"a list for a text", "title: Acme Telephone", "title: [Acme]", "1:8: a list, a text or keys stand where something else belongs: see the shipped files for the form"},
		{"a tab", "kind:", "\tkind:", "2:1: not YAML: found a tab character that violates indentation while scanning a plain scalar"},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := strings.Replace(acme, test.old, test.with, 1)
			if text == acme {
				t.Fatal("nothing was changed")
			}
			_, err := rules.ReadProvider("acme.yaml", []byte(text))
			if err == nil {
				t.Fatal("the file was accepted")
			}
			if diff := cmp.Diff(test.want, strings.ReplaceAll(err.Error(), "acme.yaml:", "")); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, test := range []struct{ name, old, with, want string }{
		{"a parameter without a name", "name: trunk", `name: ""`, "4:5: a parameter needs a name of lower-case letters, digits and hyphens"},
		{"a name with a blank", "name: site", "name: a site", "5:5: a parameter needs a name of lower-case letters, digits and hyphens"},
		{"the same parameter twice", "name: site", "name: trunk", `5:5: parameter "trunk" is already there`},
		{"no meaning", `means: "the trunk's name"`, `means: ""`, `4:5: parameter "trunk" needs means, which says what to write, and an example of lower-case letters, digits and hyphens`},
		{"an example that is a name", "example: berlin", "example: berlin.example", `5:5: parameter "site" needs means, which says what to write, and an example of lower-case letters, digits and hyphens`},
		{"a parameter that nothing uses", ".{site}", "", "5:5: no registrar uses {site}"},
		{"nothing to allow", `registrars: ["{trunk}.{site}.acme.example"]`, "registrars: []", "there are neither registrars nor addresses: add some"},
		{"a title of two lines", "title: Acme Trunks", `title: "Acme\nTrunks"`, "1:8: title: write one line of text"},
		{"an escape sequence", "caveat: From", `caveat: "\e[2JFrom`, "not YAML"},
		{"half a character", "Acme Trunks", "Acme \xff", "not YAML"},
	} {
		_, err := rules.ReadProvider("acme.yaml", []byte(strings.Replace(template, test.old, test.with, 1)))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
	}
	_, err := rules.ReadProvider("acme.yaml", []byte("title: Acme\nkind: cidr\naddresses: [10.0.0.1]\nrecords: [A]\n"))
	want := "acme.yaml:1:1: checked is \"\": write the day when the data was last compared with its source, such as \"2026-11-22\"\n" +
		"acme.yaml:1:1: confidence is \"\": write high (read where the provider publishes it), medium (a good source at second hand) or low\n" +
		"acme.yaml:1:1: source is missing: write where the data stands, with its URL\n" +
		"acme.yaml:3:13: 10.0.0.1 is no public address\n" +
		"acme.yaml:4:10: records are those of names, and there are none"
	if err == nil || err.Error() != want {
		t.Errorf("all mistakes at once:\n%v\nwant\n%s", err, want)
	}
	if _, err := rules.ReadProvider("Acme Ltd.yaml", []byte(acme)); err == nil || !strings.Contains(err.Error(), "file's name is the preset's name") {
		t.Errorf("a file with a strange name: %v", err)
	}
	if _, err := rules.ReadProvider("empty.yaml", nil); err == nil {
		t.Error("an empty file was accepted")
	}
}

func TestPolicyLines(t *testing.T) {
	for _, test := range []struct {
		name, text string
		with       map[string]string
		want       string
	}{
		{"plain", acme, nil, "- preset: acme"},
		{"values", template, map[string]string{"trunk": "mycompany", "site": "7"}, "- preset: acme\n  with: {trunk: mycompany, site: \"7\"}"},
		{"a value is missing", template, map[string]string{"site": "a: b"}, "- preset: acme\n  with: {trunk: , site: \"a: b\"}   # fill in trunk: the trunk's name, such as mycompany"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := strings.Join(read(t, "acme.yaml", test.text).PolicyLines(test.with), "\n")
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	day := func(s string) time.Time {
		d, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	old := "preset acme was last checked 181 days ago, on 2026-11-22: compare it with its source (https://acme.example/help/firewall)"
	weak := "preset acme has low confidence: From an old list."
	for _, test := range []struct {
		name, text, now string
		want            []string
	}{
		{"on the day", acme, "2026-11-22T10:00:00Z", nil},
		{"a clock that is behind", acme, "2020-01-01T00:00:00Z", nil},
		{"180 days", acme, "2027-05-21T00:00:00Z", nil},
		{"181 days", acme, "2027-05-22T00:00:00Z", []string{old}},
		{"low confidence", template, "2026-11-22T10:00:00Z", []string{weak}},
		{"low confidence and old", template, "2027-05-22T12:00:00Z", []string{weak, old}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, read(t, "acme.yaml", test.text).Warnings(day(test.now))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestShipped: each file of a provider can be read alone, as a policy that names it does,
// and says the same as with all others. What there is not is an error.
func TestShipped(t *testing.T) {
	all, err := rules.Providers()
	if err != nil {
		t.Fatal(err)
	}
	names, err := rules.ProviderNames()
	if err != nil || len(names) != len(all) || !slices.IsSorted(names) {
		t.Errorf("%d names of %d providers: %q (%v)", len(names), len(all), names, err)
	}
	for _, name := range names {
		p, err := rules.ProviderNamed(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(all[name], p); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		prefixes, err := p.Prefixes()
		if err != nil || len(prefixes) != len(p.Addresses) || len(prefixes)+len(p.Registrars) == 0 {
			t.Errorf("%s has %d prefixes of %d addresses: %v", name, len(prefixes), len(p.Addresses), err)
		}
		for parameter, example := range p.Examples() {
			if lines := strings.Join(p.PolicyLines(p.Examples()), "\n"); !strings.Contains(lines, parameter+": "+rules.Word(example)) {
				t.Errorf("%s is shown without %s: %s", name, parameter, lines)
			}
		}
	}
	for _, name := range []string{"nobody", "", "../phones/yealink", "telnyx.yaml"} {
		if _, err := rules.ProviderNamed(name); err == nil || !strings.HasPrefix(err.Error(), "read provider: ") {
			t.Errorf("provider %q: %v", name, err)
		}
	}
	if _, err := (rules.Provider{Name: "acme", Addresses: []string{"192.0.2.1", "x"}}).Prefixes(); err == nil || !strings.HasPrefix(err.Error(), "read provider acme: ") {
		t.Errorf("an address that is none: %v", err)
	}
}

// TestShippedFiles: phones and schemas are found by the names that commands use, and each
// schema is JSON that says which version of JSON Schema it is.
func TestShippedFiles(t *testing.T) {
	phones, err := rules.Phones()
	if err != nil || len(phones["yealink"]) == 0 || len(phones["snom"]) == 0 {
		t.Errorf("%d makers: %v", len(phones), err)
	}
	schemas, err := rules.Schemas()
	if err != nil || len(schemas["status"]) == 0 || len(schemas["plan"]) == 0 {
		t.Errorf("%d schemas: %v", len(schemas), err)
	}
	for name, data := range schemas {
		var schema map[string]any
		if err := json.Unmarshal(data, &schema); err != nil || schema["$schema"] != "https://json-schema.org/draft/2020-12/schema" {
			t.Errorf("%s: %v, $schema is %v", name, err, schema["$schema"])
		}
	}
}

// TestWord: whatever a value is, YAML reads it as this text.
func TestWord(t *testing.T) {
	for _, value := range []string{"mycompany", "null", "Null", "NULL", "~", "true", "no", "7", "0x10", "1e5", "a: b", "a\"b", "{x}", "-", "é", "a\nb", "# a"} {
		var got string
		if err := yaml.Load([]byte(rules.Word(value)), &got); err != nil || got != value {
			t.Errorf("%q is written as %s and read as %q (%v)", value, rules.Word(value), got, err)
		}
	}
}
