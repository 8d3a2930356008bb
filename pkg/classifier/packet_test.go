package classifier_test

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/ringfence/ringfence/pkg/classifier"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/ruleset"
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
		{"a port that is not fenced", ethernet(ipv4Type, ipv4(udp, nil, datagram(5070, scan))), untouched},
		{"a port that is only fenced for TCP", ethernet(ipv4Type, ipv4(udp, nil, datagram(5062, scan))), untouched},
		{"IPv4 options", ethernet(ipv4Type, ipv4(udp, rfc4475, datagram(5060, scan))), yes},
		{"all IPv4 options that fit", ethernet(ipv4Type, ipv4(udp, make([]byte, 40), datagram(5060, scan))), yes},
		{"TCP by IPv4", ethernet(ipv4Type, ipv4(tcp, nil, segment(5060, nil, scan))), yes},
		{"TCP options", ethernet(ipv4Type, ipv4(tcp, nil, segment(5060, make([]byte, 12), scan))), yes},
		{"all TCP options that fit", ethernet(ipv4Type, ipv4(tcp, nil, segment(5060, make([]byte, 40), scan))), yes},
		{"IPv4 and TCP options", ethernet(ipv4Type, ipv4(tcp, make([]byte, 8), segment(5062, make([]byte, 12), scan))), yes},
		{"a port that is only fenced for UDP", ethernet(ipv4Type, ipv4(tcp, nil, segment(5061, nil, scan))), untouched},
		{"TCP without a payload", ethernet(ipv4Type, ipv4(tcp, nil, segment(5060, make([]byte, 20), nil))), no},
		{"the first fragment", at(plain(scan), 14+6, 0x20, 0), yes},
		{"another fragment", at(plain(scan), 14+6, 0, 1), untouched},
		{"SCTP", ethernet(ipv4Type, ipv4(132, nil, datagram(5060, scan))), no},

		{"UDP by IPv6", ethernet(ipv6Type, ipv6(udp, datagram(5060, scan))), yes},
		{"TCP by IPv6", ethernet(ipv6Type, ipv6(tcp, segment(5060, make([]byte, 12), scan))), yes},
		{"hop-by-hop options", ethernet(ipv6Type, ipv6(udp, datagram(5060, scan), hopByHop)), yes},
		{"destination options", ethernet(ipv6Type, ipv6(tcp, segment(5060, nil, scan), destination)), yes},
		{"a routing header", ethernet(ipv6Type, ipv6(udp, datagram(5060, scan), routing)), yes},
		{"an authentication header", ethernet(ipv6Type, ipv6(udp, datagram(5060, scan), authentication)), yes},
		{"the first fragment, by IPv6", ethernet(ipv6Type, ipv6(udp, datagram(5060, scan), fragment(0))), yes},
		{"another fragment, by IPv6", ethernet(ipv6Type, ipv6(udp, datagram(5060, scan), fragment(1))), untouched},
		{"four extension headers", ethernet(ipv6Type, ipv6(udp, datagram(5060, scan), hopByHop, destination, routing, destination)), yes},
		{"64 of them", ethernet(ipv6Type, ipv6(udp, datagram(5060, scan), many(64)...)), yes},
		{"more than are read", ethernet(ipv6Type, ipv6(udp, datagram(5060, scan), many(65)...)), untouched},
		{"ESP", ethernet(ipv6Type, ipv6(50, datagram(5060, scan))), untouched},

		{"a tag of a VLAN", tagged([]uint16{vlanType}, plain(scan)), yes},
		{"a tag of a VLAN, TCP by IPv6", tagged([]uint16{vlanType}, ethernet(ipv6Type, ipv6(tcp, segment(5060, nil, scan)))), yes},
		{"tags of 802.1ad and 802.1Q", tagged([]uint16{0x88a8, vlanType}, plain(scan)), yes},
		{"tags, IPv4 and TCP options", tagged([]uint16{vlanType, vlanType}, ethernet(ipv4Type, ipv4(tcp, make([]byte, 8), segment(5062, make([]byte, 12), scan)))), yes},
		{"tags, extension headers", tagged([]uint16{vlanType, vlanType}, ethernet(ipv6Type, ipv6(udp, datagram(5060, scan), hopByHop, destination))), yes},
		{"tags, another port", tagged([]uint16{vlanType, vlanType}, ethernet(ipv4Type, ipv4(udp, nil, datagram(5070, scan)))), untouched},
		{"32 tags", tagged(slices.Repeat([]uint16{vlanType}, 32), plain(scan)), yes},
		{"more tags than are read", tagged(slices.Repeat([]uint16{vlanType}, 40), plain(scan)), untouched},
		{"tags and nothing behind", tagged([]uint16{vlanType, vlanType}, ethernet(vlanType, []byte{0, 0})), untouched},

		{"ARP", ethernet(0x0806, ipv4(udp, nil, datagram(5060, scan))), untouched},
		{"IPv6 that says it is IPv4", ethernet(ipv4Type, ipv6(udp, datagram(5060, scan))), untouched},
		{"nothing behind the UDP header", plain(nil), no},
		{"a packet that ends within the IP header", ethernet(ipv4Type, ipv4(udp, nil, nil)), untouched},
		{"an IP header longer than the packet", at(ethernet(ipv4Type, ipv4(udp, nil, nil)), 14, 0x4f), untouched},
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
		judge(t, l, plain([]byte(head+exact)), map[bool]signature.Mark{true: signature.Scanner, false: signature.None}[exact[18] == '\r'], exact)
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

