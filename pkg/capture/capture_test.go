package capture_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/ringfence/ringfence/pkg/capture"
	"github.com/ringfence/ringfence/pkg/signature"
)

const (
	scan  = "OPTIONS sip:100@192.0.2.5 SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n"
	phone = "OPTIONS sip:100@192.0.2.5 SIP/2.0\r\nUser-Agent: Yealink SIP-T46S\r\n\r\n"
)

// must is for what cannot fail here.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ip is a packet with its IP header: the version, and what carries the payload.
type ip struct {
	six, tcp bool
	port     int
	payload  string
}

func (p ip) bytes(t testing.TB) []byte {
	t.Helper()
	v4 := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IP{203, 0, 113, 66}, DstIP: net.IP{192, 0, 2, 5}}
	v6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: net.ParseIP("2001:db8::66"), DstIP: net.ParseIP("2001:db8::5")}
	if p.tcp {
		v4.Protocol, v6.NextHeader = layers.IPProtocolTCP, layers.IPProtocolTCP
	}
	network := gopacket.SerializableLayer(v4)
	if p.six {
		network = v6
	}
	transport := gopacket.SerializableLayer(&layers.UDP{SrcPort: 5061, DstPort: layers.UDPPort(p.port)})
	if p.tcp {
		transport = &layers.TCP{SrcPort: 5061, DstPort: layers.TCPPort(p.port), DataOffset: 5}
	}
	b := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, network, transport, gopacket.Payload(p.payload)))
	return slices.Clone(b.Bytes())
}

func (p ip) kind() uint16 {
	if p.six {
		return 0x86dd
	}
	return 0x0800
}

// behind puts the headers of a link before a packet.
func behind(link layers.LinkType, p ip, inner []byte, tags ...uint16) []byte {
	kinds := binary.BigEndian.AppendUint16
	var h []byte
	switch link {
	case layers.LinkTypeEthernet:
		h = make([]byte, 12)
		for i, tag := range tags {
			kind := uint16(0x8100)
			if i == 0 && len(tags) > 1 {
				kind = 0x88a8
			}
			h = kinds(kinds(h, kind), tag)
		}
		h = kinds(h, p.kind())
	case layers.LinkTypeNull:
		h = []byte{map[bool]byte{false: 2, true: 24}[p.six], 0, 0, 0}
	case layers.LinkTypeLoop:
		h = []byte{0, 0, 0, map[bool]byte{false: 2, true: 24}[p.six]}
	case layers.LinkTypeLinuxSLL:
		h = kinds([]byte{0, 0, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0}, p.kind())
	case layers.LinkTypeLinuxSLL2:
		h = append(kinds(nil, p.kind()), 0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0)
	}
	return append(h, inner...)
}

// classic is a capture of the older form.
func classic(t testing.TB, link layers.LinkType, packets ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	must(t, w.WriteFileHeader(65535, link))
	for i, p := range packets {
		must(t, w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(1700000000+int64(i), 0), CaptureLength: len(p), Length: len(p)}, p))
	}
	return b.Bytes()
}

// ng is one of the newer form, with an interface for each packet.
func ng(t testing.TB, links []layers.LinkType, packets ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := pcapgo.NewNgWriter(&b, links[0])
	must(t, err)
	for _, link := range links[1:] {
		_, err := w.AddInterface(pcapgo.NgInterface{Name: "x", LinkType: link})
		must(t, err)
	}
	for i, p := range packets {
		must(t, w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(1700000000, 0), CaptureLength: len(p), Length: len(p), InterfaceIndex: i % len(links)}, p))
	}
	must(t, w.Flush())
	return b.Bytes()
}

// judged is what the packets of a capture are taken for, a line for each, and the error.
func judged(t testing.TB, file []byte, required ...string) ([]string, error) {
	t.Helper()
	a, err := signature.Compile([]signature.Signature{
		{Name: "scanner", Header: "user-agent", Match: signature.Contains, Value: "friendly-scanner", Class: signature.Ban},
		{Name: "tool", Header: "user-agent", Match: signature.Prefix, Value: "sipsak", Class: signature.Label},
	}, required)
	must(t, err)
	judge := capture.NewJudge(a, []uint16{5060}, []uint16{5060})
	var lines []string
	r := bufio.NewReader(bytes.NewReader(file))
	if !capture.Is(r) {
		t.Fatal("it is not known as a capture")
	}
	err = capture.Read(r, func(p capture.Packet) error {
		v := judge.Judge(p)
		line := fmt.Sprintf("%d %s %s", p.Number, p.Protocol, v.Class)
		if name := v.Explanation.Result.Signature; name != "" {
			line += " " + name
		}
		if p.Missing > 0 {
			line += fmt.Sprintf(" -%d", p.Missing)
		}
		lines = append(lines, line)
		return nil
	})
	return lines, err
}

