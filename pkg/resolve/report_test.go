package resolve_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/resolve"
)

// tree is a provider with all that can stand in a tree: NAPTR, several SRV, an alias, a
// host that two records lead to, a record that leads nowhere, and failures.
const tree = `sip.example NAPTR 10 s SIP+D2U - _sip._udp.sip.example
sip.example NAPTR 20 s SIPS+D2T - _sips._tcp.sip.example
sip.example NAPTR 30 u E2U+sip !^.*$!sip:me@example!i x
_sip._udp.sip.example SRV 10 edge.sip.example.
_sip._udp.sip.example SRV 20 alias.sip.example.
_sips._tcp.sip.example SRV 10 edge.sip.example.
_sip._tcp.sip.example SRV 10 .
_sip._tls.sip.example SRV !timeout
edge.sip.example A 203.0.113.7
edge.sip.example A 127.0.0.1
alias.sip.example CNAME real.sip.example
real.sip.example AAAA 2001:db8::7
sip.example A 203.0.113.8
`

// wholeTree is what resolve prints of it.
const wholeTree = `sip.example NAPTR
  10 0 "s" "SIP+D2U" "" _sip._udp.sip.example (TTL 60 s)
  20 0 "s" "SIPS+D2T" "" _sips._tcp.sip.example (TTL 60 s)
  30 0 "u" "E2U+sip" "!^.*$!sip:me@example!i" x (TTL 60 s), left out: its service is not one of SIP
    _sip._udp.sip.example SRV
      10 0 5060 edge.sip.example (TTL 60 s)
      20 0 5060 alias.sip.example (TTL 60 s)
        edge.sip.example A
          127.0.0.1 (TTL 60 s), left out: it is a loopback address
          203.0.113.7 (TTL 60 s)
        edge.sip.example AAAA: none
        alias.sip.example A (alias real.sip.example): none
        alias.sip.example AAAA (alias real.sip.example)
          2001:db8::7 (TTL 60 s)
    _sips._tcp.sip.example SRV
      10 0 5060 edge.sip.example (TTL 60 s)
        edge.sip.example A: as above
        edge.sip.example AAAA: none
_sip._udp.sip.example SRV: as above
_sip._tcp.sip.example SRV
  10 0 5060 . (TTL 60 s), left out: it says that there is no such service
_sips._tcp.sip.example SRV: as above
_sip._tls.sip.example SRV: timeout: the server is ill
_sips._tls.sip.example SRV: no such name
sip.example A
  203.0.113.8 (TTL 60 s)
sip.example AAAA: none
`

// reported asks for sip.example and describes what was found, as a client with this URI
// sees it.
func reported(t *testing.T, uri, text string, problems ...resolve.Problem) resolve.Report {
	t.Helper()
	result := resolve.Resolve(t.Context(), newZone(t, text).lookup, []resolve.Target{registrar})[0]
	result.Roots = resolve.ViewOf(uri).Narrow(result.Roots, registrar)
	known := resolve.Known{
		Name: registrar.Name, Registrar: true,
		Addresses: []resolve.KnownAddress{{Address: netip.MustParseAddr("203.0.113.7"), Via: "SRV _sip._udp -> edge.sip.example A", TTL: 60}},
		Rejected:  []resolve.Rejected{{Address: netip.MustParseAddr("127.0.0.1"), Why: "is a loopback address"}},
	}
	return resolve.ReportOf(result, known, problems, resolve.AddressFilter{})
}

// TestTree: resolve prints every question and every record once, with what is left out
// and why; what several records lead to stands there once.
func TestTree(t *testing.T) {
	r := reported(t, "sip.example", tree,
		resolve.Problem{Name: "sip.example", Error: "mine", Target: registrar}, resolve.Problem{Name: "other.example", Error: "another's", Target: resolve.Target{Name: "other.example"}})
	if diff := cmp.Diff(wholeTree, strings.Join(r.Lines(), "\n")+"\n"); diff != "" {
		t.Error(diff)
	}
	if len(r.Failures) != 1 || r.Failures[0].Error != "mine" {
		t.Errorf("it failed by %+v", r.Failures)
	}
	if fmt.Sprint(r.Addresses, r.Rejected) != "[{203.0.113.7 SRV _sip._udp -> edge.sip.example A 60}] [127.0.0.1 is a loopback address]" {
		t.Errorf("allowed are %v, left out %v", r.Addresses, r.Rejected)
	}
	for _, n := range r.Tree {
		if n.Question == "_sip._udp.sip.example" && (!n.Again || len(n.Children) > 0) {
			t.Errorf("%s stands before, and has %d children again", n.Question, len(n.Children))
		}
	}
	if len(r.Servers()) != 0 {
		t.Errorf("answered by %v", r.Servers())
	}
}

