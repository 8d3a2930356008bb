package classifier_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
)

const (
	ipv4Type, ipv6Type, vlanType = 0x0800, 0x86dd, 0x8100
	tcp, udp                     = 6, 17
)

func ethernet(kind uint16, payload []byte) []byte {
	return slices.Concat([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}, binary.BigEndian.AppendUint16(nil, kind), payload)
}

// tagged puts tags of VLAN 0 before what an Ethernet frame holds.
func tagged(tags []uint16, frame []byte) []byte {
	head := slices.Clone(frame[:12])
	for _, tag := range tags {
		head = append(binary.BigEndian.AppendUint16(head, tag), 0, 0)
	}
	return append(head, frame[12:]...)
}

func ipv4(protocol byte, options, payload []byte) []byte {
	header := make([]byte, 20)
	header[0] = 0x40 | byte(5+len(options)/4)
	binary.BigEndian.PutUint16(header[2:], uint16(20+len(options)+len(payload)))
	header[8], header[9] = 64, protocol
	copy(header[12:], []byte{192, 0, 2, 1, 192, 0, 2, 2})
	header = append(header, options...)
	binary.BigEndian.PutUint16(header[10:], checksum(header))
	return append(header, payload...)
}

// ipv6 makes a packet with extension headers, each with the number of the one
// before it.
func ipv6(protocol byte, payload []byte, extensions ...extension) []byte {
	next := protocol
	for _, e := range slices.Backward(extensions) {
		body := slices.Clone(e.body)
		body[0] = next
		payload = append(body, payload...)
		next = e.number
	}
	header := make([]byte, 40)
	header[0] = 0x60
	binary.BigEndian.PutUint16(header[4:], uint16(len(payload)))
	header[6], header[7] = next, 64
	source, destination := netip.MustParseAddr("2001:db8::1").As16(), netip.MustParseAddr("2001:db8::2").As16()
	copy(header[8:], source[:])
	copy(header[24:], destination[:])
	return append(header, payload...)
}

type extension struct {
	number byte
	body   []byte // its first byte is filled in
}

// padded are the options of a hop-by-hop or destination header: padding only.
func padded(number byte, length int) extension {
	body := make([]byte, length)
	body[1] = byte(length/8 - 1)
	body[2], body[3] = 1, byte(length-4) // PadN
	return extension{number, body}
}

func datagram(port uint16, payload []byte) []byte {
	header := make([]byte, 8)
	binary.BigEndian.PutUint16(header, 6000)
	binary.BigEndian.PutUint16(header[2:], port)
	binary.BigEndian.PutUint16(header[4:], uint16(8+len(payload)))
	return append(header, payload...)
}

func segment(port uint16, options, payload []byte) []byte {
	header := make([]byte, 20)
	binary.BigEndian.PutUint16(header, 6000)
	binary.BigEndian.PutUint16(header[2:], port)
	header[12] = byte(5+len(options)/4) << 4
	header[13] = 0x18 // PSH, ACK
	return slices.Concat(header, options, payload)
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// plain is a datagram for port 5060 by IPv4.
func plain(payload []byte) []byte { return ethernet(ipv4Type, ipv4(udp, nil, datagram(5060, payload))) }

// at changes bytes of a frame.
func at(frame []byte, place int, b ...byte) []byte {
	return slices.Concat(frame[:place], b, bytes.Clone(frame[place+len(b):]))
}
