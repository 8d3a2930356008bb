package cli_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// oddSegments are false friends who make segments of TCP themselves, so that the PBX reads
// something else of a REGISTER than stands there.
func oddSegments() []falseFriend {
	var all []falseFriend
	for name, before := range map[string]string{
		"its method":             "REGISTER ",
		"its method and URI":     "REGISTER sip:a",
		"its request line":       "REGISTER sip:a SIP/2.0\r\n",
		"the name of a header":   "REGISTER sip:a SIP/2.0\r\nX: ",
		"a part of a header":     "REGISTER sip:a SIP/2.0\r\nX: y",
		"its first line feed":    "REGISTER sip:a SIP/2.0\n",
		"nearly two thirds of a": "REGISTER sip:a SIP/2.0\r\nX: " + strings.Repeat("x", 900) + "\r\n",
	} {
		all = append(all, falseFriend{name: "of whose REGISTER the PBX has had " + name, classifier: true, try: overlapping(before, "SIP/2.0")})
	}
	return append(all,
		falseFriend{name: "of whose REGISTER the PBX has had enough, with an odd version", classifier: true, try: overlapping("REGISTER sip:a SIP/2.0\r\n", "SIP / 2.00/1")},
		falseFriend{name: "one of whose bytes is urgent", classifier: true, try: urgent(true)},
		falseFriend{name: "one of whose bytes has been said to be urgent", classifier: true, try: urgent(false)},
	)
}

// overlapping sends an INVITE with something before it that the PBX has had already.
func overlapping(before, version string) func(t *testing.T, w *cloud, from string) string {
	return func(t *testing.T, w *cloud, from string) string {
		t.Helper()
		p := w.caller(t, "tcp", from, 0)
		for range 10 { // so that there is enough
			refusedFirst(t, w, p)
		}
		text, id := w.request("INVITE")
		sent, received := numbers(t, p)
		w.segment(t, p, &layers.TCP{Seq: sent - uint32(len(before)), Ack: received}, before+strings.Replace(text, "SIP/2.0\r\n", version+"\r\n", 1))
		return id
	}
}

// urgent sends a REGISTER with a byte in a line of its own, without which its headers end
// there and an INVITE begins. The segment says that the byte is urgent, or an empty one
// before it.
func urgent(itself bool) func(t *testing.T, w *cloud, from string) string {
	return func(t *testing.T, w *cloud, from string) string {
		t.Helper()
		const before = "REGISTER sip:a SIP/2.0\r\nX: y\r\n"
		p := w.caller(t, "tcp", from, 0)
		refusedFirst(t, w, p)
		text, id := w.request("INVITE")
		text = before + "!\r\n" + strings.Replace(text, " SIP/2.0\r\n", "\r\n", 1) // whatever it takes for a version
		sent, received := numbers(t, p)
		header := &layers.TCP{Seq: sent, Ack: received, URG: true, Urgent: uint16(len(before) + 1)}
		if itself {
			w.segment(t, p, header, text)
			return id
		}
		w.segment(t, p, header, "")
		w.mark(t)
		w.write(t, p, text)
		return id
	}
}

// segment sends one of a connection that its host does not know of.
func (w *cloud) segment(t *testing.T, p caller, tcp *layers.TCP, text string) {
	t.Helper()
	local, remote := p.LocalAddr().(*net.TCPAddr), p.RemoteAddr().(*net.TCPAddr)
	tcp.SrcPort, tcp.DstPort = layers.TCPPort(local.Port), layers.TCPPort(remote.Port)
	tcp.ACK, tcp.PSH, tcp.Window = true, true, 500
	var network gopacket.SerializableLayer
	if netip.MustParseAddr(p.address).Is4() {
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: local.IP, DstIP: remote.IP}
		labtest.Must(t, tcp.SetNetworkLayerForChecksum(ip))
		network = ip
	} else {
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: local.IP, DstIP: remote.IP}
		labtest.Must(t, tcp.SetNetworkLayerForChecksum(ip))
		network = ip
	}
	packet := gopacket.NewSerializeBuffer()
	labtest.Must(t, gopacket.SerializeLayers(packet, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, network, tcp, gopacket.Payload(text)))
	w.whole(t, remote.IP, packet.Bytes())
}
