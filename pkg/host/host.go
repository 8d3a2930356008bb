// Package host reads the facts of this machine that the rules depend on: its
// interfaces and addresses, whether it forwards, its default routes, and the
// servers that listen on it. What follows from them is decided elsewhere.
package host

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Read returns the facts of the calling thread's network namespace, without
// its name servers. It needs no privilege.
func Read() (ruleset.Host, error) {
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
		i := ruleset.Interface{Name: link.Attrs().Name}
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
	if err := readDefaultRoutes(&h, names); err != nil {
		return h, err
	}
	h.Forwards = forwards(h.Interfaces)
	return h, nil
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

// readDefaultRoutes fills in the gateways and the interfaces that lead outside.
func readDefaultRoutes(h *ruleset.Host, names map[int]string) error {
	add := func(index int, ip net.IP) {
		if a, ok := netip.AddrFromSlice(ip); ok {
			h.Gateways = append(h.Gateways, a.Unmap())
		}
		if name, ok := names[index]; ok {
			h.Outside = append(h.Outside, name)
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		// Walked one by one: a router may hold the routes of the whole internet.
		err := netlink.RouteListFilteredIter(family, &netlink.Route{}, 0, func(r netlink.Route) bool {
			if r.Dst != nil {
				if ones, _ := r.Dst.Mask.Size(); ones > 0 {
					return true
				}
			}
			if r.Type != unix.RTN_UNICAST {
				return true // "unreachable default" leads nowhere
			}
			if len(r.MultiPath) == 0 {
				add(r.LinkIndex, r.Gw)
			}
			for _, hop := range r.MultiPath {
				add(hop.LinkIndex, hop.Gw)
			}
			return true
		})
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return fmt.Errorf("read routes: %w", err)
		}
	}
	slices.SortFunc(h.Gateways, netip.Addr.Compare)
	h.Gateways = slices.Compact(h.Gateways)
	slices.Sort(h.Outside)
	h.Outside = slices.Compact(h.Outside)
	return nil
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
