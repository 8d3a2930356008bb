// Package host reads the facts of this machine that the rules depend on: its
// interfaces and addresses, whether it forwards, its default gateways. What
// follows from them is decided elsewhere.
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
	for _, link := range links {
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
	if h.Gateways, err = gateways(); err != nil {
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

func gateways() ([]netip.Addr, error) {
	found := map[netip.Addr]bool{}
	add := func(ip net.IP) {
		if a, ok := netip.AddrFromSlice(ip); ok {
			found[a.Unmap()] = true
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
			add(r.Gw)
			for _, hop := range r.MultiPath {
				add(hop.Gw)
			}
			return true
		})
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, fmt.Errorf("read routes: %w", err)
		}
	}
	var list []netip.Addr
	for a := range found {
		list = append(list, a)
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return list, nil
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