// TestLinks: a scanner is found behind each kind of link, by UDP and by TCP, IPv4 and
// IPv6, in both forms of files.
func TestLinks(t *testing.T) {
	for _, link := range []layers.LinkType{
		layers.LinkTypeEthernet, layers.LinkTypeRaw, 12, 14, layers.LinkTypeIPv4, layers.LinkTypeIPv6, layers.LinkTypeLinuxSLL, layers.LinkTypeLinuxSLL2,
		layers.LinkTypeNull, layers.LinkTypeLoop,
	} {
		for _, tags := range [][]uint16{nil, {7}, {7, 8}} {
			if tags != nil && link != layers.LinkTypeEthernet {
				continue
			}
			t.Run(fmt.Sprintf("%d with %d tags", link, len(tags)), func(t *testing.T) {
				var packets [][]byte
				var want []string
				for _, six := range []bool{false, true} {
					if link == layers.LinkTypeIPv4 && six || link == layers.LinkTypeIPv6 && !six {
						continue
					}
					for _, tcp := range []bool{false, true} {
						p := ip{six, tcp, 5060, scan}
						packets = append(packets, behind(link, p, p.bytes(t), tags...))
						want = append(want, fmt.Sprintf("%d %s scanner scanner", len(packets), map[bool]string{false: "udp", true: "tcp"}[tcp]))
					}
				}
				for form, file := range map[string][]byte{"pcap": classic(t, link, packets...), "pcapng": ng(t, []layers.LinkType{link}, packets...)} {
					got, err := judged(t, file)
					if err != nil || !slices.Equal(got, want) {
						t.Errorf("%s: %q, %v", form, got, err)
					}
				}
			})
		}
	}
}

