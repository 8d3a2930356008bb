package cli_test

import (
	"fmt"
	"strings"
)

// The name servers of TestResolvesWhatOthersDo, besides named at nameServer.
const (
	nameServer6 = "2001:db8:113::53"
	unboundAt   = "203.0.113.54"  // a resolver that asks named
	dnsmasqAt   = "203.0.113.55"  // forwards to unbound
	smallAt     = "203.0.113.56"  // dnsmasq whose answers by UDP have at most 512 bytes
	refusesAt   = "203.0.113.57"  // named that answers nobody
	failsAt     = "203.0.113.58"  // named whose zone cannot be read
	deadAt      = "203.0.113.59"  // nobody is there
	linkLocalAt = "fe80::53%eth0" // dnsmasq on the PBX itself, with names of its own, as at 127.0.0.1
)

// resolvers are what a host may have in resolv.conf and in its file of hosts.
var resolvers = map[string]struct{ conf, hosts string }{
	"named":         {conf: "nameserver " + nameServer + "\n"},
	"named by IPv6": {conf: "nameserver " + nameServer6 + "\n"},
	"unbound":       {conf: "nameserver " + unboundAt + "\noptions edns0 trust-ad\nsearch lan example\n"},
	"dnsmasq":       {conf: "# by DHCP\nnameserver\t" + dnsmasqAt + " # office\ndomain lan\noptions ndots:5\n"},
	"512 bytes":     {conf: "nameserver " + smallAt + "\n"},
	"by TCP alone":  {conf: "nameserver " + unboundAt + "\noptions use-vc\n"},
	"none named":    {conf: "; nothing\nsearch lan\n"},
	"empty":         {},
	"link-local":    {conf: "nameserver " + linkLocalAt + "\n"},
	"first dead":    {conf: "options timeout:1 attempts:1\nnameserver " + deadAt + "\nnameserver " + nameServer + "\n"},
	"first refuses": {conf: "nameserver " + refusesAt + "\nnameserver " + dnsmasqAt + "\n"},
	"first fails":   {conf: "nameserver " + failsAt + "\nnameserver " + nameServer + "\n"},
	"rotated": {conf: "nameserver " + nameServer + "\nnameserver " + unboundAt + "\nnameserver " + dnsmasqAt +
		"\noptions rotate single-request-reopen\n"},
	"hosts": {conf: "nameserver " + nameServer + "\n", hosts: `127.0.0.1 localhost
203.0.113.91 sip.pinned.example SIP.A.example
2001:db8:113::91	sip.pinned.example alias # IPv6
203.0.113.92 edge1.srv.example
`},
	withoutDNS: {conf: "nameserver " + deadAt + "\noptions timeout:1 attempts:1\n", hosts: "203.0.113.91 sip.pinned.example"},
}

const withoutDNS = "hosts without DNS"

// many are records with so many addresses.
func many(n int, line string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, line+"\n", 100+i)
	}
	return b.String()
}

// chain are aliases, one of the next.
func chain(n int) string {
	text := "sip CNAME c1\n"
	for i := 1; i < n; i++ {
		text += fmt.Sprintf("c%d CNAME c%d\n", i, i+1)
	}
	return text + fmt.Sprintf("c%d A 203.0.113.21\n", n)
}

