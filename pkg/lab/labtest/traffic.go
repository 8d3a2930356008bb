package labtest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/lab"
)

// Sink is a UDP socket that counts the packets it receives.
type Sink struct {
	conn     *net.UDPConn
	received [256]atomic.Int64 // by the first byte of the packet
	done     chan struct{}
}

// bursts is how many packets one system call sends or receives.
const bursts = 64

// NewSink opens a sink at an address of the host. Its buffer is large enough that no
// packet is lost because it was read too late.
func NewSink(ctx context.Context, n *lab.Namespace, address string) (*Sink, error) {
	s := &Sink{done: make(chan struct{})}
	err := n.Do(func() error {
		config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			var err error
			controlErr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20) })
			if controlErr != nil {
				return controlErr
			}
			return err
		}}
		conn, err := config.ListenPacket(ctx, "udp", address)
		if err != nil {
			return err
		}
		s.conn = conn.(*net.UDPConn)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s in %s: %w", address, n.Name, err)
	}
	go s.run()
	return s, nil
}

func (s *Sink) run() {
	defer close(s.done)
	messages := make([]ipv4.Message, bursts)
	for i := range messages {
		messages[i].Buffers = [][]byte{make([]byte, 2048)}
	}
	batches := ipv4.NewPacketConn(s.conn)
	for {
		n, err := batches.ReadBatch(messages, 0)
		if err != nil {
			return
		}
		for _, m := range messages[:n] {
			if m.N > 0 {
				s.received[m.Buffers[0][0]].Add(1)
			}
		}
	}
}

// Received returns how many packets that begin with the given byte have come.
func (s *Sink) Received(first byte) int64 { return s.received[first].Load() }

// Close closes the sink and waits until it has counted everything.
func (s *Sink) Close() error {
	err := s.conn.Close()
	<-s.done
	return err
}

// Source is a UDP socket that sends many packets.
type Source struct {
	conn     *net.UDPConn
	batches  *ipv4.PacketConn
	messages []ipv4.Message
}

// NewSource opens a source at an address of the host that sends payload to another
// address.
func NewSource(n *lab.Namespace, from, to string, payload []byte) (*Source, error) {
	destination, err := netip.ParseAddrPort(to)
	if err != nil {
		return nil, fmt.Errorf("read address %q: %w", to, err)
	}
	s := &Source{}
	if err := n.Do(func() error {
		local, err := netip.ParseAddrPort(from)
		if err == nil {
			s.conn, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(local), net.UDPAddrFromAddrPort(destination))
		}
		return err
	}); err != nil {
		return nil, fmt.Errorf("send from %s in %s: %w", from, n.Name, err)
	}
	s.batches = ipv4.NewPacketConn(s.conn)
	for range bursts {
		s.messages = append(s.messages, ipv4.Message{Buffers: [][]byte{payload}})
	}
	return s, nil
}

// Burst sends n packets, at most 64 with one system call.
func (s *Source) Burst(n int) error {
	for n > 0 {
		sent, err := s.batches.WriteBatch(s.messages[:min(n, bursts)], 0)
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		n -= sent
	}
	return nil
}

// Close closes the source.
func (s *Source) Close() error { return s.conn.Close() }

// Send sends a packet from the sink's own address.
func (s *Sink) Send(to string, payload []byte) error {
	destination, err := netip.ParseAddrPort(to)
	if err != nil {
		return fmt.Errorf("read address %q: %w", to, err)
	}
	_, err = s.conn.WriteToUDPAddrPort(payload, destination)
	return err
}
