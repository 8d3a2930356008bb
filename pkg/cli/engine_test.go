package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// openPolicy lets everybody in who is not a scanner.
const openPolicy = `version: 1
interfaces: [eth0]
unknown: {action: accept}
providers:
  - name: acme
    addresses: [` + edge1 + `, "` + edge6 + `"]
`

// recognised is what status says of scanners.
type recognised struct {
	Engine     string
	Why        string `json:"engine_reason"`
	Signatures map[string]uint64
	Counters   map[string]uint64
	Drift      bool
}

func (s *site) recognised(t *testing.T) recognised {
	t.Helper()
	var v recognised
	labtest.Must(t, json.Unmarshal([]byte(s.must(t, 0, "status", "-o", "json").stdout), &v))
	return v
}

// banned are the addresses that bans lists.
func (s *site) banned(t *testing.T) []string {
	t.Helper()
	var list []struct{ Address, Why string }
	labtest.Must(t, json.Unmarshal([]byte(s.must(t, 0, "bans", "-o", "json").stdout), &list))
	var addresses []string
	for _, b := range list {
		addresses = append(addresses, b.Address)
	}
	return addresses
}

// ask sends a SIP request by UDP.
func ask(t *testing.T, from *lab.Namespace, fromAddress, to, method, userAgent string) {
	t.Helper()
	labtest.Must(t, from.Say(t.Context(), "udp", fromAddress, fmt.Sprintf("[%s]:5060", to), lab.Message(method, fromAddress, to, userAgent)))
}

// scan starts a scanner that goes on until it ends by itself or is stopped.
func scan(t *testing.T, from *lab.Namespace, command string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	args := strings.Fields(command)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.WaitDelay = t.TempDir(), time.Second
	labtest.Must(t, from.Start(cmd))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait() // a scanner that finds nobody may say so by its status
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	return stop
}

// TestScannersAreBanned opens a PBX to unknown phones: real scanners never reach
// it, and are banned by their first packet; tools and phones of unknown people
// reach it; the provider passes whatever it calls itself.
func TestScannersAreBanned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := listen(t, w.pbx, 5060, pbx4, pbx6)
	s := newSite(t, w.pbx, openPolicy)
	s.must(t, 0, "apply")

	scanner, scanner4, _ := w.stranger(t, 1)
	six, _, six6 := w.stranger(t, 2)
	cracker, cracker4, _ := w.stranger(t, 3)
	tool, tool4, _ := w.stranger(t, 5)
	stops := []func(){
		scan(t, scanner, "svmap -p 5060 "+pbx4),
		scan(t, six, "svmap -p 5060 -6 "+pbx6),
		scan(t, cracker, "svcrack -p 5060 -u 100 -r 1-20 "+pbx4),
		scan(t, tool, "sipsak -s sip:100@"+pbx4+":5060"),
	}
	until(t, "all scanners are banned, and a tool arrives", func() bool { return e.From(tool4) > 0 && len(s.banned(t)) >= 3 })
	for _, stop := range stops {
		stop()
	}
	phone, phone4, phone6 := w.stranger(t, 4)
	ask(t, phone, phone4, pbx4, "REGISTER", "Yealink SIP-T46S 66.86.0.15")
	ask(t, phone, phone6, pbx6, "REGISTER", "Gulpilil's phone") // which begins like a scanner's name
	ask(t, w.provider, edge1, pbx4, "INVITE", "friendly-scanner")
	ask(t, w.provider, edge6, pbx6, "INVITE", "friendly-scanner")
	until(t, "phones, tools and the provider arrive", func() bool {
		return e.From(phone4) == 1 && e.From(phone6) == 1 && e.From(tool4) > 0 && e.From(edge1) == 1 && e.From(edge6) == 1
	})
	if n := e.From(scanner4, six6, cracker4); n != 0 {
		t.Errorf("%d packets of scanners reached the PBX", n)
	}
	for _, address := range []string{scanner4, six6, cracker4} {
		if banned := s.banned(t); !strings.Contains(strings.Join(banned, " "), address) {
			t.Errorf("%s is not banned: %q", address, banned)
		}
	}
	if n := len(s.banned(t)); n != 3 {
		t.Errorf("%d are banned, want the 3 scanners: %q", n, s.banned(t))
	}
	// Whoever is banned is, whatever it sends now.
	ask(t, scanner, scanner4, pbx4, "OPTIONS", "Yealink SIP-T46S 66.86.0.15")
	until(t, "the ban counts", func() bool { return s.recognised(t).Counters["dropped_banned"] > 0 })
	s.must(t, 0, "unban", scanner4)
	ask(t, scanner, scanner4, pbx4, "OPTIONS", "Yealink SIP-T46S 66.86.0.15")
	until(t, "the scanner is not banned any more", func() bool { return e.From(scanner4) == 1 })

	v := s.recognised(t)
	if v.Engine != "bpf" || v.Drift {
		t.Errorf("engine %s (%s), drift %t", v.Engine, v.Why, v.Drift)
	}
	if v.Counters["dropped_signature"] < 3 || v.Signatures["sipvicious-callee"]+v.Signatures["sipvicious-name"] == 0 || v.Signatures["sipsak"]+v.Signatures["sipsak-address"] == 0 {
		t.Errorf("the counters are %v, %v", v.Counters, v.Signatures)
	}
	if o := s.must(t, 0, "signatures"); !strings.Contains(o.stdout, "sipsak") {
		t.Errorf("signatures lists\n%s", o.stdout)
	}
}

