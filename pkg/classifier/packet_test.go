package classifier_test

import (
	"encoding/binary"
	"testing"

	"github.com/ringfence/ringfence/pkg/signature"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
)

// TestWhichPackets has the ways in which a request can be wrapped.
func TestWhichPackets(t *testing.T) {
	l := loaded(t, signaturetest.Shipped())
	scan := []byte(signaturetest.Svmap)
	const yes, no = signature.Scanner, signature.None
	rfc4475, hopByHop, destination := []byte{1, 1, 1, 0}, padded(0, 8), padded(60, 16)
	routing := extension{43, []byte{0, 0, 0, 0, 0, 0, 0, 0}}
	authentication := extension{51, append([]byte{0, 4}, make([]byte, 22)...)}
	fragment := func(offset uint16) extension {
		return extension{44, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16([]byte{0, 0}, offset<<3|1), 7)}
	}
	many := func(n int) []extension {
		var all []extension
		for range n {
			all = append(all, destination)
		}
		return all
	}
	for _, test := range []struct {
		name  string
		frame []byte
		want  signature.Mark
	}{
		{"UDP by IPv4", plain(scan), yes},
		{"another fenced port", ethernet(ipv4Type, ipv4(udp, nil, datagram(5061, scan))), yes},
		{"a port that is not fenced", ethernet(ipv4Type, ipv4(udp, nil, datagram(5070, scan))), no},
		{"a port that is only fenced for TCP", ethernet(ipv4Type, ipv4(udp, nil, datagram(5062, scan))), no},
		{"IPv4 options", ethernet(ipv4Type, ipv4(udp, rfc4475, datagram(5060, scan))), yes},
		{"all IPv4 options that fit", ethernet(ipv4Type, ipv4(udp, make([]byte, 40), datagram(5060, scan))), yes},
		{"TCP by IPv4", ethernet(ipv4Type, ipv4(tcp, nil, segment(5060, nil, scan))), yes},
		{"TCP options", ethernet(ipv4Type, ipv4(tcp, nil, segment(5060, make([]byte, 12), scan))), yes},
		{"all TCP options that fit", ethernet(ipv4Type, ipv4(tcp, nil, segment(5060, make([]byte, 40), scan))), yes},
		{"IPv4 and TCP options", ethernet(ipv4Type, ipv4(tcp, make([]byte, 8), segment(5062, make([]byte, 12), scan))), yes},
		{"a port that is only fenced for UDP", ethernet(ipv4Type, ipv4(tcp, nil, segment(5061, nil, scan))), no},
		{"TCP without a payload", ethernet(ipv4Type, ipv4(tcp, nil, segment(5060, make([]byte, 20), nil))), no},
		{"the first fragment", at(plain(scan), 14+6, 0x20, 0), yes},
		{"another fragment", at(plain(scan), 14+6, 0, 1), no},
		{"SCTP", ethernet(ipv4Type, ipv4(132, nil, datagram(5060, scan))), no},

		{"UDP by IPv6", ethernet(ipv6Type, ipv6(udp, datagram(5060, scan))), yes},
		{"TCP by IPv6", ethernet(ipv6Type, ipv6(tcp, segment(5060, make([]byte, 12), scan))), yes},
		{"hop-by-hop options", ethernet(ipv6Type, ipv6(udp, datagram(5060, scan), hopByHop)), yes},
		{"destination options", ethernet(ipv6Type, ipv6(tcp, segment(5060, nil, scan), destination)), yes},
		{"a routing header", ethernet(ipv6Type, ipv6(udp, datagram(5060, scan), routing)), yes},
		{"an authentication header", ethernet(ipv6Type, ipv6(udp, datagram(5060, scan), authentication)), yes},
		{"the first fragment, by IPv6", ethernet(ipv6Type, ipv6(udp, datagram(5060, scan), fragment(0))), yes},
		{"another fragment, by IPv6", ethernet(ipv6Type, ipv6(udp, datagram(5060, scan), fragment(1))), no},
		{"four extension headers", ethernet(ipv6Type, ipv6(udp, datagram(5060, scan), hopByHop, destination, routing, destination)), yes},
		{"64 of them", ethernet(ipv6Type, ipv6(udp, datagram(5060, scan), many(64)...)), yes},
		{"more than are read", ethernet(ipv6Type, ipv6(udp, datagram(5060, scan), many(65)...)), no},
		{"ESP", ethernet(ipv6Type, ipv6(50, datagram(5060, scan))), no},

		{"ARP", ethernet(0x0806, ipv4(udp, nil, datagram(5060, scan))), no},
		{"IPv6 that says it is IPv4", ethernet(ipv4Type, ipv6(udp, datagram(5060, scan))), no},
		{"nothing behind the UDP header", plain(nil), no},
		{"a packet that ends within the IP header", ethernet(ipv4Type, ipv4(udp, nil, nil)), no},
		{"an IP header longer than the packet", at(ethernet(ipv4Type, ipv4(udp, nil, nil)), 14, 0x4f), no},
		{"an IP length beyond the packet, UDP's is right", at(plain(scan), 14+2, 0xff, 0xff), yes},
		{"an IP length beyond the packet", at(ethernet(ipv4Type, ipv4(tcp, nil, segment(5060, nil, scan))), 14+2, 0xff, 0xff), no},
		{"an IP length before the payload", at(plain(scan), 14+2, 0, 28), no},
		{"no IP length", at(plain(append(scan, make([]byte, 2048)...)), 14+2, 0, 0), yes},
		{"a data offset beyond the packet", at(ethernet(ipv4Type, ipv4(tcp, nil, segment(5060, nil, []byte("OPTIONS sip:a")))), 14+20+12, 0xf0), no},
		// The socket gets no more than UDP's length, and nothing counts that the
		// network put behind the packet.
		{"a UDP length before the signature", at(plain(scan), 14+20+4, 0, 8+100), no},
		{"a UDP length of nothing", at(plain(scan), 14+20+4, 0, 8), no},
		{"a UDP length below its header", at(plain(scan), 14+20+4, 0, 7), no},
		{"a UDP length behind the packet", at(plain(scan), 14+20+4, 0xff, 0xff), yes},
		{"behind the packet's end", append(plain([]byte("OPTIONS sip:a SIP/2.0\r\nUser-Agent: ")), "friendly-scanner\r\n\r\n"...), no},
		{"padding behind the end", append(plain(scan), make([]byte, 60)...), yes},
	} {
		t.Run(test.name, func(t *testing.T) { judge(t, l, test.frame, test.want, test.name) })
	}
}

