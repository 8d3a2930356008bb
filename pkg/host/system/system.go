// Package system reads the facts of this machine that the rules depend on: its
// interfaces and addresses, whether it forwards, its default routes, its name
// servers, the servers that listen on it, and its clocks. What follows from them is
// decided elsewhere.
package system

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// The files that the host's resolver goes by.
const (
	resolvConf = "/etc/resolv.conf"
	hostsFile  = "/etc/hosts"
)

// NameServers are those that the host's resolver would ask, and how.
func NameServers() (resolve.Servers, error) { return resolve.SystemServers(resolvConf) }

// Hosts are the names that the host's resolver asks nobody for.
func Hosts() (resolve.Hosts, error) { return resolve.ReadHosts(hostsFile) }

// Read returns all facts of the calling thread's network namespace. Name servers
// that cannot be read are logged. It needs no privilege.
func Read(log *slog.Logger) (ruleset.Host, error) {
	h, err := Links()
	if err != nil {
		return h, err
	}
	servers, err := NameServers()
	if err != nil {
		log.Info("read name servers", "error", err)
	}
	for _, s := range servers.Addresses {
		h.NameServers = append(h.NameServers, s.Addr().WithZone(""))
	}
	return h, nil
}

// Links returns the facts without the name servers.
func Links() (ruleset.Host, error) {
	var h ruleset.Host
	links, err := again(netlink.LinkList)
	if err != nil {
		return h, fmt.Errorf("read interfaces: %w", err)
	}
	addresses, err := again(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return h, fmt.Errorf("read addresses: %w", err)
	}
	names := map[int]string{}
	for _, link := range links {
		names[link.Attrs().Index] = link.Attrs().Name
		i := ruleset.Interface{Name: link.Attrs().Name, Master: master(link, links)}
		for _, a := range addresses {
			if a.LinkIndex == link.Attrs().Index {
				if p, ok := prefix(a.IPNet); ok {
					i.Addresses = append(i.Addresses, p)
				}
			}
		}
		slices.SortFunc(i.Addresses, netip.Prefix.Compare)
		h.Interfaces = append(h.Interfaces, i)
	}
	slices.SortFunc(h.Interfaces, func(a, b ruleset.Interface) int { return strings.Compare(a.Name, b.Name) })
	if err := readRoutes(&h, names); err != nil {
		return h, err
	}
	h.Forwards = forwards(h.Interfaces)
	return h, nil
}

// master is the name of the bridge or bond that the interface is a port of. An
// interface in a VRF has a master too, but its packets come in by itself first.
func master(link netlink.Link, links []netlink.Link) string {
	for _, l := range links {
		if l.Attrs().Index == link.Attrs().MasterIndex && slices.Contains([]string{"bridge", "bond", "team"}, l.Type()) {
			return l.Attrs().Name
		}
	}
	return ""
}

// again repeats a dump that the kernel says was interrupted by a change.
func again[T any](dump func() (T, error)) (T, error) {
	result, err := dump()
	for range 10 {
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
		result, err = dump()
	}
	return result, err
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones), ok
}

// readRoutes fills in what the routes say: gateways, the interfaces that lead
// outside, and private networks behind other routers.
func readRoutes(h *ruleset.Host, names map[int]string) error {
	type found struct {
		gateways []netip.Addr
		outside  []string
		routed   map[string][]netip.Prefix // by interface
	}
	all, err := again(func() (found, error) {
		f := found{routed: map[string][]netip.Prefix{}}
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			// Walked one by one: a router may hold the routes of the whole internet.
			err := netlink.RouteListFilteredIter(family, &netlink.Route{}, 0, func(r netlink.Route) bool {
				if r.Type != unix.RTN_UNICAST {
					return true // "unreachable default" leads nowhere
				}
				to, hasTo := prefix(r.Dst)
				isDefault := !hasTo || to.Bits() == 0
				for _, hop := range hops(r) {
					name, known := names[hop.LinkIndex]
					gateway, hasGateway := netip.AddrFromSlice(hop.Gw)
					if isDefault && hasGateway {
						f.gateways = append(f.gateways, gateway.Unmap())
					}
					if isDefault && known {
						f.outside = append(f.outside, name)
					}
					if !isDefault && known && to.Addr().IsPrivate() && r.Protocol != unix.RTPROT_KERNEL {
						f.routed[name] = append(f.routed[name], to)
					}
				}
				return true
			})
			if err != nil {
				return f, err
			}
		}
		return f, nil
	})
	if err != nil {
		return fmt.Errorf("read routes: %w", err)
	}
	h.Gateways = slices.Compact(slices.SortedFunc(slices.Values(all.gateways), netip.Addr.Compare))
	h.Outside = slices.Compact(slices.Sorted(slices.Values(all.outside)))
	for _, name := range slices.Sorted(maps.Keys(all.routed)) {
		for _, p := range ruleset.Union(all.routed[name]).Prefixes() {
			h.Routed = append(h.Routed, ruleset.Network{Interface: name, Prefix: p})
		}
	}
	return nil
}

// hops are the ways that a route leads.
func hops(r netlink.Route) []netlink.NexthopInfo {
	if len(r.MultiPath) == 0 {
		return []netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw}}
	}
	list := make([]netlink.NexthopInfo, len(r.MultiPath))
	for i, hop := range r.MultiPath {
		list[i] = *hop
	}
	return list
}

// forwards looks at the switch of each interface, because the one for all of
// them may be off while some are on.
func forwards(interfaces []ruleset.Interface) bool {
	names := []string{"all"}
	for _, i := range interfaces {
		names = append(names, i.Name)
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		for _, name := range names {
			value, err := os.ReadFile(filepath.Join("/proc/sys/net", family, "conf", name, "forwarding"))
			if err == nil && strings.TrimSpace(string(value)) == "1" {
				return true
			}
		}
	}
	return false
}