// TestScannersAreNamed: where everybody unknown is dropped, the counters say who
// was knocking, and nobody is banned.
func TestScannersAreNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := listen(t, w.pbx, 5060, pbx4)
	s := newSite(t, w.pbx, strings.Replace(openPolicy, "unknown: {action: accept}", `signatures: {deny: [{name: bad-dialer, header: user-agent, contains: BadDialer}], except: [sipvicious-name, sipvicious-callee, svmap-address]}`, 1))
	s.must(t, 0, "apply")
	stranger, stranger4, _ := w.stranger(t, 1)
	defer scan(t, stranger, "svmap -p 5060 "+pbx4)()
	ask(t, stranger, stranger4, pbx4, "INVITE", "The BADDIALER 2.0")
	ask(t, stranger, stranger4, pbx4, "INVITE", "a phone")
	until(t, "everything is counted", func() bool {
		v := s.recognised(t)
		return v.Signatures["friendly-scanner"] > 0 && v.Signatures["bad-dialer"] == 1 && v.Counters["dropped_unknown"] == 1
	})
	if n, banned := e.From(stranger4), s.banned(t); n != 0 || len(banned) != 0 {
		t.Errorf("%d packets arrived, banned are %q", n, banned)
	}
}

// TestScannersByAForwardedPort: on a router, scanners that come by a port forward
// are recognised if the policy lists the forwarded port.
func TestScannersByAForwardedPort(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	stranger, stranger4, _ := o.stranger(t, 1)
	e := listen(t, o.phone, 5060, phone4)
	s := newSite(t, o.pbx, "ports: {udp: [5060, "+forwardedPort+"]}\n"+openPolicy)
	s.must(t, 0, "apply")
	defer scan(t, stranger, "svmap -p "+forwardedPort+" "+phoneOutside)()
	until(t, "the scanner is banned", func() bool { return strings.Contains(strings.Join(s.banned(t), " "), stranger4) })
	if n := e.From(stranger4); n != 0 {
		t.Errorf("%d packets of a scanner reached the phone", n)
	}
}

// TestNobodyIsBannedThatIsNoSender: an address from which nothing can come is
// never banned, whatever a neighbour writes into his packets.
func TestNobodyIsBannedThatIsNoSender(t *testing.T) {
	h, neighbour := labtest.Host(t, "pbx"), labtest.Host(t, "neighbour")
	labtest.Link(t,
		lab.End{Host: h, Interface: "eth0", Addresses: []string{"203.0.113.10/24"}},
		lab.End{Host: neighbour, Interface: "eth0", Addresses: []string{"203.0.113.200/24"}})
	s := newSite(t, h, openPolicy)
	s.must(t, 0, "apply")
	labtest.Run(t, neighbour, "/usr/bin/python3", "-c", forgeScans, "203.0.113.10", "224.0.0.5", "255.255.255.255", "203.0.113.255", "203.0.113.77")
	until(t, "the last forged packet", func() bool { return len(s.banned(t)) > 0 })
	if banned := s.banned(t); len(banned) != 1 || banned[0] != "203.0.113.77" {
		t.Errorf("banned are %q, want only the one that can send", banned)
	}
}

