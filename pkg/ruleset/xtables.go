package ruleset

import (
	"bytes"
	"encoding/binary"
	"math"
)

// ReadMatch takes over what a match of iptables looks for, by its name and its data as the
// kernel has it: xt_udp, xt_tcp, xt_multiport and xt_mark (linux/netfilter/xt_tcpudp.h,
// xt_multiport.h, xt_mark.h). Others are passed over.
func (r *OtherRule) ReadMatch(name string, info []byte) {
	switch {
	case name == "comment":
	case (name == "udp" || name == "tcp") && len(info) >= 8:
		r.readPorts(name, info)
	case name == "multiport" && len(info) >= multiportInverted && info[0] == destinationPorts:
		inverted := len(info) > multiportInverted && info[multiportInverted] != 0
		r.addPorts(inverted, multiports(info)...)
	case name == "multiport" && len(info) >= multiportInverted && info[0] == eitherPorts:
		r.Ports, r.Either, r.Partly = append(r.Ports, multiports(info)...), true, true
	case name == "mark" && len(info) >= 8:
		r.Marks |= markBits(info)
		r.Partly = true
	default:
		r.Partly = true
	}
}

// Where struct xt_udp and struct xt_tcp have what is inverted, and the bit of it for the
// destination ports. What a TCP match has before it is about other parts of the header.
const (
	udpInverted          = 8
	tcpOther             = 8
	tcpInverted          = 11
	destinationsInverted = 2
)

// readPorts reads an xt_udp or xt_tcp.
func (r *OtherRule) readPorts(name string, info []byte) {
	at := udpInverted
	if name == "tcp" {
		at = tcpInverted
		r.Partly = r.Partly || len(info) > tcpInverted && (info[tcpOther] != 0 || info[tcpOther+1] != 0)
	}
	var inverted byte
	if len(info) > at {
		inverted = info[at]
	}
	sources := [2]uint16{binary.NativeEndian.Uint16(info), binary.NativeEndian.Uint16(info[2:])}
	r.Partly = r.Partly || sources != [2]uint16{0, math.MaxUint16} || inverted&^destinationsInverted != 0
	ports := [2]uint16{binary.NativeEndian.Uint16(info[4:]), binary.NativeEndian.Uint16(info[6:])}
	if ports != [2]uint16{0, math.MaxUint16} {
		r.addPorts(inverted&destinationsInverted != 0, ports)
	}
}

// addPorts adds destination ports that the rule looks for, or that it looks past.
func (r *OtherRule) addPorts(inverted bool, ports ...[2]uint16) {
	if inverted {
		r.When = append(r.When, Condition{Not: true, Ports: ports})
		return
	}
	r.Ports = append(r.Ports, ports...)
}

// AddCondition adds what the rule looks for besides ports. A condition that says nothing
// is one that is not understood.
func (r *OtherRule) AddCondition(c Condition) {
	if c.empty() {
		r.Partly = true
		return
	}
	r.When = append(r.When, c)
}

// ReadTarget takes over what a target of iptables does, by its name and its data.
func (r *OtherRule) ReadTarget(name string, info []byte) {
	switch {
	case name == "REJECT" || name == "DROP":
		r.Drops, r.Leaves = true, true
	case name == "MARK" && len(info) >= 8:
		r.Marks |= markBits(info)
	case name == "NOTRACK":
		r.Untracked = true
	case name == "CT" && len(info) >= ctHelper+ctHelperSize:
		// Its flags begin with that of --notrack (linux/netfilter/xt_CT.h).
		r.Untracked = binary.NativeEndian.Uint16(info)&1 != 0
		helper, _, _ := bytes.Cut(info[ctHelper:ctHelper+ctHelperSize], []byte{0})
		r.Helper = string(helper)
	case name == "TPROXY" && len(info) >= proxiedPort6+2:
		r.Proxied, r.Leaves = binary.BigEndian.Uint16(info[proxiedPort6:]), true
	case name == "TPROXY" && len(info) >= proxiedPort4+2:
		r.Proxied, r.Leaves = binary.BigEndian.Uint16(info[proxiedPort4:]), true
	}
}

// Where xt_tproxy_target_info has the port of the server, and where its version with an
// address of either family has it (linux/netfilter/xt_TPROXY.h).
const (
	proxiedPort4 = 12
	proxiedPort6 = 24
)

// The place of a helper's name in xt_ct_target_info_v1.
const (
	ctHelper     = 12
	ctHelperSize = 16
)

// Where xt_multiport_v1 has its parts: what it looks at, the number of its ports, the
// ports, for each whether it begins a range, and whether all is inverted.
const (
	destinationPorts  = 1 // XT_MULTIPORT_DESTINATION
	eitherPorts       = 2 // XT_MULTIPORT_EITHER
	multiportRanges   = 32
	multiportInverted = 47
	mostMultiports    = 15
)

// multiports are the ports of an xt_multiport.
func multiports(info []byte) [][2]uint16 {
	var ports [][2]uint16
	count := min(int(info[1]), mostMultiports)
	for i := 0; i < count; i++ {
		low := binary.NativeEndian.Uint16(info[2+2*i:])
		high := low
		if info[multiportRanges+i] != 0 && i+1 < count {
			i++
			high = binary.NativeEndian.Uint16(info[2+2*i:])
		}
		ports = append(ports, [2]uint16{low, high})
	}
	return ports
}

// markBits are the bits of a mark with its mask; with the mask of all bits, which is the
// default, those that the mark has.
func markBits(info []byte) uint32 {
	mark, mask := binary.NativeEndian.Uint32(info), binary.NativeEndian.Uint32(info[4:])
	if mask == math.MaxUint32 {
		return mark
	}
	return mark | mask
}
