package iptables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The messages and attributes of ipset, linux/netfilter/ipset/ip_set.h.
const (
	ipsetProtocol = 6 // since Linux 2.6.39

	cmdProtocol = 1
	cmdCreate   = 2
	cmdDestroy  = 3
	cmdSwap     = 6
	cmdList     = 7
	cmdAdd      = 9
	cmdDelete   = 10

	attrProtocol   = 1
	attrSetName    = 2
	attrTypeName   = 3
	attrSetName2   = 3
	attrRevision   = 4
	attrFamily     = 5
	attrFlags      = 6
	attrData       = 7
	attrElements   = 8
	attrLineNumber = 9

	dataIP         = 1
	dataPrefix     = 3
	dataPort       = 4
	dataTimeout    = 6
	dataProtocol   = 7
	dataFlags      = 8
	dataLineNumber = 9
	dataInitVal    = 17
	dataHashSize   = 18
	dataMaxElem    = 19
	dataBucketSize = 21
	dataCount      = 24
	dataReferences = 25
	dataMemSize    = 26
	dataBytes      = 24 // of an element, as the next ones
	dataPackets    = 25
	dataComment    = 26
	dataPadding    = 30

	ipv4Address = 1
	ipv6Address = 2

	flagListHeader   = 1 << 2
	flagNoMatch      = 1 << 2
	flagWithCounters = 1 << 3
	flagWithComment  = 1 << 4

	errSetType  = syscall.Errno(4098)
	errSetBusy  = syscall.Errno(4100)
	errSetExist = syscall.Errno(4103)
	errSetFull  = syscall.Errno(4352)
)

// setHeader is a set without its elements.
type setHeader struct {
	name, typeName string
	family         byte
	revision       byte
	maxElem        uint32
	timeout        bool
	defaultTimeout uint32
	comment        bool
	counters       bool
	hashSize       uint32 // only of one that is to be made; 0 is what the kernel chooses
	count          uint32
	foreign        []string // what ringfence never sets
}

// entry is one element of a set.
type entry struct {
	prefix netip.Prefix
	// port is one of a transport protocol, by its number, where the set keeps both.
	port       uint16
	protocol   uint8
	timeout    uint32 // seconds
	hasTimeout bool
	comment    string
	// packets and bytes are what a set that counts has counted.
	packets, bytes uint64
	foreign        string // what ringfence never writes
}

// flags are those of the create command.
func (h setHeader) flags() (flags uint32) {
	if h.comment {
		flags |= flagWithComment
	}
	if h.counters {
		flags |= flagWithCounters
	}
	return flags
}

// setConn talks to ipset, in the network namespace of the thread that has opened it.
type setConn struct{ conn *netlink.Conn }

func openSets() (setConn, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return setConn{}, fmt.Errorf("open netfilter socket: %w", kernelError(err))
	}
	return setConn{conn}, nil
}

func (c setConn) close() { c.conn.Close() }

// ask sends one message and returns the answers.
func (c setConn) ask(ctx context.Context, command uint16, flags netlink.HeaderFlags, attributes func(*netlink.AttributeEncoder)) ([]netlink.Message, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	encoder := netlink.NewAttributeEncoder()
	encoder.Uint8(attrProtocol, ipsetProtocol)
	if attributes != nil {
		attributes(encoder)
	}
	data, err := encoder.Encode()
	if err != nil {
		return nil, fmt.Errorf("write netlink message: %w", err)
	}
	answers, err := c.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_IPSET<<8 | command), Flags: netlink.Request | flags},
		Data:   append([]byte{unix.AF_INET, unix.NFNETLINK_V0, 0, 0}, data...),
	})
	var errno syscall.Errno
	if errors.As(err, &errno) && errno >= 4096 {
		err = errno // the library knows no names of ipset's own errors
	}
	return answers, err
}

// probe finds out whether the kernel has ipset, and whether this process may use it.
func (c setConn) probe(ctx context.Context) error {
	_, err := c.ask(ctx, cmdProtocol, 0, nil)
	if errors.Is(err, unix.EINVAL) {
		return missing("this kernel has no ipset: load the module ip_set (modprobe ip_set), or install the package that has it")
	}
	if err != nil {
		return fmt.Errorf("ask for the version of ipset: %w", kernelError(err))
	}
	return nil
}

// headers returns all sets whose names begin with ringfence's prefix, without their
// elements.
func (c setConn) headers(ctx context.Context) (map[string]setHeader, error) {
	answers, err := c.ask(ctx, cmdList, netlink.Dump, func(e *netlink.AttributeEncoder) {
		e.ByteOrder = binary.BigEndian
		e.Uint32(attrFlags|netlink.NetByteOrder, flagListHeader)
	})
	if err != nil {
		return nil, fmt.Errorf("list sets: %w", setError(err))
	}
	found := map[string]setHeader{}
	for _, m := range answers {
		h, _, err := decodeSet(m)
		if err != nil {
			return nil, fmt.Errorf("read set: %w", err)
		}
		if isOurSet(h.name) {
			found[h.name] = h
		}
	}
	return found, nil
}