// TestRequiredUserAgent: only phones of the named makers reach the PBX, by UDP;
// connections and answers pass.
func TestRequiredUserAgent(t *testing.T) {
	w := newWorld(t)
	e := listen(t, w.pbx, 5060, pbx4)
	s := newSite(t, w.pbx, strings.Replace(openPolicy, "action: accept", "action: accept, require_user_agent: [Yealink, snomD]", 1))
	s.must(t, 0, "apply")
	stranger, stranger4, _ := w.stranger(t, 1)
	other, other4, _ := w.stranger(t, 2)
	for _, agent := range []string{"Zoiper rv2.10", "My Yealink", ""} {
		ask(t, other, other4, pbx4, "REGISTER", agent)
	}
	ask(t, stranger, stranger4, pbx4, "REGISTER", "yealink SIP-T46S")
	ask(t, stranger, stranger4, pbx4, "INVITE", "snomD785/10")
	labtest.Must(t, stranger.Say(t.Context(), "udp", stranger4, pbx4+":5060", []byte("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x\r\n\r\n")))
	labtest.Must(t, stranger.Say(t.Context(), "udp", stranger4, pbx4+":5060", []byte("\r\n\r\n")))
	connect(t, other, pbx4, 5060)
	until(t, "the right phones, answers and connections", func() bool { return e.From(stranger4) == 4 && e.From(other4) == 1 })
	until(t, "3 packets are dropped for their User-Agent", func() bool { return s.recognised(t).Counters["dropped_user_agent"] == 3 })
}

// markWatch counts, behind ringfence's table, what is left of the mark. What
// stands before it sets bits that are nobody's business of ringfence's.
const markWatch = `table inet watch {
	counter arrived { }
	counter total { }
	counter nibble { }
	counter changed { }
	chain before {
		type filter hook prerouting priority -400
		iifname "eth0" meta l4proto { udp, tcp } counter name "arrived" meta mark set meta mark | 0x20400042
	}
	chain after {
		type filter hook prerouting priority -180
		iifname "eth0" meta l4proto { udp, tcp } counter name "total"
		iifname "eth0" meta mark & 0x0f000000 != 0 counter name "nibble"
		iifname "eth0" meta mark & 0x20400042 != 0x20400042 counter name "changed"
	}
}
`

// TestMarkNeverLeaves: on every path out of the table the nibble is clear and the
// other bits are as they were.
func TestMarkNeverLeaves(t *testing.T) {
	w := newWorld(t)
	stranger, stranger4, _ := w.stranger(t, 1)
	labtest.Rules(t, w.pbx, markWatch)
	for name, policy := range map[string]string{
		"accept":           openPolicy,
		"monitor":          "mode: monitor\n" + openPolicy,
		"replies":          strings.Replace(openPolicy, "action: accept", "action: accept, allow_replies: true", 1),
		"trusted":          openPolicy + "trusted: {addresses: [" + stranger4 + "]}\n",
		"user agents":      strings.Replace(openPolicy, "action: accept", "action: accept, require_user_agent: [friendly, phone]", 1),
		"ports timed out":  openPolicy,
		"another provider": openPolicy + "bans: {duration: 0s}\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, w.pbx, policy)
			s.must(t, 0, "apply", "--adopt")
			defer s.must(t, 0, "down")
			if name == "ports timed out" {
				labtest.Run(t, w.pbx, "nft", "flush", "set", "inet", "ringfence", "ports_udp")
			}
			before := counters(t, w.pbx)
			for _, agent := range []string{"phone", "friendly-scanner", "sipsak 0.9"} {
				ask(t, stranger, stranger4, pbx4, "OPTIONS", agent)
				ask(t, w.provider, edge1, pbx4, "OPTIONS", agent)
			}
			knock(t, stranger, stranger4, pbx4, 9)
			knock(t, w.provider, edge1, pbx4, 9)
			var now map[string]uint64
			until(t, "all packets arrive", func() bool {
				now = counters(t, w.pbx)
				return now["arrived"]-before["arrived"] >= 8
			})
			// The last one may still have been on its way through the rules.
			now = counters(t, w.pbx)
			passed := func(what string) uint64 { return now[what] - before[what] }
			if passed("total") < 5 || passed("nibble") != 0 || passed("changed") != 0 {
				t.Errorf("of %d packets that passed, %d left with the nibble set and %d with other bits changed", passed("total"), passed("nibble"), passed("changed"))
			}
		})
	}
}

