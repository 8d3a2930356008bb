package cli_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// forge sends packets that no ordinary network stack sends. It gets the stranger's own
// addresses and names each packet on its first line of payload, so that the
// test can say which one got through.
const forge = `
import sys, socket
from scapy.all import *
conf.verb = 0
raw4 = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw6 = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
me4, me6, pbx4, pbx6 = sys.argv[1:5]
def udp(name, **k): return UDP(sport=5060, dport=5060) / Raw(name)
sent = set()
def out(p, shape=None): # those of one shape are counted once
    sent.add(shape or len(sent))
    (raw6 if IPv6 in p else raw4).sendto(bytes(p), (p.dst, 0)) # the kernel finds the way
class UDPLite(Packet):
    fields_desc = [ShortField("sport", 5060), ShortField("dport", 5060), ShortField("cov", 8), XShortField("chksum", 0)]
def sctp(): return SCTP(sport=5060, dport=5060) / SCTPChunkInit()
long = "INVITE" + "x" * 2994

# Sources of a LAN, from outside.
for lan in ("192.168.1.50", "10.1.1.1", "172.16.0.9", "169.254.3.3"):
    out(IP(src=lan, dst=pbx4) / udp("forged " + lan))
for lan in ("fd00::50", "fe80::50", "2001:db8:5::50", "2001:db8:5::1"):
    out(IPv6(src=lan, dst=pbx6) / udp("forged " + lan))
# Transports that carry SIP beside UDP and TCP.
out(IP(src=me4, dst=pbx4) / sctp())
out(IPv6(src=me6, dst=pbx6) / sctp())
out(IP(src=me4, dst=pbx4, proto=136) / UDPLite() / Raw("udplite"))
out(IPv6(src=me6, dst=pbx6, nh=136) / UDPLite() / Raw("udplite 6"))
out(IP(src=me4, dst=pbx4, proto=33) / Raw(bytes([0x13,0xc4,0x13,0xc4,4,0,0,0,0,1,0,0,0,0,0,1])))
# IPv4 options.
out(IP(src=me4, dst=pbx4, options=[IPOption_NOP()] * 3 + [IPOption_EOL()]) / udp("options"))
# IPv6 extension headers.
out(IPv6(src=me6, dst=pbx6) / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)]) / udp("destination options"))
out(IPv6(src=me6, dst=pbx6) / IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)]) / udp("hop by hop"))
out(IPv6(src=me6, dst=pbx6) / IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)]) / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)]) / udp("two headers"))
out(IPv6(src=me6, dst=pbx6) / IPv6ExtHdrFragment(offset=0, m=0, id=9) / udp("atomic fragment"))
out(IPv6(src=me6, dst=pbx6) / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)]) / TCP(sport=5555, dport=5060, flags="S"))
# Fragments: in order, in reverse, tiny.
for pieces in (fragment(IP(src=me4, dst=pbx4, id=7) / udp(long), 600), list(reversed(fragment(IP(src=me4, dst=pbx4, id=8) / udp(long), 600))), fragment(IP(src=me4, dst=pbx4, id=9) / udp(long), 8)):
    for p in pieces: out(p, "id %d" % pieces[0].id)
six = fragment6(IPv6(src=me6, dst=pbx6) / IPv6ExtHdrFragment(id=77) / udp(long), 1280)
for p in six: out(p, "in order")
for p in reversed(fragment6(IPv6(src=me6, dst=pbx6) / IPv6ExtHdrFragment(id=78) / udp(long), 1280)): out(p, "in reverse")
# Fragments that overlap: the second one writes another port over the first one's, or the
# same again.
def overlap(id, first, second, at):
    for offset, more, part in ((0, 1, first), (at, 0, second)):
        out(IP(src=me4, dst=pbx4, proto=17, id=id, frag=offset, flags=more) / Raw(part), id)
        out(IPv6(src=me6, dst=pbx6, nh=44) / IPv6ExtHdrFragment(nh=17, offset=offset, m=more, id=id) / Raw(part), "6 %d" % id)
other, sip = (bytes(UDP(sport=5060, dport=port, len=40) / Raw("o" * 24)) for port in (9999, 5060))
overlap(101, other, sip[:] + b"o" * 8, 0)
overlap(102, sip, other + b"o" * 8, 0)
overlap(103, sip, b"O" * 32, 1)
overlap(104, sip, b"O" * 24, 3)
# Fragments whose transport header begins in the second one, in order and reversed.
def split(name, id, nh, upper):
    first = IPv6(src=me6, dst=pbx6, nh=44) / IPv6ExtHdrFragment(nh=60, offset=0, m=1, id=id) / Raw(bytes([60, 0, 1, 4, 0, 0, 0, 0]))
    second = IPv6(src=me6, dst=pbx6, nh=44) / IPv6ExtHdrFragment(nh=60, offset=1, m=0, id=id) / Raw(bytes([nh, 0, 1, 4, 0, 0, 0, 0]) + upper)
    return [first, second]
def whole(upper): return bytes(IPv6(bytes(IPv6(src=me6, dst=pbx6) / upper)).payload)
for p in split("split", 91, 17, whole(udp("split chain"))): out(p, "split")
for p in reversed(split("split", 92, 17, whole(udp("split chain reversed")))): out(p, "split reversed")
for p in split("split", 93, 6, whole(TCP(sport=5556, dport=5060, flags="S"))): out(p, "split TCP")
# A SYN with odd flags, and a TCP packet out of the blue.
out(IP(src=me4, dst=pbx4) / TCP(sport=5555, dport=5060, flags="SECU"))
out(IP(src=me4, dst=pbx4) / TCP(sport=5555, dport=5060, flags="A") / Raw("INVITE"))
for flags in ("", "F", "FSRPAUEC", "R", "SA"):
    out(IP(src=me4, dst=pbx4) / TCP(sport=5557, dport=5060, flags=flags) / Raw("INVITE"))
out(IPv6(src=me6, dst=pbx6) / TCP(sport=5557, dport=5061, flags="S") / Raw("INVITE"))
# UDP with odd headers, and what the other port of SIP gets.
out(IP(src=me4, dst=pbx4) / UDP(sport=5060, dport=5060, chksum=0) / Raw("no checksum"))
out(IP(src=me4, dst=pbx4) / UDP(sport=0, dport=5060) / Raw("port 0"))
out(IP(src=me4, dst=pbx4) / UDP(sport=5060, dport=5060))
out(IP(src=me4, dst=pbx4, ttl=255, tos=0xff) / udp("ttl and tos"))
out(IP(src=me4, dst=pbx4, flags="evil") / udp("evil bit"))
out(IPv6(src=me6, dst=pbx6, fl=0xfffff, tc=0xff) / udp("flow label"))
out(IPv6(src=me6, dst=pbx6) / IPv6ExtHdrHopByHop(options=[RouterAlert()]) / udp("router alert"))
many = IPv6(src=me6, dst=pbx6)
for _ in range(12): many = many / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])
out(many / udp("twelve headers"))
out(IPv6(src=me6, dst=pbx6) / IPv6ExtHdrRouting(type=4, segleft=0, addresses=[pbx6]) / udp("routing header"))
print(len(sent))
# The last one is for a port that nobody fences.
out(IP(src=me4, dst=pbx4) / UDP(sport=5060, dport=9) / Raw("end"))
`

