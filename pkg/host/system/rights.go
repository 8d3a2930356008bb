package system

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Rights are what the kernel lets this process do.
type Rights struct {
	// Root says that it runs as root, if only in a user namespace.
	Root bool
	// NetAdmin says that it has CAP_NET_ADMIN, without which it can neither read nor
	// change rules.
	NetAdmin bool
	// NetRaw says that it has CAP_NET_RAW, which the programs of iptables need too.
	NetRaw bool
	// UserNamespace says that it runs in a user namespace of a container or a user,
	// where a capability grants less.
	UserNamespace bool
}

// ReadRights returns the rights of the calling thread. Rights that cannot be determined
// are assumed.
func ReadRights() Rights {
	r := Rights{Root: os.Geteuid() == 0, NetAdmin: true, NetRaw: true}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if unix.Capget(&header, &sets[0]) == nil {
		r.NetAdmin = sets[0].Effective>>unix.CAP_NET_ADMIN&1 != 0
		r.NetRaw = sets[0].Effective>>unix.CAP_NET_RAW&1 != 0
	}
	// The first user namespace maps all numbers to themselves.
	mapped, err := os.ReadFile("/proc/self/uid_map")
	r.UserNamespace = err == nil && strings.Join(strings.Fields(string(mapped)), " ") != "0 0 4294967295"
	return r
}
