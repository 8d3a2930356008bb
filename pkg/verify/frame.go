package verify

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The lengths of headers.
const (
	etherHeader = 14
	ip4Header   = 20
	ip6Header   = 40
	udpHeader   = 8
	tcpHeader   = 20
)

// hops is how many routers a packet may pass.
const hops = 64

// end is an address with its port.
type end = netip.AddrPort

// frame writes an Ethernet frame with a packet of either family.
func frame(hardware []byte, from, to end, protocol byte, segment []byte) []byte {
	f := append(append([]byte{}, hardware...), 2, 0, 0, 0, 0, 1) // nobody answers the sender's
	if from.Addr().Is4() {
		f = binary.BigEndian.AppendUint16(f, unix.ETH_P_IP)
		header := []byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, hops, protocol, 0, 0}
		binary.BigEndian.PutUint16(header[2:], uint16(ip4Header+len(segment)))
		header = append(append(header, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
		binary.BigEndian.PutUint16(header[10:], checksum(header))
		return append(append(f, header...), segment...)
	}
	f = binary.BigEndian.AppendUint16(f, unix.ETH_P_IPV6)
	header := []byte{0x60, 0, 0, 0, 0, 0, protocol, hops}
	binary.BigEndian.PutUint16(header[4:], uint16(len(segment)))
	header = append(append(header, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	return append(append(f, header...), segment...)
}

// datagram writes a UDP datagram.
func datagram(from, to end, payload []byte) []byte {
	d := binary.BigEndian.AppendUint16(nil, from.Port())
	d = binary.BigEndian.AppendUint16(d, to.Port())
	d = binary.BigEndian.AppendUint16(d, uint16(udpHeader+len(payload)))
	d = append(append(d, 0, 0), payload...)
	sum := checksum(append(pseudo(from, to, unix.IPPROTO_UDP, len(d)), d...))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(d[6:], sum)
	return d
}

// opening writes the segment that asks for a connection of TCP.
func opening(from, to end) []byte {
	const words, synchronize, window = tcpHeader / 4, 2, 1024
	s := binary.BigEndian.AppendUint16(nil, from.Port())
	s = binary.BigEndian.AppendUint16(s, to.Port())
	s = append(s, 0, 0, 0, 1, 0, 0, 0, 0, words<<4, synchronize)
	s = append(binary.BigEndian.AppendUint16(s, window), 0, 0, 0, 0)
	binary.BigEndian.PutUint16(s[16:], checksum(append(pseudo(from, to, unix.IPPROTO_TCP, len(s)), s...)))
	return s
}

// pseudo is the header that checksums of UDP and TCP begin with.
func pseudo(from, to end, protocol byte, length int) []byte {
	h := append(append([]byte{}, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	h = binary.BigEndian.AppendUint32(h, uint32(length))
	return append(h, 0, 0, 0, protocol)
}

// checksum is that of the internet (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 != 0 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// answered is the port that a segment of TCP is sent to, 0 for anything else.
func answered(f []byte) uint16 {
	if len(f) < etherHeader {
		return 0
	}
	packet := f[etherHeader:]
	switch binary.BigEndian.Uint16(f[12:]) {
	case unix.ETH_P_IP:
		if len(packet) < ip4Header+tcpHeader || packet[9] != unix.IPPROTO_TCP {
			return 0
		}
		return binary.BigEndian.Uint16(packet[4*int(packet[0]&0xf)+2:])
	case unix.ETH_P_IPV6:
		if len(packet) < ip6Header+tcpHeader || packet[6] != unix.IPPROTO_TCP {
			return 0
		}
		return binary.BigEndian.Uint16(packet[ip6Header+2:])
	}
	return 0
}
