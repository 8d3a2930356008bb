// Package host describes the facts of a machine that the rules depend on, as its kernel
// reports them, and what follows from them for a fence: which interfaces lead outside,
// which gateways there are, which private networks are behind other routers.
//
// It is pure. pkg/host/system reads the facts.
package host

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Facts are what the kernel reports about the network of a machine.
type Facts struct {
	Links []Link
	// Routes are those of all tables that matter (see Matters). Rules are those that
	// lead to a table.
	Routes []Route
	Rules  []Rule
	// Forwards says that packets are forwarded between interfaces.
	Forwards bool
	// Translates says that rules of another program may change where packets are sent to.
	Translates bool
	// BridgeFilter says that packets between ports of a bridge pass the rules for IP
	// packets too (br_netfilter).
	BridgeFilter bool
}

// Link is a network interface.
type Link struct {
	Index int
	Name  string
	// AltNames are other names of the interface. Packets only have the first one.
	AltNames []string
	// Kind is its type as ip link shows it, or "device" for a physical one.
	Kind string
	// Parent is the index of the interface below it, and Master that of the interface
	// it is a port of; 0 if there is none in this network namespace.
	Parent, Master int
	// Table is the routing table of a VRF.
	Table     uint32
	Addresses []netip.Prefix
}

// Route is a route to a network. A default route has a prefix of length 0.
type Route struct {
	Table uint32
	To    netip.Prefix
	// Kernel says that the kernel has made it for an address of an interface.
	Kernel bool
	Hops   []Hop
}

// Hop is a next hop of a route. Without a gateway, the gateway is invalid.
type Hop struct {
	Link    int
	Gateway netip.Addr
}

// Rule leads packets to a routing table.
type Rule struct {
	V6    bool
	Table uint32
	// Suppress ignores routes of the table whose prefix has at most this length; -1
	// ignores none.
	Suppress int
}

// shortest is the length from which a prefix does not lead to the internet any more:
// tunnels use 0.0.0.0/1 and 128.0.0.0/1, or the internet without some networks, and
// IPv6 uses 2000::/3.
const shortest = 8

// leadsOutside reports whether a route leads to the internet.
func (r Route) leadsOutside() bool {
	a := r.To.Addr()
	return r.To.Bits() == 0 || r.To.Bits() < shortest && !a.IsPrivate() && !a.IsMulticast() && !a.IsLinkLocalUnicast()
}

// Matters reports whether a fence depends on the route. A router may have those of the
// whole internet.
func (r Route) Matters() bool {
	return r.leadsOutside() || r.To.Addr().IsPrivate() && !r.Kernel
}

// Host returns what a fence needs of the facts.
func (f Facts) Host() ruleset.Host {
	h := ruleset.Host{Forwards: f.Forwards, Translates: f.Translates, BridgeFilter: f.BridgeFilter}
	names := map[int]string{}
	for _, l := range f.Links {
		names[l.Index] = l.Name
	}
	for _, l := range f.Links {
		h.Interfaces = append(h.Interfaces, ruleset.Interface{
			Name: l.Name, AltNames: l.AltNames, Kind: l.Kind, Addresses: l.Addresses,
			Parent: f.parent(l), Master: f.master(l, masters...), VRF: f.master(l, vrf),
		})
	}
	slices.SortFunc(h.Interfaces, func(a, b ruleset.Interface) int { return strings.Compare(a.Name, b.Name) })
	routed := map[string][]netip.Prefix{}
	for _, r := range f.Routes {
		if !f.isUsed(r) {
			continue
		}
		for _, hop := range r.Hops {
			name, known := names[hop.Link]
			switch {
			case r.leadsOutside():
				if hop.Gateway.IsValid() {
					h.Gateways = append(h.Gateways, hop.Gateway)
				}
				if known {
					h.Outside = append(h.Outside, name)
				}
			case known && r.Matters():
				routed[name] = append(routed[name], r.To)
			}
		}
	}
	h.Gateways = slices.Compact(slices.SortedFunc(slices.Values(h.Gateways), netip.Addr.Compare))
	h.Outside = slices.Compact(slices.Sorted(slices.Values(h.Outside)))
	for _, name := range slices.Sorted(maps.Keys(routed)) {
		for _, p := range ruleset.Union(routed[name]).Prefixes() {
			h.Routed = append(h.Routed, ruleset.Network{Interface: name, Prefix: p})
		}
	}
	return h
}

// isUsed reports whether a rule or a VRF leads to a route.
func (f Facts) isUsed(r Route) bool {
	leads := func(rule Rule) bool {
		return rule.V6 == r.To.Addr().Is6() && rule.Table == r.Table && rule.Suppress < r.To.Bits()
	}
	return slices.ContainsFunc(f.Rules, leads) ||
		slices.ContainsFunc(f.Links, func(l Link) bool { return l.Kind == vrf && l.Table == r.Table })
}

// masters are the kinds of interfaces by which packets of their ports come in. An
// interface in a VRF has a master too, but its packets come in by the interface itself.
var masters = []string{"bridge", "bond", "team", "hsr", "openvswitch", "batadv"}

// vrf is the kind of an interface that others are in only for their routes.
const vrf = "vrf"

// master returns the interface of certain kinds that a link is a port of.
func (f Facts) master(link Link, kinds ...string) string {
	for _, l := range f.Links {
		if link.Master != 0 && l.Index == link.Master && slices.Contains(kinds, l.Kind) {
			return l.Name
		}
	}
	return ""
}

// children are the kinds of interfaces that receive packets of another interface before
// the rules see them: VLANs, and additional addresses of a card. (A tunnel has its own
// network.) Packets of a macvtap or ipvtap go to a virtual machine.
var children = []string{"vlan", "macvlan", "ipvlan", "macsec", "rmnet", "macvtap", "ipvtap"}

func (f Facts) parent(link Link) string {
	if link.Parent == 0 || !slices.Contains(children, link.Kind) {
		return ""
	}
	for _, l := range f.Links {
		if l.Index == link.Parent {
			return l.Name
		}
	}
	return ""
}
