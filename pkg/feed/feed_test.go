package feed_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/feed"
)

// published has the form of the list of DIDWW.
const published = `{"version": "1", "inbound": {
  "signaling": {
    "static": {"endpoints": [
      {"location": "New York", "ipv4": "203.0.113.14", "ipv6": "2001:db8:1::14"},
      {"location": "Frankfurt", "ipv4": "203.0.113.15", "ipv6": "2001:db8:2::14"}]},
    "registration": {"registrars": [{"fqdn": "sip.example.net", "ipv4": ["203.0.113.49", "203.0.113.14"], "ipv6": []}]}},
  "media": {"ranges": [{"ipv4": "198.51.100.0/24"}]}}}`

const signaling = "$.inbound.signaling..['ipv4','ipv6']"

func TestParse(t *testing.T) {
	for _, test := range []struct{ what, format, text, want string }{
		{"lines", feed.Lines, "203.0.113.0/24\n2001:db8::1\n", "203.0.113.0/24 2001:db8::1/128"},
		{"comments and spaces", feed.Lines, "# ours\r\n\n  203.0.113.9 ; Paris\n198.51.100.7\t# Rome\n", "198.51.100.7/32 203.0.113.9/32"},
		{"twice, and bits behind the length", feed.Lines, "203.0.113.9/24\n203.0.113.0/24\n", "203.0.113.0/24"},
		{"JSON", signaling, published, "203.0.113.14/32 203.0.113.15/32 203.0.113.49/32 2001:db8:1::14/128 2001:db8:2::14/128"},
		{"an array", "$.prefixes", `{"prefixes": ["203.0.113.0/28"]}`, "203.0.113.0/28"},
		{"a filter", "$.prefixes[?@.service == 'voice'].cidr", `{"prefixes": [{"service": "voice", "cidr": "203.0.113.0/28"}, {"service": "web", "cidr": "198.51.100.0/24"}]}`, "203.0.113.0/28"},

		{"an empty list", feed.Lines, "# none\n", "! there is no address in it"},
		{"nothing at all", feed.Lines, "", "! there is no address in it"},
		{"nothing selected", "$.other", published, "! there is no address in it"},
		{"a page of HTML", feed.Lines, "<!doctype html>\n", `! it has "<!doctype html>", which is no address`},
		{"a page of HTML for JSON", signaling, "<!doctype html>\n", "! it is not JSON"},
		{"half of a document", signaling, published[:200], "! it is not JSON"},
		{"a number", "$.n", `{"n": 5}`, "! $.n selects something that is no text"},
		{"everybody", feed.Lines, "203.0.113.1\n0.0.0.0/0\n", "! it has 0.0.0.0/0, which is shorter than /8 and allows too much"},
		{"everybody by IPv6", feed.Lines, "2000::/3\n", "! it has 2000::/3, which is shorter than /24 and allows too much"},
		{"a private network", feed.Lines, "203.0.113.1\n10.0.0.0/8\n", "! it has 10.0.0.0/8, which is no public address"},
		{"loopback", feed.Lines, "127.0.0.1\n", "! it has 127.0.0.1/32, which is no public address"},
		{"a mapped address", feed.Lines, "::ffff:203.0.113.1\n", `! it has "::ffff:203.0.113.1", which is no address`},
		{"an address with a zone", feed.Lines, "fe80::1%eth0\n", `! it has "fe80::1%eth0", which is no address`},
		{"a long line", feed.Lines, strings.Repeat("x", 70_000) + "\n", "! it has a line that is no address"},
		{"a long entry", feed.Lines, strings.Repeat("x", 100) + "\n", `! it has "` + strings.Repeat("x", 40) + `" …, which is no address`},
		{"no format", "xml", "", `! "xml" is neither lines nor a JSONPath query such as $.prefixes[*].cidr`},
	} {
		list, err := feed.Parse(test.format, []byte(test.text))
		var got []string
		for _, p := range list {
			got = append(got, p.String())
		}
		text := strings.Join(got, " ")
		if err != nil {
			text = "! " + err.Error()
		}
		if text != test.want {
			t.Errorf("%s: got %s, want %s", test.what, text, test.want)
		}
	}
}

func TestCheckFormat(t *testing.T) {
	for format, want := range map[string]string{
		feed.Lines: "", signaling: "", "$": "",
		"$.a[": "read JSONPath query: ", "json": `"json" is neither`, "": `"" is neither`,
	} {
		err := feed.CheckFormat(format)
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%q: got %v, want %q", format, err, want)
		}
	}
}

// FuzzParse: what a list allows is never empty, private or too much, whatever it holds.
func FuzzParse(f *testing.F) {
	f.Add(feed.Lines, []byte("203.0.113.0/24\n"))
	f.Add(signaling, []byte(published))
	f.Fuzz(func(t *testing.T, format string, text []byte) {
		list, err := feed.Parse(format, text)
		if err == nil && len(list) == 0 {
			t.Fatal("an empty list")
		}
		for _, p := range list {
			if feed.Unfit(p) != "" || p != p.Masked() || p.Addr().Is4In6() {
				t.Errorf("%s is allowed", p)
			}
		}
		if !slices.IsSortedFunc(list, netip.Prefix.Compare) {
			t.Errorf("%v is not sorted", list)
		}
	})
}
