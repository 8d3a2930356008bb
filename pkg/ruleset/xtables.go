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
	case (name == "udp" || name == "tcp") && len(info) >= 8:
		low, high := binary.NativeEndian.Uint16(info[4:]), binary.NativeEndian.Uint16(info[6:])
		if low != 0 || high != math.MaxUint16 {
			r.Ports = append(r.Ports, [2]uint16{low, high})
		}
	case name == "multiport" && len(info) >= multiportInverted && info[0] != sourcePorts:
		r.Ports = append(r.Ports, multiports(info)...)
	case name == "mark" && len(info) >= 8:
		r.Marks |= markBits(info)
	}
}

// ReadTarget takes over what a target of iptables does, by its name and its data.
func (r *OtherRule) ReadTarget(name string, info []byte) {
	switch {
	case name == "REJECT" || name == "DROP":
		r.Drops = true
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
		r.Proxied = binary.BigEndian.Uint16(info[proxiedPort6:])
	case name == "TPROXY" && len(info) >= proxiedPort4+2:
		r.Proxied = binary.BigEndian.Uint16(info[proxiedPort4:])
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
	sourcePorts       = 0 // XT_MULTIPORT_SOURCE
	multiportRanges   = 32
	multiportInverted = 47
	mostMultiports    = 15
)

// multiports are the ports of an xt_multiport, none if it is inverted.
func multiports(info []byte) [][2]uint16 {
	if len(info) > multiportInverted && info[multiportInverted] != 0 {
		return nil
	}
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
