package judge_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/judge"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// world is a host whose interfaces others send any frame to, and which notes those whose
// packets the fence lets pass.
type world struct {
	pbx     *lab.Namespace
	nft     *labtest.NFT
	links   []link
	sockets map[string]int
	facts   ruleset.Host
}

// link is an interface of the host, and what is behind it.
type link struct {
	name      string
	addresses []string
	hardware  net.HardwareAddr
	index     int // of the other end
}

// newWorld has a way out to the internet, a network of phones, and a private one more.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{pbx: labtest.Host(t, "pbx"), sockets: map[string]int{}}
	outside := labtest.Host(t, "outside")
	w.links = []link{
		{name: "eth0", addresses: []string{"198.18.0.1/24", "2001:db8:ff::1/64"}},
		{name: "eth1", addresses: []string{"10.1.0.1/16", "fd00:2::1/64"}},
		{name: "lan0", addresses: []string{"192.168.1.1/24", "fd00:1::1/64"}},
	}
	for i := range w.links {
		l := &w.links[i]
		labtest.Link(t, lab.End{Host: w.pbx, Interface: l.name, Addresses: l.addresses}, lab.End{Host: outside, Interface: l.name})
		labtest.In(t, w.pbx, func() error {
			here, err := net.InterfaceByName(l.name)
			if err == nil {
				l.hardware = here.HardwareAddr
			}
			return err
		})
		labtest.In(t, outside, func() error {
			there, err := net.InterfaceByName(l.name)
			if err != nil {
				return err
			}
			l.index = there.Index
			fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
			w.sockets[l.name] = fd
			return err
		})
		t.Cleanup(func() { unix.Close(w.sockets[l.name]) })
		var addresses []netip.Prefix
		for _, a := range l.addresses {
			addresses = append(addresses, netip.MustParsePrefix(a))
		}
		w.facts.Interfaces = append(w.facts.Interfaces, ruleset.Interface{Name: l.name, Kind: "veth", Addresses: addresses})
	}
	labtest.Must(t, w.pbx.Route("default", "198.18.0.2"))
	labtest.Must(t, w.pbx.Route("default", "2001:db8:ff::2"))
	w.facts.Outside = []string{"eth0"}
	w.nft = labtest.StartNFT(t, w.pbx)
	// A frame's own sender says which it is. Behind the fence nothing needs the packet.
	w.nft.Do(t, `table inet watch {
		set passed { type ether_addr; size 65535; flags dynamic; }
		chain behind { type filter hook prerouting priority 100; add @passed { ether saddr } drop; }
	}`)
	return w
}

// noWayBack reports whether answers to an address would leave by another interface.
func noWayBack(source netip.Addr, in string) bool {
	way := "eth0"
	for prefix, name := range map[string]string{"10.1.0.0/16": "eth1", "fd00:2::/64": "eth1", "192.168.1.0/24": "lan0", "fd00:1::/64": "lan0"} {
		if netip.MustParsePrefix(prefix).Contains(source) {
			way = name
		}
	}
	if source.Is6() && source.IsLinkLocalUnicast() {
		return false // each interface has a network of those
	}
	return in != way
}

// numbers are those of the protocols.
var numbers = map[ruleset.Protocol]layers.IPProtocol{
	ruleset.UDP: layers.IPProtocolUDP, ruleset.TCP: layers.IPProtocolTCP, ruleset.SCTP: layers.IPProtocolSCTP,
	ruleset.DCCP: 33, ruleset.UDPLite: layers.IPProtocolUDPLite, "": layers.IPProtocolICMPv6,
}

// sender is the hardware address of frame n.
func sender(n int) net.HardwareAddr {
	return binary.BigEndian.AppendUint32([]byte{2, 0}, uint32(n))
}

