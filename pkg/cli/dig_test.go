package cli_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// shapes are the shapes that real providers have, each a zone of the name
// server, all registrars called sip.
var shapes = map[string]string{
	"naptr.example": `sip NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.sip
sip NAPTR 20 10 "S" "SIP+D2T" "" _sip._tcp.cluster
sip NAPTR 30 10 "s" "SIP+D2U" "" _sip._udp.cluster
sip NAPTR 40 10 "a" "SIP+D2U" "" edge4
sip NAPTR 50 10 "u" "E2U+sip" "!^.*$!sip:info@naptr.example!" .
_sips._tcp.sip SRV 10 50 5061 edge1
_sip._tcp.cluster SRV 10 50 5060 edge2
_sip._udp.cluster SRV 10 50 5060 edge3
edge1 A 203.0.113.11
edge2 A 203.0.113.12
edge3 A 203.0.113.13
edge4 A 203.0.113.14
`,
	"srv.example": `_sip._udp.sip SRV 10 50 5060 one.first.example.
_sip._udp.sip SRV 10 50 5060 two.first.example.
_sip._udp.sip SRV 20 50 5060 one.second.example.
_sip._udp.sip SRV 30 50 5160 one.third.example.
_sip._tcp.sip SRV 0 0 0 .
`,
	"first.example":  "one A 203.0.113.21\ntwo A 203.0.113.22\n",
	"second.example": "one A 203.0.113.23\none AAAA 2001:db8:113::23\n",
	"third.example":  "one CNAME real\nreal A 203.0.113.24\n",
	"less.example": `sip 300 A 203.0.113.31
_sip._udp.sip SRV 10 50 5060 a
_sip._udp.sip SRV 10 50 5060 b
_sip._tcp.sip SRV 10 50 5060 a
_sip._tcp.sip SRV 10 50 5060 b
a 30 A 203.0.113.31
b 30 A 203.0.113.32
`,
	"six.example": `sip NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.sip
_sip._udp.sip SRV 10 50 5060 edge
edge AAAA 2001:db8:113::41
`,
	"pool.example": pool18,
}

var pool18 = func() string {
	var b strings.Builder
	for i := range 18 {
		fmt.Fprintf(&b, "sip A 203.0.113.%d\n", 100+i)
	}
	return b.String()
}()

const zoneHead = "$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A " + nameServer + "\n"

// dug is what dig says to one question: each record with its TTL, in one line.
func dug(t *testing.T, w *world, name, kind string) []string {
	t.Helper()
	out := labtest.Run(t, w.pbx, "dig", "+noall", "+answer", "+time=30", "@"+nameServer, name, kind)
	var records []string
	for line := range strings.Lines(out) {
		f := strings.Fields(line) // owner TTL IN type data
		if len(f) > 4 && f[3] == kind {
			data := strings.TrimSuffix(strings.Join(f[4:], " "), ".") // the dot behind a name, or the root
			records = append(records, f[1]+" "+strings.TrimSpace(data))
		}
	}
	slices.Sort(records)
	return records
}

// digTree asks dig for everything that RFC 3263 and the union of all clients
// ask for, and returns the answers by question and all addresses.
func digTree(t *testing.T, w *world, name string) (answers map[string][]string, addresses []string) {
	t.Helper()
	answers = map[string][]string{}
	ask := func(name, kind string) []string {
		records := dug(t, w, name, kind)
		answers[name+" "+kind] = records
		return records
	}
	target := func(record string) string { f := strings.Fields(record); return f[len(f)-1] }
	hosts, servicesAsked := []string{name}, []string{"_sip._udp." + name, "_sip._tcp." + name, "_sips._tcp." + name, "_sip._tls." + name, "_sips._tls." + name}
	for _, r := range ask(name, "NAPTR") {
		switch f := strings.Fields(r); {
		case !strings.HasPrefix(f[4], `"SIP`):
		case strings.EqualFold(f[3], `"s"`):
			servicesAsked = append(servicesAsked, target(r))
		case strings.EqualFold(f[3], `"a"`):
			hosts = append(hosts, target(r))
		}
	}
	for _, s := range servicesAsked {
		for _, r := range ask(s, "SRV") {
			if f := strings.Fields(r); len(f) == 5 { // else the target is the root
				hosts = append(hosts, target(r))
			}
		}
	}
	for _, h := range hosts {
		for _, kind := range []string{"A", "AAAA"} {
			for _, r := range ask(h, kind) {
				addresses = append(addresses, target(r))
			}
		}
	}
	slices.Sort(addresses)
	return answers, slices.Compact(addresses)
}

// resolvedTree is what resolve -o json prints.
type resolvedTree struct {
	Name      string
	Addresses []struct{ Address string }
	Tree      []resolvedNode
}

type resolvedNode struct {
	Question, Type string
	Records        []struct {
		Text string
		TTL  int64
	}
	Children []resolvedNode
}

// TestResolveAgreesWithDig: for each shape, resolve asks the questions that dig
// is asked here, hears the same records with the same TTLs, and finds the same
// addresses.
func TestResolveAgreesWithDig(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	zones := map[string]string{}
	for name, records := range shapes {
		zones[name] = zoneHead + records
	}
	named(t, w.provider, nameServer, zones)
	s := newSite(t, w.pbx, pbxPolicy)
	for _, zone := range []string{"naptr.example", "srv.example", "less.example", "six.example", "pool.example"} {
		t.Run(zone, func(t *testing.T) {
			wantAnswers, wantAddresses := digTree(t, w, "sip."+zone)
			var names []resolvedTree
			labtest.Must(t, json.Unmarshal([]byte(s.must(t, 0, "resolve", "-o", "json", "sip."+zone).stdout), &names))
			answers := map[string][]string{}
			var visit func(nodes []resolvedNode)
			visit = func(nodes []resolvedNode) {
				for _, n := range nodes {
					var records []string
					for _, r := range n.Records {
						data, _, _ := strings.Cut(r.Text, " (TTL")
						records = append(records, strconv.FormatInt(r.TTL, 10)+" "+strings.TrimSuffix(data, " ."))
					}
					slices.Sort(records)
					answers[n.Question+" "+n.Type] = records
					visit(n.Children)
				}
			}
			visit(names[0].Tree)
			if diff := cmp.Diff(wantAnswers, answers); diff != "" {
				t.Errorf("answers: %s", diff)
			}
			var addresses []string
			for _, a := range names[0].Addresses {
				addresses = append(addresses, a.Address)
			}
			slices.Sort(addresses)
			if diff := cmp.Diff(wantAddresses, addresses); diff != "" || len(addresses) == 0 {
				t.Errorf("addresses: %s", diff)
			}
		})
	}
}
