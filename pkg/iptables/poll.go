package iptables

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"iter"
	"maps"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var bigEndian = binary.BigEndian

// poll looks at what announces no changes, without running a program: sets, and the
// tables of the legacy flavour.
type poll struct {
	sets    setConn
	sockets map[bool]int // by family; none in the nft flavour
	members members
}

// members are the elements of sets as they were last read. The number of them, which costs
// nothing, does not say that one has taken another's place.
type members struct {
	hash uint64
	read time.Time
	took time.Duration
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
	names := slices.Sorted(maps.Keys(headers))
	for _, name := range names {
		h := headers[name]
		if h.timeout && !isArmedSet(name) {
			h.count = 0 // bans come and go
		}
		fmt.Fprintf(hash, "%s %s %d\n", name, h, h.count)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return headers[name].timeout })
	fmt.Fprintln(hash, p.members.look(ctx, p.sets, names))
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

// look returns a hash of the elements of sets. It reads them so often that it takes no more
// than one part in restAfterLook of the time; between that, the hash is what it was.
func (m *members) look(ctx context.Context, sets setConn, names []string) uint64 {
	began := time.Now()
	if began.Sub(m.read) < restAfterLook*m.took {
		return m.hash
	}
	hash := fnv.New64a()
	for _, name := range names {
		answers, err := sets.list(ctx, name)
		if err != nil {
			return m.hash // it has just gone, which the next look sees
		}
		fmt.Fprintln(hash, name)
		for _, answer := range answers {
			hash.Write(elementsIn(answer))
		}
	}
	m.hash, m.read, m.took = hash.Sum64(), began, time.Since(began)
	return m.hash
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

// offsets are where the kernel has the parts of an entry of a table: what lies before its
// target, its length, and its counters (struct ipt_entry and struct ip6t_entry).
type offsets struct{ target, next, counters int }

func offsetsOf(v6 bool) offsets {
	if v6 {
		return offsets{140, 142, 152}
	}
	return offsets{88, 90, 96}
}

// entries are those of a table, one after the other.
func (s offsets) entries(table []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(table) >= s.counters+16 {
			length := int(binary.NativeEndian.Uint16(table[s.next:]))
			if length < s.counters+16 || length > len(table) || !yield(table[:length]) {
				return
			}
			table = table[length:]
		}
	}
}

// readTable reads a table of the legacy flavour as the kernel keeps it, without its
// counters. A table that the kernel has not is not made.
func readTable(fd int, v6 bool, table string) ([]byte, error) {
	entries, err := rawTable(fd, v6, table)
	of := offsetsOf(v6)
	for e := range of.entries(entries) {
		clear(e[of.counters-4 : of.counters+16]) // where a walk came from is the kernel's scratch
	}
	return entries, err
}

func levelOf(v6 bool) int {
	if v6 {
		return unix.SOL_IPV6
	}
	return unix.SOL_IP
}

// tableInfo reads what the kernel says about a table of the legacy flavour (struct
// ipt_getinfo). A table that the kernel has not is not made.
func tableInfo(fd int, v6 bool, table string) ([]byte, error) {
	if !slices.Contains(legacyTables(v6), table) {
		return nil, unix.ENOENT
	}
	info := make([]byte, infoSize)
	copy(info, table)
	return info, getOption(fd, levelOf(v6), getInfo, info)
}

// rawTable is readTable with the counters.
func rawTable(fd int, v6 bool, table string) ([]byte, error) {
	info, err := tableInfo(fd, v6, table)
	if err != nil {
		return nil, err
	}
	size := int(binary.NativeEndian.Uint32(info[sizeInInfo:]))
	blob := make([]byte, entriesHead+size)
	copy(blob, table)
	binary.NativeEndian.PutUint32(blob[nameSize:], uint32(size))
	if err := getOption(fd, levelOf(v6), getEntries, blob); err != nil {
		return nil, err
	}
	return blob[entriesHead:], nil
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