// frame writes a packet. n makes it another one than all others.
func (w *world) frame(t *testing.T, p judge.Packet, n int) []byte {
	t.Helper()
	var to link
	for _, l := range w.links {
		if l.name == p.Interface {
			to = l
		}
	}
	ether := &layers.Ethernet{SrcMAC: sender(n), DstMAC: to.hardware, EthernetType: layers.EthernetTypeIPv4}
	destination := netip.MustParsePrefix(to.addresses[0]).Addr()
	ip4 := &layers.IPv4{Version: 4, TTL: 64, Id: uint16(n), Protocol: numbers[p.Protocol], SrcIP: p.Source.AsSlice(), DstIP: destination.AsSlice()}
	parts := []gopacket.SerializableLayer{ether, ip4}
	network := gopacket.NetworkLayer(ip4)
	switch p.Shape {
	case judge.First:
		ip4.Flags = layers.IPv4MoreFragments
	case judge.Later:
		ip4.FragOffset = 100
	}
	if p.Source.Is6() {
		ether.EthernetType = layers.EthernetTypeIPv6
		destination = netip.MustParsePrefix(to.addresses[1]).Addr()
		ip6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: numbers[p.Protocol], SrcIP: p.Source.AsSlice(), DstIP: destination.AsSlice()}
		parts, network = []gopacket.SerializableLayer{ether, ip6}, ip6
		if p.Shape != judge.Whole {
			ip6.NextHeader = layers.IPProtocolIPv6Fragment
			parts = append(parts, gopacket.Payload(fragment6(p, n)))
		}
	}
	parts = append(parts, transport(t, p, n, network)...)
	b := gopacket.NewSerializeBuffer()
	labtest.Must(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...))
	return b.Bytes()
}

// fragment6 is the header of a fragment (RFC 8200 section 4.5).
func fragment6(p judge.Packet, n int) []byte {
	offset, next := uint16(1), numbers[p.Protocol]
	switch p.Shape {
	case judge.Later:
		offset = 100 << 3
	case judge.Headless:
		next = layers.IPProtocolIPv6Destination
	}
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16([]byte{byte(next), 0}, offset), uint32(n))
}

// sourcePort is that of packet n.
func sourcePort(n int) uint16 { return uint16(1024 + n%60000) }

func transport(t *testing.T, p judge.Packet, n int, network gopacket.NetworkLayer) []gopacket.SerializableLayer {
	t.Helper()
	message := gopacket.Payload(p.Message)
	switch {
	case p.Shape == judge.Headless:
		// Options, and others behind them that are not here. (Where the transport header
		// alone is not here, its kind is known, and Linux discards the packet.)
		return []gopacket.SerializableLayer{gopacket.Payload{byte(layers.IPProtocolIPv6Destination), 0, 1, 4, 0, 0, 0, 0}}
	case p.Shape == judge.Later:
		return []gopacket.SerializableLayer{gopacket.Payload(strings.Repeat("x", 16))}
	case p.Protocol == ruleset.UDP:
		udp := &layers.UDP{SrcPort: layers.UDPPort(sourcePort(n)), DstPort: layers.UDPPort(p.Port)}
		labtest.Must(t, udp.SetNetworkLayerForChecksum(network))
		return []gopacket.SerializableLayer{udp, message}
	case p.Protocol == ruleset.TCP:
		tcp := &layers.TCP{SrcPort: layers.TCPPort(sourcePort(n)), DstPort: layers.TCPPort(p.Port), DataOffset: 5, Window: 1000, SYN: len(p.Message) == 0, ACK: len(p.Message) > 0, PSH: len(p.Message) > 0}
		labtest.Must(t, tcp.SetNetworkLayerForChecksum(network))
		return []gopacket.SerializableLayer{tcp, message}
	}
	// The ports are at the same place in all others.
	ports := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, sourcePort(n)), p.Port)
	return []gopacket.SerializableLayer{gopacket.Payload(append(ports, make([]byte, 20)...))}
}

// send sends frames, each to its interface, and waits until the host has seen the last.
// What is sent by one processor comes in the order in which it was sent.
func (w *world) send(t *testing.T, packets []judge.Packet, frames [][]byte) {
	t.Helper()
	var sent unix.CPUSet
	labtest.In(t, w.pbx, func() error {
		if err := unix.SchedGetaffinity(0, &sent); err != nil {
			return err
		}
		for cpu := range 1024 {
			if sent.IsSet(cpu) {
				sent.Zero()
				sent.Set(cpu)
				break
			}
		}
		if err := unix.SchedSetaffinity(0, &sent); err != nil {
			return err
		}
		for i, frame := range frames {
			to := &unix.SockaddrLinklayer{Ifindex: w.index(packets[i].Interface), Halen: 6}
			if err := unix.Sendto(w.sockets[packets[i].Interface], frame, 0, to); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *world) index(name string) int {
	for _, l := range w.links {
		if l.name == name {
			return l.index
		}
	}
	return 0
}

// passed are the senders of the frames that the fence has let pass.
func (w *world) passed(t *testing.T) map[string]bool {
	t.Helper()
	passed := map[string]bool{}
	for word := range strings.FieldsFuncSeq(w.nft.Do(t, "list set inet watch passed"), func(r rune) bool { return strings.ContainsRune(" ,{}\n\t", r) }) {
		if strings.Count(word, ":") == 5 {
			passed[word] = true
		}
	}
	return passed
}
