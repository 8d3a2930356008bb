package capture_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/ringfence/ringfence/pkg/capture"
)

// frames are packets behind all that may stand before IP in a frame of Ethernet.
func frames(t testing.TB) map[string][]byte {
	t.Helper()
	p := ip{port: 5060, payload: scan}
	inner := p.bytes(t)
	ethernet := func(kind uint16, rest ...[]byte) []byte {
		return slices.Concat(append([][]byte{make([]byte, 12), binary.BigEndian.AppendUint16(nil, kind)}, rest...)...)
	}
	p6 := ip{six: true, tcp: true, port: 5060, payload: scan}
	return map[string][]byte{
		"plain":       behind(layers.LinkTypeEthernet, p, inner),
		"padded":      append(behind(layers.LinkTypeEthernet, p, inner), make([]byte, 20)...),
		"two tags":    behind(layers.LinkTypeEthernet, p, inner, 7, 8),
		"PPPoE":       ethernet(0x8864, []byte{0x11, 0, 0, 1}, binary.BigEndian.AppendUint16(nil, uint16(len(inner)+2)), []byte{0, 0x21}, inner),
		"PPPoE, IPv6": ethernet(0x8864, []byte{0x11, 0, 0, 1}, binary.BigEndian.AppendUint16(nil, uint16(len(p6.bytes(t))+2)), []byte{0, 0x57}, p6.bytes(t)),
		"MPLS":        ethernet(0x8847, []byte{0, 1, 0x20, 64, 0, 1, 0x31, 64}, inner),
		"SNAP":        ethernet(uint16(len(inner)+8), []byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0}, inner),
		"ARP":         ethernet(0x0806, make([]byte, 28)),
	}
}

// TestAsGopacket: every frame is read as gopacket reads it.
func TestAsGopacket(t *testing.T) {
	for name, frame := range frames(t) {
		var got capture.Packet
		err := capture.Read(bufio.NewReader(bytes.NewReader(classic(t, layers.LinkTypeEthernet, frame))), func(p capture.Packet) error { got = p; return nil })
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		same(t, name, got, gopacket.NewPacket(frame, layers.LinkTypeEthernet, gopacket.Default))
	}
}

// same compares what was read of a packet with what gopacket reads.
func same(t *testing.T, name string, got capture.Packet, want gopacket.Packet) {
	t.Helper()
	var source, destination netip.Addr
	if n := want.NetworkLayer(); n != nil {
		from, to := n.NetworkFlow().Endpoints()
		source, _ = netip.AddrFromSlice(from.Raw())
		destination, _ = netip.AddrFromSlice(to.Raw())
	}
	if got.Source.Addr() != source || got.Destination.Addr() != destination {
		t.Errorf("%s: from %v to %v, gopacket has %v and %v", name, got.Source, got.Destination, source, destination)
	}
	var protocol string
	var from, to uint16
	var payload []byte
	switch l := want.TransportLayer().(type) {
	case *layers.UDP:
		protocol, from, to, payload = "udp", uint16(l.SrcPort), uint16(l.DstPort), l.Payload
	case *layers.TCP:
		protocol, from, to, payload = "tcp", uint16(l.SrcPort), uint16(l.DstPort), l.Payload
	}
	if got.Protocol != protocol || got.Source.Port() != from || got.Destination.Port() != to || !bytes.Equal(got.Payload, payload) {
		t.Errorf("%s: %s from port %d to %d with %q, gopacket has %s, %d, %d, %q",
			name, got.Protocol, got.Source.Port(), got.Destination.Port(), got.Payload, protocol, from, to, payload)
	}
}

// TestBlocks: what pcapng has beside the usual blocks: packets without a time, those of the
// old form, clocks of another resolution, blocks that nobody knows, the other order of
// bytes, and sections of a later version.
func TestBlocks(t *testing.T) {
	data := ip{port: 5060, payload: scan}.bytes(t)
	for name, order := range map[string]binary.AppendByteOrder{"little": binary.LittleEndian, "big": binary.BigEndian} {
		words := func(values ...uint32) (b []byte) {
			for _, v := range values {
				b = order.AppendUint32(b, v)
			}
			return b
		}
		halves := func(a, b uint16) []byte { return order.AppendUint16(order.AppendUint16(nil, a), b) }
		block := func(kind uint32, parts ...[]byte) []byte {
			body := slices.Concat(parts...)
			body = append(body, make([]byte, -len(body)&3)...)
			length := uint32(len(body) + 12)
			return slices.Concat(words(kind, length), body, words(length))
		}
		section := func(version uint16) []byte {
			return block(0x0a0d0d0a, words(0x1a2b3c4d), halves(version, 0), words(0xffffffff, 0xffffffff))
		}
		n := uint32(len(data))
		file := slices.Concat(
			section(1),
			// Milliseconds, counted from a day after the beginning of 1970.
			block(1, halves(101, 0), words(0), halves(9, 1), []byte{3, 0, 0, 0}, halves(14, 8), words(binaryWords(name, 86400)...), halves(0, 0)),
			block(0xbad, make([]byte, 40)),
			block(3, words(n), data),
			block(2, halves(0, 0), words(0, 1500, n, n+5), data),
			section(2), block(6, []byte{1, 2, 3, 4}), block(1, halves(105, 0), words(0)),
			section(1), block(1, halves(101, 0), words(60)), block(3, words(n), data[:60]),
			block(6, words(0, 0, 2_000_000, n, n), data),
		)
		type found struct {
			number, missing, payload int
			at                       time.Time
		}
		var got []found
		err := capture.Read(bufio.NewReader(bytes.NewReader(file)), func(p capture.Packet) error {
			got = append(got, found{p.Number, p.Missing, len(p.Payload), p.Time.UTC()})
			return nil
		})
		want := []found{
			{1, 0, len(scan), time.Time{}},
			{2, 5, len(scan), time.UnixMilli(86400*1000 + 1500).UTC()},
			{3, len(data) - 60, 60 - 28, time.Time{}},
			{4, 0, len(scan), time.Unix(2, 0).UTC()},
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// binaryWords are the two halves of a number of 64 bits in an order of bytes.
func binaryWords(order string, n uint32) []uint32 {
	if order == "little" {
		return []uint32{n, 0}
	}
	return []uint32{0, n}
}