// TestTreeOfSeveralServers: where several name servers have answered, each question says
// which one did.
func TestTreeOfSeveralServers(t *testing.T) {
	node := func(name, server string) resolve.TreeNode {
		return resolve.TreeNode{Question: name, Type: resolve.A, Server: server, Records: []resolve.TreeRecord{{Text: "192.0.2.1"}}}
	}
	first, second := node("a.example", "192.0.2.53"), node("b.example", "192.0.2.54")
	first.Children = []resolve.TreeNode{second}
	alone := resolve.Report{Tree: []resolve.TreeNode{node("a.example", "192.0.2.53"), node("b.example", "")}}
	if got := fmt.Sprint(alone.Servers(), alone.Lines()); got != "[192.0.2.53] [a.example A   192.0.2.1 b.example A   192.0.2.1]" {
		t.Errorf("one server: %s", got)
	}
	both := resolve.Report{Tree: []resolve.TreeNode{first}}
	if got := fmt.Sprint(both.Servers(), both.Lines()); got != "[192.0.2.53 192.0.2.54] [a.example A (by 192.0.2.53)   192.0.2.1     b.example A (by 192.0.2.54)       192.0.2.1]" {
		t.Errorf("two servers: %s", got)
	}
}

// TestViews: a SIP URI with a port or a transport shows what a client with that URI asks
// for (RFC 3263 section 4).
func TestViews(t *testing.T) {
	const (
		hosts = "sip.example A, sip.example AAAA"
		udp   = "sip.example NAPTR[SIP+D2U], _sip._udp.sip.example SRV, " + hosts
		tls   = "sip.example NAPTR[SIPS+D2T], _sips._tcp.sip.example SRV, _sip._tls.sip.example SRV, _sips._tls.sip.example SRV, " + hosts
		tcp   = "sip.example NAPTR[], _sip._tcp.sip.example SRV, " + hosts
		all   = "sip.example NAPTR[SIP+D2U SIPS+D2T E2U+sip], _sip._udp.sip.example SRV, _sip._tcp.sip.example SRV, _sips._tcp.sip.example SRV, " +
			"_sip._tls.sip.example SRV, _sips._tls.sip.example SRV, " + hosts
	)
	for uri, want := range map[string]string{
		"sip.example": all, "sip:sip.example": all, "sip:me@sip.example;lr": all, "sip:me:secret@sip.example": all,
		"sip.example:5060": hosts, "sip:me@sip.example:5061": hosts, "sip:sip.example:5061;transport=tls": hosts,
		"sip:sip.example;transport=udp": udp, "SIP:SIP.example;lr;TRANSPORT=UDP": udp, "sip:me@sip.example;transport=udp;transport=tcp": udp,
		"sip:sip.example;transport=tcp": tcp, "sip:sip.example;transport=tls": tls, "sips:sip.example": tls, "sips:sip.example;transport=tcp": tls,
		"sip:sip.example;transport=carrier-pigeon": "sip.example NAPTR[], " + hosts,
	} {
		var got []string
		for _, n := range reported(t, uri, tree).Tree {
			text := n.Question + " " + string(n.Type)
			if n.Type == resolve.NAPTR {
				var services []string
				for _, r := range n.Records {
					services = append(services, r.Service)
				}
				text += "[" + strings.Join(services, " ") + "]"
				if len(n.Children) > len(services) {
					t.Errorf("%s: %d questions follow from %q", uri, len(n.Children), services)
				}
			}
			got = append(got, text)
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s shows %s, want %s", uri, strings.Join(got, ", "), want)
		}
	}
	// A target that is a service has nothing but that.
	service := resolve.Target{Name: "_sip._udp.sip.example", Registrar: true}
	roots := []*resolve.Node{{Question: resolve.Question{Name: service.Name, Type: resolve.SRV}}}
	if got := resolve.ViewOf("sip:x:5060").Narrow(roots, service); len(got) != 1 {
		t.Errorf("of a service %d questions are left", len(got))
	}
}

// TestPinned: what the host's own file says of a name is allowed beside what name servers
// say, also of a name that a record leads to; it needs no question.
func TestPinned(t *testing.T) {
	z := newZone(t, "_sip._udp.sip.example SRV 10 edge.sip.example.\nsip.example A 203.0.113.8\n")
	r := resolve.Resolver{Lookup: z.lookup, Hosts: resolve.Hosts{
		"sip.example":      {netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8::9")},
		"edge.sip.example": {netip.MustParseAddr("10.0.0.7")},
	}}
	result := r.Resolve(t.Context(), []resolve.Target{registrar})[0]
	want := []string{
		"10.0.0.7 SRV _sip._udp -> edge.sip.example hosts file", "192.0.2.9 hosts file", "203.0.113.8 A", "2001:db8::9 hosts file",
	}
	if diff := cmp.Diff(want, addresses(result)); diff != "" {
		t.Error(diff)
	}
	report := resolve.ReportOf(result, resolve.Known{}, nil, resolve.AddressFilter{})
	if diff := cmp.Diff([]string{"sip.example hosts file", "  192.0.2.9", "  2001:db8::9"}, report.Lines()[:3]); diff != "" {
		t.Error(diff)
	}
	// A private address is what a name server may not say, and the host's own file may.
	filter := resolve.AddressFilter{}
	for kind, want := range map[resolve.Type]bool{resolve.A: true, resolve.HostsFile: false} {
		why := filter.RejectFrom(resolve.Question{Name: "edge.sip.example", Type: kind}, netip.MustParseAddr("10.0.0.7"))
		if (why != "") != want {
			t.Errorf("10.0.0.7 of a %s is left out: %q", kind, why)
		}
	}
	if asked := z.asked[resolve.Question{Name: "sip.example", Type: resolve.HostsFile}]; asked > 0 {
		t.Errorf("the file's name was asked for %d times", asked)
	}
}
