package nft

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// understood reads what a rule of another program looks for and does, and the sets in
// which it looks values up.
func understood(list []expression) (ruleset.OtherRule, []lookup) {
	u := understanding{masked: allBits}
	for _, e := range list {
		u.expression(e)
	}
	return u.rule, u.lookups
}

// lookup is the use of a set by a rule.
type lookup struct {
	set  string
	what content // the value that is looked up
	not  bool
	// proxied says that the set is a map which has the port to which packets are handed.
	proxied bool
}

// content is what a register has, as far as it is understood.
type content int

const (
	otherValue content = iota
	destinationPort
	packetMark
	incomingName
	incomingIndex
	sourceAddress4
	sourceAddress6
	transportProtocol
)

// understanding goes through the expressions of a rule. It follows one register: rules
// of nft and of iptables-nft load a value and use it at once.
type understanding struct {
	rule    ruleset.OtherRule
	lookups []lookup
	// has says what was loaded last, behind skip other bytes; masked is the mask that a mark
	// was put to, constant what was loaded or joined in, and mask that of an address.
	has              content
	skip             int
	masked, constant uint32
	mask             []byte
	low              uint16
	// short is the last constant of 16 bits, long the one that was loaded last, and from
	// the map that the value comes from that was, nil for none.
	short uint16
	long  []byte
	from  *lookup
}

const allBits = ^uint32(0)

// nftaTproxyRegPort is NFTA_TPROXY_REG_PORT of linux/netfilter/nf_tables.h.
const nftaTproxyRegPort = 3

func (u *understanding) expression(e expression) {
	switch e.name {
	case "payload":
		u.payload(e)
	case "meta":
		u.meta(e)
	case "bitwise":
		u.bitwise(e)
	case "cmp":
		u.compare(e)
	case "range":
		u.between(e)
	case "lookup":
		u.lookup(e)
	case "immediate":
		u.immediate(e)
	case "reject":
		u.rule.Drops, u.rule.Leaves = true, true
	case "notrack":
		u.rule.Untracked = true
	case "tproxy":
		if e.number(nftaTproxyRegPort) != 0 {
			u.proxy(u.short, false)
		}
	case "match":
		u.rule.ReadMatch(e.text(unix.NFTA_MATCH_NAME), attribute(e.data, unix.NFTA_MATCH_INFO))
	case "target":
		u.rule.ReadTarget(e.text(unix.NFTA_TARGET_NAME), attribute(e.data, unix.NFTA_TARGET_INFO))
	case counterName, "log", "objref", "byteorder":
	default:
		// What it loads or asks for is not understood.
		u.loads(otherValue)
		u.rule.Partly = true
	}
}

// loads notes that a register has something else now.
func (u *understanding) loads(what content) {
	u.has, u.skip, u.masked, u.constant, u.mask = what, 0, allBits, 0, nil
	u.long, u.from = nil, nil
}

// proxy notes that packets are handed to the server on a port, or to those of a map.
func (u *understanding) proxy(port uint16, written bool) {
	u.rule.Written = written
	if u.from == nil {
		u.rule.Proxied = port
		return
	}
	from := *u.from
	from.proxied = true
	u.lookups = append(u.lookups, from)
}

// Where headers have what matters: the destination port of the transport header, and what
// comes before it in a header of IPv4 without options and one of IPv6; and the addresses.
const (
	portOffset    = 2
	ipv4Length    = 20
	ipv6Length    = 40
	protocolByte  = 9
	source4Offset = 12
	source6Offset = 8
)

func (u *understanding) payload(e expression) {
	base, offset, length := e.number(unix.NFTA_PAYLOAD_BASE), int(e.number(unix.NFTA_PAYLOAD_OFFSET)), int(e.number(unix.NFTA_PAYLOAD_LEN))
	transport := base == unix.NFT_PAYLOAD_TRANSPORT_HEADER
	if source := attribute(e.data, unix.NFTA_PAYLOAD_SREG); len(source) > 0 {
		u.write(base, offset, length)
		return
	}
	covers := func(at, size int) bool { return offset <= at && offset+length >= at+size }
	switch {
	case transport && covers(portOffset, 2):
		u.loads(destinationPort)
		u.skip = portOffset - offset
	case base == unix.NFT_PAYLOAD_NETWORK_HEADER && offset == protocolByte && length == 1:
		u.loads(transportProtocol)
	case base == unix.NFT_PAYLOAD_NETWORK_HEADER && offset == source4Offset:
		u.loads(sourceAddress4)
	case base == unix.NFT_PAYLOAD_NETWORK_HEADER && offset == source6Offset && length > 2:
		u.loads(sourceAddress6)
	default:
		u.loads(otherValue)
	}
}

