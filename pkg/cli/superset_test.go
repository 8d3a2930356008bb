package cli_test

import (
	"cmp"
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

// TestResolvesWhatOthersDo: whatever the C library, dig and Kamailio get for a name is
// among the addresses that resolve finds, behind named, unbound and dnsmasq, for forty
// shapes of zones and resolvers.
func TestResolvesWhatOthersDo(t *testing.T) {
	t.Parallel()
	labtest.Need(t, "named", "unbound", "dnsmasq", "kamailio", "kamcmd", "dig", "getent")
	w := newWorld(t)
	serveSuperset(t, w)
	peers, whole := map[string]*peer{}, t
	for _, row := range supersetRows[:labtest.Count(6, len(supersetRows))] {
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
			t.Logf("resolve: %d addresses; dig %d, the C library %d, Kamailio %d",
				len(got), len(asked["dig"]), len(asked["the C library"]), len(asked["Kamailio"]))
		})
	}
}

// serveSuperset runs the name servers.
func serveSuperset(t *testing.T, w *world) {
	t.Helper()
	for _, a := range []string{unboundAt, dnsmasqAt, smallAt, refusesAt, failsAt, nameServer6} {
		labtest.Run(t, w.provider, "ip", "address", "add", a, "dev", "eth0")
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
	const missing = "zone \"example\" { type primary; file \"missing\"; };\n"
	for i, config := range []struct{ options, zones, ready string }{
		{fmt.Sprintf("listen-on { %s; }; listen-on-v6 { %s; }; allow-query { any; };", nameServer, nameServer6), zones, "all zones loaded"},
		{fmt.Sprintf("listen-on { %s; }; listen-on-v6 { none; }; allow-query { none; };", refusesAt), zones, "all zones loaded"},
		{fmt.Sprintf("listen-on { %s; }; listen-on-v6 { none; }; allow-query { any; };", failsAt), missing, "running"},
	} {
		file := filepath.Join(folder, fmt.Sprintf("named.conf.%d", i))
		text := fmt.Sprintf(`options { directory %q; pid-file none; session-keyfile none; dnssec-validation no;
	recursion no; check-names primary ignore; %s };
controls { };
%s`, folder, config.options, config.zones)
		labtest.Must(t, os.WriteFile(file, []byte(text), 0o644))
		daemon(t, w.provider, config.ready, "named", "-g", "-c", file)
	}
	file := filepath.Join(folder, "unbound.conf")
	labtest.Must(t, os.WriteFile(file, fmt.Appendf(nil, `server:
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
`, unboundAt, folder, nameServer), 0o644))
	daemon(t, w.provider, "start of service", "unbound", "-d", "-c", file)
	masq := []string{
		"--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file=",
		"--user=root", "--bind-interfaces", "--server=" + unboundAt,
	}
	daemon(t, w.provider, "started,", "dnsmasq", append(masq, "--listen-address="+dnsmasqAt)...)
	daemon(t, w.provider, "started,", "dnsmasq", append(masq, "--listen-address="+smallAt, "--edns-packet-max=512")...)
	daemon(t, w.pbx, "started,", "dnsmasq", append(masq, "--interface=lo", "--interface=eth0", // every address of these
		"--host-record=sip.local.example,203.0.113.41,2001:db8:113::41",
		"--srv-host=_sip._udp.sip.local.example,edge1.local.example,5060",
		"--naptr-record=sip.local.example,10,10,s,SIP+D2T,,_sip._tcp.local.example",
		"--srv-host=_sip._tcp.local.example,edge2.local.example,5060",
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
	p := &peer{
		world: w, t: t, site: newSite(t, w.pbx, "version: 1\nmode: monitor\n"), conf: filepath.Join(folder, "resolv.conf"),
		hosts: filepath.Join(folder, "hosts"), control: filepath.Join(folder, "control"),
	}
	r := resolvers[resolver]
	labtest.Must(t, os.WriteFile(p.conf, []byte(r.conf), 0o644))
	labtest.Must(t, os.WriteFile(p.hosts, []byte(r.hosts), 0o644))
	return p
}

// command prepares a command that sees the files of this host.
func (p *peer) command(name string, args ...string) []string {
	const script = `umount /etc/resolv.conf 2>/dev/null || true
mount --bind "$1" /etc/resolv.conf && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"`
	return append([]string{"unshare", "--mount", "sh", "-c", script, "sh", p.conf, p.hosts, name}, args...)
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
		c := p.command("unshare", "--pid", "--fork", "--kill-child",
			"kamailio", "-f", file, "-DD", "-E", "-m", "64", "-M", "8")
		daemon(p.t, p.pbx, "using epoll", c[0], c[1:]...)
	}
	return treeOf(name, func(kind string, names ...string) []string {
		script := `control=$1 kind=$2
shift 2
for n in "$@"; do kamcmd -s "unix:$control" dns.lookup "$kind" "$n" || true; done`
		args := append([]string{"-c", script, "sh", p.control, kind}, names...)
		return kamailioRecords(kind, labtest.Run(t, p.pbx, "sh", args...))
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
		case "rr_ip", "rr_name", "rr_port", "rr_priority", "rr_weight",
			"rr_order", "rr_preference", "rr_flags", "rr_service", "rr_regexp", "rr_regexp:":
			fields = append(fields, cmp.Or(strings.TrimSpace(value), `""`))
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
