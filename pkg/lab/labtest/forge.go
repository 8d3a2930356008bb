package labtest

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"

	"github.com/ringfence/ringfence/pkg/lab"
)

// Forge sends UDP packets by IPv4 from the host to an address and port, each with the
// source that source gives for its number. They come from port 5060.
func Forge(n *lab.Namespace, to string, payload []byte, packets int, source func(i int) netip.Addr) error {
	destination, err := netip.ParseAddrPort(to)
	if err != nil {
		return fmt.Errorf("read address %q: %w", to, err)
	}
	var conn *ipv4.RawConn
	if err := n.Do(func() error {
		c, err := net.ListenPacket("ip4:255", "0.0.0.0") // IPPROTO_RAW: whole packets
		if err == nil {
			conn, err = ipv4.NewRawConn(c)
		}
		return err
	}); err != nil {
		return fmt.Errorf("send raw packets in %s: %w", n.Name, err)
	}
	defer conn.Close()
	messages := make([]ipv4.Message, bursts)
	for i := range messages {
		messages[i].Buffers = [][]byte{forged(destination, payload)}
		messages[i].Addr = &net.IPAddr{IP: destination.Addr().AsSlice()}
	}
	for sent := 0; sent < packets; {
		some := messages[:min(bursts, packets-sent)]
		for i := range some {
			from := source(sent + i).As4()
			copy(some[i].Buffers[0][12:], from[:])
		}
		for len(some) > 0 {
			done, err := conn.WriteBatch(some, 0)
			if err != nil {
				return fmt.Errorf("send: %w", err)
			}
			some, sent = some[done:], sent+done
		}
	}
	return nil
}

// forged is a packet without its source. The kernel adds the checksum of the header; UDP
// by IPv4 needs none.
func forged(to netip.AddrPort, payload []byte) []byte {
	const header, udpHeader = 20, 8
	packet := make([]byte, header+udpHeader, header+udpHeader+len(payload))
	packet[0] = 0x45
	binary.BigEndian.PutUint16(packet[2:], uint16(cap(packet)))
	packet[8], packet[9] = 64, 17
	destination := to.Addr().As4()
	copy(packet[16:], destination[:])
	binary.BigEndian.PutUint16(packet[header:], 5060)
	binary.BigEndian.PutUint16(packet[header+2:], to.Port())
	binary.BigEndian.PutUint16(packet[header+4:], uint16(udpHeader+len(payload)))
	return append(packet, payload...)
}
