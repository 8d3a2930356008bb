package system

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/host"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Listeners returns the UDP and TCP ports of the calling thread's network namespace
// that are reachable from outside this host, each once, sorted. The programs are named
// as far as this process may see them; root sees all.
func Listeners() ([]ruleset.Listener, error) {
	inodes := map[string]ruleset.Listener{} // by the inode of the socket
	for _, protocol := range []ruleset.Protocol{ruleset.UDP, ruleset.TCP} {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
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
	same := func(a, b ruleset.Listener) bool { return a.Compare(b) == 0 }
	for i := range list {
		list[i].Public = slices.ContainsFunc(list, func(l ruleset.Listener) bool { return l.Public && same(l, list[i]) })
	}
	return slices.CompactFunc(list, same), nil
}

// The states of a socket that accepts packets from any sender
// (include/net/tcp_states.h).
const (
	stateListen = 10 // TCP
	stateClose  = 7  // UDP, not connected
)

// socketsOf asks the kernel by sock_diag(7).
func socketsOf(protocol ruleset.Protocol, family uint8) ([]*netlink.Socket, error) {
	ask := netlink.SocketDiagUDP
	if protocol == ruleset.TCP {
		ask = netlink.SocketDiagTCP
	}
	sockets, err := ask(family)
	if family == unix.AF_INET6 && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EAFNOSUPPORT)) {
		return nil, nil // a kernel without IPv6
	}
	if err != nil {
		return nil, fmt.Errorf("read %s sockets: %w", protocol, err)
	}
	return sockets, nil
}

// readSockets adds the sockets that accept packets from any sender, by their inodes.
func readSockets(protocol ruleset.Protocol, family uint8, inodes map[string]ruleset.Listener) error {
	state := uint8(stateClose)
	if protocol == ruleset.TCP {
		state = stateListen
	}
	sockets, err := socketsOf(protocol, family)
	if err != nil {
		return err
	}
	for _, s := range sockets {
		address, ok := netip.AddrFromSlice(s.ID.Source)
		if s.State != state || s.ID.SourcePort == 0 || !ok || address.Unmap().IsLoopback() {
			continue
		}
		inodes[strconv.FormatUint(uint64(s.INode), 10)] = ruleset.Listener{
			Protocol: protocol, Port: s.ID.SourcePort, Public: address.IsUnspecified() || ruleset.IsPublic(address.Unmap()),
		}
	}
	return nil
}

// nameOwners finds the programs that have the sockets open.
func nameOwners(inodes map[string]ruleset.Listener) {
	eachSocket(func(inode string, process func() host.Program) {
		if l, ok := inodes[inode]; ok {
			l.Program = process().Name
			inodes[inode] = l
		}
	})
}

// eachSocket hands the inode of each open socket to take, with what reads whose it is.
func eachSocket(take func(inode string, process func() host.Program)) {
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil {
			continue // the process is gone, or belongs to another user
		}
		inode, isSocket := strings.CutPrefix(target, "socket:[")
		if !isSocket {
			continue
		}
		take(strings.TrimSuffix(inode, "]"), func() host.Program {
			folder := filepath.Dir(filepath.Dir(link))
			name, _ := os.ReadFile(filepath.Join(folder, "comm")) // the process may have ended
			pid, _ := strconv.Atoi(filepath.Base(folder))
			return host.Program{Name: plainName(string(name)), PID: pid}
		})
	}
}

// plainName removes from a process's name what could do harm in output: a process
// chooses its own name, and may use line breaks and control characters.
func plainName(comm string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r) {
			return r
		}
		return -1
	}, comm)
}
