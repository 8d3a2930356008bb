package iptables

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

var bigEndian = binary.BigEndian

// poll looks at what announces no changes, without running a program: sets, and the
// tables of the legacy flavour.
type poll struct {
	sets    setConn
	sockets map[bool]int // by family; none in the nft flavour
}

func newPoll(f Flavour) (*poll, error) {
	conn, err := openSets()
	if err != nil {
		return nil, err
	}
	p := &poll{sets: conn, sockets: map[bool]int{}}
	if f != Legacy {
		return p, nil
	}
	for _, v6 := range []bool{false, true} {
		fd, err := tableSocket(v6)
		if err != nil {
			p.close()
			return nil, err
		}
		p.sockets[v6] = fd
	}
	return p, nil
}

// tableSocket opens a socket that tables of the legacy flavour are read over.
func tableSocket(v6 bool) (int, error) {
	family := unix.AF_INET
	if v6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return -1, fmt.Errorf("open socket: %w", kernelError(err))
	}
	return fd, nil
}

func (p *poll) close() {
	p.sets.close()
	for _, fd := range p.sockets {
		unix.Close(fd)
	}
}

// look returns a hash of what is there.
func (p *poll) look(ctx context.Context) (uint64, error) {
	hash := fnv.New64a()
	headers, err := p.sets.headers(ctx)
	if err != nil {
		return 0, err
	}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		h := headers[name]
		if h.timeout && !isArmedSet(name) {
			h.count = 0 // bans come and go
		}
		fmt.Fprintf(hash, "%s %s %d\n", name, h, h.count)
	}
	for _, v6 := range []bool{false, true} {
		fd, ok := p.sockets[v6]
		if !ok {
			continue
		}
		for _, table := range tables {
			blob, err := readTable(fd, v6, table)
			if err != nil {
				continue // the kernel does not have it
			}
			fmt.Fprintln(hash, table, v6)
			hash.Write(blob)
		}
	}
	return hash.Sum64(), nil
}

// The options of ip_tables and ip6_tables sockets, linux/netfilter_ipv4/ip_tables.h and
// linux/netfilter_ipv6/ip6_tables.h.
const (
	getInfo     = 64
	getEntries  = 65
	infoSize    = 84
	sizeInInfo  = 80
	nameSize    = 32
	entriesHead = 40 // name, size, and padding to the entries
)

// readTable reads a table of the legacy flavour as the kernel keeps it, without its
// counters. A table that the kernel has not is not made.
func readTable(fd int, v6 bool, table string) ([]byte, error) {
	level, next, counters := unix.SOL_IP, 90, 96
	if v6 {
		level, next, counters = unix.SOL_IPV6, 142, 152
	}
	if !slices.Contains(legacyTables(v6), table) {
		return nil, unix.ENOENT
	}
	info := make([]byte, infoSize)
	copy(info, table)
	if err := getOption(fd, level, getInfo, info); err != nil {
		return nil, err
	}
	size := int(binary.NativeEndian.Uint32(info[sizeInInfo:]))
	blob := make([]byte, entriesHead+size)
	copy(blob, table)
	binary.NativeEndian.PutUint32(blob[nameSize:], uint32(size))
	if err := getOption(fd, level, getEntries, blob); err != nil {
		return nil, err
	}
	entries := blob[entriesHead:]
	for at := 0; at+counters+16 <= len(entries); {
		clear(entries[at+counters-4 : at+counters+16]) // where a walk came from is the kernel's scratch
		length := int(binary.NativeEndian.Uint16(entries[at+next:]))
		if length == 0 {
			break
		}
		at += length
	}
	return entries, nil
}

func getOption(fd, level, option int, value []byte) error {
	length := uint32(len(value))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&value[0])), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