// counters reads the counters of another table.
func counters(t *testing.T, h *lab.Namespace) map[string]uint64 {
	t.Helper()
	found := map[string]uint64{}
	var name string
	for line := range strings.Lines(labtest.Run(t, h, "nft", "list", "counters", "table", "inet", "watch")) {
		fields := strings.Fields(line)
		switch {
		case len(fields) > 1 && fields[0] == "counter":
			name = fields[1]
		case len(fields) > 1 && fields[0] == "packets":
			var n uint64
			if _, err := fmt.Sscan(fields[1], &n); err != nil {
				t.Fatal(err)
			}
			found[name] = n
		}
	}
	return found
}

// TestClassifierIsKept: what another program takes away is seen and put back,
// new interfaces are watched, another policy is another program, and after down
// nothing is left of it, while what others have there stays.
func TestClassifierIsKept(t *testing.T) {
	h, other := labtest.Host(t, "pbx"), labtest.Host(t, "other")
	labtest.Link(t, lab.End{Host: h, Interface: "eth0", Addresses: []string{"192.0.2.1/24"}}, lab.End{Host: other, Interface: "eth0"})
	labtest.Run(t, h, "tc", "qdisc", "add", "dev", "lo", "clsact")
	labtest.Run(t, h, "ip", "link", "add", "foreign", "type", "bridge")
	labtest.Run(t, h, "tc", "qdisc", "add", "dev", "foreign", "clsact")
	labtest.Run(t, h, "tc", "filter", "add", "dev", "foreign", "ingress", "pref", "7", "handle", "7", "bpf", "da", "bytecode", "1,6 0 0 4294967295")
	filters := func(link string) string { return labtest.Run(t, h, "tc", "filter", "show", "dev", link, "ingress") }
	s := newSite(t, h, strings.Replace(openPolicy, "[eth0]", "[eth0, 'wg*', foreign]", 1))
	s.must(t, 0, "apply")
	first := filters("eth0")
	for _, link := range []string{"eth0", "foreign"} {
		if !strings.Contains(filters(link), "ringfence:") {
			t.Fatalf("no classifier on %s: %s", link, filters(link))
		}
	}
	for _, command := range [][]string{{"apply"}, {"refresh"}, {"diff"}, {"diff", "--full"}, {"up"}} {
		if r := s.plan(t, 0, command...); r.Changed {
			t.Errorf("%s with nothing to do: %+v", command, r)
		}
	}
	labtest.Run(t, h, "tc", "qdisc", "del", "dev", "eth0", "clsact")
	r := s.plan(t, 2, "diff")
	if len(r.Changes) != 1 || r.Changes[0].Kind != "classifier" || r.Changes[0].Action != "add" || r.Changes[0].Name != "eth0" || !strings.HasPrefix(r.Changes[0].Value, "ringfence:") {
		t.Errorf("a classifier that was taken away is %+v", r.Changes)
	}
	if !s.recognised(t).Drift {
		t.Error("a classifier that was taken away is no drift")
	}
	s.must(t, 0, "refresh")
	if !strings.Contains(filters("eth0"), "ringfence:") {
		t.Error("refresh did not put the classifier back")
	}
	labtest.Run(t, h, "ip", "link", "add", "wg0", "type", "bridge")
	s.must(t, 0, "refresh")
	if !strings.Contains(filters("wg0"), "ringfence:") {
		t.Error("a new interface is not watched")
	}
	labtest.Run(t, h, "ip", "link", "del", "wg0")
	if r := s.plan(t, 0, "refresh"); r.Changed {
		t.Errorf("an interface that has gone is a change: %+v", r.Changes)
	}
	s.write(t, openPolicy+"signatures: {except: [sipsak]}\n")
	s.must(t, 0, "apply")
	if second := filters("eth0"); second == first || strings.Count(second, "ringfence:") != 1 {
		t.Errorf("another policy has the same program:\n%s", second)
	}
	if strings.Contains(filters("foreign"), "ringfence:") {
		t.Error("an interface that is not fenced any more is still watched")
	}
	s.must(t, 0, "rollback")
	if again := filters("eth0"); !strings.Contains(again, first[strings.Index(first, "ringfence:"):][:26]) {
		t.Errorf("rollback has another program than there was:\n%s\n%s", first, again)
	}
	labtest.Run(t, h, "nft", "flush", "ruleset")
	s.must(t, 0, "up")
	s.must(t, 0, "down")
	for _, link := range []string{"eth0", "lo", "foreign"} {
		if strings.Contains(filters(link), "ringfence:") {
			t.Errorf("after down there is a classifier on %s", link)
		}
	}
	if qdisc := labtest.Run(t, h, "tc", "qdisc", "show", "dev", "eth0"); strings.Contains(qdisc, "clsact") {
		t.Errorf("after down there is left %s", qdisc)
	}
	if !strings.Contains(labtest.Run(t, h, "tc", "qdisc", "show", "dev", "lo"), "clsact") || !strings.Contains(filters("foreign"), "bytecode") {
		t.Error("what others had there is gone")
	}
}

