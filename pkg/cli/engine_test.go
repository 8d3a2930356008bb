package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

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
	labtest.Must(t, from.Send(t.Context(), "udp", fromAddress, fmt.Sprintf("[%s]:5060", to), lab.Message(method, fromAddress, to, userAgent)))
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
	eachBackend(t, testScannersAreBanned)
}

func testScannersAreBanned(t *testing.T) {
	t.Helper()
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
		scan(t, tool, "sipsak -H "+tool4+" -s sip:100@"+pbx4+":5060"),
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
	// A banned address stays banned, whatever it sends now.
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
// was scanning, and nobody is banned.
func TestScannersAreNamed(t *testing.T) {
	t.Parallel()
	eachBackend(t, testScannersAreNamed)
}

func testScannersAreNamed(t *testing.T) {
	t.Helper()
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
	eachBackend(t, testScannersByAForwardedPort)
}

func testScannersByAForwardedPort(t *testing.T) {
	t.Helper()
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
	t.Parallel()
	eachBackend(t, testNobodyIsBannedThatIsNoSender)
}

func testNobodyIsBannedThatIsNoSender(t *testing.T) {
	t.Parallel()
	t.Helper()
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
	t.Parallel()
	eachBackend(t, testRequiredUserAgent)
}

func testRequiredUserAgent(t *testing.T) {
	t.Parallel()
	t.Helper()
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
	labtest.Must(t, stranger.Send(t.Context(), "udp", stranger4, pbx4+":5060", []byte("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x\r\n\r\n")))
	labtest.Must(t, stranger.Send(t.Context(), "udp", stranger4, pbx4+":5060", []byte("\r\n\r\n")))
	connect(t, other, pbx4, 5060)
	until(t, "the right phones, answers and connections", func() bool { return e.From(stranger4) == 4 && e.From(other4) == 1 })
	until(t, "3 packets are dropped for their User-Agent", func() bool { return s.recognised(t).Counters["dropped_user_agent"] == 3 })
}

// markWatch counts, behind ringfence's table, what is left of the mark. What
// stands before it sets bits that are not ringfence's.
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
		iifname "eth0" meta l4proto { udp, tcp } meta mark & 0x20400042 != 0x20400042 counter name "changed"
	}
}
`

// TestMarkNeverLeaves: on every path out of the table the nibble is clear and the
// other bits are as they were.
func TestMarkNeverLeaves(t *testing.T) {
	t.Parallel()
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
				labtest.Run(t, w.pbx, "nft", "flush", "set", "inet", "ringfence", "ports")
			}
			before := counters(t, w.pbx)
			for _, agent := range []string{"phone", "friendly-scanner", "sipsak 0.9"} {
				ask(t, stranger, stranger4, pbx4, "OPTIONS", agent)
				ask(t, w.provider, edge1, pbx4, "OPTIONS", agent)
			}
			sendPacket(t, stranger, stranger4, pbx4, 9)
			sendPacket(t, w.provider, edge1, pbx4, 9)
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
func TestBansCannotBeTurnedAgainstYou(t *testing.T) { eachBackend(t, testBansCannotBeTurnedAgainstYou) }

func testBansCannotBeTurnedAgainstYou(t *testing.T) {
	t.Helper()
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
	protected := []string{edge1, nameServer, gateway, pbx4}
	times := labtest.Count(30, 1000)
	for _, source := range protected {
		labtest.Must(t, labtest.Forge(stranger, pbx4+":5060", lab.Message("OPTIONS", source, pbx4, "friendly-scanner"), times, func(int) netip.Addr {
			return netip.MustParseAddr(source)
		}))
	}
	labtest.Report(t, "P7", labtest.Over("forged scanners from a registrar, a name server, the gateway, itself", backendOf(t)), len(protected)*times,
		"%d protected addresses banned", len(s.banned(t))-1)
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

var textsKnown = regexp.MustCompile(`^[1-9]\d of [1-9]\d signatures, looked for anywhere in a packet; not header-exact$`)
