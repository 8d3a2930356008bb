package capture

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"time"
)

// longest is the most that a capture holds of one packet: tcpdump does not write more.
const longest = 262_144

// record is one packet as a file has it. Its data are its own.
type record struct {
	time   time.Time
	link   link
	length int // that it had on the wire
	data   []byte
}

// reading returns the next packet, and io.EOF after the last one.
type reading func() (record, error)

// open reads the header of a file, which may be compressed.
func open(r *bufio.Reader) (reading, error) {
	begin, err := r.Peek(12)
	if err != nil {
		return nil, err
	}
	if begin[0] == 0x1f && begin[1] == 0x8b {
		plain, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		r = bufio.NewReader(plain)
		if begin, err = r.Peek(12); err != nil {
			return nil, err
		}
	}
	switch {
	case isClassic(begin):
		return openClassic(r)
	case isNg(begin):
		return (&ng{r: r}).next, nil
	}
	return nil, errors.New("it is neither of the form pcap nor pcapng")
}

// openClassic opens a file of the form pcap:
// https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcap/
func openClassic(r *bufio.Reader) (reading, error) {
	header := make([]byte, 24)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	order := orderOf(header[0] == 0xd4 || header[0] == 0x4d)
	fraction := time.Microsecond
	if order.Uint32(header) == 0xa1b23c4d {
		fraction = time.Nanosecond
	}
	kind := link(order.Uint32(header[20:]) & 0xfff_ffff) // the rest says how long check sums are
	at := make([]byte, 16)
	return func() (record, error) {
		if _, err := io.ReadFull(r, at); err != nil {
			return record{}, err
		}
		n, err := lengthOf(order.Uint32(at[8:]))
		if err != nil {
			return record{}, err
		}
		data := make([]byte, n)
		if _, err := io.ReadFull(r, data); err != nil {
			return record{}, whole(err)
		}
		t := time.Unix(int64(order.Uint32(at)), int64(order.Uint32(at[4:]))*int64(fraction))
		return record{t, kind, int(order.Uint32(at[12:])), data}, nil
	}, nil
}

// orderOf is the order of bytes of who wrote the file.
func orderOf(little bool) binary.ByteOrder {
	if little {
		return binary.LittleEndian
	}
	return binary.BigEndian
}

// lengthOf is how much a file has of a packet.
func lengthOf(n uint32) (int, error) {
	if n > longest {
		return 0, fmt.Errorf("it should have %d bytes, and more than %d are too many", n, longest)
	}
	return int(n), nil
}