// rawEar counts, by protocol, what reaches the host at all: raw sockets get
// every packet that is delivered, whatever its port.
type rawEar struct {
	mu      sync.Mutex
	heard   []string
	sockets []namedSocket
	readers sync.WaitGroup
	end     chan struct{}
	ended   sync.Once
}

// namedSocket says what a packet at a socket is called.
type namedSocket struct {
	conn net.PacketConn
	name func(payload []byte) string
}

func (e *rawEar) close() {
	for _, s := range e.sockets {
		s.conn.Close()
	}
}

// all is everything that was heard up to the end. What came before the end may
// still be in the sockets.
func (e *rawEar) all() []string {
	for _, s := range e.sockets {
		s.conn.SetReadDeadline(time.Now())
	}
	e.readers.Wait()
	for _, s := range e.sockets {
		buf := make([]byte, 65536)
		raw, err := s.conn.(syscall.Conn).SyscallConn()
		if err != nil {
			continue
		}
		s.conn.SetReadDeadline(time.Time{})
		raw.Control(func(fd uintptr) {
			for {
				n, _, err := unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
				if err != nil {
					return
				}
				e.note(s.name(buf[:n]))
			}
		})
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.heard
}

func (e *rawEar) note(what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if what == "end" {
		e.ended.Do(func() { close(e.end) })
		return
	}
	e.heard = append(e.heard, what)
}

// has says whether all of these were heard.
func (e *rawEar) has(wants []string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, want := range wants {
		if !slices.Contains(e.heard, want) {
			return false
		}
	}
	return true
}

func listenRaw(t *testing.T, h *lab.Namespace) *rawEar {
	t.Helper()
	e := &rawEar{end: make(chan struct{})}
	open := func(network, address string, name func([]byte) string) {
		labtest.In(t, h, func() error {
			c, err := net.ListenPacket(network, address)
			if err == nil {
				e.sockets = append(e.sockets, namedSocket{c, name})
			}
			return err
		})
	}
	for network, what := range map[string]string{
		"ip4:132": "SCTP", "ip6:132": "SCTP over IPv6", "ip4:136": "UDP-Lite", "ip6:136": "UDP-Lite over IPv6",
		"ip4:33": "DCCP", "ip4:6": "TCP", "ip6:6": "TCP over IPv6",
	} {
		address := "0.0.0.0"
		if strings.HasPrefix(network, "ip6") {
			address = "::"
		}
		open(network, address, func([]byte) string { return what })
	}
	for _, at := range []string{pbx4 + ":5060", "[" + pbx6 + "]:5060", pbx4 + ":9"} {
		open("udp", at, func(payload []byte) string {
			if len(payload) > 40 {
				return "fragments"
			}
			return string(payload)
		})
	}
	for _, s := range e.sockets {
		e.readers.Go(func() { e.read(s) })
	}
	return e
}

func (e *rawEar) read(s namedSocket) {
	buf := make([]byte, 65536)
	for {
		n, _, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		e.note(s.name(buf[:n]))
	}
}

// TestForgedAndOddPackets sends packets that get past many firewalls: none of them may
// reach a socket. The phones on the LAN, whose addresses are forged, and
// everything on other ports are not touched.
func TestForgedAndOddPackets(t *testing.T) {
	t.Parallel()
	eachBackend(t, testForgedAndOddPackets)
}

func testForgedAndOddPackets(t *testing.T) {
	t.Helper()
	w := newWorld(t)
	stranger, v4, v6 := w.stranger(t, 1)
	phone := labtest.Host(t, "phone")
	labtest.Link(t,
		lab.End{Host: w.pbx, Interface: "lan", Addresses: []string{"192.168.1.1/24", "fd00::1/64", "2001:db8:5::1/64"}},
		lab.End{Host: phone, Interface: "eth0", Addresses: []string{"192.168.1.50/24", "fd00::50/64"}})
	labtest.Must(t, phone.Route("default", "192.168.1.1"))
	labtest.Must(t, phone.Route("default", "fd00::1"))
	script := filepath.Join(t.TempDir(), "forge.py")
	labtest.Must(t, os.WriteFile(script, []byte(forge), 0o644))
	shapes := 0
	attack := func(wants ...string) []string {
		e := listenRaw(t, w.pbx)
		defer e.close()
		send := func() {
			said := labtest.Run(t, stranger, "/usr/bin/python3", script, v4, v6, pbx4, pbx6)
			_, err := fmt.Sscan(said, &shapes)
			labtest.Must(t, err)
		}
		send()
		<-e.end
		// What is lost on a busy machine, whose queues all tests share, is sent again.
		until(t, fmt.Sprintf("all of %q arrive", wants), func() bool {
			if !e.has(wants) {
				send()
			}
			return e.has(wants)
		})
		return e.all()
	}

	// Without a fence it arrives: the test can fail.
	attack(
		"forged 192.168.1.50", "forged 10.1.1.1", "forged 172.16.0.9", "forged 169.254.3.3", "forged fd00::50",
		"forged 2001:db8:5::50", "forged 2001:db8:5::1", "split chain", "split chain reversed",
		"SCTP", "SCTP over IPv6", "UDP-Lite", "UDP-Lite over IPv6", "DCCP", "TCP", "TCP over IPv6",
		"options", "destination options", "hop by hop", "two headers", "atomic fragment", "fragments",
		"no checksum", "port 0", "", "ttl and tos", "evil bit", "flow label", "twelve headers",
	)

	s := newSite(t, w.pbx, "version: 1\nproviders: [{name: acme, addresses: ["+edge1+"]}]\ntrusted: {addresses: [192.168.1.0/24, 'fd00::/64', 'fe80::/10', '2001:db8:5::/64']}\n")
	s.must(t, 0, "apply")
	got := attack()
	labtest.Report(t, "P8", labtest.Over("shapes of forged, odd and cut packets from strangers", backendOf(t)), shapes, "%d arrived", len(got))
	if len(got) != 0 {
		t.Errorf("behind the fence there arrived %q", got)
	}

	e := listen(t, w.pbx, 5060, pbx4, pbx6)
	sendPacket(t, phone, "192.168.1.50", pbx4, 5060)
	sendPacket(t, phone, "fd00::50", pbx6, 5060)
	until(t, "the packets of the phones on the LAN", func() bool { return e.From("192.168.1.50") == 1 && e.From("fd00::50") == 1 })
	for _, port := range []int{10000, 22, 5059, 5062} {
		other := listen(t, w.pbx, port, pbx4, pbx6)
		sendPacket(t, stranger, v4, pbx4, port)
		sendPacket(t, stranger, v6, pbx6, port)
		connect(t, stranger, pbx4, port)
		connect(t, stranger, pbx6, port)
		until(t, fmt.Sprintf("packets and connections to port %d", port), func() bool { return other.From(v4) == 2 && other.From(v6) == 2 })
	}
}

// TestTwoInterfacesInOneNetwork: a host with a cable and a radio in one LAN hears
// its phones on both, and a network that the policy calls asymmetric from
// anywhere.
func TestTwoInterfacesInOneNetwork(t *testing.T) {
	t.Parallel()
	eachBackend(t, testTwoInterfacesInOneNetwork)
}

func testTwoInterfacesInOneNetwork(t *testing.T) {
	t.Parallel()
	t.Helper()
	pbx := labtest.Host(t, "pbx")
	for _, setting := range []string{"all", "default"} {
		labtest.Must(t, pbx.Set("ipv4/conf/"+setting+"/rp_filter", "0"))
	}
	phones := map[string]*lab.Namespace{}
	for link, own := range map[string]string{"eth0": "192.168.1.2/24", "wlan0": "192.168.1.3/24", "vpn0": "10.9.9.1/24"} {
		phone := labtest.Host(t, link)
		phones[link] = phone
		labtest.Link(t,
			lab.End{Host: pbx, Interface: link, Addresses: []string{own}},
			lab.End{Host: phone, Interface: "eth0", Addresses: []string{map[string]string{
				"eth0": "192.168.1.50/24", "wlan0": "192.168.1.60/24", "vpn0": "10.200.0.9/24",
			}[link], "192.168.77.7/32"}})
		labtest.Run(t, phone, "ip", "route", "add", "192.168.1.0/30", "dev", "eth0", "metric", "1")
	}
	e := listen(t, pbx, 5060, "192.168.1.2", "192.168.1.3")
	s := newSite(t, pbx, "version: 1\ntrusted: {addresses: [192.168.0.0/16, 10.200.0.0/24], asymmetric: [10.200.0.0/24]}\n")
	s.must(t, 0, "apply")
	sendPacket(t, phones["vpn0"], "192.168.77.7", "192.168.1.2", 5060) // forged
	sendPacket(t, phones["eth0"], "192.168.1.50", "192.168.1.2", 5060)
	sendPacket(t, phones["wlan0"], "192.168.1.60", "192.168.1.3", 5060)
	sendPacket(t, phones["wlan0"], "192.168.1.60", "192.168.1.2", 5060)
	sendPacket(t, phones["vpn0"], "10.200.0.9", "192.168.1.2", 5060)
	until(t, "the packets of the phones", func() bool {
		return e.From("192.168.1.50") == 1 && e.From("192.168.1.60") == 2 && e.From("10.200.0.9") == 1
	})
	if n := e.From("192.168.77.7"); n != 0 {
		t.Errorf("%d forged packets arrived", n)
	}
}

func connect(t *testing.T, from *lab.Namespace, to string, port int) {
	t.Helper()
	labtest.In(t, from, func() error {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(to, fmt.Sprint(port)), time.Until(labtest.Deadline()))
		if err == nil {
			c.Close()
		}
		return err
	})
}
