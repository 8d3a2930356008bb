package cli_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// headerAlone sends the INVITE in a segment of a connection of his that is cut into
// fragments, the first of which has nothing behind TCP's header.
func headerAlone(t *testing.T, w *cloud, from string) string {
	t.Helper()
	p := w.caller(t, "tcp", from, 0)
	text, id := w.request("INVITE")
	local, remote := p.LocalAddr().(*net.TCPAddr), p.RemoteAddr().(*net.TCPAddr)
	sent, received := numbers(t, p)
	tcp := &layers.TCP{SrcPort: layers.TCPPort(local.Port), DstPort: layers.TCPPort(remote.Port), Seq: sent, Ack: received, ACK: true, PSH: true, Window: 500}
	for range 4 { // fragments end at multiples of eight bytes
		tcp.Options = append(tcp.Options, layers.TCPOption{OptionType: layers.TCPOptionKindNop})
	}
	const header = 24
	var network []gopacket.SerializableLayer
	for _, first := range []bool{true, false} {
		offset := uint16(header / 8)
		if first {
			offset = 0
		}
		if netip.MustParseAddr(from).Is4() {
			ip := &layers.IPv4{Version: 4, TTL: 64, Id: 0x5060, Protocol: layers.IPProtocolTCP, SrcIP: local.IP, DstIP: remote.IP, FragOffset: offset}
			if first {
				ip.Flags = layers.IPv4MoreFragments
			}
			labtest.Must(t, tcp.SetNetworkLayerForChecksum(ip))
			network = append(network, ip)
			continue
		}
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolIPv6Fragment, SrcIP: local.IP, DstIP: remote.IP}
		whole := *ip
		whole.NextHeader = layers.IPProtocolTCP
		labtest.Must(t, tcp.SetNetworkLayerForChecksum(&whole))
		network = append(network, ip)
	}
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	segment := gopacket.NewSerializeBuffer()
	labtest.Must(t, gopacket.SerializeLayers(segment, options, tcp, gopacket.Payload(text)))
	bytes := segment.Bytes()
	for i, part := range [][]byte{bytes[:header], bytes[header:]} {
		if _, v6 := network[i].(*layers.IPv6); v6 {
			// struct frag_hdr: what follows, the place with the flag that there is more, and a number.
			place := []byte{byte(layers.IPProtocolTCP), 0, 0, byte(1 - i), 0, 0, 0x50, 0x60}
			place[3] |= byte(i * header)
			part = append(place, part...)
		}
		packet := gopacket.NewSerializeBuffer()
		labtest.Must(t, gopacket.SerializeLayers(packet, options, network[i], gopacket.Payload(part)))
		w.whole(t, remote.IP, packet.Bytes())
	}
	return id
}

// numbers are the sequence numbers of what a connection sends and receives next.
func numbers(t *testing.T, p caller) (sent, received uint32) {
	t.Helper()
	raw, err := p.Conn.(*net.TCPConn).SyscallConn()
	labtest.Must(t, err)
	queue := func(fd, number int) (uint32, error) {
		if err := unix.SetsockoptInt(fd, unix.SOL_TCP, unix.TCP_REPAIR_QUEUE, number); err != nil {
			return 0, err
		}
		n, err := unix.GetsockoptInt(fd, unix.SOL_TCP, unix.TCP_QUEUE_SEQ)
		return uint32(n), err
	}
	const on, off, receives, sends = 1, -1, 1, 2
	var errs [4]error
	labtest.Must(t, raw.Control(func(fd uintptr) {
		errs[0] = unix.SetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_REPAIR, on)
		received, errs[1] = queue(int(fd), receives)
		sent, errs[2] = queue(int(fd), sends)
		errs[3] = unix.SetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_REPAIR, off)
	}))
	labtest.Must(t, errors.Join(errs[:]...))
	return sent, received
}

// whole sends a packet with its IP header.
func (w *cloud) whole(t *testing.T, to net.IP, packet []byte) {
	t.Helper()
	labtest.In(t, w.outside, func() error {
		family := unix.AF_INET
		var address unix.Sockaddr
		if to.To4() != nil {
			address = &unix.SockaddrInet4{Addr: [4]byte(to.To4())}
		} else {
			family, address = unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte(to)}
		}
		fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, packet, 0, address)
	})
}
