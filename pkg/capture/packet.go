package capture

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// link is the kind of a packet's first header: https://www.tcpdump.org/linktypes.html
type link uint32

const (
	linkNull     link = 0
	linkEthernet link = 1
	linkRaw      link = 101
	linkLoop     link = 108
	linkLinux    link = 113
	linkIPv4     link = 228
	linkIPv6     link = 229
	linkLinux2   link = 276
)

// Bare decodes a packet without a link's header: it begins with that of IP. The end may be
// missing.
func Bare(data []byte) Packet { return network(data) }

// packet decodes one. What is no IP, or is damaged, has neither addresses nor protocol.
func packet(data []byte, of link) (Packet, error) {
	kind, header := -1, 0 // where the kind of what is inside stands, and the header's length
	switch of {
	case linkEthernet:
		kind, header = 12, 14
	case linkLinux:
		kind, header = 14, 16
	case linkLinux2:
		kind, header = 0, 20
	case linkNull, linkLoop:
		header = 4 // whose family differs between systems: IP says its version itself
	case linkRaw, linkIPv4, linkIPv6, 12, 14: // 12 and 14 are raw as tcpdump writes it on some systems
	default:
		return Packet{}, fmt.Errorf("links of type %d are not known here: Ethernet, raw IP and Linux cooked captures are", of)
	}
	if len(data) < header {
		return Packet{}, nil
	}
	if kind < 0 {
		return network(data[header:]), nil
	}
	return frame(binary.BigEndian.Uint16(data[kind:]), data[header:]), nil
}

// frame decodes what is in a frame, by its kind.
func frame(kind uint16, data []byte) Packet {
	const mostHeaders = 16
	for range mostHeaders {
		header := 0 // before the next kind
		switch kind {
		case 0x0800, 0x86dd:
			return network(data)
		case 0x8100, 0x88a8, 0x9100: // a tag of a VLAN
			header = 2
		case 0x8864: // a session of PPPoE, with the protocol of PPP behind its header
			if len(data) < 8 {
				return Packet{}
			}
			if inside := binary.BigEndian.Uint16(data[6:]); inside != 0x0021 && inside != 0x0057 {
				return Packet{}
			}
			return network(data[8:])
		case 0x8847, 0x8848: // labels of MPLS, up to the one that says that it is the last
			for len(data) >= 4 && data[2]&1 == 0 {
				data = data[4:]
			}
			return network(data[min(len(data), 4):])
		default:
			// A length, and a header that says the kind in its last bytes.
			if kind > 1500 || len(data) < 8 || data[0] != 0xaa || data[1] != 0xaa {
				return Packet{}
			}
			header = 6
		}
		if len(data) < header+2 {
			return Packet{}
		}
		kind, data = binary.BigEndian.Uint16(data[header:]), data[header+2:]
	}
	return Packet{}
}

// network decodes a packet of IP.
func network(data []byte) Packet {
	switch {
	case len(data) >= 20 && data[0]>>4 == 4:
		return packet4(data)
	case len(data) >= 40 && data[0]>>4 == 6:
		return packet6(data)
	}
	return Packet{}
}

func packet4(data []byte) Packet {
	header, length := 4*int(data[0]&0xf), int(binary.BigEndian.Uint16(data[2:]))
	if length == 0 { // a network card is to divide it
		length = len(data)
	}
	data = data[:min(len(data), length)] // a frame may have more
	if header < 20 || header > len(data) {
		return Packet{}
	}
	var p Packet
	p.between(data[12:16], data[16:20])
	where := binary.BigEndian.Uint16(data[6:])
	p.Fragment, p.Partly = where&0x1fff > 0, where&0x2000 > 0
	if !p.Fragment {
		p.transport(data[9], data[header:])
	}
	return p
}

func packet6(data []byte) Packet {
	var p Packet
	p.between(data[8:24], data[24:40])
	kind, rest := data[6], data[40:]
	if length := int(binary.BigEndian.Uint16(data[4:])); length > 0 || kind != hopByHop { // else it is longer than 16 bits say
		rest = rest[:min(len(rest), length)]
	}
	// An extension header begins with the kind of the next one and its own length.
	for len(rest) >= 8 {
		length := 8 + 8*int(rest[1])
		switch kind {
		case hopByHop, routing, destination:
		case authentication:
			length = 8 + 4*int(rest[1])
		case fragment:
			length = 8
			where := binary.BigEndian.Uint16(rest[2:])
			p.Fragment = p.Fragment || where>>3 > 0
			p.Partly = p.Partly || where&1 > 0
		default:
			length = 0
		}
		if length == 0 || length > len(rest) {
			break
		}
		kind, rest = rest[0], rest[length:]
	}
	if !p.Fragment {
		p.transport(kind, rest)
	}
	return p
}

// Protocols and extension headers: https://www.iana.org/assignments/protocol-numbers
const (
	hopByHop       = 0
	tcp            = 6
	udp            = 17
	dccp           = 33
	routing        = 43
	fragment       = 44
	authentication = 51
	destination    = 60
	sctp           = 132
	udplite        = 136
)

func (p *Packet) between(source, destination []byte) {
	from, _ := netip.AddrFromSlice(source) // both have the length of one
	to, _ := netip.AddrFromSlice(destination)
	p.Source, p.Destination = netip.AddrPortFrom(from, 0), netip.AddrPortFrom(to, 0)
}

// transport reads the header behind those of IP.
func (p *Packet) transport(kind byte, data []byte) {
	if len(data) < 4 {
		return
	}
	switch kind {
	case udp:
		const header = 8
		if len(data) < header {
			return
		}
		length := int(binary.BigEndian.Uint16(data[4:]))
		if length == 0 { // it is longer than 16 bits say
			length = len(data)
		}
		if length < header {
			return
		}
		p.Protocol, p.Payload = "udp", data[header:min(len(data), length)]
	case tcp:
		if len(data) < 20 {
			return
		}
		header := 4 * int(data[12]>>4)
		if header < 20 || header > len(data) {
			return
		}
		p.Protocol, p.Payload, p.Urgent = "tcp", data[header:], data[13]&0x20 > 0
	case sctp:
		p.Protocol = "sctp"
	case dccp:
		p.Protocol = "dccp"
	case udplite:
		p.Protocol = "udplite"
	default:
		return
	}
	// All of them begin with the ports.
	p.Source = netip.AddrPortFrom(p.Source.Addr(), binary.BigEndian.Uint16(data))
	p.Destination = netip.AddrPortFrom(p.Destination.Addr(), binary.BigEndian.Uint16(data[2:]))
}
