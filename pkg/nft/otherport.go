package nft

import (
	"bytes"
	"encoding/binary"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// portsSize is how many bytes both ports have, which every transport header begins with.
const portsSize = 4

// encodeOtherPort reads both ports.
func encodeOtherPort(s ruleset.OtherPort) []expr.Any { return compareOtherPort(s, 0, portsSize) }

// saved writes the rule for packets to other ports as it is after nft 1.1 has listed and
// loaded it, and nothing for other rules. It lists "@th,0,32 & 0xfffe != 0x13c4" as
// "@th,16,15 != 0x9e2", which reads only the bytes that the mask has bits of.
func saved(statements []ruleset.Statement) string {
	all, err := encodeRule(statements)
	if err != nil || len(statements) != 2 || statements[1] != (ruleset.Verdict{Kind: ruleset.Return}) {
		return ""
	}
	other, ok := statements[0].(ruleset.OtherPort)
	if !ok || other.Source {
		return ""
	}
	all[0].exprs = compareOtherPort(other, 2, 2+(other.Bits+7)/8)
	text, err := canonicalOf(statements, all)
	if err != nil {
		return ""
	}
	return text
}

func compareOtherPort(s ruleset.OtherPort, from, to int) []expr.Any {
	mask, value := s.Words()
	part, size := binary.BigEndian.AppendUint32(nil, mask)[from:to], uint32(to-from)
	different := compare(binary.BigEndian.AppendUint32(nil, value)[from:to])
	different.Op = expr.CmpOpNeq
	// [ payload load 4b @ transport header + 0 => reg 1 ] [ bitwise reg 1 = ( reg 1 & … ) ^ 0 ] [ cmp neq reg 1 … ]
	load := &expr.Payload{DestRegister: fenceRegister, Base: expr.PayloadBaseTransportHeader, Offset: uint32(from), Len: size}
	if s.Bits == 8*len(part) {
		return []expr.Any{load, different} // all bits of what is read
	}
	return []expr.Any{
		load,
		&expr.Bitwise{SourceRegister: fenceRegister, DestRegister: fenceRegister, Len: size, Mask: part, Xor: make([]byte, size)},
		different,
	}
}

// guessOtherPort reads what compares a part of both ports, or of the bytes of one.
func guessOtherPort(load expression, at func(int) expression) (ruleset.Statement, int) {
	from, size := load.number(unix.NFTA_PAYLOAD_OFFSET), load.number(unix.NFTA_PAYLOAD_LEN)
	if from+size > portsSize {
		return nil, 0
	}
	part, then, n := bytes.Repeat([]byte{0xff}, int(size)), at(1), 2
	if then.name == "bitwise" {
		part, then, n = then.value(unix.NFTA_BITWISE_MASK), at(2), 3
	}
	var mask, value [portsSize]byte
	copy(mask[from:], part)
	copy(value[from:], then.compared())
	s, ok := ruleset.OtherPortOf(binary.BigEndian.Uint32(mask[:]), binary.BigEndian.Uint32(value[:]))
	if !ok {
		return nil, 0
	}
	return s, n
}
