package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
)

// Listener listens on a port by UDP and TCP and counts, by source address, the packets
// and connections that reach it.
type Listener struct {
	mu       sync.Mutex
	received map[netip.Addr]int
	answer   func(packet []byte) []byte
	sockets  []io.Closer
	running  sync.WaitGroup
}

// Listen listens on a port of some of the host's addresses.
func (n *Namespace) Listen(port uint16, addresses ...string) (*Listener, error) {
	e := &Listener{received: map[netip.Addr]int{}}
	err := n.Do(func() error {
		for _, address := range addresses {
			at := net.JoinHostPort(address, fmt.Sprint(port))
			packets, err := net.ListenPacket("udp", at)
			if err != nil {
				return err
			}
			e.sockets = append(e.sockets, packets)
			e.running.Go(func() { e.packets(packets) })
			connections, err := net.Listen("tcp", at)
			if err != nil {
				return err
			}
			e.sockets = append(e.sockets, connections)
			e.running.Go(func() { e.connections(connections) })
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listen in %s: %w", n.Name, errors.Join(err, e.Close()))
	}
	return e, nil
}

// Answer has UDP packets answered with what f returns for them, if that is anything.
func (e *Listener) Answer(f func(packet []byte) []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = f
}

// Close closes the sockets and waits until everything is counted.
func (e *Listener) Close() error {
	var err error
	for _, s := range e.sockets {
		err = errors.Join(err, s.Close())
	}
	e.sockets = nil
	e.running.Wait()
	return err
}

func (e *Listener) packets(u net.PacketConn) {
	buf := make([]byte, 65536)
	for {
		n, from, err := u.ReadFrom(buf)
		if err != nil {
			return
		}
		if f := e.count(from); f != nil {
			if answer := f(buf[:n]); answer != nil {
				_, _ = u.WriteTo(answer, from) // lost as any packet may be
			}
		}
	}
}

func (e *Listener) connections(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		e.count(c.RemoteAddr())
		c.Close()
	}
}

// count counts what has come from somewhere, and returns how it is answered.
func (e *Listener) count(from net.Addr) (answer func(packet []byte) []byte) {
	a, err := netip.ParseAddrPort(from.String())
	if err != nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.received[a.Addr().Unmap()]++
	return e.answer
}

// From returns how many packets and connections have come from any of the addresses.
func (e *Listener) From(addresses ...string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, text := range addresses {
		if a, err := netip.ParseAddr(text); err == nil {
			n += e.received[a]
		}
	}
	return n
}
