package ruleset

import "net/netip"

// Host is what the rules need to know about the machine that they run on. It
// is read once by a room that acts and handed to the pure ones.
type Host struct {
	// Interfaces are the network interfaces with their addresses. Those of
	// point-to-point links are their own end.
	Interfaces []Interface `json:"interfaces"`
	// Forwards is true when the host passes packets on between interfaces, for
	// IPv4 or IPv6, on all or on one of them.
	Forwards bool `json:"forwards"`
	// Gateways are the next hops of the default routes.
	Gateways []netip.Addr `json:"gateways,omitempty"`
	// NameServers are the resolvers that the host asks, without their ports.
	NameServers []netip.Addr `json:"name_servers,omitempty"`
}

// Interface is one network interface.
type Interface struct {
	Name string `json:"name"`
	// Addresses are the interface's own addresses with the length of the
	// network that each one is connected to.
	Addresses []netip.Prefix `json:"addresses,omitempty"`
}
