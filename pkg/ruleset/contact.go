package ruleset

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
)

// Neighbour is a host on the link of an interface, as the kernel knows it.
type Neighbour struct {
	Interface string
	Address   netip.Addr
}

// Flow is an exchange of packets that goes both ways now, seen from what comes in by it.
type Flow struct {
	From     netip.Addr
	Protocol Protocol // UDP or TCP
	Port     uint16   // to which packets come
	// Opened says that this host or its network has begun it: what comes in are answers.
	Opened bool
}

// Compare orders flows by their sources.
func (f Flow) Compare(o Flow) int {
	return cmp.Or(f.From.Compare(o.From), strings.Compare(string(f.Protocol), string(o.Protocol)), cmp.Compare(f.Port, o.Port))
}

func (f Flow) String() string {
	return fmt.Sprintf("%s (%s %d)", f.From, strings.ToUpper(string(f.Protocol)), f.Port)
}