// TestForeignFilter: another program's filter in ringfence's place is not
// overwritten; the fence stands without the classifier, unless the policy needs
// it.
func TestForeignFilter(t *testing.T) {
	h, other := labtest.Host(t, "pbx"), labtest.Host(t, "other")
	labtest.Link(t, lab.End{Host: h, Interface: "eth0"}, lab.End{Host: other, Interface: "eth0"})
	labtest.Run(t, h, "tc", "qdisc", "add", "dev", "eth0", "clsact")
	labtest.Run(t, h, "tc", "filter", "add", "dev", "eth0", "ingress", "pref", "5", "handle", "0x5060", "bpf", "da", "bytecode", "1,6 0 0 4294967295")
	theirs := labtest.Run(t, h, "tc", "filter", "show", "dev", "eth0", "ingress")
	s := newSite(t, h, openPolicy+"signatures: {engine: bpf}\n")
	tellsClearly(t, s.run(t, "apply"), 1, []string{"ringfence: error: put the classifier in place: ", "another program's filter is there"})
	if rules := s.ruleset(t); rules != "" {
		t.Errorf("an apply that failed left\n%s", rules)
	}
	s.write(t, openPolicy)
	o := s.must(t, 0, "apply")
	if !strings.Contains(o.stderr, "scanners are not recognised: another program's filter is there") || strings.Contains(s.ruleset(t), "0x01000000") {
		t.Errorf("apply says\n%s", o.stderr)
	}
	if now := labtest.Run(t, h, "tc", "filter", "show", "dev", "eth0", "ingress"); now != theirs {
		t.Errorf("the other program's filter is now\n%s", now)
	}
	if v := s.recognised(t); v.Engine != "off" || v.Drift || !strings.Contains(v.Why, "another program's filter is there") {
		t.Errorf("status says %+v", v)
	}
	// On another interface scanners are recognised all the same, and nothing is
	// left to do.
	labtest.Run(t, h, "ip", "link", "add", "eth1", "type", "bridge")
	s.write(t, strings.Replace(openPolicy, "[eth0]", "[eth0, eth1]", 1))
	if o := s.must(t, 0, "apply"); !strings.Contains(o.stderr, "scanners that come in on eth0 are not recognised: another program's filter is there") {
		t.Errorf("apply says\n%s", o.stderr)
	}
	if v := s.recognised(t); v.Engine != "bpf" || v.Drift || !strings.Contains(v.Why, "signatures on eth1; none on eth0: another program's filter is there") {
		t.Errorf("status says %+v", v)
	}
	if r := s.plan(t, 0, "refresh"); r.Changed {
		t.Errorf("refresh finds %+v", r.Changes)
	}
	labtest.Run(t, h, "tc", "filter", "del", "dev", "eth0", "ingress", "pref", "5")
	s.must(t, 0, "refresh")
	if v := s.recognised(t); v.Drift || !strings.HasSuffix(v.Why, "signatures on eth0, eth1") {
		t.Errorf("after the other program has gone, status says %+v", v)
	}
}

