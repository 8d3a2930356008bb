package cli_test

import (
	"net"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// answered sends a packet to a host's port 5060 from an address, and an answer back.
func answered(t *testing.T, at, from *lab.Namespace, fromAddress, to string) {
	t.Helper()
	here, there := udpSocket(t, at, to+":5060"), udpSocket(t, from, fromAddress+":5060")
	_, err := there.WriteTo([]byte("REGISTER sip:pbx SIP/2.0\r\n\r\n"), here.LocalAddr())
	labtest.Must(t, err)
	buf := make([]byte, 1500)
	_, back, err := here.ReadFrom(buf)
	labtest.Must(t, err)
	_, err = here.WriteTo([]byte("SIP/2.0 200 OK\r\n\r\n"), back)
	labtest.Must(t, err)
	_, _, err = there.ReadFrom(buf)
	labtest.Must(t, err)
	labtest.Must(t, here.Close())
	labtest.Must(t, there.Close())
}

func udpSocket(t *testing.T, h *lab.Namespace, address string) (socket net.PacketConn) {
	t.Helper()
	labtest.In(t, h, func() (err error) {
		socket, err = net.ListenPacket("udp", address)
		return err
	})
	labtest.Must(t, socket.SetDeadline(labtest.Deadline()))
	return socket
}

// connected keeps a TCP connection to a host's port 5060 up until the test ends.
func connected(t *testing.T, at, from *lab.Namespace, fromAddress, to string) {
	t.Helper()
	var listener net.Listener
	labtest.In(t, at, func() (err error) {
		listener, err = net.Listen("tcp", to+":5060")
		return err
	})
	defer listener.Close()
	var client net.Conn
	labtest.In(t, from, func() (err error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(fromAddress)}}
		client, err = d.DialContext(t.Context(), "tcp", to+":5060")
		return err
	})
	server, err := listener.Accept()
	labtest.Must(t, err)
	t.Cleanup(func() {
		client.Close()
		server.Close()
	})
}

// TestCutLive: an apply that would end what is up now is refused, and names each source
// of it; what is allowed, what got no answer and what was dropped before are not named.
func TestCutLive(t *testing.T) {
	t.Parallel()
	eachBackend(t, testCutLive)
}

func testCutLive(t *testing.T) {
	t.Helper()
	t.Parallel()
	pbx, outside := newPair(t)
	labtest.Must(t, outside.AddAddress("eth0", "203.0.113.68/24"))
	labtest.Rules(t, pbx, "table inet filter { chain input { type filter hook input priority 0; ct state established counter; }; }")
	s := newSite(t, pbx, linksPolicy)
	connected(t, pbx, outside, "203.0.113.66", "203.0.113.1")
	answered(t, pbx, outside, "203.0.113.67", "203.0.113.1")
	answered(t, pbx, outside, "203.0.113.5", "203.0.113.1")
	e := listen(t, pbx, 5060, "203.0.113.1")
	sendPacket(t, outside, "203.0.113.68", "203.0.113.1", 5060)
	until(t, "a packet without an answer", func() bool { return e.From("203.0.113.68") == 1 })

	refused := func(want string, args ...string) {
		t.Helper()
		o := s.must(t, 3, args...)
		if !strings.Contains(o.stderr, "refused by guard cut-live") || !strings.Contains(o.stderr, "would be dropped: "+want+"\n") || !strings.Contains(o.stderr, "--allow-cut-live") {
			t.Errorf("the refusal says\n%s", o.stderr)
		}
	}
	const both = "203.0.113.66 (TCP 5060), 203.0.113.67 (UDP 5060)"
	refused(both, "apply")
	if d := s.must(t, 2, "diff"); !strings.Contains(d.stderr, "cut-live") || strings.Contains(s.ruleset(t), "ringfence") {
		t.Errorf("diff says\n%s%s", d.stderr, s.ruleset(t))
	}
	s.write(t, linksPolicy+"mode: monitor\n")
	s.must(t, 0, "apply")
	s.write(t, linksPolicy+"unknown: {action: accept}\nbans: {addresses: [203.0.113.67]}\n")
	refused("203.0.113.67 (UDP 5060)", "apply")
	s.write(t, linksPolicy)
	refused(both, "apply")
	s.must(t, 0, "allow", "203.0.113.67")
	refused("203.0.113.66 (TCP 5060)", "apply")
	s.must(t, 0, "disallow", "203.0.113.67")
	s.must(t, 0, "apply", "--allow-cut-live")
	// What is dropped already ends no more.
	s.write(t, linksPolicy+"trusted: {addresses: [192.0.2.0/24]}\n")
	s.must(t, 0, "apply")
	s.write(t, linksPolicy+"trusted: {addresses: [203.0.113.66, 203.0.113.67]}\n")
	s.must(t, 0, "apply")
	s.write(t, linksPolicy)
	refused(both, "apply")
}

