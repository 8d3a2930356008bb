// Package capture reads files of captured packets, pcap and pcapng, and says what the
// classifier takes each packet for. It reads both forms itself: gopacket, with which its
// tests compare it, brings the decoders of 200 protocols, and each start of the program
// would fill tables of 5 MB for them.
package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// Packet is one packet of a capture.
type Packet struct {
	Number int // from 1
	Time   time.Time
	// Protocol is "udp", "tcp", "sctp", "dccp" or "udplite", "" for all others. Only of the
	// first two a payload is known.
	Protocol string
	// Source and Destination are there for packets of IP. Their ports are 0 where
	// the packet shows none.
	Source, Destination netip.AddrPort
	// Fragment says that this is not the first fragment of a packet, and Partly that it
	// is the first one of several.
	Fragment, Partly bool
	// Urgent says that TCP has a byte that is read apart from the others.
	Urgent  bool
	Payload []byte
	// Missing is how many bytes of the packet the capture lacks.
	Missing int
}

// Is reports whether a file begins as a capture does. It takes nothing out of the
// reader.
func Is(r *bufio.Reader) bool {
	const enough = 12
	begin, _ := r.Peek(enough) // a shorter file is none
	if len(begin) < enough {
		return false
	}
	return isClassic(begin) || isNg(begin) || begin[0] == 0x1f && begin[1] == 0x8b // gzip
}

func isClassic(begin []byte) bool {
	switch binary.LittleEndian.Uint32(begin) {
	case 0xa1b2c3d4, 0xd4c3b2a1, 0xa1b23c4d, 0x4d3cb2a1:
		return true
	}
	return false
}

// isNg also looks at the order of bytes: a message may begin with line breaks.
func isNg(begin []byte) bool {
	const section, order, reversed = 0x0a0d0d0a, 0x1a2b3c4d, 0x4d3c2b1a
	n := binary.LittleEndian.Uint32(begin[8:])
	return binary.LittleEndian.Uint32(begin) == section && (n == order || n == reversed)
}

// Read hands each packet of a capture to take, until that fails. An error that says that
// the capture is damaged comes after all packets that could be read.
func Read(r *bufio.Reader, take func(Packet) error) error {
	next, err := open(r)
	if err != nil {
		return fmt.Errorf("read capture: %w", noEOF(err, "the capture ends within its header"))
	}
	for number := 1; ; number++ {
		r, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read capture: packet %d: %w", number, noEOF(err, "the capture ends within it"))
		}
		p, err := packet(r.data, r.link)
		if err != nil {
			return fmt.Errorf("read capture: packet %d: %w", number, err)
		}
		p.Number, p.Time, p.Missing = number, r.time, max(r.length-len(r.data), 0)
		if err := take(p); err != nil {
			return err
		}
	}
}

// noEOF says what an end of the file in the middle of something means.
func noEOF(err error, text string) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return errors.New(text)
	}
	return err
}
