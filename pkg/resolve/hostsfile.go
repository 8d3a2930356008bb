package resolve

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// HostsFile is the type of what the host's own file of names says. It is no type
// of DNS record.
const HostsFile Type = "hosts file"

// Hosts are names with their addresses as a file such as /etc/hosts has them.
type Hosts map[string][]netip.Addr

// maxHosts is more than any file of hosts has: lists that block advertisements
// have some 10 MB.
const maxHosts = 64 << 20

// ReadHosts reads a file such as /etc/hosts. One that is not there is empty.
func ReadHosts(path string) (Hosts, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read hosts file: %w", err)
	}
	defer file.Close()
	hosts, err := readHosts(io.LimitReader(file, maxHosts))
	if err != nil {
		return hosts, fmt.Errorf("read hosts file: %w", err)
	}
	return hosts, nil
}

// readHosts reads what hosts(5) describes. Addresses that no registrar has are left
// out: there may be a hundred thousand names at 0.0.0.0.
func readHosts(r io.Reader) (Hosts, error) {
	hosts := Hosts{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		text, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(text)
		if len(fields) < 2 {
			continue
		}
		a, err := netip.ParseAddr(fields[0])
		a = a.Unmap()
		if err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsLoopback() {
			continue
		}
		for _, name := range fields[1:] {
			name = plainName(name)
			if len(hosts[name]) < maxRecords && !slices.Contains(hosts[name], a) {
				hosts[name] = append(hosts[name], a)
			}
		}
	}
	return hosts, lines.Err()
}

// nodes is the node of a name that the file has, nothing if it has not. It needs
// no question to anybody.
func (h Hosts) nodes(name, named string) []*Node {
	list := h[name]
	if len(list) == 0 {
		return nil
	}
	n := &Node{Question: Question{name, HostsFile}, TTL: LongestTTL, Step: strings.TrimSpace(named + " " + string(HostsFile))}
	for _, a := range list {
		kind := A
		if a.Is6() {
			kind = AAAA
		}
		n.Records = append(n.Records, Record{Owner: name, Type: kind, TTL: LongestTTL, Address: a})
	}
	sortRecords(n.Records)
	return []*Node{n}
}