// TestStaleMessage: what the message before has left in the buffer is not read.
func TestStaleMessage(t *testing.T) {
	l := loaded(t, signaturetest.Few())
	const head = "OPTIONS sip:a SIP/2.0\r\n"
	for cut := range len("User-Agent: friendly-scanner") {
		judge(t, l, plain([]byte(head+"User-Agent: friendly-scanner\r\n")), signature.Scanner, "all")
		judge(t, l, plain([]byte(head+"User-Agent: friendly-scanner"[:cut])), signature.None, "User-Agent: friendly-scanner"[:cut])
	}
	for _, exact := range []string{"User-Agent: smap\r\n x", "User-Agent: smap\r\n\r\n"} {
		judge(t, l, plain([]byte(head+exact)), map[bool]signature.Mark{true: signature.Scanner}[exact[18] == '\r'], exact)
		judge(t, l, plain([]byte(head+"User-Agent: smap\r\n")), signature.Scanner, "cut")
	}
}

// TestTooManyHits: a message full of what the sieve looks for is read all the same.
func TestTooManyHits(t *testing.T) {
	l := loaded(t, signaturetest.Few())
	full := []byte("OPTIONS sip:a SIP/2.0\r\n")
	for len(full) < 1800 {
		full = append(full, "X: sip:100@1.1.1.1\r\n"...)
	}
	judge(t, l, plain(append(full, "User-Agent: x\r\n\r\n"...)), signature.None, "full")
	judge(t, l, plain(append(full, "User-Agent: friendly-scanner\r\n\r\n"...)), signature.Scanner, "full, with a scanner")
	// More lines of one header than are looked for.
	folded := []byte("OPTIONS sip:a SIP/2.0\r\nFrom:\r\n")
	for len(folded) < 1800 {
		folded = append(folded, " .\r\n"...)
	}
	judge(t, l, plain(append(folded, " \"sipvicious\"\r\n\r\n"...)), signature.Scanner, "folded")
	judge(t, l, plain(append(folded, "X: \"sipvicious\"\r\n\r\n"...)), signature.None, "folded, another header")
}

// TestRequestLineIsNoHeader: what goes on with the request line is no header's,
// even where the request line looks like one.
func TestRequestLineIsNoHeader(t *testing.T) {
	l := loaded(t, signaturetest.Few())
	judge(t, l, plain([]byte("\nf:\tOPTIONS sip:nm SIP/2.0\r\n \"sipvicious\"\r\nMax-Forwards: 70\r\n\r\n")), signature.None, "continued")
	judge(t, l, plain([]byte("\nf:\tOPTIONS sip:nm SIP/2.0\r\nf: \"sipvicious\"\r\nMax-Forwards: 70\r\n\r\n")), signature.Scanner, "not continued")
}

// TestForgedNibble: a mark that another program has set in the nibble does not stay,
// on no packet.
func TestForgedNibble(t *testing.T) {
	l := loaded(t, signaturetest.Few(), "Yealink")
	for name, frame := range map[string][]byte{
		"other port": ethernet(ipv4Type, ipv4(udp, nil, datagram(53, []byte("x")))),
		"ICMP":       ethernet(ipv4Type, ipv4(1, nil, make([]byte, 8))),
		"ARP":        ethernet(0x0806, make([]byte, 28)),
		"response":   plain([]byte("SIP/2.0 200 OK\r\n\r\n")),
		"keep-alive": plain([]byte("\r\n\r\n")),
	} {
		judge(t, l, frame, signature.None, name)
	}
}