// TestOthersMarks: what another program has noted in the bits that are the classifier's
// does not stay on packets that the classifier reads, and stays on all others.
func TestOthersMarks(t *testing.T) {
	l := loaded(t, signaturetest.Few(), "Yealink")
	for name, frame := range map[string][]byte{
		"other port": ethernet(ipv4Type, ipv4(udp, nil, datagram(53, []byte("x")))),
		"ICMP":       ethernet(ipv4Type, ipv4(1, nil, make([]byte, 8))),
		"ARP":        ethernet(0x0806, make([]byte, 28)),
	} {
		judge(t, l, frame, untouched, name)
	}
	for name, message := range map[string]string{"response": "SIP/2.0 200 OK\r\n\r\n", "keep-alive": "\r\n\r\n"} {
		judge(t, l, plain([]byte(message)), signature.None, name)
	}
}

// TestMarkBits writes into other bits than the usual ones.
func TestMarkBits(t *testing.T) {
	needBPF(t)
	a, err := signature.Compile(signaturetest.Few(), nil)
	labtest.Must(t, err)
	for _, bits := range []ruleset.MarkBits{0xf, 0xf0000000, 0x1e0, 0x0f000000} {
		reading := sipPorts
		reading.Mark = bits
		l, err := classifier.New(a, reading).Load()
		labtest.Must(t, err)
		for message, class := range map[string]ruleset.Class{signaturetest.Svmap: ruleset.Scanner, "\r\n\r\n": ruleset.Seen} {
			got, err := l.Run(plain([]byte(message)), before)
			labtest.Must(t, err)
			if want := before&^bits.Of(0xf) | bits.Of(class); got != want {
				t.Errorf("bits %#x: the mark is %#x, want %#x", bits, got, want)
			}
		}
		l.Close()
	}
}

// TestFailsClosed: where a User-Agent is required, nothing passes but requests with it,
// responses, keep-alives, and what belongs to a connection whose last request had it.
func TestFailsClosed(t *testing.T) {
	l := loaded(t, nil, "Yealink")
	const (
		good = "REGISTER sip:a SIP/2.0\r\nUser-Agent: Yealink\r\nContent-Length: 100\r\n\r\n"
		bad  = "REGISTER sip:a SIP/2.0\r\nUser-Agent: x\r\n\r\n"
		rest = "v=0\r\nc=IN IP4 192.0.2.1\r\na=and so on and on\r\n"
		yes  = signature.Allowed
		no   = signature.NotAllowed
		none = signature.None
	)
	byTCP := func(text string) []byte { return ethernet(ipv4Type, ipv4(tcp, nil, segment(5060, nil, []byte(text)))) }
	byTCP6 := func(text string) []byte { return ethernet(ipv6Type, ipv6(tcp, segment(5060, nil, []byte(text)))) }
	more := func(frame []byte) []byte { return at(frame, 14+6, 0x20, 0) }
	for _, step := range []struct {
		name  string
		frame []byte
		want  signature.Mark
	}{
		{"a datagram of something else", plain([]byte(rest)), no},
		{"a keep-alive", plain([]byte("\r\n\r\n")), none},
		{"a short beginning of a request that a fragment goes on with", more(plain([]byte("OPTIONS "))), no},
		{"nothing but line breaks, and a fragment goes on", more(plain([]byte("\r\n\r\n"))), no},
		{"a UDP length beyond what is there", at(plain([]byte("OPTIONS ")), 14+20+4, 2, 0), no},
		{"a first fragment with the name", more(plain([]byte(good))), yes},
		{"SCTP", ethernet(ipv4Type, ipv4(132, nil, datagram(5060, []byte(good)))), no},
		{"a segment without a payload", byTCP(""), none},
		{"a keep-alive by TCP", byTCP("\r\n"), none},
		{"a response by TCP", byTCP("SIP/2.0 200 OK\r\n\r\n"), none},
		{"a TCP header that a fragment goes on with", more(ethernet(ipv4Type, ipv4(tcp, nil, segment(5060, nil, nil)[:12]))), no},
		{"a segment out of the middle, nobody knows of what", byTCP(rest), no},
		{"a small segment", byTCP("OPT"), no},
		{"a request", byTCP(good), yes},
		{"the rest of it", byTCP(rest), none},
		{"the same by IPv6 is another connection", byTCP6(rest), no},
		{"a request without the name", byTCP(bad), no},
		{"the rest of that", byTCP(rest), no},
		{"a request by IPv6", byTCP6(good), yes},
		{"the rest of it by IPv6", byTCP6(rest), none},
	} {
		judge(t, l, step.frame, step.want, step.name)
	}
}

// TestBounded: with a bound, a burst is read and no more; what is not read says so.
func TestBounded(t *testing.T) {
	needBPF(t)
	a, err := signature.Compile(signaturetest.Few(), nil)
	labtest.Must(t, err)
	reading := sipPorts
	reading.Bounded = true
	l, err := classifier.New(a, reading).Load()
	labtest.Must(t, err)
	defer l.Close()
	// As many as one processor may read at once, on each.
	judge(t, l, plain([]byte(signaturetest.Svmap)), signature.Scanner, "the first")
	const flood = 1_000_000
	_, err = l.Time(plain([]byte(signaturetest.Svmap)), flood)
	labtest.Must(t, err)
	counts, err := l.Counts()
	labtest.Must(t, err)
	read := uint64(0)
	for _, n := range counts {
		read += n
	}
	if read < 1000 || read > flood/10 {
		t.Errorf("%d of a flood of %d messages were read", read, flood)
	}
	judge(t, l, ethernet(ipv4Type, ipv4(udp, nil, datagram(53, []byte("x")))), untouched, "another port")
}