// TestWatchedInterfaces: where unknown phones may call, scanners are recognised on
// every interface that is fenced, also if it does not lead to a default route;
// where they may not, only on those that lead outside.
func TestWatchedInterfaces(t *testing.T) {
	h, other := labtest.Host(t, "pbx"), labtest.Host(t, "other")
	labtest.Link(t, lab.End{Host: h, Interface: "eth0", Addresses: []string{"192.0.2.1/24"}}, lab.End{Host: other, Interface: "eth0"})
	labtest.Run(t, h, "ip", "route", "add", "default", "via", "192.0.2.2")
	labtest.Run(t, h, "ip", "link", "add", "br0", "type", "bridge")
	labtest.Run(t, h, "ip", "link", "add", "port", "type", "veth", "peer", "name", "eth1")
	labtest.Run(t, h, "ip", "link", "set", "port", "master", "br0")
	everywhere := strings.Replace(openPolicy, "interfaces: [eth0]\n", "", 1)
	s := newSite(t, h, everywhere)
	s.must(t, 0, "apply")
	if v := s.recognised(t); !strings.HasSuffix(v.Why, "signatures on br0, eth0, eth1") {
		t.Errorf("where unknown phones may call, there are %s", v.Why)
	}
	s.write(t, strings.Replace(everywhere, "unknown: {action: accept}\n", "", 1))
	s.must(t, 0, "apply", "--allow-cut-inside")
	if v := s.recognised(t); !strings.HasSuffix(v.Why, "signatures on eth0") {
		t.Errorf("where they may not, there are %s", v.Why)
	}
}

