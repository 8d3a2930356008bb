package cli_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// shape is a way in which packets come to a SIP port.
type shape struct {
	name string
	// make links a PBX with what is outside of it, beside the veth eth0 between both, and
	// returns the ways in. It skips the test where the kernel cannot do it.
	make func(t *testing.T, pbx, outside *lab.Namespace) []way
	// listed are entries of interfaces that have to fence it, beside none.
	listed []string
	// unread says that its packets are to another port when the classifier sees them, which
	// the policy does not list.
	unread bool
}

// way is a way in: who sends where to.
type way struct {
	provider, stranger string
	to                 string
	port               int            // 0 is 5060
	at                 string         // where it is listened, "" for to
	atPort             int            // 0 is 5060
	host               *lab.Namespace // who listens, nil for the PBX
	// socket opens the PBX's socket, nil for one that is bound to at.
	socket func() (net.PacketConn, error)
	// send sends a datagram with a source port, nil for one by a socket.
	send func(t *testing.T, from string, port int, payload []byte)
}

// The ends of a way that a shape makes. eth0 has others, of newPair.
const (
	shapeNet4, shapeNet6 = "198.51.100.", "2001:db8:100::"
	shapePolicy          = `version: 1
providers: [{name: acme, addresses: [203.0.113.5, 198.51.100.5, "2001:db8:100::5", "2001:db8:203::5"]}]
`
	knownPhone = "Known phone 1.0"
)

func v4way() way {
	return way{provider: shapeNet4 + "5", stranger: shapeNet4 + "66", to: shapeNet4 + "1"}
}

func v6way() way {
	return way{provider: shapeNet6 + "5", stranger: shapeNet6 + "66", to: shapeNet6 + "1"}
}

func onEth0() way {
	return way{provider: "203.0.113.5", stranger: "203.0.113.66", to: "203.0.113.1"}
}

// number gives two interfaces the addresses of a way's ends, and returns the ways.
func number(t *testing.T, pbx *lab.Namespace, inside string, outside *lab.Namespace, link string) []way {
	t.Helper()
	for _, host := range []struct {
		*lab.Namespace
		link string
		last []string
	}{{pbx, inside, []string{"1"}}, {outside, link, []string{"5", "66"}}} {
		labtest.Run(t, host.Namespace, "ip", "link", "set", host.link, "up")
		for _, last := range host.last {
			labtest.Must(t, host.AddAddress(host.link, shapeNet4+last+"/24"))
			labtest.Must(t, host.AddAddress(host.link, shapeNet6+last+"/64"))
		}
	}
	return []way{v4way(), v6way()}
}

// addLink makes an interface. Where the kernel has none of this kind, it skips the test.
func addLink(t *testing.T, h *lab.Namespace, words string) {
	t.Helper()
	out, err := labtest.TryInput(t, h, "", "ip", append([]string{"link", "add"}, strings.Fields(words)...)...)
	if strings.Contains(out, "Unknown device type") || strings.Contains(out, "not supported") {
		_, kind, _ := strings.Cut(words, " type ")
		t.Skipf("this kernel has no interfaces of type %s; scripts/kernels tests it on kernels that have", strings.Fields(kind)[0])
	}
	if err != nil {
		t.Fatalf("ip link add %s: %v\n%s", words, err, out)
	}
}

func (w way) ports() (to, at int) {
	to, at = w.port, w.atPort
	if to == 0 {
		to = 5060
	}
	if at == 0 {
		at = 5060
	}
	return to, at
}

// ear is a socket of the PBX that notes where datagrams come from.
type ear struct {
	conn  *net.UDPConn
	heard []netip.AddrPort
}

func (w way) listen(t *testing.T, pbx *lab.Namespace) *ear {
	t.Helper()
	_, port := w.ports()
	at := w.at
	if at == "" {
		at = w.to
	}
	e := &ear{}
	if w.host != nil {
		pbx = w.host
	}
	open := w.socket
	if open == nil {
		open = func() (net.PacketConn, error) { return net.ListenPacket("udp", net.JoinHostPort(at, fmt.Sprint(port))) }
	}
	labtest.In(t, pbx, func() error {
		c, err := open()
		if err == nil {
			e.conn = c.(*net.UDPConn)
		}
		return err
	})
	labtest.Must(t, e.conn.SetReadDeadline(labtest.Deadline()))
	return e
}

// until reads until something comes from a source port. Everything comes by one way, so
// that what was sent before has come before, or does not come.
func (e *ear) until(t *testing.T, port int) {
	t.Helper()
	defer e.conn.Close()
	buf := make([]byte, 65536)
	for {
		_, from, err := e.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatalf("the last packet, which has to arrive, does not: %v", err)
		}
		e.heard = append(e.heard, from)
		if int(from.Port()) == port {
			return
		}
	}
}

// letter is a datagram that is sent by a way.
type letter struct {
	what, from string
	payload    []byte
}

