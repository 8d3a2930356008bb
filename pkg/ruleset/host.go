package ruleset

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// Host is what the rules depend on in the machine. host/system reads it once and passes
// it to the pure packages.
type Host struct {
	// Interfaces are the network interfaces with their addresses. Point-to-point links
	// have the address of their own end.
	Interfaces []Interface `json:"interfaces"`
	// Forwards is true if the host forwards packets between interfaces, for IPv4 or
	// IPv6, on all interfaces or on one.
	Forwards bool `json:"forwards"`
	// Translates says that rules of another program may change where packets are sent to
	// (DNAT, REDIRECT), also on a host that does not forward.
	Translates bool `json:"translates,omitempty"`
	// Gateways are the next hops of the default routes, of all routing tables that are
	// used, Outside the names of the interfaces that they lead out of.
	Gateways []netip.Addr `json:"gateways,omitempty"`
	Outside  []string     `json:"outside,omitempty"`
	// BridgeFilter says that what a bridge passes between its ports goes through the
	// rules too (br_netfilter).
	BridgeFilter bool `json:"bridge_filter,omitempty"`
	// Routed are the private networks behind other routers, with the interface
	// that leads to each.
	Routed []Network `json:"routed,omitempty"`
	// NameServers are the name servers that the host uses, without their ports.
	NameServers []netip.Addr `json:"name_servers,omitempty"`
	// ByHand says that somebody has been allowed by hand here, now or before.
	ByHand bool `json:"-"`
	// Classified are the interfaces that the classifier is attached to.
	Classified []string `json:"classified,omitempty"`
	// Engine is what can recognise scanners on this host: "bpf", or "" for
	// nothing.
	Engine string `json:"engine,omitempty"`
}

// SeenAs returns the interface by which rules see packets come in that are read on the
// named one, as tc does: with br_netfilter, rules see those of a bridge's ports before the
// bridge has received them, and call them the bridge's.
func (h Host) SeenAs(name string) string {
	if !h.BridgeFilter {
		return name
	}
	for _, i := range h.Interfaces {
		if i.Name == name && slices.ContainsFunc(h.Interfaces, func(m Interface) bool { return m.Name == i.Master && m.Kind == "bridge" }) {
			return i.Master
		}
	}
	return name
}

// PublicAddresses returns the addresses by which strangers can reach the host.
func (h Host) PublicAddresses() []netip.Addr {
	var list []netip.Addr
	for _, i := range h.Interfaces {
		for _, a := range i.Addresses {
			if IsPublic(a.Addr()) {
				list = append(list, a.Addr())
			}
		}
	}
	return list
}

// shared are addresses of providers that many customers share (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

// IsPublic reports whether an address is one that strangers can send to.
func IsPublic(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !shared.Contains(a)
}

// OwnNetworks returns those of all interfaces, and the private networks behind other
// routers.
func (h Host) OwnNetworks() []Network {
	var networks []Network
	for _, i := range h.Interfaces {
		networks = append(networks, i.OwnNetworks()...)
	}
	for _, n := range h.Routed {
		if !slices.Contains(networks, n) {
			networks = append(networks, n)
		}
	}
	return networks
}

// Interface is one network interface.
type Interface struct {
	Name string `json:"name"`
	// AltNames are other names that it is found by. Rules see only the first.
	AltNames []string `json:"alt_names,omitempty"`
	// Kind is its type as ip link has it, "device" for a real one.
	Kind string `json:"kind,omitempty"`
	// Parent is the interface off whose wire it takes packets, "" for none. Rules see
	// them come in by this one.
	Parent string `json:"parent,omitempty"`
	// Master is the bridge or bond that the interface is a port of, "" for none.
	// Rules see packets come in by the master.
	Master string `json:"master,omitempty"`
	// VRF is the one that the interface is in, "" for none. Rules see its packets twice:
	// come in by the interface, and then by the VRF.
	VRF string `json:"vrf,omitempty"`
	// Addresses are the interface's own addresses, each with the length of the
	// connected network.
	Addresses []netip.Prefix `json:"addresses,omitempty"`
}

// Connected returns the networks in which the interface has an address, each once.
func (i Interface) Connected() []Network {
	var networks []Network
	for _, a := range i.Addresses {
		p := Canonical(a)
		if n := (Network{i.Name, p}); !p.IsSingleIP() && !slices.Contains(networks, n) {
			networks = append(networks, n)
		}
	}
	return networks
}

// OwnNetworks returns those of the connected networks whose hosts most likely belong to
// the site: private ones, and the public IPv6 ones of a link that has a private IPv4
// network as well. Neighbours in other public networks are strangers.
func (i Interface) OwnNetworks() []Network {
	connected := i.Connected()
	private4 := slices.ContainsFunc(connected, func(n Network) bool { return n.Prefix.Addr().Is4() && n.Prefix.Addr().IsPrivate() })
	return slices.DeleteFunc(connected, func(n Network) bool {
		a := n.Prefix.Addr()
		besidePrivate := private4 && a.Is6() && a.IsGlobalUnicast()
		return !a.IsPrivate() && !besidePrivate
	})
}

// Network is a network with the interface that leads to it.
type Network struct {
	Interface string       `json:"interface"`
	Prefix    netip.Prefix `json:"prefix"`
}

func (n Network) String() string { return n.Prefix.String() + " on " + n.Interface }

// Listener is a port of the host on which a server listens.
type Listener struct {
	Protocol Protocol `json:"protocol"` // UDP or TCP
	Port     uint16   `json:"port"`
	Program  string   `json:"program,omitempty"` // "" if not known
	// Public says that it can be reached at an address that is not private, if the host
	// has one.
	Public bool `json:"-"`
}

// Compare orders listeners by port, protocol and program.
func (l Listener) Compare(o Listener) int {
	return cmp.Or(cmp.Compare(l.Port, o.Port), strings.Compare(string(l.Protocol), string(o.Protocol)), strings.Compare(l.Program, o.Program))
}
