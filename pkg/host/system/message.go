package system

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/host"
)

// watcher turns messages of rtnetlink(7) into changes.
type watcher struct {
	changes chan host.Change
	names   map[int]string // of the present interfaces, by index
	running sync.WaitGroup
	stop    context.CancelFunc
}

// The lengths of the fixed parts of messages, before their attributes.
const (
	linkHeader    = unix.SizeofIfInfomsg
	addressHeader = unix.SizeofIfAddrmsg
	routeHeader   = unix.SizeofRtMsg
	tcHeader      = 20 // struct tcmsg
)

// Constants of linux/netconf.h, linux/pkt_cls.h and linux/netlink.h that
// golang.org/x/sys/unix does not have.
const (
	netconfForwarding = 2
	bpfName           = 7
	typeMask          = 0x3fff
)

// change returns what a message means for a fence, and whether it matters.
func (w *watcher) change(header netlink.Header, data []byte) (c host.Change, matters bool) {
	kind := uint16(header.Type)
	switch {
	case (kind == unix.RTM_NEWLINK || kind == unix.RTM_DELLINK) && len(data) >= linkHeader:
		return w.link(kind, data)
	case (kind == unix.RTM_NEWADDR || kind == unix.RTM_DELADDR) && len(data) >= addressHeader:
		name := w.name(int(binary.NativeEndian.Uint32(data[4:])))
		return changed("the addresses of %s have changed", name), true
	case (kind == unix.RTM_NEWROUTE || kind == unix.RTM_DELROUTE) && len(data) >= routeHeader:
		return w.route(data, header.Flags&netlink.Replace != 0)
	case kind == unix.RTM_NEWRULE || kind == unix.RTM_DELRULE:
		return changed("the routing rules have changed"), true
	case kind == unix.RTM_NEWNEXTHOP || kind == unix.RTM_DELNEXTHOP:
		return changed("the next hops have changed"), true
	case kind == unix.RTM_NEWNETCONF && len(data) >= 4:
		_, ok := attributes(data[4:])[netconfForwarding]
		return changed("whether this host forwards may have changed"), ok
	case (kind == unix.RTM_NEWQDISC || kind == unix.RTM_DELQDISC || kind == unix.RTM_NEWTFILTER || kind == unix.RTM_DELTFILTER) && len(data) >= tcHeader:
		return w.traffic(kind, data)
	}
	return c, false
}

func changed(format string, args ...any) host.Change {
	return host.Change{What: fmt.Sprintf(format, args...)}
}

// name returns the name of an interface that was reported before.
func (w *watcher) name(index int) string {
	if name, ok := w.names[index]; ok {
		return name
	}
	return fmt.Sprintf("interface %d", index)
}

func (w *watcher) link(kind uint16, data []byte) (c host.Change, matters bool) {
	index := int(int32(binary.NativeEndian.Uint32(data[4:])))
	up := binary.NativeEndian.Uint32(data[8:])&unix.IFF_UP != 0
	list := attributes(data[linkHeader:])
	if _, wireless := list[unix.IFLA_WIRELESS]; wireless || data[0] == unix.AF_BRIDGE {
		return c, false // changes of a radio or a bridge that do not matter
	}
	name, old := strings.TrimRight(string(list[unix.IFLA_IFNAME]), "\x00"), w.names[index]
	switch {
	case kind == unix.RTM_DELLINK:
		delete(w.names, index)
		return changed("interface %s is gone", name), true
	case old == "":
		w.names[index] = name
		c = changed("interface %s has come", name)
		c.Urgent = true
		return c, true
	case old != name:
		w.names[index] = name
		return changed("interface %s is called %s now", old, name), true
	case up:
		return changed("interface %s has changed", name), true
	}
	return changed("interface %s is down", name), true
}

// route ignores routes that a fence does not depend on: a router may change thousands
// of routes a second. One that leads nowhere matters where it has replaced another one,
// of which nothing else says that it is gone.
func (w *watcher) route(data []byte, replaced bool) (c host.Change, matters bool) {
	family, bits, protocol, kind := data[0], int(data[1]), data[5], data[7]
	if binary.NativeEndian.Uint32(data[8:])&unix.RTM_F_CLONED != 0 || kind != unix.RTN_UNICAST && !replaced {
		return c, false
	}
	list := attributes(data[routeHeader:])
	to, ok := netip.AddrFromSlice(list[unix.RTA_DST])
	switch {
	case ok:
	case family == unix.AF_INET6:
		to = netip.IPv6Unspecified()
	default:
		to = netip.IPv4Unspecified()
	}
	r := host.Route{To: netip.PrefixFrom(to, bits), Kernel: protocol == unix.RTPROT_KERNEL}
	if !r.Matters() {
		return c, false
	}
	if bits == 0 {
		return changed("a default route has changed"), true
	}
	return changed("the route to %s has changed", r.To), true
}

// traffic handles qdiscs and filters, of which only those for incoming packets matter.
func (w *watcher) traffic(kind uint16, data []byte) (c host.Change, matters bool) {
	const ingress, egress = 0xffff, 0xfffffff3 // the major number, and clsact's other side
	name := w.name(int(int32(binary.NativeEndian.Uint32(data[4:]))))
	parent := binary.NativeEndian.Uint32(data[12:])
	list := attributes(data[tcHeader:])
	of := strings.TrimRight(string(list[unix.TCA_KIND]), "\x00")
	switch {
	case kind == unix.RTM_DELQDISC && (of == "clsact" || of == "ingress"):
		return changed("qdisc %s of %s is gone", of, name), true
	case kind == unix.RTM_NEWQDISC || kind == unix.RTM_DELQDISC || parent>>16 != ingress || parent == egress:
		return c, false
	case kind == unix.RTM_DELTFILTER:
		return changed("an ingress filter of %s is gone", name), true
	}
	options := attributes(list[unix.TCA_OPTIONS])
	if of == "bpf" && strings.HasPrefix(string(options[bpfName]), "ringfence:") {
		return c, false
	}
	return changed("%s has another ingress filter", name), true
}

// attributes returns the attributes of a message by type. If they are malformed, it
// returns none: the message still shows that something has changed.
func attributes(data []byte) map[uint16][]byte {
	list, err := netlink.UnmarshalAttributes(data)
	if err != nil {
		return nil
	}
	found := map[uint16][]byte{}
	for _, a := range list {
		found[a.Type&typeMask] = a.Data
	}
	return found
}
