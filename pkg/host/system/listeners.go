package system

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Listeners returns the UDP and TCP ports of the calling thread's network
// namespace that somebody outside this host could speak to, each once, sorted.
// Whose sockets they are is told as far as this process may know; root may know
// all.
func Listeners() ([]ruleset.Listener, error) {
	inodes := map[string]ruleset.Listener{} // by the inode of the socket
	for _, protocol := range []ruleset.Protocol{ruleset.UDP, ruleset.TCP} {
		for _, family := range []string{"", "6"} {
			if err := readSockets(protocol, family, inodes); err != nil {
				return nil, err
			}
		}
	}
	nameOwners(inodes)
	var list []ruleset.Listener
	for _, l := range inodes {
		list = append(list, l)
	}
	slices.SortFunc(list, ruleset.Listener.Compare)
	return slices.Compact(list), nil
}

// The columns of /proc/net/udp and tcp, Documentation/networking/proc_net_tcp.rst.
const (
	columnLocal  = 1
	columnState  = 3
	columnInode  = 9
	stateListens = "0A" // TCP_LISTEN
	stateUnbound = "07" // TCP_CLOSE: a UDP socket that is connected to nobody
)

func readSockets(protocol ruleset.Protocol, family string, inodes map[string]ruleset.Listener) error {
	// The file of the thread, whose namespace may not be the process's.
	f, err := os.Open("/proc/thread-self/net/" + string(protocol) + family)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel without IPv6
	}
	if err != nil {
		return fmt.Errorf("read sockets: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Scan() // the headings
	for lines.Scan() {
		columns := strings.Fields(lines.Text())
		if len(columns) <= columnInode || columns[columnState] != stateListens && columns[columnState] != stateUnbound {
			continue
		}
		local, port, _ := strings.Cut(columns[columnLocal], ":")
		address, ok := socketAddress(local)
		n, err := strconv.ParseUint(port, 16, 16)
		if err != nil || n == 0 || !ok || address.IsLoopback() {
			continue
		}
		inodes[columns[columnInode]] = ruleset.Listener{Protocol: protocol, Port: uint16(n)}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read sockets: %w", err)
	}
	return nil
}

// socketAddress reads an address as the kernel prints it: words of 32 bits, each
// as a number of this machine's byte order.
func socketAddress(text string) (netip.Addr, bool) {
	var b []byte
	for ; len(text) >= 8; text = text[8:] {
		word, err := strconv.ParseUint(text[:8], 16, 32)
		if err != nil {
			return netip.Addr{}, false
		}
		b = binary.NativeEndian.AppendUint32(b, uint32(word))
	}
	a, ok := netip.AddrFromSlice(b)
	return a.Unmap(), ok
}

// nameOwners finds the programs that have the sockets open.
func nameOwners(inodes map[string]ruleset.Listener) {
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil {
			continue // the process is gone, or is not ours to look into
		}
		inode, isSocket := strings.CutPrefix(target, "socket:[")
		if !isSocket {
			continue
		}
		inode = strings.TrimSuffix(inode, "]")
		if l, ok := inodes[inode]; ok {
			name, _ := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(link)), "comm"))
			l.Program = plainName(string(name))
			inodes[inode] = l
		}
	}
}

// plainName leaves of a process's name what is harmless wherever it is written:
// every process names itself, with line breaks and control characters if it
// likes.
func plainName(comm string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r) {
			return r
		}
		return -1
	}, comm)
}