// write notes that the rule writes into packets. Rules may write the port with others, and
// by its place behind the network header.
func (u *understanding) write(base uint64, offset, length int) {
	starts := map[uint64][]int{unix.NFT_PAYLOAD_TRANSPORT_HEADER: {0}, unix.NFT_PAYLOAD_NETWORK_HEADER: {ipv4Length, ipv6Length}}
	for _, start := range starts[base] {
		at := start + portOffset - offset
		switch {
		case at < 0 || at+2 > length:
		case u.from != nil && length == 2:
			u.proxy(0, true)
		case u.from == nil && at+2 <= len(u.long):
			u.proxy(binary.BigEndian.Uint16(u.long[at:]), true)
		}
	}
}

func (u *understanding) meta(e expression) {
	key := e.number(unix.NFTA_META_KEY)
	if source := attribute(e.data, unix.NFTA_META_SREG); len(source) > 0 {
		if key == unix.NFT_META_MARK {
			u.rule.Marks |= ^u.masked | u.constant
		}
		return
	}
	what, ok := map[uint64]content{
		unix.NFT_META_MARK: packetMark, unix.NFT_META_IIFNAME: incomingName, unix.NFT_META_IIF: incomingIndex, unix.NFT_META_L4PROTO: transportProtocol,
	}[key]
	if !ok {
		what = otherValue
	}
	u.loads(what)
}

// valueOf reads a value of 32 bits in the byte order of this machine, as marks are.
func valueOf(e expression, kind uint16) (uint32, bool) {
	inner := e.value(kind)
	if len(inner) != 4 {
		return 0, false
	}
	return binary.NativeEndian.Uint32(inner), true
}

func (u *understanding) bitwise(e expression) {
	mask, ok := valueOf(e, unix.NFTA_BITWISE_MASK)
	xor, isXor := valueOf(e, unix.NFTA_BITWISE_XOR)
	switch {
	case u.has == packetMark && ok && isXor:
		u.masked, u.constant = mask, xor
	case u.has == sourceAddress4 || u.has == sourceAddress6:
		u.mask = slices.Clone(e.value(unix.NFTA_BITWISE_MASK))
	case u.has != packetMark:
		u.loads(otherValue)
	}
}

func (u *understanding) compare(e expression) {
	value, operation := e.compared(), e.number(unix.NFTA_CMP_OP)
	not := operation == unix.NFT_CMP_NEQ
	if u.has == packetMark && len(value) == 4 {
		// A comparison of the whole mark reads nothing of ours but what it asks for.
		bits := u.masked
		if bits == allBits {
			bits = binary.NativeEndian.Uint32(value)
		}
		u.rule.Marks |= bits
	}
	if u.has == destinationPort && len(value) >= u.skip+2 {
		u.comparePort(value, operation)
		return
	}
	if operation != unix.NFT_CMP_EQ && !not {
		u.rule.Partly = true
		return
	}
	u.rule.AddCondition(u.condition(value, not))
}

// comparePort reads a comparison of the destination port, beside which there may be others.
func (u *understanding) comparePort(value []byte, operation uint64) {
	port := binary.BigEndian.Uint16(value[u.skip:])
	alone := len(value) == 2
	u.rule.Partly = u.rule.Partly || !alone
	switch {
	case operation == unix.NFT_CMP_EQ:
		u.rule.Ports = append(u.rule.Ports, [2]uint16{port, port})
	case operation == unix.NFT_CMP_GTE && alone:
		u.low = port
	case operation == unix.NFT_CMP_LTE && alone:
		u.rule.Ports = append(u.rule.Ports, [2]uint16{u.low, port})
	case operation == unix.NFT_CMP_NEQ && alone:
		u.rule.AddCondition(ruleset.Condition{Not: true, Ports: [][2]uint16{{port, port}}})
	default:
		u.rule.Partly = true
	}
}

