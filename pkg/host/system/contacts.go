package system

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	rtnetlink "github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/host/dump"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Neighbours returns the hosts on the links of this one that the kernel has heard of by
// ARP or NDP.
func Neighbours() ([]ruleset.Neighbour, error) {
	names, err := linkNames()
	if err != nil {
		return nil, err
	}
	known, err := dump.Whole(func() ([]rtnetlink.Neigh, error) { return rtnetlink.NeighList(0, rtnetlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("read neighbours: %w", err)
	}
	const heard = rtnetlink.NUD_REACHABLE | rtnetlink.NUD_STALE | rtnetlink.NUD_DELAY | rtnetlink.NUD_PROBE | rtnetlink.NUD_PERMANENT
	var list []ruleset.Neighbour
	for _, n := range known {
		a, ok := netip.AddrFromSlice(n.IP)
		if ok && n.State&heard != 0 && n.Family != unix.AF_BRIDGE {
			list = append(list, ruleset.Neighbour{Interface: names[n.LinkIndex], Address: a.Unmap()})
		}
	}
	return list, nil
}

func linkNames() (map[int]string, error) {
	links, err := dump.Whole(rtnetlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("read interfaces: %w", err)
	}
	names := map[int]string{}
	for _, link := range links {
		names[link.Attrs().Index] = link.Attrs().Name
	}
	return names, nil
}

// Flows returns the exchanges of packets with the given ports of this host, or of its
// network, that go both ways now: what connection tracking knows, and connected sockets.
func Flows(udp, tcp []uint16) ([]ruleset.Flow, error) {
	list, err := connectedSockets()
	tracked, trackErr := trackedFlows()
	list = slices.DeleteFunc(append(list, tracked...), func(f ruleset.Flow) bool {
		if f.Protocol == ruleset.TCP {
			return !slices.Contains(tcp, f.Port)
		}
		return !slices.Contains(udp, f.Port)
	})
	slices.SortFunc(list, ruleset.Flow.Compare)
	return slices.Compact(list), errors.Join(err, trackErr)
}

// trackingFile exists where connection tracking is loaded: a look must not load it. It
// has the number of connections in this network namespace. A dump goes through the whole
// hash table, which has the connections of all namespaces.
const trackingFile = "/proc/sys/net/netfilter/nf_conntrack_count"

// trackedFlows returns what connection tracking has seen answers for.
func trackedFlows() ([]ruleset.Flow, error) {
	if count, err := os.ReadFile(trackingFile); err != nil || strings.TrimSpace(string(count)) == "0" {
		return nil, nil //nolint:nilerr // nothing is tracked here
	}
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open netfilter socket: %w", err)
	}
	defer conn.Close()
	answers, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_CTNETLINK<<8 | nl.IPCTNL_MSG_CT_GET, Flags: netlink.Request | netlink.Dump},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0}, // both families at once
	})
	if err != nil {
		return nil, fmt.Errorf("read tracked connections: %w", err)
	}
	var list []ruleset.Flow
	for _, m := range answers {
		list = append(list, flowsOf(m.Data)...)
	}
	return list, nil
}

// seenReply is the status of a connection that goes both ways
// (linux/netfilter/nf_conntrack_common.h), and tcpEstablished the state of one of TCP
// that is neither being opened nor closed (nf_conntrack_tcp.h).
const (
	seenReply      = 1 << 1
	tcpEstablished = 3
)

// flowsOf returns what comes in by a tracked connection: the packets of the one who has
// begun it, and the answers.
func flowsOf(message []byte) []ruleset.Flow {
	if len(message) < nl.SizeofNfgenmsg {
		return nil
	}
	c := attributes(message[nl.SizeofNfgenmsg:])
	status := c[nl.CTA_STATUS]
	if len(status) < 4 || binary.BigEndian.Uint32(status)&seenReply == 0 {
		return nil
	}
	var list []ruleset.Flow
	for _, way := range []struct {
		tuple  uint16
		opened bool
	}{{nl.CTA_TUPLE_ORIG, false}, {nl.CTA_TUPLE_REPLY, true}} {
		tuple := attributes(c[way.tuple])
		addresses, ports := attributes(tuple[nl.CTA_TUPLE_IP]), attributes(tuple[nl.CTA_TUPLE_PROTO])
		from, ok := netip.AddrFromSlice(addresses[nl.CTA_IP_V4_SRC])
		if !ok {
			from, ok = netip.AddrFromSlice(addresses[nl.CTA_IP_V6_SRC])
		}
		number, port := ports[nl.CTA_PROTO_NUM], ports[nl.CTA_PROTO_DST_PORT]
		if !ok || len(number) == 0 || len(port) < 2 {
			return nil
		}
		f := ruleset.Flow{From: from.Unmap(), Port: binary.BigEndian.Uint16(port), Opened: way.opened}
		switch number[0] {
		case unix.IPPROTO_UDP:
			f.Protocol = ruleset.UDP
		case unix.IPPROTO_TCP:
			f.Protocol = ruleset.TCP
			state := attributes(attributes(c[nl.CTA_PROTOINFO])[nl.CTA_PROTOINFO_TCP])[nl.CTA_PROTOINFO_TCP_STATE]
			if len(state) == 0 || state[0] != tcpEstablished {
				return nil
			}
		default:
			return nil
		}
		list = append(list, f)
	}
	return list
}