// TestCutLiveOpened: what this host has opened itself counts unless answers pass anyway,
// also where only a router in between knows of it.
func TestCutLiveOpened(t *testing.T) {
	t.Parallel()
	pbx, outside := newPair(t)
	labtest.Rules(t, pbx, "table inet filter { chain input { type filter hook input priority 0; ct state established counter; }; }")
	answered(t, outside, pbx, "203.0.113.1", "203.0.113.66")
	s := newSite(t, pbx, linksPolicy)
	if o := s.must(t, 3, "apply"); !strings.Contains(o.stderr, "203.0.113.66 (UDP 5060)") {
		t.Errorf("the refusal says\n%s", o.stderr)
	}
	s.write(t, linksPolicy+"unknown: {allow_replies: true}\n")
	s.must(t, 0, "apply")
}

// TestCutInsideNeighbours: on a host that does not forward, a network inside is cut off if
// anybody is there; and when its phones get other addresses later, that is an alarm.
func TestCutInsideNeighbours(t *testing.T) {
	t.Parallel()
	pbx, _ := newPair(t)
	lan := labtest.Host(t, "lan")
	labtest.Link(t,
		lab.End{Host: pbx, Interface: "lan0", Addresses: []string{"192.168.7.1/24"}},
		lab.End{Host: lan, Interface: "eth0", Addresses: []string{"192.168.7.20/24"}})
	labtest.Run(t, pbx, "ip", "neigh", "flush", "dev", "lan0")
	s := newSite(t, pbx, linksPolicy)
	s.must(t, 0, "apply") // nobody is there
	s.must(t, 0, "down")
	e := listen(t, pbx, 5060, "192.168.7.1")
	sendPacket(t, lan, "192.168.7.20", "192.168.7.1", 5060)
	until(t, "the phone's packet", func() bool { return e.From("192.168.7.20") == 1 })
	fresh := newSite(t, pbx, linksPolicy)
	o := fresh.must(t, 3, "apply")
	for _, want := range []string{"refused by guard cut-inside: phones in 192.168.7.0/24 on lan0 could no longer reach this host (seen there: 192.168.7.20)", "addresses: [192.168.7.0/24]"} {
		if !strings.Contains(o.stderr, want) {
			t.Errorf("the refusal does not say %q:\n%s", want, o.stderr)
		}
	}
	fresh.write(t, linksPolicy+"trusted: {addresses: [192.168.7.0/24]}\n")
	fresh.must(t, 0, "apply")
	fresh.must(t, 0, "status", "--check")
	labtest.Run(t, pbx, "ip", "addr", "del", "192.168.7.1/24", "dev", "lan0")
	labtest.Must(t, pbx.AddAddress("lan0", "192.168.8.1/24"))
	if o := fresh.must(t, 4, "refresh"); !strings.Contains(o.stderr, "192.168.8.0/24 on lan0: phones there cannot reach this host") {
		t.Errorf("refresh says\n%s", o.stderr)
	}
	fresh.must(t, 4, "status", "--check")
}
