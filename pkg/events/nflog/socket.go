// Package nflog receives the packets that the rules drop: the kernel sends the beginning of
// some of them to the program that listens on a group of NFLOG. Nothing depends on that:
// without a listener, or while it is too slow, packets are dropped all the same.
//
// Read works in the network namespace of the thread that has called Open.
package nflog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"
	links "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// room is what the kernel may keep for a reader that is busy.
const room = 4 << 20

// What linux/netfilter/nfnetlink_log.h has.
const (
	packetMessage = unix.NFNL_SUBSYS_ULOG << 8
	configMessage = unix.NFNL_SUBSYS_ULOG<<8 | 1

	configCommand, commandBind = 1, 1
	configMode, copyPacket     = 2, 2
	configTimeout              = 4
	configFlags, countThem     = 6, 1

	attributeInterface = 4
	attributePayload   = 9
	attributePrefix    = 10
	attributeSequence  = 12
)

// ErrTaken says that another process listens on the group.
var ErrTaken = errors.New("another program listens on NFLOG group 5060, for example a second ringfence run")

// Reader receives packets.
type Reader struct {
	conn  *netlink.Conn
	links *links.Handle
	// Signature names the signature that a message matches, "" for none.
	Signature func(message []byte) string

	next  uint32 // the number that the kernel gives to the next packet
	begun bool
	lost  atomic.Uint64
	names map[int]string // of interfaces
}

// Open begins to listen.
func Open() (*Reader, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open netfilter socket: %w", err)
	}
	handle, err := links.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	r := &Reader{conn: conn, links: handle, names: map[int]string{}}
	_ = conn.SetReadBuffer(room) // with less room more is lost, and counted
	if err := r.bind(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Close ends listening.
func (r *Reader) Close() {
	_ = r.conn.Close() // nothing is written
	r.links.Close()
}

// bind asks for the packets of the group. Packets may come before the answer.
func (r *Reader) bind() error {
	a := netlink.NewAttributeEncoder()
	a.ByteOrder = binary.BigEndian
	a.Bytes(configCommand, []byte{commandBind})
	a.Bytes(configMode, append(binary.BigEndian.AppendUint32(nil, ruleset.LogBytes), copyPacket, 0))
	a.Uint32(configTimeout, 20) // packets wait for others for at most so many hundredths of a second
	a.Uint16(configFlags, countThem)
	attributes, err := a.Encode()
	if err != nil {
		return fmt.Errorf("listen to dropped packets: %w", err)
	}
	header := binary.BigEndian.AppendUint16([]byte{unix.AF_UNSPEC, unix.NFNETLINK_V0}, ruleset.LogGroup)
	sent, err := r.conn.Send(netlink.Message{
		Header: netlink.Header{Type: configMessage, Flags: netlink.Request | netlink.Acknowledge}, Data: append(header, attributes...),
	})
	for err == nil {
		var messages []netlink.Message
		if messages, err = r.conn.Receive(); errors.Is(err, unix.ENOBUFS) {
			err = nil
		}
		for _, m := range messages {
			if m.Header.Type == netlink.Error && m.Header.Sequence == sent.Header.Sequence {
				return nil
			}
		}
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EBUSY) {
		// Who may not use netfilter at all is refused before anything listens.
		err = ErrTaken
	}
	return fmt.Errorf("listen to dropped packets: %w", err)
}

// Lost is how many packets the kernel had to leave out since the last call.
func (r *Reader) Lost() uint64 { return r.lost.Swap(0) }

// logged is what the kernel says of a packet.
type logged struct {
	reason    string // the prefix of the rule
	link      int
	beginning []byte
}

// Looking at packets is limited in time, so that a flood leaves time for everything else:
// 10,000 may come at once, more than the rules report in a minute for one reason, and then
// 2,000 a second.
const (
	mostAtOnce  = 10_000
	mostASecond = 2000
)

// budget is how many packets may be looked at now.
type budget struct {
	left float64
	at   time.Time
}

// spend takes some packets off, and returns how long to wait until there is something left.
func (b *budget) spend(packets int, now time.Time) time.Duration {
	b.left = min(mostAtOnce, b.left+mostASecond*now.Sub(b.at).Seconds()) - float64(packets)
	b.at = now
	return time.Duration(max(0, -b.left) / mostASecond * float64(time.Second))
}

// receive hands packets to take until the context ends. While there is no budget, packets
// wait in the kernel, which leaves out those that it has no room for.
func (r *Reader) receive(ctx context.Context, take func(logged)) error {
	stop := context.AfterFunc(ctx, func() { _ = r.conn.SetReadDeadline(time.Now()) })
	defer stop()
	for b := (budget{mostAtOnce, time.Now()}); ; {
		messages, err := r.conn.Receive()
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, unix.ENOBUFS) {
			continue // the numbers of the packets say how many
		}
		if err != nil {
			return fmt.Errorf("receive dropped packets: %w", err)
		}
		packets := 0
		for _, m := range messages {
			if l, ok := r.parse(m); ok {
				packets++
				take(l)
			}
		}
		clear(r.names) // interfaces are renamed
		if length := b.spend(packets, time.Now()); length > 0 {
			pause(ctx, length)
		}
	}
}

func pause(ctx context.Context, length time.Duration) {
	timed, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	<-timed.Done()
}

// parse reads a message of the kernel.
func (r *Reader) parse(m netlink.Message) (l logged, ok bool) {
	const header = 4 // struct nfgenmsg
	if m.Header.Type != packetMessage || len(m.Data) < header {
		return l, false
	}
	a, err := netlink.NewAttributeDecoder(m.Data[header:])
	if err != nil {
		return l, false
	}
	a.ByteOrder = binary.BigEndian
	for a.Next() {
		switch a.Type() {
		case attributeInterface:
			l.link = int(a.Uint32())
		case attributePayload:
			l.beginning = a.Bytes()
		case attributePrefix:
			l.reason = strings.TrimSpace(strings.TrimRight(a.String(), "\x00"))
		case attributeSequence:
			n := a.Uint32()
			if r.begun {
				r.lost.Add(uint64(n - r.next))
			}
			r.next, r.begun = n+1, true
		}
	}
	return l, a.Err() == nil && len(l.beginning) > 0
}

// nameOf is the name of an interface, "" if there is none of that number any more.
func (r *Reader) nameOf(index int) string {
	if index == 0 {
		return ""
	}
	if name, known := r.names[index]; known {
		return name
	}
	name := ""
	if link, err := r.links.LinkByIndex(index); err == nil {
		name = link.Attrs().Name
	}
	r.names[index] = name
	return name
}
