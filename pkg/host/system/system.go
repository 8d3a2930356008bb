// Package system reads the facts of this machine that the rules depend on: its
// interfaces and addresses, whether it forwards, its default routes, its name servers,
// the servers that listen on it, and its clocks. It draws no conclusions from them.
package system

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/host/dump"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/host"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// The files that the host's resolver goes by.
const (
	resolvConf = "/etc/resolv.conf"
	hostsFile  = "/etc/hosts"
)

// ResolverFiles are those that the host's own resolver goes by.
func ResolverFiles() []string { return []string{resolvConf, hostsFile} }

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
	f, err := Facts()
	return f.Host(), err
}

// Facts reads what the kernel states.
func Facts() (host.Facts, error) {
	var f host.Facts
	links, err := dump.Whole(netlink.LinkList)
	if err != nil {
		return f, fmt.Errorf("read interfaces: %w", err)
	}
	addresses, err := dump.Whole(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return f, fmt.Errorf("read addresses: %w", err)
	}
	for _, link := range links {
		l := linkOf(link)
		for _, a := range addresses {
			if a.LinkIndex == l.Index {
				if p, ok := prefix(a.IPNet); ok {
					l.Addresses = append(l.Addresses, p)
				}
			}
		}
		slices.SortFunc(l.Addresses, netip.Prefix.Compare)
		f.Links = append(f.Links, l)
	}
	if f.Routes, err = dump.Whole(routes); err != nil {
		return f, fmt.Errorf("read routes: %w", err)
	}
	if f.Rules, err = dump.Whole(rules); err != nil {
		return f, fmt.Errorf("read routing rules: %w", err)
	}
	f.Forwards, f.BridgeFilter, f.Translates = forwards(f.Links), bridgeFilter(), translates()
	return f, nil
}

func linkOf(link netlink.Link) host.Link {
	a := link.Attrs()
	l := host.Link{Index: a.Index, Name: a.Name, AltNames: a.AltNames, Kind: link.Type(), Master: a.MasterIndex}
	slices.Sort(l.AltNames)
	if a.NetNsID < 0 { // otherwise the number is that of an interface in another namespace
		l.Parent = a.ParentIndex
	}
	if vrf, ok := link.(*netlink.Vrf); ok {
		l.Table = vrf.Table
	}
	return l
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones), ok
}

// routes walks through the routes of all tables one by one: a router may hold those of
// the whole internet.
func routes() ([]host.Route, error) {
	var list []host.Route
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		all := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
		err := netlink.RouteListFilteredIter(family, all, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
			if r.Type != unix.RTN_UNICAST {
				return true // "unreachable default" leads nowhere
			}
			to, ok := prefix(r.Dst)
			if !ok && family == netlink.FAMILY_V4 {
				to = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
			} else if !ok {
				to = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
			}
			route := host.Route{Table: uint32(r.Table), To: to, Kernel: r.Protocol == unix.RTPROT_KERNEL}
			if route.Matters() {
				route.Hops = hops(r)
				list = append(list, route)
			}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// hops returns the next hops of a route.
func hops(r netlink.Route) []host.Hop {
	list := make([]host.Hop, 0, 1)
	add := func(link int, via net.IP, other netlink.Destination) {
		gateway, _ := netip.AddrFromSlice(via)
		if v, ok := other.(*netlink.Via); ok { // an IPv4 route with an IPv6 gateway
			gateway, _ = netip.AddrFromSlice(v.Addr)
		}
		list = append(list, host.Hop{Link: link, Gateway: gateway.Unmap()})
	}
	for _, hop := range r.MultiPath {
		add(hop.LinkIndex, hop.Gw, hop.Via)
	}
	if len(r.MultiPath) == 0 {
		add(r.LinkIndex, r.Gw, r.Via)
	}
	return list
}

// rules returns the rules that lead to a table. A kernel without policy routing has
// none and uses the main table.
func rules() ([]host.Rule, error) {
	var list []host.Rule
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		v6 := family == netlink.FAMILY_V6
		found, err := netlink.RuleList(family)
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) {
			list = append(list, host.Rule{V6: v6, Table: unix.RT_TABLE_MAIN, Suppress: -1})
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, r := range found {
			if r.Table != unix.RT_TABLE_UNSPEC {
				list = append(list, host.Rule{V6: v6, Table: uint32(r.Table), Suppress: r.SuppressPrefixlen})
			}
		}
	}
	return list, nil
}

// bridgeFilter reads the switches of br_netfilter. Without that module there are none.
func bridgeFilter() bool {
	for _, name := range []string{"bridge-nf-call-iptables", "bridge-nf-call-ip6tables"} {
		value, err := os.ReadFile(filepath.Join("/proc/sys/net/bridge", name))
		if err == nil && strings.TrimSpace(string(value)) == "1" {
			return true
		}
	}
	return false
}

// forwards reads the switch of each interface, because the global one may be off while
// some are on.
func forwards(links []host.Link) bool {
	names := []string{"all"}
	for _, l := range links {
		names = append(names, l.Name)
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
