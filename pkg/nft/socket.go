package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// reader asks the kernel about nftables and keeps the answers raw. The
// library's own getters silently drop what they do not know (socket, rt, osf),
// and then a foreign change looks like none.
type reader struct {
	conn   *netlink.Conn
	family byte // of tables
	raw    syscall.RawConn
	buf    []byte
}

// dumpSize is what one read takes. The kernel remembers the largest read of a
// socket and fills the messages of a dump to it, up to 32 KiB; a set is walked
// from its start for every message, so large ones matter.
const dumpSize = 64 << 10

func newReader() (*reader, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open netfilter socket: %w", kernelError(err))
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("open netfilter socket: %w", err)
	}
	return &reader{conn: conn, family: unix.NFPROTO_INET, raw: raw, buf: make([]byte, dumpSize)}, nil
}

func (r *reader) close() { r.conn.Close() }

// errInterrupted says that a dump did not see one state from start to end.
var errInterrupted = errors.New("the ruleset changed while it was read")

// steadily reads again what a change has interrupted.
func steadily(read func() error) error {
	err := errInterrupted
	for n := 0; n < maxDumps && errors.Is(err, errInterrupted); n++ {
		err = read()
	}
	return err
}

// errMalformed says that the kernel's answer ends within a message.
var errMalformed = errors.New("the kernel's answer is malformed")

// get asks for one object and returns the answer's attributes.
func (r *reader) get(ctx context.Context, message uint16, attributes ...netlink.Attribute) ([]byte, error) {
	var found []byte
	err := r.ask(ctx, message, 0, attributes, func(payload []byte) { found = slices.Clone(payload) })
	return found, err
}

// dump asks for all objects of a kind and hands each one's attributes to f, which
// must copy what it keeps: the next answer overwrites them.
func (r *reader) dump(ctx context.Context, message uint16, f func([]byte), attributes ...netlink.Attribute) error {
	return r.ask(ctx, message, netlink.Dump, attributes, f)
}

func (r *reader) ask(ctx context.Context, message uint16, flags netlink.HeaderFlags, attributes []netlink.Attribute, f func([]byte)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	data, err := netlink.MarshalAttributes(attributes)
	if err != nil {
		return fmt.Errorf("write netlink message: %w", err)
	}
	header := []byte{r.family, unix.NFNETLINK_V0, 0, 0}
	sent, err := r.conn.Send(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | message), Flags: netlink.Request | flags},
		Data:   append(header, data...),
	})
	if err != nil {
		return kernelError(err)
	}
	interrupted := false
	for {
		batch, err := r.receive()
		if err != nil {
			return kernelError(err)
		}
		for m := range messages(batch) {
			switch {
			case m.malformed:
				return errMalformed
			case m.sequence != sent.Header.Sequence:
				continue // the late answer to a question that was given up
			case m.kind == unix.NLMSG_DONE || m.kind == unix.NLMSG_ERROR:
				interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
				if errno := m.errno(); errno != 0 {
					if errno == unix.EINTR {
						return errInterrupted
					}
					return kernelError(errno)
				}
				if interrupted {
					return errInterrupted
				}
				return nil
			case len(m.payload) >= 4:
				interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
				f(m.payload[4:]) // behind struct nfgenmsg
				if flags&netlink.Dump == 0 {
					return nil
				}
			}
		}
	}
}

func (r *reader) receive() ([]byte, error) {
	var n int
	var err error
	if rawErr := r.raw.Read(func(fd uintptr) bool {
		n, _, err = unix.Recvfrom(int(fd), r.buf, 0)
		return err != unix.EAGAIN && err != unix.EINTR
	}); rawErr != nil {
		return nil, rawErr
	}
	return r.buf[:max(n, 0)], err
}

// message is one netlink message of a datagram.
type message struct {
	kind, flags uint16
	sequence    uint32
	payload     []byte
	// malformed is set for what is no message: the rest of the batch cannot be read.
	malformed bool
}

// errno reads the status at the start of an error or of the end of a dump.
func (m message) errno() unix.Errno {
	if len(m.payload) < 4 {
		return 0
	}
	return unix.Errno(-int32(binary.NativeEndian.Uint32(m.payload)))
}

func messages(b []byte) iter.Seq[message] {
	return func(yield func(message) bool) {
		for len(b) >= unix.NLMSG_HDRLEN {
			length := int(binary.NativeEndian.Uint32(b))
			if length < unix.NLMSG_HDRLEN || length > len(b) {
				yield(message{malformed: true})
				return
			}
			m := message{
				kind:     binary.NativeEndian.Uint16(b[4:]),
				flags:    binary.NativeEndian.Uint16(b[6:]),
				sequence: binary.NativeEndian.Uint32(b[8:]),
				payload:  b[unix.NLMSG_HDRLEN:length],
			}
			if !yield(m) {
				return
			}
			b = b[min(align(length), len(b)):]
		}
	}
}

// attributes walks over netlink attributes: type, without the bits that say
// how it is encoded, and value.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.NLA_HDRLEN {
			length := int(binary.NativeEndian.Uint16(b))
			if length < unix.NLA_HDRLEN || length > len(b) {
				return
			}
			kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(kind, b[unix.NLA_HDRLEN:length]) {
				return
			}
			b = b[min(align(length), len(b)):]
		}
	}
}

func align(n int) int { return (n + 3) &^ 3 }

// attribute returns the value of the first attribute of a type, nil if there is
// none.
func attribute(b []byte, kind uint16) []byte {
	for k, value := range attributes(b) {
		if k == kind {
			return value
		}
	}
	return nil
}

// number reads an integer in network byte order, as nftables writes them.
func number(b []byte) uint64 {
	switch len(b) {
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	case 8:
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// text reads a string that may end in NUL.
func text(b []byte) string {
	if n := len(b); n > 0 && b[n-1] == 0 {
		b = b[:n-1]
	}
	return string(b)
}

func textAttribute(kind uint16, s string) netlink.Attribute {
	return netlink.Attribute{Type: kind, Data: append([]byte(s), 0)}
}