// supersetZones are what providers may have, each a zone of named.
var supersetZones = map[string]string{
	"a":       "sip A 203.0.113.11\n",
	"aaaa":    "sip AAAA 2001:db8:113::11\n",
	"both":    "sip A 203.0.113.11\nsip AAAA 2001:db8:113::11\n",
	"pool":    many(18, "sip A 203.0.113.%d"),
	"sixty":   many(60, "sip A 203.0.113.%d"),
	"alias":   "sip CNAME sip.a.example.\n",
	"chain":   chain(8),
	"dname":   "sub DNAME a.example.\nsip CNAME sip.sub\n",
	"wild":    "* A 203.0.113.12\n_sip._udp.sip SRV 10 10 5060 x.y\n",
	"case":    "SiP A 203.0.113.13\n_SIP._udp.Sip SRV 10 10 5060 Edge1\nEDGE1 A 203.0.113.14\n",
	"srv":     "_sip._udp.sip SRV 10 10 5060 edge1\nedge1 A 203.0.113.15\n",
	"srvtcp":  "_sip._tcp.sip SRV 10 10 5060 edge1\nedge1 AAAA 2001:db8:113::15\n",
	"tls":     "sip A 203.0.113.16\n_sip._tls.sip SRV 10 10 5061 edge1\nedge1 A 203.0.113.17\n",
	"sipstls": "sip A 203.0.113.16\n_sips._tls.sip SRV 10 10 5061 edge1\nedge1 A 203.0.113.18\n",
	"sipstcp": "_sips._tcp.sip SRV 10 10 5061 edge1\nedge1 A 203.0.113.19\n",
	"weights": `_sip._udp.sip SRV 0 0 5060 edge1
_sip._udp.sip SRV 65535 0 5160 edge2
_sip._tcp.sip SRV 0 0 0 .
edge1 A 203.0.113.15
edge2 A 203.0.113.16
`,
	"srvpool":  many(18, "_sip._udp.sip SRV 10 10 5060 e%d") + many(18, "e%[1]d A 203.0.113.%[1]d"),
	"srvalias": "_sip._udp.sip SRV 10 10 5060 edge1\nedge1 CNAME real\nreal A 203.0.113.22\n",
	"srvelse":  "_sip._udp.sip SRV 10 10 5060 sip.both.example.\n_sip._udp.sip SRV 20 10 5060 sip.alias.example.\n",
	"aliased":  "sip CNAME sip.srv.example.\n_sip._udp.sip CNAME _sip._udp.sip.srv.example.\n",
	"naptr": `sip NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.cluster
_sip._udp.cluster SRV 10 10 5060 edge1
edge1 A 203.0.113.23
`,
	"naptra": "sip NAPTR 10 10 \"A\" \"sip+d2t\" \"\" edge1\nedge1 A 203.0.113.24\nedge1 AAAA 2001:db8:113::24\n",
	"naptrmany": `sip NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.one
sip NAPTR 20 10 "s" "SIP+D2T" "" _sip._tcp.two
sip NAPTR 30 10 "s" "SIP+D2U" "" _sip._udp.three
_sips._tcp.one SRV 1 1 5061 e1
_sip._tcp.two SRV 1 1 5060 e2
_sip._udp.three SRV 1 1 5060 e3
e1 A 203.0.113.25
e2 A 203.0.113.26
e3 A 203.0.113.27
sip A 203.0.113.28
`,
	"naptrelse":  "sip NAPTR 10 10 \"s\" \"SIP+D2U\" \"\" _sip._udp.sip.srv.example.\n",
	"naptrother": "sip NAPTR 10 10 \"u\" \"E2U+sip\" \"!^.*$!sip:info@naptr.example!\" .\nsip A 203.0.113.29\n",
	"sctp": `sip NAPTR 10 10 "s" "SIP+D2S" "" _sip._sctp.sip
_sip._sctp.sip SRV 10 10 5060 edge1
edge1 A 203.0.113.30
`,
	"ws": `sip NAPTR 10 10 "s" "SIPS+D2W" "" _sips._ws.sip
_sips._ws.sip SRV 10 10 443 edge1
edge1 A 203.0.113.31
`,
	"idn":        "xn--bcher-kva A 203.0.113.32\nsip CNAME xn--bcher-kva\n",
	"underscore": "sip CNAME my_host\nmy_host A 203.0.113.33\n",
	"nottl":      "sip 0 A 203.0.113.34\n_sip._udp.sip 0 SRV 1 1 5060 edge1\nedge1 0 A 203.0.113.35\n",
	"text":       "sip A 203.0.113.36\nsip TXT \"v=spf1\"\nsip MX 10 mail\n",
	"pinned":     "other A 203.0.113.37\n",
}

// supersetRows are the shapes: what is asked for, of which resolver. The first ones are
// asked in ordinary tests too.
var supersetRows = []struct{ resolver, name string }{
	{"named", "sip.naptrmany.example"},
	{"unbound", "sip.naptr.example"},
	{"dnsmasq", "sip.srvpool.example"},
	{"512 bytes", "sip.sixty.example"},
	{"none named", "sip.local.example"},
	{"hosts", "sip.pinned.example"},
	{"by TCP alone", "sip.tls.example"},
	{"link-local", "sip.both.example"},
	{"first dead", "sip.srv.example"},
	{"first refuses", "sip.aliased.example"},
	{withoutDNS, "sip.pinned.example"},
	{"named", "sip.a.example"},
	{"named", "sip.aaaa.example"},
	{"unbound", "sip.dname.example"},
	{"named", "sip.wild.example"},
	{"named", "sip.sctp.example"},
	{"named", "sip.weights.example"},
	{"named", "_sip._udp.sip.srv.example"},
	{"named by IPv6", "sip.srvelse.example"},
	{"unbound", "sip.chain.example"},
	{"unbound", "sip.alias.example"},
	{"unbound", "sip.sixty.example"},
	{"unbound", "sip.naptrelse.example"},
	{"unbound", "sip.ws.example"},
	{"unbound", "sip.nottl.example"},
	{"dnsmasq", "sip.naptra.example"},
	{"dnsmasq", "sip.case.example"},
	{"dnsmasq", "sip.sipstls.example"},
	{"dnsmasq", "sip.underscore.example"},
	{"dnsmasq", "sip.chain.example"},
	{"512 bytes", "sip.srvpool.example"},
	{"512 bytes", "sip.pool.example"},
	{"by TCP alone", "sip.naptrmany.example"},
	{"empty", "sip.srv.example"},
	{"none named", "sip.srvalias.example"},
	{"first dead", "sip.naptrother.example"},
	{"first fails", "sip.sipstcp.example"},
	{"rotated", "sip.idn.example"},
	{"rotated", "sip.text.example"},
	{"hosts", "sip.a.example"},
	{"hosts", "sip.srv.example"},
	{"first refuses", "sip.srvtcp.example"},
}
