package nft

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// valueKind is how nft writes a value.
type valueKind int

const (
	bitsOf    valueKind = iota // in hexadecimal
	address                    // IPv4 or IPv6
	decimal                    // in network byte order
	native                     // a number in the byte order of this machine
	mark                       // the same, in hexadecimal
	linkName                   // the name of an interface
	linkIndex                  // its index
	hardware                   // an Ethernet address
	family                     // a family of netfilter
	transport                  // a transport protocol
	ctState                    // the states of connection tracking
	ctStatus
	ctDirection
	addressType // the kind of an address, for the routing table
	tcpFlags
	bothPorts // the source port and the destination port
)

// named is a thing that an expression loads.
type named struct {
	text string
	kind valueKind
}

var metaKeys = map[uint64]named{
	unix.NFT_META_LEN: {"meta length", native}, unix.NFT_META_PROTOCOL: {"meta protocol", bitsOf},
	unix.NFT_META_PRIORITY: {"meta priority", mark}, unix.NFT_META_MARK: {"meta mark", mark},
	unix.NFT_META_IIF: {"iif", linkIndex}, unix.NFT_META_OIF: {"oif", linkIndex},
	unix.NFT_META_IIFNAME: {"iifname", linkName}, unix.NFT_META_OIFNAME: {"oifname", linkName},
	unix.NFT_META_IIFTYPE: {"iiftype", native}, unix.NFT_META_OIFTYPE: {"oiftype", native},
	unix.NFT_META_SKUID: {"meta skuid", native}, unix.NFT_META_SKGID: {"meta skgid", native},
	unix.NFT_META_NFTRACE: {"nftrace", decimal}, unix.NFT_META_RTCLASSID: {"rtclassid", mark},
	unix.NFT_META_NFPROTO: {"meta nfproto", family}, unix.NFT_META_L4PROTO: {"meta l4proto", transport},
	unix.NFT_META_IIFGROUP: {"iifgroup", native}, unix.NFT_META_OIFGROUP: {"oifgroup", native},
	unix.NFT_META_CGROUP: {"meta cgroup", native}, unix.NFT_META_CPU: {"meta cpu", native},
	unix.NFT_META_PKTTYPE: {"meta pkttype", decimal},
}

var ctKeys = map[uint64]named{
	unix.NFT_CT_STATE: {"ct state", ctState}, unix.NFT_CT_DIRECTION: {"ct direction", ctDirection}, unix.NFT_CT_STATUS: {"ct status", ctStatus},
	unix.NFT_CT_MARK: {"ct mark", mark}, unix.NFT_CT_HELPER: {"ct helper", linkName}, unix.NFT_CT_ZONE: {"ct zone", native},
	unix.NFT_CT_L3PROTOCOL: {"ct l3proto", family}, unix.NFT_CT_PROTOCOL: {"ct protocol", transport},
}

// field is a part of a header.
type field struct {
	header         string
	offset, length uint64 // in bytes
}

var headerFields = map[field]named{
	{"ether", 0, 6}: {"ether daddr", hardware}, {"ether", 6, 6}: {"ether saddr", hardware}, {"ether", 12, 2}: {"ether type", bitsOf},
	{"ip", 12, 4}: {"ip saddr", address}, {"ip", 16, 4}: {"ip daddr", address}, {"ip", 9, 1}: {"ip protocol", transport},
	{"ip", 8, 1}: {"ip ttl", decimal}, {"ip", 2, 2}: {"ip length", decimal}, {"ip", 4, 2}: {"ip id", decimal},
	{"ip6", 8, 16}: {"ip6 saddr", address}, {"ip6", 24, 16}: {"ip6 daddr", address}, {"ip6", 6, 1}: {"ip6 nexthdr", transport},
	{"ip6", 7, 1}: {"ip6 hoplimit", decimal}, {"ip6", 4, 2}: {"ip6 length", decimal},
	{"th", 0, 4}: {"th sport . th dport", bothPorts},
	{"th", 0, 2}: {"th sport", decimal}, {"th", 2, 2}: {"th dport", decimal},
	{"udp", 4, 2}: {"udp length", decimal}, {"tcp", 13, 1}: {"tcp flags", tcpFlags}, {"tcp", 14, 2}: {"tcp window", decimal},
	{"icmp", 0, 1}: {"icmp type", decimal}, {"icmp", 1, 1}: {"icmp code", decimal},
	{"icmpv6", 0, 1}: {"icmpv6 type", decimal}, {"icmpv6", 1, 1}: {"icmpv6 code", decimal},
}

// bit is a flag with its name.
type bit struct {
	bit  uint64
	name string
}

var fibFlags = []bit{
	{unix.NFTA_FIB_F_SADDR, "saddr"},
	{unix.NFTA_FIB_F_DADDR, "daddr"},
	{unix.NFTA_FIB_F_MARK, "mark"},
	{unix.NFTA_FIB_F_IIF, "iif"},
	{unix.NFTA_FIB_F_OIF, "oif"},
}

var fibResults = map[uint64]named{
	unix.NFT_FIB_RESULT_OIF: {"oif", linkIndex}, unix.NFT_FIB_RESULT_OIFNAME: {"oifname", linkName}, unix.NFT_FIB_RESULT_ADDRTYPE: {"type", addressType},
}

var operators = map[uint64]string{
	unix.NFT_CMP_NEQ: "!=", unix.NFT_CMP_LT: "<", unix.NFT_CMP_LTE: "<=", unix.NFT_CMP_GT: ">", unix.NFT_CMP_GTE: ">=",
}

