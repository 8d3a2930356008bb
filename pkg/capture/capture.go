// Package capture reads files of captured packets, pcap and pcapng, and says what the
// classifier takes each packet for. It is the only package that uses gopacket.
package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// Packet is one packet of a capture.
type Packet struct {
	Number int // from 1
	Time   time.Time
	// Protocol is "udp", "tcp", "sctp", "dccp" or "udplite", "" for all others. Only of the
	// first two a payload is known.
	Protocol string
	// Source and Destination are there for packets of IP. Their ports are 0 where
	// the packet shows none.
	Source, Destination netip.AddrPort
	// Fragment says that this is not the first fragment of a packet, and Partly that it
	// is the first one of several.
	Fragment, Partly bool
	Payload          []byte
	// Missing is how many bytes of the packet the capture lacks.
	Missing int
}

// Is reports whether a file begins as a capture does. It takes nothing out of the
// reader.
func Is(r *bufio.Reader) bool {
	const enough = 12
	begin, _ := r.Peek(enough) // a shorter file is none
	if len(begin) < enough {
		return false
	}
	return isClassic(begin) || isNg(begin) || begin[0] == 0x1f && begin[1] == 0x8b // gzip
}

func isClassic(begin []byte) bool {
	switch binary.LittleEndian.Uint32(begin) {
	case 0xa1b2c3d4, 0xd4c3b2a1, 0xa1b23c4d, 0x4d3cb2a1:
		return true
	}
	return false
}

// isNg also looks at the order of bytes: a message may begin with line breaks.
func isNg(begin []byte) bool {
	const section, order, reversed = 0x0a0d0d0a, 0x1a2b3c4d, 0x4d3c2b1a
	n := binary.LittleEndian.Uint32(begin[8:])
	return binary.LittleEndian.Uint32(begin) == section && (n == order || n == reversed)
}

// Read hands each packet of a capture to take, until that fails. An error that says that
// the capture is damaged comes after all packets that could be read.
func Read(r *bufio.Reader, take func(Packet) error) error {
	next, err := open(r)
	if err != nil {
		return fmt.Errorf("read capture: %w", noEOF(err, "the capture ends within its header"))
	}
	for number := 1; ; number++ {
		data, info, link, err := next()
		if errors.Is(err, io.EOF) && info.CaptureLength == 0 { // else it ends behind a packet's header
			return nil
		}
		if err != nil {
			return fmt.Errorf("read capture: packet %d: %w", number, noEOF(err, "the capture ends within it"))
		}
		p, err := packet(data, link)
		if err != nil {
			return fmt.Errorf("read capture: packet %d: %w", number, err)
		}
		p.Number, p.Time, p.Missing = number, info.Timestamp, max(info.Length-len(data), 0)
		if err := take(p); err != nil {
			return err
		}
	}
}

// noEOF says what an end of the file in the middle of something means.
func noEOF(err error, text string) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return errors.New(text)
	}
	return err
}

// reading returns the next packet, and the kind of its first header.
type reading func() ([]byte, gopacket.CaptureInfo, layers.LinkType, error)

