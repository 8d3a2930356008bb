// Package host has the facts of a machine that the rules depend on, as its kernel
// states them, and what follows from them for a fence: which interfaces lead outside,
// which gateways it has, which private networks are behind other routers.
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

// Facts are what the kernel states of the network of a machine, read whole.
type Facts struct {
	Links []Link
	// Routes are those that Matters speaks of, of all tables, and Rules those that lead to
	// a table.
	Routes []Route
	Rules  []Rule
	// Forwards says that packets are passed on between interfaces.
	Forwards bool
	// BridgeFilter says that what a bridge passes between its ports goes through the
	// rules for IP packets too (br_netfilter).
	BridgeFilter bool
}

// Link is a network interface.
type Link struct {
	Index int
	Name  string
	// AltNames are the other names that it is found by. Packets bear the first only.
	AltNames []string
	// Kind is its type as ip link has it, "device" for one without: a real one.
	Kind string
	// Parent is the index of the interface that it stands on, and Master that of the
	// one that it belongs to; 0 for none that is in this network namespace.
	Parent, Master int
	// Table is the routing table of a VRF.
	Table     uint32
	Addresses []netip.Prefix
}

// Route is a way to a network. A default route has a prefix of length 0.
type Route struct {
	Table uint32
	To    netip.Prefix
	// Kernel says that the kernel has made it for an address of an interface.
	Kernel bool
	Hops   []Hop
}

// Hop is one of the next hops of a route; the gateway is invalid for a link without.
type Hop struct {
	Link    int
	Gateway netip.Addr
}

// Rule leads packets to a routing table.
type Rule struct {
	V6    bool
	Table uint32
	// Suppress leaves out the routes of the table whose prefix has at most this length;
	// -1 leaves out none.
	Suppress int
}

// shortest is the length from which on a prefix is no way to the internet any more:
// tunnels come as 0.0.0.0/1 and 128.0.0.0/1, or with some networks left out, and IPv6
// as 2000::/3.
const shortest = 8

// leadsOutside reports whether a route is one to the internet.
func (r Route) leadsOutside() bool {
	a := r.To.Addr()
	return r.To.Bits() == 0 || r.To.Bits() < shortest && !a.IsPrivate() && !a.IsMulticast() && !a.IsLinkLocalUnicast()
}

// Matters reports whether a fence depends on the route. A router may hold those of the
// whole internet.
func (r Route) Matters() bool {
	return r.leadsOutside() || r.To.Addr().IsPrivate() && !r.Kernel
}

// Host is what follows for a fence.
func (f Facts) Host() ruleset.Host {
	h := ruleset.Host{Forwards: f.Forwards, BridgeFilter: f.BridgeFilter}
	names := map[int]string{}
	for _, l := range f.Links {
		names[l.Index] = l.Name
	}
	for _, l := range f.Links {
		h.Interfaces = append(h.Interfaces, ruleset.Interface{
			Name: l.Name, AltNames: l.AltNames, Kind: l.Kind, Addresses: l.Addresses,
			Parent: f.parent(l), Master: f.master(l),
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

// isUsed reports whether a rule, or a VRF, leads to a route.
func (f Facts) isUsed(r Route) bool {
	leads := func(rule Rule) bool {
		return rule.V6 == r.To.Addr().Is6() && rule.Table == r.Table && rule.Suppress < r.To.Bits()
	}
	return slices.ContainsFunc(f.Rules, leads) ||
		slices.ContainsFunc(f.Links, func(l Link) bool { return l.Kind == "vrf" && l.Table == r.Table })
}

// masters are the kinds of interfaces by which the packets of their ports come in. An
// interface in a VRF has a master too, but its packets come in by itself first.
var masters = []string{"bridge", "bond", "team", "hsr", "openvswitch", "batadv"}

func (f Facts) master(link Link) string {
	for _, l := range f.Links {
		if link.Master != 0 && l.Index == link.Master && slices.Contains(masters, l.Kind) {
			return l.Name
		}
	}
	return ""
}

// children are the kinds of interfaces that take packets off the wire of another one,
// before rules see them come in by that: virtual local networks, second addresses of
// the card. (A tunnel has a network of its own.) What comes in by a macvtap or ipvtap goes
// to a virtual machine.
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
