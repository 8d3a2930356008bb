package resolve

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// mostReads is how many packets are read from a socket at once, so that a flood of forged
// ones does not hold up the others.
const mostReads = 256

// batch asks name servers for many names at once, and looks for replies at a pace. Its
// sockets are its own: the runtime would wake up for each reply.
type batch struct {
	mu sync.Mutex
	// ports are those with questions that wait, and filling the one of each server that
	// still takes some.
	ports   map[*port]bool
	filling map[netip.AddrPort]*port
}

func newBatch() *batch { return &batch{ports: map[*port]bool{}, filling: map[netip.AddrPort]*port{}} }

// port is a socket that is connected to a server.
type port struct {
	socket  int
	server  netip.AddrPort
	waiting map[uint16]*unanswered // by number
	sent    int
}

// unanswered is a question that waits for its reply.
type unanswered struct {
	question *dns.Msg
	until    time.Time
	reply    chan *dns.Msg // gets nil if there will be none
}

// ask asks a server once and waits for the reply.
func (p *batch) ask(ctx context.Context, s *server, m *dns.Msg) (*dns.Msg, error) {
	l := &unanswered{question: m, until: time.Now().Add(unhurriedTime), reply: make(chan *dns.Msg, 1)}
	if err := p.send(s.at, l); err != nil {
		return nil, err
	}
	select {
	case reply := <-l.reply:
		if reply == nil {
			return nil, errUnheard
		}
		return reply, nil
	case <-ctx.Done():
		return nil, ctx.Err() // what waits is forgotten when its time is over
	}
}

func (p *batch) send(server netip.AddrPort, l *unanswered) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	from := p.filling[server]
	if from == nil {
		socket, err := connected(server)
		if err != nil {
			return err
		}
		from = &port{socket: socket, server: server, waiting: map[uint16]*unanswered{}}
		p.filling[server] = from
		if p.ports[from] = true; len(p.ports) == 1 {
			go p.collect()
		}
	}
	for from.waiting[l.question.Id] != nil {
		l.question.Id = uint16(rand.Uint32())
	}
	packed, err := l.question.Pack()
	if err == nil {
		from.waiting[l.question.Id] = l
		_, err = unix.Write(from.socket, packed)
	}
	if from.sent++; from.sent == perPort {
		delete(p.filling, server)
	}
	if err != nil {
		delete(from.waiting, l.question.Id)
		return fmt.Errorf("send question: %w", err)
	}
	return nil
}

// connected returns a socket with a port of chance, from which only a server is heard.
func connected(server netip.AddrPort) (socket int, err error) {
	a := server.Addr()
	var to unix.Sockaddr
	family := unix.AF_INET
	if four := a.Unmap(); four.Is4() {
		to = &unix.SockaddrInet4{Port: int(server.Port()), Addr: four.As4()}
	} else {
		six := &unix.SockaddrInet6{Port: int(server.Port()), Addr: a.As16()}
		if a.Zone() != "" {
			link, err := net.InterfaceByName(a.Zone())
			if err != nil {
				return -1, fmt.Errorf("find link: %w", err)
			}
			six.ZoneId = uint32(link.Index)
		}
		to, family = six, unix.AF_INET6
	}
	socket, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open socket: %w", err)
	}
	if err := unix.Connect(socket, to); err != nil {
		_ = unix.Close(socket)
		return -1, fmt.Errorf("connect to %s: %w", server, err)
	}
	return socket, nil
}

// collect reads replies until no question waits any more.
func (p *batch) collect() {
	buf := buffers.Get().(*[maxMessage]byte)
	defer buffers.Put(buf)
	for {
		time.Sleep(pace)
		if p.round(buf[:]) == 0 {
			return
		}
	}
}

// round reads what has come, and returns how many ports are still needed.
func (p *batch) round(buf []byte) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for from := range p.ports {
		over := from.read(buf)
		for id, l := range from.waiting {
			if over || now.After(l.until) {
				l.reply <- nil
				delete(from.waiting, id)
			}
		}
		if len(from.waiting) > 0 {
			continue
		}
		// The next questions have another port.
		_ = unix.Close(from.socket)
		delete(p.ports, from)
		if p.filling[from.server] == from {
			delete(p.filling, from.server)
		}
	}
	return len(p.ports)
}

// read reads the replies that have come to a port. It reports whether no more can come.
// Whatever else arrives is left aside, because anybody can send it.
func (from *port) read(buf []byte) (over bool) {
	for range mostReads {
		n, err := unix.Read(from.socket, buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return false
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return true
		case n < headerSize:
			continue
		}
		id := binary.BigEndian.Uint16(buf)
		l := from.waiting[id]
		if l == nil {
			continue
		}
		if reply := unpack(buf[:n]); reply != nil && answers(reply, l.question) {
			l.reply <- reply
			delete(from.waiting, id)
		}
	}
	return false
}

// unpack reads a message, nil if it cannot be read.
func unpack(b []byte) (m *dns.Msg) {
	defer func() {
		// What a name server sends must not be able to end the program.
		if recover() != nil {
			m = nil
		}
	}()
	m = new(dns.Msg)
	if m.Unpack(b) != nil {
		return nil
	}
	return m
}