// condition is what a comparison of the register says; an empty one is not understood.
func (u *understanding) condition(value []byte, not bool) ruleset.Condition {
	c := ruleset.Condition{Not: not}
	switch {
	case u.has == transportProtocol && len(value) == 1:
		c.Protocols = protocolsOf(value[0])
	case u.has == incomingName:
		c.Interfaces = []string{incomingPattern(value)}
	case u.has == incomingIndex && len(value) == 4:
		if i, err := net.InterfaceByIndex(int(binary.NativeEndian.Uint32(value))); err == nil {
			c.Interfaces = []string{i.Name}
		}
	case u.has == sourceAddress4:
		c.Sources = u.prefix(value, 4)
	case u.has == sourceAddress6:
		c.Sources = u.prefix(value, 16)
	}
	return c
}

// incomingPattern is a name, or a prefix of one where its end is missing.
func incomingPattern(value []byte) string {
	name := unix.ByteSliceToString(value)
	if len(name) == len(value) && len(value) < unix.IFNAMSIZ {
		return name + "*"
	}
	return name
}

func protocolsOf(number byte) []ruleset.Protocol {
	for p, n := range protocolNumbers {
		if n == number {
			return []ruleset.Protocol{p}
		}
	}
	return []ruleset.Protocol{ruleset.OtherProtocol}
}

// prefix is that of the first bytes of an address, with the mask that was put to it. More
// bytes than an address has are about something else.
func (u *understanding) prefix(value []byte, size int) []netip.Prefix {
	if len(value) > size {
		u.rule.Partly = true
		value = value[:size]
	}
	bits := 8 * len(value)
	if len(u.mask) > 0 {
		ones, all := net.IPMask(u.mask).Size()
		if all == 0 || len(u.mask) != len(value) {
			return nil
		}
		bits = ones
	}
	full := make([]byte, size)
	copy(full, value)
	a, _ := netip.AddrFromSlice(full)
	return []netip.Prefix{netip.PrefixFrom(a, bits)}
}

func (u *understanding) lookup(e expression) {
	l := lookup{set: e.text(unix.NFTA_LOOKUP_SET), what: u.has, not: e.number(unix.NFTA_LOOKUP_FLAGS) == unix.NFT_LOOKUP_F_INV}
	if target := attribute(e.data, unix.NFTA_LOOKUP_DREG); len(target) > 0 {
		u.from = &l
		u.rule.Partly = true
		return
	}
	if u.skip > 0 || u.mask != nil {
		l.what = otherValue
	}
	u.lookups = append(u.lookups, l)
}

// between reads a range of ports as nft 1.1 has it; older ones compare twice.
func (u *understanding) between(e expression) {
	from := attribute(attribute(e.data, unix.NFTA_RANGE_FROM_DATA), unix.NFTA_DATA_VALUE)
	to := attribute(attribute(e.data, unix.NFTA_RANGE_TO_DATA), unix.NFTA_DATA_VALUE)
	if u.has != destinationPort || u.skip > 0 || len(from) != 2 || len(to) != 2 {
		u.rule.Partly = true
		return
	}
	ports := [2]uint16{binary.BigEndian.Uint16(from), binary.BigEndian.Uint16(to)}
	if e.number(unix.NFTA_RANGE_OP) == unix.NFT_RANGE_EQ {
		u.rule.Ports = append(u.rule.Ports, ports)
	} else {
		u.rule.AddCondition(ruleset.Condition{Not: true, Ports: [][2]uint16{ports}})
	}
}

func (u *understanding) immediate(e expression) {
	data := attribute(e.data, unix.NFTA_IMMEDIATE_DATA)
	if verdict := attribute(data, unix.NFTA_DATA_VERDICT); len(verdict) > 0 {
		code := attribute(verdict, unix.NFTA_VERDICT_CODE)
		if len(code) == 4 {
			u.verdict(int32(binary.BigEndian.Uint32(code)), text(attribute(verdict, unix.NFTA_VERDICT_CHAIN)))
		}
		return
	}
	value := slices.Clone(e.value(unix.NFTA_IMMEDIATE_DATA))
	u.loads(otherValue)
	u.long = value
	if len(value) == 2 {
		u.short = binary.BigEndian.Uint16(value)
	}
	if constant, ok := valueOf(e, unix.NFTA_IMMEDIATE_DATA); ok {
		u.constant = constant
	}
}

func (u *understanding) verdict(code int32, chain string) {
	u.rule.Drops = u.rule.Drops || code == 0
	u.rule.Accepts = u.rule.Accepts || code == 1
	u.rule.Leaves = u.rule.Leaves || code == 0 || code == 1 || code == unix.NFT_RETURN || code == unix.NFT_GOTO
	u.rule.Leads = chain
}