func open(r *bufio.Reader) (reading, error) {
	begin, err := r.Peek(4)
	if err != nil {
		return nil, err
	}
	// In a compressed file, the beginning says nothing; most are of the older form.
	if isClassic(begin) || begin[0] == 0x1f {
		classic, err := pcapgo.NewReader(r)
		if err != nil {
			return nil, err
		}
		return func() ([]byte, gopacket.CaptureInfo, layers.LinkType, error) {
			data, info, err := classic.ReadPacketData()
			return data, info, classic.LinkType(), err
		}, nil
	}
	ng, err := pcapgo.NewNgReader(r, pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
	if err != nil {
		return nil, err
	}
	return func() ([]byte, gopacket.CaptureInfo, layers.LinkType, error) {
		data, info, err := ng.ReadPacketData()
		link := ng.LinkType()
		if len(info.AncillaryData) > 0 {
			if own, ok := info.AncillaryData[0].(layers.LinkType); ok {
				link = own
			}
		}
		return data, info, link, err
	}, nil
}

// decoders are those of the kinds of links that a SIP server's packets come by.
var decoders = map[layers.LinkType]gopacket.Decoder{
	layers.LinkTypeEthernet:  layers.LinkTypeEthernet,
	layers.LinkTypeNull:      layers.LinkTypeNull,
	layers.LinkTypeLoop:      layers.LinkTypeLoop,
	layers.LinkTypeRaw:       layers.LinkTypeRaw,
	12:                       layers.LinkTypeRaw, // as tcpdump writes it on some systems
	14:                       layers.LinkTypeRaw,
	layers.LinkTypeIPv4:      layers.LayerTypeIPv4,
	layers.LinkTypeIPv6:      layers.LayerTypeIPv6,
	layers.LinkTypeLinuxSLL:  layers.LinkTypeLinuxSLL,
	layers.LinkTypeLinuxSLL2: layers.LinkTypeLinuxSLL2,
}

// Bare decodes a packet without a link's header: it begins with that of IP. The end may be
// missing.
func Bare(data []byte) Packet {
	p, _ := packet(data, layers.LinkTypeRaw) // which is known
	return p
}

// packet decodes one. What is no IP, or is damaged, has neither addresses nor protocol.
func packet(data []byte, link layers.LinkType) (Packet, error) {
	decoder, ok := decoders[link]
	if !ok {
		return Packet{}, fmt.Errorf("links of type %d are not known here: Ethernet, raw IP and Linux cooked captures are", link)
	}
	decoded := gopacket.NewPacket(data, decoder, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	switch ip := decoded.NetworkLayer().(type) {
	case *layers.IPv4:
		return packet4(ip), nil
	case *layers.IPv6:
		return packet6(ip), nil
	}
	return Packet{}, nil
}

func packet4(ip *layers.IPv4) Packet {
	var p Packet
	source, _ := netip.AddrFromSlice(ip.SrcIP)
	destination, _ := netip.AddrFromSlice(ip.DstIP)
	p.Source, p.Destination = netip.AddrPortFrom(source.Unmap(), 0), netip.AddrPortFrom(destination.Unmap(), 0)
	p.Fragment = ip.FragOffset > 0
	p.Partly = ip.Flags&layers.IPv4MoreFragments != 0
	if !p.Fragment {
		p.transport(ip.Protocol, ip.Payload)
	}
	return p
}

func packet6(ip *layers.IPv6) Packet {
	var p Packet
	source, _ := netip.AddrFromSlice(ip.SrcIP)
	destination, _ := netip.AddrFromSlice(ip.DstIP)
	p.Source, p.Destination = netip.AddrPortFrom(source, 0), netip.AddrPortFrom(destination, 0)
	kind, rest := ip.NextHeader, ip.Payload
	// An extension header begins with the kind of the next one and its own length.
	for len(rest) >= 8 {
		length := 8 + 8*int(rest[1])
		switch kind {
		case layers.IPProtocolIPv6HopByHop, layers.IPProtocolIPv6Routing, layers.IPProtocolIPv6Destination:
		case layers.IPProtocolAH:
			length = 8 + 4*int(rest[1])
		case layers.IPProtocolIPv6Fragment:
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
		kind, rest = layers.IPProtocol(rest[0]), rest[length:]
	}
	if !p.Fragment {
		p.transport(kind, rest)
	}
	return p
}

// transport reads the header behind those of IP.
func (p *Packet) transport(kind layers.IPProtocol, data []byte) {
	ports := func(source, destination uint16) {
		p.Source = netip.AddrPortFrom(p.Source.Addr(), source)
		p.Destination = netip.AddrPortFrom(p.Destination.Addr(), destination)
	}
	switch kind {
	case layers.IPProtocolUDP:
		var udp layers.UDP
		if udp.DecodeFromBytes(data, gopacket.NilDecodeFeedback) == nil {
			p.Protocol, p.Payload = "udp", udp.Payload
			ports(uint16(udp.SrcPort), uint16(udp.DstPort))
		}
	case layers.IPProtocolTCP:
		var tcp layers.TCP
		if tcp.DecodeFromBytes(data, gopacket.NilDecodeFeedback) == nil {
			p.Protocol, p.Payload = "tcp", tcp.Payload
			ports(uint16(tcp.SrcPort), uint16(tcp.DstPort))
		}
	case layers.IPProtocolSCTP, layers.IPProtocolUDPLite, dccp:
		if len(data) >= 4 { // their headers begin with the ports, too
			p.Protocol = names[kind]
			ports(binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:]))
		}
	}
}

const dccp layers.IPProtocol = 33

var names = map[layers.IPProtocol]string{layers.IPProtocolSCTP: "sctp", layers.IPProtocolUDPLite: "udplite", dccp: "dccp"}