// whole is for an error in the middle of something.
func whole(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// ng reads a file of the form pcapng:
// https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcapng/
type ng struct {
	r          *bufio.Reader
	order      binary.ByteOrder
	foreign    bool // the section is of a version that is not known
	interfaces []source
	body       []byte
}

// source is an interface of a section.
type source struct {
	link   link
	most   uint32 // of each packet, 0 for all
	second uint64 // in units of its clock
	offset int64  // of its clock, in seconds
}

// The blocks that are read. All others are left out.
const (
	sectionBlock   = 0x0a0d0d0a
	interfaceBlock = 1
	oldBlock       = 2
	simpleBlock    = 3
	packetBlock    = 6
)

// mostOptions is how much a block may have beside the packet.
const mostOptions = 1 << 20

func (f *ng) next() (record, error) {
	for {
		kind, err := f.block()
		if err != nil {
			return record{}, err
		}
		switch {
		case kind == sectionBlock || f.foreign:
		case kind == interfaceBlock:
			err = f.addInterface()
		case kind == packetBlock || kind == simpleBlock || kind == oldBlock:
			return f.packet(kind)
		}
		if err != nil {
			return record{}, err
		}
	}
}

var errBlock = errors.New("a block of the file is damaged")

// block reads the next one into body, and returns its kind.
func (f *ng) block() (uint32, error) {
	head := make([]byte, 8)
	if _, err := io.ReadFull(f.r, head); err != nil {
		return 0, err
	}
	section := binary.LittleEndian.Uint32(head) == sectionBlock // the same in both orders
	if section {
		magic, err := f.r.Peek(4)
		if err != nil {
			return 0, whole(err)
		}
		if !isNg(append(head, magic...)) {
			return 0, errBlock
		}
		f.order = orderOf(magic[0] == 0x4d)
	}
	kind, length := f.order.Uint32(head), f.order.Uint32(head[4:])
	if length < 12 || length%4 != 0 {
		return 0, errBlock
	}
	if length > longest+mostOptions {
		if kind == packetBlock || kind == oldBlock || kind == simpleBlock || section {
			return 0, errBlock
		}
		_, err := io.CopyN(io.Discard, f.r, int64(length)-8)
		return 0, whole(err) // there is no kind 0
	}
	f.body = make([]byte, length-8)
	if _, err := io.ReadFull(f.r, f.body); err != nil {
		return 0, whole(err)
	}
	f.body = f.body[:length-12] // its length stands behind it again
	if section {
		if len(f.body) < 16 {
			return 0, errBlock
		}
		f.interfaces, f.foreign = nil, f.order.Uint16(f.body[4:]) != 1
	}
	return kind, nil
}

func (f *ng) addInterface() error {
	if len(f.body) < 8 {
		return errBlock
	}
	s := source{link: link(f.order.Uint16(f.body)), most: f.order.Uint32(f.body[4:]), second: 1_000_000}
	const resolution, offset = 9, 14
	for rest := f.body[8:]; len(rest) >= 4; {
		kind, n := f.order.Uint16(rest), int(f.order.Uint16(rest[2:]))
		if kind == 0 || len(rest) < 4+n {
			break
		}
		value := rest[4 : 4+n]
		switch {
		case kind == resolution && n == 1:
			s.second = unitsOf(value[0])
		case kind == offset && n == 8:
			s.offset = int64(f.order.Uint64(value))
		}
		rest = rest[min(len(rest), 4+(n+3)&^3):]
	}
	f.interfaces = append(f.interfaces, s)
	return nil
}

// unitsOf is how often a clock ticks in a second: a power of 2 or of 10, 0 if that is too
// often.
func unitsOf(resolution byte) uint64 {
	power := resolution & 0x7f
	if resolution&0x80 != 0 {
		return 1 << power // 0 from 64 on
	}
	units := uint64(1)
	for range power {
		high, low := bits.Mul64(units, 10)
		if high > 0 {
			return 0
		}
		units = low
	}
	return units
}

// at is when the clock of an interface showed something.
func (s source) at(high, low uint32) time.Time {
	if s.second == 0 {
		return time.Time{}
	}
	ticks := uint64(high)<<32 | uint64(low)
	h, l := bits.Mul64(ticks%s.second, uint64(time.Second))
	nanoseconds, _ := bits.Div64(h, l, s.second)
	return time.Unix(int64(ticks/s.second)+s.offset, int64(nanoseconds))
}

// packet reads a block with a packet.
func (f *ng) packet(kind uint32) (record, error) {
	b, header := f.body, 20
	if kind == simpleBlock {
		header = 4
	}
	if len(b) < header {
		return record{}, errBlock
	}
	number, length := f.order.Uint32(b), f.order.Uint32(b[header-4:])
	switch kind {
	case simpleBlock:
		number = 0
	case oldBlock:
		number = uint32(f.order.Uint16(b))
	}
	if uint64(number) >= uint64(len(f.interfaces)) {
		return record{}, fmt.Errorf("it has come by interface %d, which the file does not describe", number)
	}
	s := f.interfaces[number]
	captured := length
	switch {
	case kind != simpleBlock:
		captured = f.order.Uint32(b[12:])
	case s.most > 0:
		captured = min(length, s.most)
	}
	n, err := lengthOf(captured)
	if err != nil {
		return record{}, err
	}
	if n > len(b)-header {
		return record{}, errBlock
	}
	r := record{link: s.link, length: int(length), data: b[header : header+n]}
	if kind != simpleBlock {
		r.time = s.at(f.order.Uint32(b[4:]), f.order.Uint32(b[8:]))
	}
	return r, nil
}