// TestWithoutCapabilities: with CAP_NET_ADMIN alone the fence stands, and status
// says why nobody is recognised; what cannot do without the engine is refused.
func TestWithoutCapabilities(t *testing.T) {
	h, other := labtest.Host(t, "pbx"), labtest.Host(t, "other")
	labtest.Link(t, lab.End{Host: h, Interface: "eth0"}, lab.End{Host: other, Interface: "eth0"})
	s := newSite(t, h, openPolicy)
	limited := func(args ...string) outcome {
		t.Helper()
		cmd := s.command(t, args...)
		// Root without all but one capability.
		cmd.Args = append([]string{"setpriv", "--bounding-set", "-all,+net_admin", "--inh-caps", "-all,+net_admin"}, append([]string{cmd.Path}, cmd.Args[1:]...)...)
		cmd.Path, _ = exec.LookPath("setpriv")
		cmd.SysProcAttr = &syscall.SysProcAttr{}
		return s.start(t, cmd)
	}
	if o := limited("apply"); o.status != 0 || !strings.Contains(o.stderr, "scanners are not recognised: the kernel does not let this process use eBPF") {
		t.Fatalf("apply: exit status %d\n%s", o.status, o.stderr)
	}
	if o := limited("status"); o.status != 0 || !strings.Contains(o.stdout, "off: the kernel does not let this process use eBPF: run as root, or give it CAP_BPF, CAP_PERFMON\n") {
		t.Errorf("status: exit status %d\n%s%s", o.status, o.stdout, o.stderr)
	}
	s.write(t, openPolicy+"signatures: {engine: bpf}\n")
	tellsClearly(t, limited("apply"), 1, []string{"signatures.engine is bpf, and scanners cannot be recognised here", "hint: mend that, or write signatures.engine: auto"})
	s.write(t, strings.Replace(openPolicy, "action: accept", "action: accept, require_user_agent: [Yealink]", 1))
	tellsClearly(t, limited("apply"), 1, []string{"unknown.require_user_agent needs an engine"})
	s.must(t, 0, "apply")
	// What stands stays, whoever runs refresh.
	before := s.ruleset(t)
	if o := limited("refresh"); o.status != 0 || o.stderr != "" || !strings.Contains(o.stdout, "othing to do") {
		t.Errorf("refresh: exit status %d\n%s%s", o.status, o.stdout, o.stderr)
	}
	if o := limited("status"); !strings.Contains(o.stdout, "signatures on eth0\n") || !strings.Contains(o.stdout, "drift       none") {
		t.Errorf("status says\n%s", o.stdout)
	}
	if o := limited("diff"); o.status != 0 || s.ruleset(t) != before {
		t.Errorf("diff: exit status %d\n%s%s", o.status, o.stdout, o.stderr)
	}
	// Once it is gone, and cannot be put back, nobody passes whose User-Agent nobody
	// reads.
	labtest.Run(t, h, "tc", "qdisc", "del", "dev", "eth0", "clsact")
	if o := limited("refresh"); o.status != 0 || !strings.Contains(o.stderr, "unknown phones are dropped, because nobody reads their User-Agent") {
		t.Errorf("refresh: exit status %d\n%s%s", o.status, o.stdout, o.stderr)
	}
	if !strings.Contains(s.ruleset(t), `counter name "dropped_user_agent" drop`) {
		t.Errorf("unknown phones pass:\n%s", s.ruleset(t))
	}
	// What cannot be put onto a new interface stays on the others.
	s.write(t, strings.Replace(openPolicy, "[eth0]", "[eth0, eth1]", 1))
	s.must(t, 0, "apply")
	labtest.Run(t, h, "ip", "link", "add", "eth1", "type", "bridge")
	if o := limited("refresh"); o.status != 0 || !strings.Contains(o.stderr, "CAP_BPF, CAP_PERFMON; the classifier stays as it is, on eth0\n") {
		t.Errorf("refresh: exit status %d\n%s%s", o.status, o.stdout, o.stderr)
	}
	if o := limited("status"); !strings.Contains(o.stdout, "signatures on eth0\n") {
		t.Errorf("status says\n%s", o.stdout)
	}
	s.must(t, 0, "refresh")
	if v := s.recognised(t); !strings.HasSuffix(v.Why, "signatures on eth0, eth1") {
		t.Errorf("root's refresh leaves %s", v.Why)
	}
	// Nor does it leave the others when it is one of them that changes.
	s.write(t, strings.Replace(openPolicy, "interfaces: [eth0]\n", "", 1))
	s.must(t, 0, "apply")
	labtest.Run(t, h, "ip", "link", "add", "br0", "type", "bridge")
	labtest.Run(t, h, "ip", "link", "add", "port", "type", "veth", "peer", "name", "far")
	s.must(t, 0, "refresh")
	labtest.Run(t, h, "ip", "link", "set", "port", "master", "br0")
	if o := limited("refresh"); o.status != 0 || strings.Contains(o.stderr, "without it") {
		t.Errorf("refresh: exit status %d\n%s%s", o.status, o.stdout, o.stderr)
	}
	if v := s.recognised(t); !strings.Contains(v.Why, "signatures on br0, eth0, eth1, far, port") {
		t.Errorf("a limited refresh leaves %s", v.Why)
	}
	// A rollback is not said to be in force while another generation's signatures
	// ban.
	s.write(t, openPolicy)
	s.must(t, 0, "apply")
	s.write(t, openPolicy+"signatures: {deny: [{name: mistake, header: user-agent, contains: Yealink SIP}]}\n")
	s.must(t, 0, "apply")
	if o := limited("rollback"); o.status != 0 || !strings.Contains(o.stderr, "the fence stands without it") {
		t.Errorf("rollback: exit status %d\n%s%s", o.status, o.stdout, o.stderr)
	}
	if v := s.recognised(t); v.Why != "the classifier stands nowhere" {
		t.Errorf("a limited rollback leaves %s", v.Why)
	}
	s.write(t, openPolicy+"signatures: {engine: off}\n")
	s.must(t, 0, "apply")
	if v := s.recognised(t); v.Engine != "off" || v.Why != "the policy switches it off" || strings.Contains(s.ruleset(t), "mark") {
		t.Errorf("an engine that is off is %+v", v)
	}
}

