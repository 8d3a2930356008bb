package system

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/host"
)

// LogReader returns the other program that receives what rules send to a group of NFLOG, in
// the network namespace of the calling thread. It is nil if none does, if it is this
// program, run by another process, or if it cannot be seen from here.
func LogReader(group uint16) (*host.Program, error) {
	groups, err := procTable("netfilter/nfnetlink_log")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the module is not loaded: nothing is sent to anybody
	}
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(groups, func(row []string) bool { return len(row) > 1 && row[0] == strconv.Itoa(int(group)) })
	if i < 0 {
		return nil, nil
	}
	sockets, err := procTable("netlink")
	if err != nil {
		return nil, err
	}
	const protocol, port, inode = 1, 2, 9 // columns
	var reader *host.Program
	for _, row := range sockets {
		if len(row) <= inode || row[protocol] != strconv.Itoa(unix.NETLINK_NETFILTER) || row[port] != groups[i][1] {
			continue
		}
		eachSocket(func(n string, process func() host.Program) {
			if p := process; n == row[inode] {
				reader = new(p())
			}
		})
	}
	if reader == nil || reader.Name == ownName() {
		return nil, nil
	}
	return reader, nil
}

// ownName is the name of this program, as the kernel has it.
func ownName() string {
	name, _ := os.ReadFile("/proc/self/comm") // without it, no program has its name
	return plainName(string(name))
}

// procTable reads a table of /proc/net, as the calling thread sees it.
func procTable(name string) (rows [][]string, err error) {
	text, err := os.ReadFile("/proc/thread-self/net/" + name)
	if err != nil {
		return nil, fmt.Errorf("read table of the kernel: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		rows = append(rows, strings.Fields(line))
	}
	return rows, nil
}
