package resolve

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Servers are name servers and how they are asked.
type Servers struct {
	Addresses []netip.AddrPort // the first one preferred
	// Timeout is how long a server is given to answer, Tries how often it is asked
	// before a question has failed; 0 is the default of both.
	Timeout time.Duration
	Tries   int
	// TCP asks by TCP only.
	TCP bool
	// Unhurried says that nobody waits: answers may take some milliseconds longer, so that
	// many of them are read at once.
	Unhurried bool
}

// ServersAt are servers that are asked in the usual way.
func ServersAt(addresses []netip.AddrPort) Servers { return Servers{Addresses: addresses} }

// dnsPort is where name servers listen.
const dnsPort = 53

// localServer is asked where nothing names a server (resolv.conf(5)).
var localServer = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dnsPort)

// maxResolvConf is more than any resolv.conf has.
const maxResolvConf = 1 << 20

// SystemServers reads a file such as /etc/resolv.conf. As for the C library, a
// file that is not there, or may not be read, is an empty one.
func SystemServers(path string) (Servers, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return ServersAt([]netip.AddrPort{localServer}), nil
	}
	if err != nil {
		return Servers{}, fmt.Errorf("read name servers: %w", err)
	}
	defer file.Close()
	servers, err := readResolvConf(io.LimitReader(file, maxResolvConf))
	if err != nil && !errors.Is(err, unix.EISDIR) {
		return Servers{}, fmt.Errorf("read name servers: %w", err)
	}
	return servers, nil
}

// readResolvConf reads what resolv.conf(5) describes. Search domains do not
// matter: names of a policy are complete. Unknown keywords and options are for
// others.
func readResolvConf(r io.Reader) (Servers, error) {
	var s Servers
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxResolvConf)
	for lines.Scan() {
		text, _, _ := strings.Cut(lines.Text(), "#")
		text, _, _ = strings.Cut(text, ";")
		switch f := strings.Fields(text); {
		case len(f) < 2:
		case f[0] == "nameserver":
			if a, err := netip.ParseAddr(f[1]); err == nil {
				s.Addresses = append(s.Addresses, netip.AddrPortFrom(a, dnsPort))
			}
		case f[0] == "options":
			for _, option := range f[1:] {
				s.option(option)
			}
		}
	}
	if len(s.Addresses) == 0 {
		s.Addresses = []netip.AddrPort{localServer}
	}
	return s, lines.Err()
}

// The bounds of the options that count. The C library allows more, but the time
// for all names is bounded.
const (
	longestTimeout = 5 // seconds
	mostTries      = 5
)

func (s *Servers) option(text string) {
	name, value, _ := strings.Cut(text, ":")
	n, err := strconv.Atoi(value)
	switch {
	case name == "use-vc" || name == "usevc":
		s.TCP = true
	case err != nil || n < 1:
	case name == "timeout":
		s.Timeout = time.Duration(min(n, longestTimeout)) * time.Second
	case name == "attempts":
		s.Tries = min(n, mostTries)
	}
}
