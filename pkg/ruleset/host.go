package ruleset

import (
	"cmp"
	"net/netip"
	"strings"
)

// Host is what the rules need to know about the machine that they run on. It
// is read once by a room that acts and handed to the pure ones.
type Host struct {
	// Interfaces are the network interfaces with their addresses. Those of
	// point-to-point links are their own end.
	Interfaces []Interface `json:"interfaces"`
	// Forwards is true when the host passes packets on between interfaces, for
	// IPv4 or IPv6, on all or on one of them.
	Forwards bool `json:"forwards"`
	// Gateways are the next hops of the default routes, Outside the names of the
	// interfaces that they lead out of.
	Gateways []netip.Addr `json:"gateways,omitempty"`
	Outside  []string     `json:"outside,omitempty"`
	// NameServers are the resolvers that the host asks, without their ports.
	NameServers []netip.Addr `json:"name_servers,omitempty"`
	// Engine is what can recognise scanners on this host: "bpf", or "" for
	// nothing.
	Engine string `json:"engine,omitempty"`
}

// Interface is one network interface.
type Interface struct {
	Name string `json:"name"`
	// Addresses are the interface's own addresses with the length of the
	// network that each one is connected to.
	Addresses []netip.Prefix `json:"addresses,omitempty"`
}

// Listener is a port of the host that a server listens on.
type Listener struct {
	Protocol Protocol `json:"protocol"` // UDP or TCP
	Port     uint16   `json:"port"`
	Program  string   `json:"program,omitempty"` // "" if it is not known
}

// Compare orders listeners by port, protocol and program.
func (l Listener) Compare(o Listener) int {
	return cmp.Or(cmp.Compare(l.Port, o.Port), strings.Compare(string(l.Protocol), string(o.Protocol)), strings.Compare(l.Program, o.Program))
}
