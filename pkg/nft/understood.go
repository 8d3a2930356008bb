package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// understood reads what a rule of another program looks for and does, and the names of
// the sets in which it looks ports up.
func understood(list []expression) (ruleset.OtherRule, []string) {
	u := understanding{masked: allBits}
	for _, e := range list {
		u.expression(e)
	}
	return u.rule, u.sets
}

// understanding goes through the expressions of a rule. It follows one register: rules
// of nft and of iptables-nft load a value and use it at once.
type understanding struct {
	rule ruleset.OtherRule
	sets []string
	// port and mark say what was loaded last; masked is the mask that it was put to, and
	// constant what was loaded or joined in.
	port, mark       bool
	masked, constant uint32
	low              uint16
	short            uint16 // the last constant of 16 bits
}

const allBits = ^uint32(0)

// nftaTproxyRegPort is NFTA_TPROXY_REG_PORT of linux/netfilter/nf_tables.h.
const nftaTproxyRegPort = 3

func (u *understanding) expression(e expression) {
	switch e.name {
	case "payload":
		u.port = e.number(unix.NFTA_PAYLOAD_BASE) == unix.NFT_PAYLOAD_TRANSPORT_HEADER && e.number(unix.NFTA_PAYLOAD_OFFSET) == 2 && e.number(unix.NFTA_PAYLOAD_LEN) == 2
		u.mark = false
		if source := attribute(e.data, unix.NFTA_PAYLOAD_SREG); len(source) > 0 && u.port {
			u.port, u.rule.Proxied = false, u.short // it writes the port into the packet
		}
	case "meta":
		u.meta(e)
	case "ct":
		u.port, u.mark, u.masked, u.constant = false, false, allBits, 0
	case "bitwise":
		u.bitwise(e)
	case "cmp":
		u.compare(e)
	case "range":
		u.between(e)
	case "lookup":
		if u.port {
			u.sets = append(u.sets, e.text(unix.NFTA_LOOKUP_SET))
		}
	case "immediate":
		u.immediate(e)
	case "reject":
		u.rule.Drops = true
	case "notrack":
		u.rule.Untracked = true
	case "tproxy":
		if e.number(nftaTproxyRegPort) != 0 {
			u.rule.Proxied = u.short
		}
	case "match":
		u.rule.ReadMatch(e.text(unix.NFTA_MATCH_NAME), attribute(e.data, unix.NFTA_MATCH_INFO))
	case "target":
		u.rule.ReadTarget(e.text(unix.NFTA_TARGET_NAME), attribute(e.data, unix.NFTA_TARGET_INFO))
	}
}

func (u *understanding) meta(e expression) {
	isMark := e.number(unix.NFTA_META_KEY) == unix.NFT_META_MARK
	if source := attribute(e.data, unix.NFTA_META_SREG); len(source) > 0 {
		if isMark {
			u.rule.Marks |= ^u.masked | u.constant
		}
		return
	}
	u.port, u.mark, u.masked, u.constant = false, isMark, allBits, 0
}

// valueOf reads a value of 32 bits in the byte order of this machine, as marks are.
func valueOf(e expression, kind uint16) (uint32, bool) {
	outer := attribute(e.data, kind)
	inner := attribute(outer, unix.NFTA_DATA_VALUE)
	if len(inner) != 4 {
		return 0, false
	}
	return binary.NativeEndian.Uint32(inner), true
}

func (u *understanding) bitwise(e expression) {
	mask, ok := valueOf(e, unix.NFTA_BITWISE_MASK)
	if xor, isXor := valueOf(e, unix.NFTA_BITWISE_XOR); ok && isXor && u.mark {
		u.masked, u.constant = mask, xor
	}
}

func (u *understanding) compare(e expression) {
	value := e.compared()
	switch {
	case u.mark && len(value) == 4:
		// A comparison of the whole mark reads nothing of ours but what it asks for.
		bits := u.masked
		if bits == allBits {
			bits = binary.NativeEndian.Uint32(value)
		}
		u.rule.Marks |= bits
	case u.port && len(value) == 2:
		port := binary.BigEndian.Uint16(value)
		switch e.number(unix.NFTA_CMP_OP) {
		case unix.NFT_CMP_EQ:
			u.rule.Ports = append(u.rule.Ports, [2]uint16{port, port})
		case unix.NFT_CMP_GTE:
			u.low = port
		case unix.NFT_CMP_LTE:
			u.rule.Ports = append(u.rule.Ports, [2]uint16{u.low, port})
		}
	}
}

// between reads a range of ports as nft 1.1 has it; older ones compare twice.
func (u *understanding) between(e expression) {
	from := attribute(attribute(e.data, unix.NFTA_RANGE_FROM_DATA), unix.NFTA_DATA_VALUE)
	to := attribute(attribute(e.data, unix.NFTA_RANGE_TO_DATA), unix.NFTA_DATA_VALUE)
	if u.port && len(from) == 2 && len(to) == 2 && e.number(unix.NFTA_RANGE_OP) == unix.NFT_RANGE_EQ {
		u.rule.Ports = append(u.rule.Ports, [2]uint16{binary.BigEndian.Uint16(from), binary.BigEndian.Uint16(to)})
	}
}

func (u *understanding) immediate(e expression) {
	data := attribute(e.data, unix.NFTA_IMMEDIATE_DATA)
	if verdict := attribute(data, unix.NFTA_DATA_VERDICT); len(verdict) > 0 {
		code := attribute(verdict, unix.NFTA_VERDICT_CODE)
		if len(code) == 4 {
			u.rule.Drops = u.rule.Drops || binary.BigEndian.Uint32(code) == 0
			u.rule.Accepts = u.rule.Accepts || binary.BigEndian.Uint32(code) == 1
		}
		return
	}
	if value := attribute(data, unix.NFTA_DATA_VALUE); len(value) == 2 {
		u.short = binary.BigEndian.Uint16(value)
	}
	if value, ok := valueOf(e, unix.NFTA_IMMEDIATE_DATA); ok {
		u.port, u.mark, u.masked, u.constant = false, false, allBits, value
	}
}