// TestMixedLinks: each packet of a file of several interfaces is read by its own.
func TestMixedLinks(t *testing.T) {
	p := ip{port: 5060, payload: scan}
	links := []layers.LinkType{layers.LinkTypeRaw, layers.LinkTypeEthernet, layers.LinkTypeLinuxSLL}
	var packets [][]byte
	for _, link := range links {
		packets = append(packets, behind(link, p, p.bytes(t)))
	}
	got, err := judged(t, ng(t, links, packets...))
	if err != nil || !slices.Equal(got, []string{"1 udp scanner scanner", "2 udp scanner scanner", "3 udp scanner scanner"}) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestClasses has a packet of each class.
func TestClasses(t *testing.T) {
	udp := func(payload string) []byte { return ip{port: 5060, payload: payload}.bytes(t) }
	other := ip{port: 5062, payload: scan}.bytes(t)
	later, first := udp(scan), udp(scan)
	binary.BigEndian.PutUint16(later[6:], 100)
	binary.BigEndian.PutUint16(first[6:], 0x2000)
	icmp := udp(scan)
	icmp[9] = 1
	extended := ip{six: true, port: 5060, payload: scan}.bytes(t)
	extended = slices.Concat(extended[:40], []byte{17, 0, 1, 4, 0, 0, 0, 0}, extended[40:])
	extended[6] = 60 // destination options
	binary.BigEndian.PutUint16(extended[4:], uint16(len(extended)-40))
	fragment6 := slices.Clone(extended)
	fragment6[6], fragment6[42], fragment6[43] = 44, 0, 8
	file := classic(t, layers.LinkTypeRaw, udp(scan), udp(phone), udp(strings.ReplaceAll(phone, "Yealink", "sipsak")), udp("\r\n\r\n"),
		other, later, first, icmp, extended, fragment6, []byte{1, 2, 3})
	got, err := judged(t, file)
	want := []string{
		"1 udp scanner scanner", "2 udp none", "3 udp counted tool", "4 udp none", "5 udp other port", "6  fragment", "7 udp scanner scanner", "8  other protocol",
		"9 udp scanner scanner", "10  fragment", "11  other protocol",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestRequiredUserAgent: segments of TCP go with the last request of their connection.
func TestRequiredUserAgent(t *testing.T) {
	tcp := func(payload string) []byte { return ip{tcp: true, port: 5060, payload: payload}.bytes(t) }
	udp := func(payload string) []byte { return ip{port: 5060, payload: payload}.bytes(t) }
	rest := strings.Repeat("x", 100)
	file := classic(t, layers.LinkTypeRaw, tcp(""), tcp(rest), tcp(phone), tcp(rest), tcp("SIP/2.0 200 OK\r\n\r\n"), tcp(strings.ReplaceAll(phone, "Yealink", "x")), tcp("rest"),
		udp(rest), udp("\r\n\r\n"), udp("short"), udp(phone), udp("SIP/2.0 200 OK\r\n\r\n"))
	got, err := judged(t, file, "Yealink")
	want := []string{
		"1 tcp none", "2 tcp not allowed", "3 tcp allowed", "4 tcp none", "5 tcp none", "6 tcp not allowed", "7 tcp not allowed",
		"8 udp not allowed", "9 udp none", "10 udp none", "11 udp allowed", "12 udp none",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestDamaged: what can be read of a file is, wherever it ends, and then there is an
// error that says where.
func TestDamaged(t *testing.T) {
	p := ip{port: 5060, payload: scan}
	for form, file := range map[string][]byte{
		"pcap":   classic(t, layers.LinkTypeRaw, p.bytes(t), p.bytes(t), p.bytes(t)),
		"pcapng": ng(t, []layers.LinkType{layers.LinkTypeRaw}, p.bytes(t), p.bytes(t), p.bytes(t)),
	} {
		whole := 0
		for end := 12; end <= len(file); end++ {
			got, err := judged(t, file[:end])
			switch {
			case err == nil:
				whole++
			case len(got) == 0 && err.Error() == "read capture: the capture ends within its header":
			case err.Error() != fmt.Sprintf("read capture: packet %d: the capture ends within it", len(got)+1):
				t.Errorf("%s, %d bytes: %d packets, %v", form, end, len(got), err)
			}
		}
		// Behind its header, of which pcapng has two, and behind each packet.
		if want := map[string]int{"pcap": 4, "pcapng": 5}[form]; whole != want {
			t.Errorf("%s: at %d places the end is no damage", form, whole)
		}
	}
	file := classic(t, layers.LinkTypeRaw, p.bytes(t), p.bytes(t))
	binary.LittleEndian.PutUint32(file[24+16+len(p.bytes(t))+8:], 1<<31)
	got, err := judged(t, file)
	if len(got) != 1 || err == nil || !strings.HasPrefix(err.Error(), "read capture: packet 2: ") {
		t.Errorf("a length of 2 GB: %q, %v", got, err)
	}
	got, err = judged(t, classic(t, 105, p.bytes(t)))
	if len(got) != 0 || err == nil || err.Error() != "read capture: packet 1: links of type 105 are not known here: Ethernet, raw IP and Linux cooked captures are" {
		t.Errorf("an unknown link: %q, %v", got, err)
	}
}

// TestShortened: a capture may lack the end of each packet.
func TestShortened(t *testing.T) {
	whole := ip{port: 5060, payload: scan}.bytes(t)
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	must(t, w.WriteFileHeader(60, layers.LinkTypeRaw))
	must(t, w.WritePacket(gopacket.CaptureInfo{CaptureLength: 60, Length: len(whole)}, whole[:60]))
	got, err := judged(t, b.Bytes())
	if err != nil || !slices.Equal(got, []string{fmt.Sprintf("1 udp none -%d", len(whole)-60)}) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestCompressed(t *testing.T) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(classic(t, layers.LinkTypeRaw, ip{port: 5060, payload: scan}.bytes(t)))
	must(t, err)
	must(t, w.Close())
	got, err := judged(t, b.Bytes())
	if err != nil || !slices.Equal(got, []string{"1 udp scanner scanner"}) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestIs: a message is none, however it begins.
func TestIs(t *testing.T) {
	for _, text := range []string{"", "x", "\n\r\r\n" + scan, "\r\n\r\n" + scan, scan, strings.Repeat("\x00", 20)} {
		if capture.Is(bufio.NewReader(strings.NewReader(text))) {
			t.Errorf("%q is taken for a capture", text)
		}
	}
}

// FuzzRead: whatever a file holds, reading it ends, and takes little memory.
func FuzzRead(f *testing.F) {
	p := ip{port: 5060, payload: scan}
	p6 := ip{six: true, tcp: true, port: 5060, payload: scan}
	for _, link := range []layers.LinkType{layers.LinkTypeEthernet, layers.LinkTypeRaw, layers.LinkTypeLinuxSLL, layers.LinkTypeLinuxSLL2, layers.LinkTypeNull} {
		packets := [][]byte{behind(link, p, p.bytes(f)), behind(link, p6, p6.bytes(f))}
		f.Add(classic(f, link, packets...))
		f.Add(ng(f, []layers.LinkType{link}, packets...))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		n := 0
		err := capture.Read(bufio.NewReader(bytes.NewReader(file)), func(capture.Packet) error { n++; return nil })
		if n > len(file)/8 {
			t.Errorf("%d packets out of %d bytes (%v)", n, len(file), err)
		}
	})
}