// flagNames are the names of the bits of a kind.
var flagNames = map[valueKind][]bit{
	ctState:  {{1, "invalid"}, {2, "established"}, {4, "related"}, {8, "new"}, {64, "untracked"}},
	ctStatus: {{1, "expected"}, {2, "seen-reply"}, {4, "assured"}, {8, "confirmed"}, {16, "snat"}, {32, "dnat"}, {512, "dying"}},
	tcpFlags: {{1, "fin"}, {2, "syn"}, {4, "rst"}, {8, "psh"}, {16, "ack"}, {32, "urg"}, {64, "ecn"}, {128, "cwr"}},
}

// valueNames are the names of single values.
var valueNames = map[valueKind]map[uint64]string{
	family:      {unix.NFPROTO_IPV4: "ipv4", unix.NFPROTO_IPV6: "ipv6"},
	ctDirection: {0: "original", 1: "reply"},
	addressType: {
		unix.RTN_UNICAST: "unicast", unix.RTN_LOCAL: "local", unix.RTN_BROADCAST: "broadcast", unix.RTN_ANYCAST: "anycast",
		unix.RTN_MULTICAST: "multicast", unix.RTN_BLACKHOLE: "blackhole", unix.RTN_UNREACHABLE: "unreachable", unix.RTN_PROHIBIT: "prohibit",
	},
	transport: {
		unix.IPPROTO_ICMP: "icmp", unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp", unix.IPPROTO_ICMPV6: "ipv6-icmp", unix.IPPROTO_SCTP: "sctp",
		unix.IPPROTO_DCCP: "dccp", unix.IPPROTO_UDPLITE: "udplite", unix.IPPROTO_ESP: "esp", unix.IPPROTO_AH: "ah", unix.IPPROTO_GRE: "gre",
		unix.IPPROTO_IGMP: "igmp", unix.IPPROTO_COMP: "comp",
	},
	linkIndex: {1: `"lo"`},
}

func (k valueKind) flags() bool { return flagNames[k] != nil }

func (k valueKind) prefix() bool { return k == address }

// write writes a value as nft does.
func (k valueKind) write(value []byte) string {
	n, isNumber := k.number(value)
	switch {
	case !isNumber && k != address && k != linkName && k != hardware:
	case valueNames[k][n] != "":
		return valueNames[k][n]
	case k.flags():
		return k.names(n)
	}
	switch k {
	case address:
		if a, ok := netip.AddrFromSlice(value); ok {
			return a.String()
		}
	case linkName:
		name, _, padded := strings.Cut(string(value), "\x00")
		if !padded && len(value) < unix.IFNAMSIZ {
			name += "*"
		}
		return strconv.Quote(name)
	case hardware:
		return net.HardwareAddr(value).String()
	case mark:
		if isNumber {
			return fmt.Sprintf("0x%08x", n)
		}
	case bitsOf:
	default:
		if isNumber {
			return strconv.FormatUint(n, 10)
		}
	}
	return fmt.Sprintf("0x%x", value)
}

// number reads a value in the byte order of its kind.
func (k valueKind) number(value []byte) (uint64, bool) {
	order := binary.ByteOrder(binary.BigEndian)
	switch k {
	case native, mark, linkIndex, ctState, ctStatus, addressType:
		order = binary.NativeEndian
	}
	switch len(value) {
	case 1:
		return uint64(value[0]), true
	case 2:
		return uint64(order.Uint16(value)), true
	case 4:
		return uint64(order.Uint32(value)), true
	}
	return 0, false
}

func (k valueKind) names(n uint64) string {
	var names []string
	for _, f := range flagNames[k] {
		if n&f.bit != 0 {
			names, n = append(names, f.name), n&^f.bit
		}
	}
	if n != 0 || len(names) == 0 {
		names = append(names, fmt.Sprintf("0x%x", n))
	}
	return strings.Join(names, ",")
}

// elements writes the elements of an anonymous set.
func (k valueKind) elements(set observedSet) string {
	var texts []string
	for _, e := range set.elements {
		key, other := strings.CutPrefix(e.Foreign, "key 0x")
		if value, err := hex.DecodeString(key); other && err == nil {
			texts = append(texts, k.write(value))
			continue
		}
		switch {
		case !e.From.IsValid() || e.Foreign != "" || k == address:
			texts = append(texts, e.String())
		case e.From == e.To:
			texts = append(texts, k.write(e.From.AsSlice()))
		default:
			texts = append(texts, k.write(e.From.AsSlice())+"-"+k.write(e.To.AsSlice()))
		}
	}
	return "{ " + strings.Join(texts, ", ") + " }"
}

// prefixLength is how many bits a mask begins with, -1 if there are others behind them.
func prefixLength(mask []byte) int {
	length := 0
	for i, b := range mask {
		ones := bits.LeadingZeros8(^b)
		length += ones
		if ones < 8 {
			if b<<ones != 0 {
				return -1
			}
			for _, rest := range mask[i+1:] {
				if rest != 0 {
					return -1
				}
			}
			return length
		}
	}
	return length
}

// milliseconds writes a time without units of zero: "1m".
func milliseconds(n uint64) string {
	text := (time.Duration(n) * time.Millisecond).String()
	if short, ok := strings.CutSuffix(text, "m0s"); ok {
		text = short + "m"
	}
	if short, ok := strings.CutSuffix(text, "h0m"); ok {
		text = short + "h"
	}
	return text
}
