package cli_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// The name servers of TestResolvesWhatOthersDo, besides named at nameServer.
const (
	nameServer6 = "2001:db8:113::53"
	unboundAt   = "203.0.113.54"  // a resolver that asks named
	dnsmasqAt   = "203.0.113.55"  // forwards to named
	smallAt     = "203.0.113.56"  // dnsmasq whose answers by UDP have at most 512 bytes
	refusesAt   = "203.0.113.57"  // named that answers nobody
	failsAt     = "203.0.113.58"  // unbound whose own servers are dead
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
	"rotated":       {conf: "nameserver " + nameServer + "\nnameserver " + unboundAt + "\nnameserver " + dnsmasqAt + "\noptions rotate single-request-reopen\n"},
	"hosts":         {conf: "nameserver " + nameServer + "\n", hosts: "127.0.0.1 localhost\n203.0.113.91 sip.pinned.example SIP.A.example\n2001:db8:113::91\tsip.pinned.example alias # IPv6\n203.0.113.92 edge1.srv.example\n"},
	withoutDNS:      {conf: "nameserver " + deadAt + "\noptions timeout:1 attempts:1\n", hosts: "203.0.113.91 sip.pinned.example\n"},
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
	"a":          "sip A 203.0.113.11\n",
	"aaaa":       "sip AAAA 2001:db8:113::11\n",
	"both":       "sip A 203.0.113.11\nsip AAAA 2001:db8:113::11\n",
	"pool":       many(18, "sip A 203.0.113.%d"),
	"sixty":      many(60, "sip A 203.0.113.%d"),
	"alias":      "sip CNAME sip.a.example.\n",
	"chain":      chain(8),
	"dname":      "sub DNAME a.example.\nsip CNAME sip.sub\n",
	"wild":       "* A 203.0.113.12\n_sip._udp.sip SRV 10 10 5060 x.y\n",
	"case":       "SiP A 203.0.113.13\n_SIP._udp.Sip SRV 10 10 5060 Edge1\nEDGE1 A 203.0.113.14\n",
	"srv":        "_sip._udp.sip SRV 10 10 5060 edge1\nedge1 A 203.0.113.15\n",
	"srvtcp":     "_sip._tcp.sip SRV 10 10 5060 edge1\nedge1 AAAA 2001:db8:113::15\n",
	"tls":        "sip A 203.0.113.16\n_sip._tls.sip SRV 10 10 5061 edge1\nedge1 A 203.0.113.17\n",
	"sipstls":    "sip A 203.0.113.16\n_sips._tls.sip SRV 10 10 5061 edge1\nedge1 A 203.0.113.18\n",
	"sipstcp":    "_sips._tcp.sip SRV 10 10 5061 edge1\nedge1 A 203.0.113.19\n",
	"weights":    "_sip._udp.sip SRV 0 0 5060 edge1\n_sip._udp.sip SRV 65535 0 5160 edge2\n_sip._tcp.sip SRV 0 0 0 .\nedge1 A 203.0.113.15\nedge2 A 203.0.113.16\n",
	"srvpool":    many(18, "_sip._udp.sip SRV 10 10 5060 e%d") + strings.ReplaceAll(many(18, "e%[1]d A 203.0.113.%[1]d"), "%!", ""),
	"srvalias":   "_sip._udp.sip SRV 10 10 5060 edge1\nedge1 CNAME real\nreal A 203.0.113.22\n",
	"srvelse":    "_sip._udp.sip SRV 10 10 5060 sip.both.example.\n_sip._udp.sip SRV 20 10 5060 sip.alias.example.\n",
	"aliased":    "sip CNAME sip.srv.example.\n_sip._udp.sip CNAME _sip._udp.sip.srv.example.\n",
	"naptr":      "sip NAPTR 10 10 \"s\" \"SIP+D2U\" \"\" _sip._udp.cluster\n_sip._udp.cluster SRV 10 10 5060 edge1\nedge1 A 203.0.113.23\n",
	"naptra":     "sip NAPTR 10 10 \"A\" \"sip+d2t\" \"\" edge1\nedge1 A 203.0.113.24\nedge1 AAAA 2001:db8:113::24\n",
	"naptrmany":  "sip NAPTR 10 10 \"s\" \"SIPS+D2T\" \"\" _sips._tcp.one\nsip NAPTR 20 10 \"s\" \"SIP+D2T\" \"\" _sip._tcp.two\nsip NAPTR 30 10 \"s\" \"SIP+D2U\" \"\" _sip._udp.three\n_sips._tcp.one SRV 1 1 5061 e1\n_sip._tcp.two SRV 1 1 5060 e2\n_sip._udp.three SRV 1 1 5060 e3\ne1 A 203.0.113.25\ne2 A 203.0.113.26\ne3 A 203.0.113.27\nsip A 203.0.113.28\n",
	"naptrelse":  "sip NAPTR 10 10 \"s\" \"SIP+D2U\" \"\" _sip._udp.sip.srv.example.\n",
	"naptrother": "sip NAPTR 10 10 \"u\" \"E2U+sip\" \"!^.*$!sip:info@naptr.example!\" .\nsip A 203.0.113.29\n",
	"sctp":       "sip NAPTR 10 10 \"s\" \"SIP+D2S\" \"\" _sip._sctp.sip\n_sip._sctp.sip SRV 10 10 5060 edge1\nedge1 A 203.0.113.30\n",
	"ws":         "sip NAPTR 10 10 \"s\" \"SIPS+D2W\" \"\" _sips._ws.sip\n_sips._ws.sip SRV 10 10 443 edge1\nedge1 A 203.0.113.31\n",
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
	{"by TCP alone", "sip.tls.example"},
	{"none named", "sip.local.example"},
	{"link-local", "sip.both.example"},
	{"first dead", "sip.srv.example"},
	{"first refuses", "sip.aliased.example"},
	{"hosts", "sip.pinned.example"},
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

// TestResolvesWhatOthersDo: whatever the C library, dig and Kamailio get for a name is
// among the addresses that resolve finds, behind named, unbound and dnsmasq, for forty
// shapes of zones and resolvers.
func TestResolvesWhatOthersDo(t *testing.T) {
	w := newWorld(t)
	serveSuperset(t, w)
	peers, whole := map[string]*peer{}, t
	for _, row := range supersetRows[:labtest.Count(11, len(supersetRows))] {
		t.Run(row.resolver+", "+row.name, func(t *testing.T) {
			p := peers[row.resolver]
			if p == nil {
				p = newPeer(whole, w, row.resolver)
				peers[row.resolver] = p
			}
			asked := map[string][]string{}
			hosts := []string{row.name}
			if row.resolver != withoutDNS { // there, questions to name servers only take time
				tree := digged(t, p, row.name)
				hosts = append(hosts, tree.hosts...)
				asked["dig"], asked["Kamailio"] = tree.addresses, p.kamailio(t, row.name)
			}
			asked["the C library"] = p.getent(t, hosts)
			got := p.resolved(t, row.name)
			known := 0
			for who, addresses := range asked {
				known += len(addresses)
				for _, a := range addresses {
					if !slices.Contains(got, a) {
						t.Errorf("%s finds %s, and resolve only %s", who, a, got)
					}
				}
			}
			if known == 0 || len(got) == 0 {
				t.Errorf("nobody finds anything: %v, resolve %s", asked, got)
			}
			t.Logf("resolve: %d addresses; dig %d, the C library %d, Kamailio %d", len(got), len(asked["dig"]), len(asked["the C library"]), len(asked["Kamailio"]))
		})
	}
}

// serveSuperset runs the name servers.
func serveSuperset(t *testing.T, w *world) {
	t.Helper()
	for _, a := range []string{unboundAt + "/24", dnsmasqAt + "/24", smallAt + "/24", refusesAt + "/24", failsAt + "/24", nameServer6 + "/64"} {
		labtest.Run(t, w.provider, "ip", "address", "add", a, "dev", "eth0", "nodad")
	}
	labtest.Run(t, w.pbx, "ip", "address", "add", "fe80::53/64", "dev", "eth0", "nodad")
	folder := t.TempDir()
	zones := ""
	addZone := func(name, records string) {
		file := filepath.Join(folder, name)
		labtest.Must(t, os.WriteFile(file, []byte(zoneHead+records), 0o644))
		zones += fmt.Sprintf("zone %q { type primary; file %q; };\n", name, file)
	}
	for zone, records := range supersetZones {
		addZone(zone+".example", records)
	}
	// Here is nothing; it is asked for by those who take search lists.
	addZone("example", "")
	addZone("lan", "")
	for i, config := range []string{
		fmt.Sprintf("listen-on { %s; }; listen-on-v6 { %s; }; recursion no; allow-query { any; };", nameServer, nameServer6),
		fmt.Sprintf("listen-on { %s; }; listen-on-v6 { none; }; recursion no; allow-query { none; };", refusesAt),
	} {
		file := filepath.Join(folder, fmt.Sprintf("named.conf.%d", i))
		labtest.Must(t, os.WriteFile(file, []byte(fmt.Sprintf("options { directory %q; pid-file none; session-keyfile none; dnssec-validation no; %s };\ncontrols { };\n%s", folder, config, zones)), 0o644))
		daemon(t, w.provider, "all zones loaded", "named", "-g", "-c", file)
	}
	for i, config := range []struct{ at, of string }{{unboundAt, nameServer}, {failsAt, deadAt}} {
		file := filepath.Join(folder, fmt.Sprintf("unbound.conf.%d", i))
		labtest.Must(t, os.WriteFile(file, []byte(fmt.Sprintf(`server:
  interface: %[1]s
  access-control: 0.0.0.0/0 allow
  do-daemonize: no
  use-syslog: no
  logfile: ""
  verbosity: 1
  username: ""
  chroot: ""
  pidfile: ""
  directory: %[2]q
  module-config: "iterator"
stub-zone:
  name: "example."
  stub-addr: %[3]s
stub-zone:
  name: "lan."
  stub-addr: %[3]s
remote-control:
  control-enable: no
`, config.at, folder, config.of)), 0o644))
		daemon(t, w.provider, "start of service", "unbound", "-d", "-c", file)
	}
	masq := []string{"--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file=", "--user=root", "--bind-interfaces", "--server=" + unboundAt}
	daemon(t, w.provider, "started,", "dnsmasq", append(masq, "--listen-address="+dnsmasqAt)...)
	daemon(t, w.provider, "started,", "dnsmasq", append(masq, "--listen-address="+smallAt, "--edns-packet-max=512")...)
	daemon(t, w.pbx, "started,", "dnsmasq", append(masq, "--interface=lo", "--interface=eth0", // every address of these
		"--host-record=sip.local.example,203.0.113.41,2001:db8:113::41", "--srv-host=_sip._udp.sip.local.example,edge1.local.example,5060",
		"--naptr-record=sip.local.example,10,10,s,SIP+D2T,,_sip._tcp.local.example", "--srv-host=_sip._tcp.local.example,edge2.local.example,5060",
		"--host-record=edge1.local.example,203.0.113.42", "--cname=edge2.local.example,edge1.local.example")...)
}

// peer is a host with its own resolv.conf and file of hosts, and what asks there.
type peer struct {
	*world
	t           *testing.T // of all rows
	site        *site
	conf, hosts string // files
	control     string // the socket of Kamailio
}

func newPeer(t *testing.T, w *world, resolver string) *peer {
	t.Helper()
	folder := t.TempDir()
	p := &peer{world: w, t: t, site: newSite(t, w.pbx, "version: 1\nmode: monitor\n"), conf: filepath.Join(folder, "resolv.conf"), hosts: filepath.Join(folder, "hosts"), control: filepath.Join(folder, "control")}
	r := resolvers[resolver]
	labtest.Must(t, os.WriteFile(p.conf, []byte(r.conf), 0o644))
	labtest.Must(t, os.WriteFile(p.hosts, []byte(r.hosts), 0o644))
	return p
}

// command prepares a command that sees the files of this host.
func (p *peer) command(name string, args ...string) []string {
	return append([]string{"unshare", "--mount", "sh", "-c", `{ umount /etc/resolv.conf 2>/dev/null || true; } && mount --bind "$1" /etc/resolv.conf && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"`, "sh", p.conf, p.hosts, name}, args...)
}

func (p *peer) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	c := p.command(name, args...)
	return labtest.Run(t, p.pbx, c[0], c[1:]...)
}

