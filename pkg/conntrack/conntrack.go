// Package conntrack deletes what connection tracking remembers of addresses that are not
// allowed any more. Both back ends need it.
package conntrack

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Forget deletes the connection-tracking entries of addresses that the plan has
// removed. It is needed where answers pass by connection tracking only: there a
// removed address would stay allowed for as long as it keeps talking.
func Forget(p *plan.Plan) error {
	if !passesReplies(p.Want) {
		return nil // to find what is removed takes longer
	}
	if gone := p.Removed(); len(gone.Ranges()) > 0 {
		return ForgetAddresses(p.Want, gone)
	}
	return nil
}

// ForgetAddresses deletes the connection-tracking entries of addresses, if the table lets
// answers pass.
func ForgetAddresses(in *ruleset.State, gone *netipx.IPSet) error {
	if !passesReplies(in) {
		return nil
	}
	f := forgotten{addresses: gone}
	for _, e := range in.Sets["ports"].Elements {
		f.ports = append(f.ports, e.Port)
	}
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		if err := deleteMatching(family, f); err != nil {
			return fmt.Errorf("delete connection-tracking entries of removed addresses: %w", err)
		}
	}
	return nil
}

// tries is how often the entries are looked through at most. Where many connections come
// and go, the kernel often says that its list has changed while it was read.
const tries = 20

// walks is how often they are looked through without that. The table is that of all network
// namespaces, and one walk was seen to miss an entry while others were busy (Linux 6.1).
const walks = 2

func deleteMatching(family netlink.InetFamily, f netlink.CustomConntrackFilter) (err error) {
	whole := 0
	for range tries {
		if _, err = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, f); err == nil {
			whole++
		}
		if whole == walks {
			return nil
		}
	}
	return err
}

func passesReplies(s *ruleset.State) bool {
	for _, c := range s.Chains {
		for _, r := range c.Rules {
			if slices.Contains(r.Statements(), ruleset.Statement(ruleset.Reply)) {
				return true
			}
		}
	}
	return false
}

// forgotten matches the connections of addresses on fenced ports.
type forgotten struct {
	addresses *netipx.IPSet
	ports     []uint16
}

// MatchConntrackFlow reports whether either end of the connection is one of the
// addresses and either port is fenced.
func (f forgotten) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	port := slices.Contains(f.ports, flow.Forward.SrcPort) || slices.Contains(f.ports, flow.Forward.DstPort) ||
		slices.Contains(f.ports, flow.Reverse.SrcPort) || slices.Contains(f.ports, flow.Reverse.DstPort)
	if !port {
		return false
	}
	for _, ip := range [][]byte{flow.Forward.SrcIP, flow.Forward.DstIP, flow.Reverse.SrcIP, flow.Reverse.DstIP} {
		if addr, ok := netip.AddrFromSlice(ip); ok && f.addresses.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}