// TestUpWithoutItsPolicy: rules whose policy this version cannot read go on with
// the classifier that stands; without one, nobody passes whose User-Agent nobody
// reads.
func TestUpWithoutItsPolicy(t *testing.T) {
	h := labtest.Host(t, "pbx")
	labtest.Run(t, h, "ip", "link", "add", "eth0", "type", "bridge")
	s := newSite(t, h, strings.Replace(openPolicy, "action: accept", "action: accept, require_user_agent: [Yealink]", 1))
	s.must(t, 0, "apply")
	j := journal.Journal{Folder: s.state()}
	newest, err := j.Newest()
	labtest.Must(t, err)
	newest.Policy += "later: version\n"
	pending, err := j.Begin(newest)
	labtest.Must(t, err)
	labtest.Must(t, pending.Finish())
	filters := func() string { return labtest.Run(t, h, "tc", "filter", "show", "dev", "eth0", "ingress") }
	before := filters()
	if o := s.must(t, 0, "up"); !strings.Contains(o.stderr, "putting up the rules as they were compiled") || filters() != before {
		t.Errorf("up says\n%s%s\nand leaves %q", o.stdout, o.stderr, filters())
	}
	if !strings.Contains(s.ruleset(t), `0x03000000 counter name "dropped_user_agent" drop`) {
		t.Errorf("the rules are\n%s", s.ruleset(t))
	}
	labtest.Run(t, h, "tc", "qdisc", "del", "dev", "eth0", "clsact")
	if o := s.must(t, 0, "up"); !strings.Contains(o.stderr, "unknown phones are dropped, because nobody reads their User-Agent") {
		t.Errorf("up says\n%s%s", o.stdout, o.stderr)
	}
	if rules := s.ruleset(t); strings.Contains(rules, "0x03000000") || !strings.Contains(rules, `counter name "dropped_user_agent" drop`) {
		t.Errorf("the rules are\n%s", rules)
	}
}

// forgeScans sends a scanner's request with each of the given sources.
const forgeScans = `
import socket, sys
from scapy.all import *
conf.verb = 0
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
pbx, sources = sys.argv[1], sys.argv[2:]
message = b"OPTIONS sip:100@pbx SIP/2.0\r\nVia: SIP/2.0/UDP x\r\nUser-Agent: friendly-scanner\r\n\r\n"
for source in sources:
    for _ in range(3): raw.sendto(bytes(IP(src=source, dst=pbx) / UDP(sport=5060, dport=5060) / Raw(message)), (pbx, 0))
`

// TestBansCannotBeTurnedAgainstYou: no forged packet bans whom calls depend on,
// and more sources than the set holds are dropped all the same.
func TestBansCannotBeTurnedAgainstYou(t *testing.T) {
	w := newWorld(t)
	stranger, _, _ := w.stranger(t, 1)
	e := listen(t, w.pbx, 5060, pbx4)
	s := newSite(t, w.pbx, openPolicy+"bans: {size: 50}\ndns: {servers: ["+nameServer+"]}\ntrusted: {addresses: [198.51.100.200]}\n")
	s.must(t, 0, "apply")
	forge := func(sources ...string) {
		t.Helper()
		labtest.Run(t, stranger, "/usr/bin/python3", append([]string{"-c", forgeScans, pbx4}, sources...)...)
	}
	const gateway = "198.51.100.1"
	forge(edge1, nameServer, gateway, pbx4, "198.51.100.200", labtest.NameServer, "224.0.0.5", "255.255.255.255", "192.0.2.77")
	until(t, "the last forged packet", func() bool { return len(s.banned(t)) > 0 })
	if banned := s.banned(t); len(banned) != 1 || banned[0] != "192.0.2.77" {
		t.Errorf("banned are %q, want only the one that nobody needs", banned)
	}
	var many []string
	for i := range 200 {
		many = append(many, fmt.Sprintf("198.18.0.%d", i+1))
	}
	// It is the last one of all, and its second and third packet find it banned.
	until(t, "all forged packets are counted", func() bool { return s.recognised(t).Counters["dropped_banned"] >= 2 })
	before := s.recognised(t).Counters
	forge(many...)
	until(t, "all are dropped", func() bool {
		now := s.recognised(t).Counters
		return now["dropped_signature"]+now["dropped_banned"]-before["dropped_signature"]-before["dropped_banned"] >= 600
	})
	if n := len(s.banned(t)); n > 50 {
		t.Errorf("%d are banned, more than bans.size", n)
	}
	if n := e.From(many...); n != 0 {
		t.Errorf("%d packets of sources beyond bans.size arrived", n)
	}
}