// resolved are the addresses that resolve finds.
func (p *peer) resolved(t *testing.T, name string) []string {
	t.Helper()
	cmd := p.site.command(t, "resolve", "-o", "json", name)
	wrapped := p.command(cmd.Path, cmd.Args[1:]...)
	inside := exec.CommandContext(t.Context(), wrapped[0], wrapped[1:]...)
	inside.Env = cmd.Env
	o := p.site.start(t, inside)
	var names []resolvedTree
	if err := json.Unmarshal([]byte(o.stdout), &names); err != nil || len(names) != 1 {
		t.Fatalf("resolve: exit status %d, %v: %s%s", o.status, err, o.stdout, o.stderr)
	}
	var addresses []string
	for _, a := range names[0].Addresses {
		addresses = append(addresses, a.Address)
	}
	return addresses
}

// getent are the addresses that the C library finds for names.
func (p *peer) getent(t *testing.T, names []string) []string {
	t.Helper()
	script := `for n in "$@"; do getent ahosts "$n" || true; done`
	found := map[string]bool{}
	for line := range strings.Lines(p.run(t, "sh", append([]string{"-c", script, "sh"}, names...)...)) {
		if f := strings.Fields(line); len(f) > 0 {
			found[f[0]] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// asked is what a tree of questions has led to.
type asked struct{ hosts, addresses []string }

// treeOf asks what clients of SIP ask for. ask returns the data of the records of each
// question, as dig writes them.
func treeOf(name string, ask func(kind string, names ...string) []string) asked {
	var a asked
	last := func(record string) string {
		f := strings.Fields(record)
		return strings.TrimSuffix(f[len(f)-1], ".")
	}
	services := []string{name}
	if !strings.HasPrefix(name, "_") {
		services = nil
		for _, s := range []string{"_sip._udp.", "_sip._tcp.", "_sips._tcp.", "_sip._tls.", "_sips._tls."} {
			services = append(services, s+name)
		}
		a.hosts = []string{name}
		for _, r := range ask("NAPTR", name) {
			switch f := strings.Fields(r); {
			case len(f) < 6 || !strings.HasPrefix(strings.ToUpper(strings.Trim(f[3], `"`)), "SIP"):
			case strings.EqualFold(strings.Trim(f[2], `"`), "s"):
				services = append(services, last(r))
			case strings.EqualFold(strings.Trim(f[2], `"`), "a"):
				a.hosts = append(a.hosts, last(r))
			}
		}
	}
	for _, r := range ask("SRV", services...) {
		if host := last(r); host != "" {
			a.hosts = append(a.hosts, host)
		}
	}
	for _, kind := range []string{"A", "AAAA"} {
		for _, r := range ask(kind, a.hosts...) {
			a.addresses = append(a.addresses, last(r))
		}
	}
	slices.Sort(a.addresses)
	a.addresses = slices.Compact(a.addresses)
	return a
}

// digged is the tree as dig finds it.
func digged(t *testing.T, p *peer, name string) asked {
	t.Helper()
	return treeOf(name, func(kind string, names ...string) []string {
		args := []string{"+noall", "+answer", "+time=1", "+tries=1"}
		for _, n := range names {
			args = append(args, n, kind)
		}
		var records []string
		for line := range strings.Lines(p.run(t, "sh", append([]string{"-c", `dig "$@" || true`, "sh"}, args...)...)) {
			if f := strings.Fields(line); len(f) > 4 && f[3] == kind { // owner TTL IN type data
				records = append(records, strings.Join(f[4:], " "))
			}
		}
		return records
	}).clean()
}

// clean leaves out what an error message has put among the addresses.
func (a asked) clean() asked {
	a.addresses = slices.DeleteFunc(a.addresses, func(s string) bool { return !strings.ContainsAny(s, ".:") })
	return a
}

// kamailio is the tree as Kamailio's own resolver finds it.
func (p *peer) kamailio(t *testing.T, name string) []string {
	t.Helper()
	file := p.control + ".cfg"
	if _, err := os.Stat(file); err != nil {
		labtest.Must(t, os.WriteFile(file, []byte(fmt.Sprintf(`debug=2
log_stderror=yes
children=1
listen=udp:127.0.0.1:5099
loadmodule "ctl.so"
modparam("ctl", "binrpc", "unix:%s")
request_route { exit; }
`, p.control)), 0o644))
		// In a namespace of processes, none of its processes outlives the first one.
		c := p.command("unshare", "--pid", "--fork", "--kill-child", "kamailio", "-f", file, "-DD", "-E", "-m", "64", "-M", "8")
		daemon(p.t, p.pbx, "using epoll", c[0], c[1:]...)
	}
	return treeOf(name, func(kind string, names ...string) []string {
		script := `control=$1 kind=$2; shift 2; for n in "$@"; do kamcmd -s "unix:$control" dns.lookup "$kind" "$n" || true; done`
		return kamailioRecords(kind, labtest.Run(t, p.pbx, "sh", append([]string{"-c", script, "sh", p.control, kind}, names...)...))
	}).addresses
}

// kamailioRecords are the records of an answer of Kamailio's dns.lookup, as dig writes
// them.
func kamailioRecords(kind, out string) []string {
	var records []string
	var fields []string
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "rr_idx:", "rr_idx":
			fields = nil
		case "rr_ip", "rr_name", "rr_port", "rr_priority", "rr_weight", "rr_order", "rr_preference", "rr_flags", "rr_service", "rr_regexp", "rr_regexp:":
			fields = append(fields, cmpOr(value, `""`))
		case "rr_permanent":
			if kind == "SRV" && len(fields) > 0 { // the name comes first
				fields = append(fields[1:], fields[0])
			}
			if len(fields) > 0 {
				records = append(records, strings.Join(fields, " "))
			}
		}
	}
	return records
}

func cmpOr(a, b string) string {
	if strings.TrimSpace(a) == "" {
		return b
	}
	return a
}