// list returns the answers about a set with its elements.
func (c setConn) list(ctx context.Context, name string) ([]netlink.Message, error) {
	answers, err := c.ask(ctx, cmdList, netlink.Dump, func(e *netlink.AttributeEncoder) { e.String(attrSetName, name) })
	if err != nil {
		return nil, fmt.Errorf("list set %s: %w", name, setError(err))
	}
	return answers, nil
}

// elements returns the elements of a set.
func (c setConn) elements(ctx context.Context, name string) ([]entry, error) {
	answers, err := c.list(ctx, name)
	if err != nil {
		return nil, err
	}
	var all []entry
	for _, m := range answers {
		_, entries, err := decodeSet(m)
		if err != nil {
			return nil, fmt.Errorf("read set %s: %w", name, err)
		}
		all = append(all, entries...)
	}
	return all, nil
}

// create makes a set.
func (c setConn) create(ctx context.Context, h setHeader) error {
	_, err := c.ask(ctx, cmdCreate, netlink.Acknowledge|netlink.Create|netlink.Excl, func(e *netlink.AttributeEncoder) {
		e.String(attrSetName, h.name)
		e.String(attrTypeName, h.typeName)
		e.Uint8(attrRevision, h.revision)
		e.Uint8(attrFamily, h.family)
		e.Nested(attrData, func(n *netlink.AttributeEncoder) error {
			n.ByteOrder = binary.BigEndian
			n.Uint32(dataMaxElem|netlink.NetByteOrder, h.maxElem)
			if h.hashSize > 0 {
				n.Uint32(dataHashSize|netlink.NetByteOrder, h.hashSize)
			}
			if h.timeout {
				n.Uint32(dataTimeout|netlink.NetByteOrder, h.defaultTimeout)
			}
			if flags := h.flags(); flags != 0 {
				n.Uint32(dataFlags|netlink.NetByteOrder, flags)
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("create set %s: %w", h.name, setError(err))
	}
	return nil
}

// destroy removes a set; one that is not there is no error.
func (c setConn) destroy(ctx context.Context, name string) error {
	_, err := c.ask(ctx, cmdDestroy, netlink.Acknowledge, func(e *netlink.AttributeEncoder) { e.String(attrSetName, name) })
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("destroy set %s: %w", name, setError(err))
	}
	return nil
}

// swap exchanges the contents of two sets, under the rules that use them.
func (c setConn) swap(ctx context.Context, a, b string) error {
	_, err := c.ask(ctx, cmdSwap, netlink.Acknowledge, func(e *netlink.AttributeEncoder) {
		e.String(attrSetName, a)
		e.String(attrSetName2, b)
	})
	if err != nil {
		return fmt.Errorf("swap sets %s and %s: %w", a, b, setError(err))
	}
	return nil
}

// mostPerMessage is how many elements one message takes. A message of one element costs
// six to twenty-five times as much for each.
const mostPerMessage = 1000

// add adds elements. One that is there takes over what is written anew.
func (c setConn) add(ctx context.Context, name string, entries []entry) error {
	return c.change(ctx, cmdAdd, name, entries)
}

// remove deletes elements. One that is not there is no error.
func (c setConn) remove(ctx context.Context, name string, entries []entry) error {
	return c.change(ctx, cmdDelete, name, entries)
}

func (c setConn) change(ctx context.Context, command uint16, name string, entries []entry) error {
	for chunk := range slices.Chunk(entries, mostPerMessage) {
		_, err := c.ask(ctx, command, netlink.Acknowledge, func(e *netlink.AttributeEncoder) {
			e.String(attrSetName, name)
			e.Uint32(attrLineNumber, 1) // without a number, a list of elements is refused
			e.Nested(attrElements, func(list *netlink.AttributeEncoder) error {
				for _, element := range chunk {
					list.Nested(attrData, element.encode)
				}
				return nil
			})
		})
		if errors.Is(err, errSetExist) {
			continue // others have deleted it before us
		}
		if err != nil {
			return fmt.Errorf("change elements of set %s: %w", name, setError(err))
		}
	}
	return nil
}

func (x entry) encode(e *netlink.AttributeEncoder) error {
	e.ByteOrder = binary.BigEndian
	e.Nested(dataIP, func(ip *netlink.AttributeEncoder) error {
		kind := uint16(ipv4Address)
		if x.prefix.Addr().Is6() {
			kind = ipv6Address
		}
		ip.Bytes(kind|netlink.NetByteOrder, x.prefix.Addr().AsSlice())
		return nil
	})
	e.Uint8(dataPrefix, uint8(x.prefix.Bits()))
	if x.protocol != 0 {
		e.Uint16(dataPort|netlink.NetByteOrder, x.port)
		e.Uint8(dataProtocol, x.protocol)
	}
	if x.hasTimeout {
		e.Uint32(dataTimeout|netlink.NetByteOrder, x.timeout)
	}
	if x.comment != "" {
		e.String(dataComment, x.comment)
	}
	if x.packets > 0 {
		e.Uint64(dataBytes|netlink.NetByteOrder, x.bytes)
		e.Uint64(dataPackets|netlink.NetByteOrder, x.packets)
	}
	e.Uint32(dataLineNumber|netlink.NetByteOrder, 1)
	return nil
}