// arrive sends letters and returns those of them that come to the socket. The last one has to.
func (w way) arrive(t *testing.T, pbx, outside *lab.Namespace, letters ...letter) []string {
	t.Helper()
	e := w.listen(t, pbx)
	const first = 20_000 // source ports are numbers of letters
	for i, l := range letters {
		if w.send != nil {
			w.send(t, l.from, first+i, l.payload)
			continue
		}
		w.post(t, outside, l.from, first+i, l.payload)
	}
	e.until(t, first+len(letters)-1)
	var arrived []string
	for i, l := range letters {
		if slices.ContainsFunc(e.heard, func(a netip.AddrPort) bool { return int(a.Port()) == first+i }) {
			arrived = append(arrived, l.what)
		}
	}
	return arrived
}

// post sends a datagram by a socket.
func (w way) post(t *testing.T, outside *lab.Namespace, from string, port int, payload []byte) {
	t.Helper()
	to, _ := w.ports()
	labtest.In(t, outside, func() error {
		c, err := net.ListenPacket("udp", net.JoinHostPort(from, fmt.Sprint(port)))
		if err != nil {
			return err
		}
		defer c.Close()
		address, err := net.ResolveUDPAddr("udp", net.JoinHostPort(w.to, fmt.Sprint(to)))
		if err == nil {
			_, err = c.WriteTo(payload, address)
		}
		return err
	})
}

func (w way) message(from, agent string) []byte { return lab.Message("OPTIONS", from, w.to, agent) }

// check sends by a way what a provider and strangers send, and compares what arrives.
func (w way) check(t *testing.T, pbx, outside *lab.Namespace, want ...string) {
	t.Helper()
	got := w.arrive(t, pbx, outside,
		letter{"a scanner", w.stranger, w.message(w.stranger, "friendly-scanner")},
		letter{"a stranger", w.stranger, w.message(w.stranger, "Other phone")},
		letter{"a known phone", w.stranger, w.message(w.stranger, knownPhone)},
		letter{"the provider", w.provider, w.message(w.provider, "Other phone")})
	if !slices.Equal(got, want) {
		t.Errorf("from %s to %s there arrived %q, want %q", w.stranger, w.to, got, want)
	}
}

// TestShapes sends SIP in many shapes. Without a fence all of it arrives, so that each
// shape is a real test. With it the provider's arrives and the stranger's does not; where
// strangers may call, the classifier sees each packet as it is.
func TestShapes(t *testing.T) {
	t.Parallel()
	eachBackend(t, testShapes)
}

func testShapes(t *testing.T) {
	t.Helper()
	if backendOf(t) != "nftables" {
		labtest.Need(t, "iptables", "ipset")
	}
	shapes := slices.Concat(linkShapes, portShapes)
	// Where the rules are makes no difference to what is around a packet.
	if backendOf(t) == "nftables" || labtest.Count(0, 1) == 1 {
		shapes = append(shapes, slices.Concat(tunnelShapes, frameShapes)...)
	}
	tested := 0
	for _, s := range shapes {
		t.Run(s.name, func(t *testing.T) {
			pbx, outside := newPair(t)
			ways := s.make(t, pbx, outside)
			s.test(t, pbx, outside, ways)
			tested++
		})
	}
	labtest.Report(t, "P8", "SIP in many shapes over "+backendOf(t), tested, "each time the provider's packet arrived and the stranger's did not")
}

// policies are those that a shape is tested with, and what arrives under each. The short
// form has each once.
func (s shape) policies() (list []shapePolicies) {
	var all []string
	for _, names := range append([]string{""}, s.listed...) {
		if names != "" {
			names = "interfaces: [" + names + "]\n"
		}
		all = append(all, names)
	}
	for i, interfaces := range all {
		for n, unknown := range []shapePolicies{
			{"", everybody[3:]},
			{"unknown: {action: accept, require_user_agent: [Known phone]}\nbans: {duration: 0s}\n", everybody[2:]},
			{"unknown: {action: accept}\nbans: {duration: 0s}\n", everybody[1:]},
		} {
			// Of two lists, the first has two of the policies, the last the third one.
			if (n < 2) != (i == 0) && labtest.Count(0, 1) == 0 && len(all) > 1 {
				continue
			}
			if s.unread && n > 0 {
				unknown.arrives = everybody
			}
			list = append(list, shapePolicies{interfaces + unknown.text, unknown.arrives})
		}
	}
	return list
}

type shapePolicies struct {
	text    string
	arrives []string
}

// everybody is who sends, in this order.
var everybody = []string{"a scanner", "a stranger", "a known phone", "the provider"}

func (s shape) test(t *testing.T, pbx, outside *lab.Namespace, ways []way) {
	t.Helper()
	for _, w := range ways {
		w.check(t, pbx, outside, everybody...)
	}
	site := newSite(t, pbx, shapePolicy)
	for _, p := range s.policies() {
		site.write(t, shapePolicy+p.text)
		site.must(t, 0, "apply", "--allow-cut-inside")
		for _, w := range ways {
			w.check(t, pbx, outside, p.arrives...)
		}
		if v := site.status(t); len(v.Alarms) > 0 || v.Counters["unseen"] > 0 {
			t.Errorf("with %q there are alarms: %+v, and %d packets unseen", p.text, v.Alarms, v.Counters["unseen"])
		}
	}
}
