package nft

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// encodePeer translates what names the peer: the family, what the key is made of, and
// what is done with it.
func encodePeer(p ruleset.Peer, last expr.Any) []expr.Any {
	family, address, behind := byte(unix.NFPROTO_IPV4), sourceAddress(p.V6), uint32(unix.NFT_REG32_01)
	if p.V6 {
		family, behind = unix.NFPROTO_IPV6, unix.NFT_REG_2
	}
	port := uint32(0)
	if p.Answer {
		address.Offset += address.Len // the destination is behind the source
		port = 2
	}
	exprs := []expr.Any{
		// [ meta load nfproto => reg 1 ] [ cmp eq reg 1 0x02 ]
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: fenceRegister},
		compare([]byte{family}),
		// [ payload load 4b @ network header + 12 => reg 1 ]
		address,
	}
	if p.Port {
		// [ payload load 2b @ transport header + 0 => reg 9 ]
		exprs = append(exprs, &expr.Payload{DestRegister: behind, Base: expr.PayloadBaseTransportHeader, Offset: port, Len: 2})
	}
	return append(exprs, last)
}

func encodeLearn(s ruleset.Learn) []expr.Any {
	// [ dynset update reg_key 1 set … timeout …ms expr [ limit rate over … ] ]
	update := &expr.Dynset{SrcRegKey: fenceRegister, SetName: s.Set, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: s.For}
	if s.Over != (ruleset.Limit{}) {
		update.Exprs = []expr.Any{&expr.Limit{
			Type: expr.LimitTypePkts, Rate: s.Over.Rate, Unit: expr.LimitTime(s.Over.Per / time.Second), Over: true, Burst: s.Over.Burst,
		}}
	}
	return encodePeer(s.Peer, update)
}

// The places of fields in TCP's header, RFC 9293 section 3.1.
const (
	wordsByte = 12
	flagsByte = 13
)

// Two of TCP's flags.
const (
	tcpSYN = 0x02
	tcpACK = 0x10
)

// encodeTransport translates what looks into or behind the transport header, nil for
// anything else.
func encodeTransport(s ruleset.Statement) []expr.Any {
	switch s := s.(type) {
	case ruleset.Transport:
		return compareTransport(s.Protocol)
	case ruleset.TCPHeader:
		return append(compareTransport(ruleset.TCP), maskedByte(wordsByte, 0xf0, byte(s.Words)<<4)...)
	case ruleset.Opening:
		return append(compareTransport(ruleset.TCP), maskedByte(flagsByte, tcpSYN|tcpACK, tcpSYN)...)
	case ruleset.Fragment:
		return encodeFragment()
	case ruleset.Text:
		// [ payload load 9b @ transport header + 8 => reg 1 ] [ cmp eq reg 1 … ]
		return []expr.Any{transportBytes(s.Offset, len(s.Text)), compare([]byte(s.Text))}
	case ruleset.Reaches:
		// [ payload load 1b @ transport header + 20 => reg 1 ] [ cmp gte reg 1 0x00 ]: what is not there ends the rule.
		cmp := compare([]byte{0})
		cmp.Op = expr.CmpOpGte
		return []expr.Any{transportBytes(s.Offset, 1), cmp}
	case ruleset.SourcePort:
		return []expr.Any{
			// [ meta load l4proto => reg 1 ] [ payload load 2b @ transport header + 0 => reg 9 ] [ lookup reg 1 set … ]
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: fenceRegister},
			&expr.Payload{DestRegister: unix.NFT_REG32_01, Base: expr.PayloadBaseTransportHeader, Len: 2},
			&expr.Lookup{SourceRegister: fenceRegister, SetName: s.Set},
		}
	case ruleset.RepliedFrom:
		return append(compareTransport(s.Protocol),
			// [ ct load proto_src => reg 1 , dir reply ] [ cmp eq reg 1 0xc413 ]
			&expr.Ct{Key: expr.CtKeyPROTOSRC, Register: fenceRegister, Direction: expr.CtDirReply, OptDirection: true},
			compare(binary.BigEndian.AppendUint16(nil, s.Port)),
		)
	}
	return nil
}

// compareTransport is [ meta load l4proto => reg 1 ] [ cmp eq reg 1 … ].
func compareTransport(p ruleset.Protocol) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: fenceRegister}, compare([]byte{protocolNumbers[p]})}
}

// fragmentField is where IPv4's header has the flag that there are more fragments and the
// place of this one, RFC 791 section 3.1.
const fragmentField = 6

func encodeFragment() []expr.Any {
	cmp := compare(make([]byte, 2))
	cmp.Op = expr.CmpOpNeq
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: fenceRegister},
		compare([]byte{unix.NFPROTO_IPV4}),
		// [ payload load 2b @ network header + 6 => reg 1 ]
		&expr.Payload{DestRegister: fenceRegister, Base: expr.PayloadBaseNetworkHeader, Offset: fragmentField, Len: 2},
		&expr.Bitwise{SourceRegister: fenceRegister, DestRegister: fenceRegister, Len: 2, Mask: []byte{0x3f, 0xff}, Xor: make([]byte, 2)},
		cmp,
	}
}

func transportBytes(offset, length int) *expr.Payload {
	return &expr.Payload{DestRegister: fenceRegister, Base: expr.PayloadBaseTransportHeader, Offset: uint32(offset), Len: uint32(length)}
}

// maskedByte compares some bits of a byte of the transport header.
func maskedByte(offset int, mask, value byte) []expr.Any {
	return []expr.Any{
		transportBytes(offset, 1),
		&expr.Bitwise{SourceRegister: fenceRegister, DestRegister: fenceRegister, Len: 1, Mask: []byte{mask}, Xor: []byte{0}},
		compare([]byte{value}),
	}
}

// guessTransport reads what encodeTransport writes behind a comparison of the protocol.
func guessTransport(protocol ruleset.Protocol, at func(int) expression) (ruleset.Statement, int) {
	masked := at(2).name == "payload" && at(3).name == "bitwise"
	value, port := at(4).compared(), at(3).compared()
	switch offset := at(2).number(unix.NFTA_PAYLOAD_OFFSET); {
	case at(2).name == "ct" && at(2).number(unix.NFTA_CT_KEY) == unix.NFT_CT_PROTO_SRC && len(port) == 2:
		return ruleset.RepliedFrom{Protocol: protocol, Port: binary.BigEndian.Uint16(port)}, 4
	case masked && offset == wordsByte && len(value) == 1:
		return ruleset.TCPHeader{Words: int(value[0] >> 4)}, 5
	case masked && offset == flagsByte:
		return ruleset.Opening{}, 5
	}
	return ruleset.Transport{Protocol: protocol}, 2
}

// leastOffset is behind the ports, which nft has names for.
const leastOffset = 8

// guessText reads a match of bytes behind the ports, nil for another one.
func guessText(load, cmp expression) ruleset.Statement {
	offset := int(load.number(unix.NFTA_PAYLOAD_OFFSET))
	if offset < leastOffset {
		return nil
	}
	if cmp.number(unix.NFTA_CMP_OP) == unix.NFT_CMP_GTE {
		return ruleset.Reaches{Offset: offset}
	}
	return ruleset.Text{Offset: offset, Text: string(cmp.compared())}
}

// guessPeer reads what names the peer from an expression on, and returns how many
// expressions that takes; 0 if it is something else.
func guessPeer(at func(int) expression, from int) (ruleset.Statement, int) {
	address, n := at(from), from+1
	p := ruleset.Peer{V6: address.number(unix.NFTA_PAYLOAD_LEN) == 16}
	source := sourceAddress(p.V6)
	p.Answer = address.number(unix.NFTA_PAYLOAD_OFFSET) != uint64(source.Offset)
	if at(n).name == "payload" {
		p.Port, n = true, n+1
	}
	switch last := at(n); last.name {
	case "lookup":
		not := last.number(unix.NFTA_LOOKUP_FLAGS) == unix.NFT_LOOKUP_F_INV
		if !p.Answer && !p.Port {
			return ruleset.Source{V6: p.V6, Not: not, Set: last.text(unix.NFTA_LOOKUP_SET)}, n + 1
		}
		return ruleset.PeerIn{Peer: p, Not: not, Set: last.text(unix.NFTA_LOOKUP_SET)}, n + 1
	case "dynset":
		life := time.Duration(last.number(unix.NFTA_DYNSET_TIMEOUT)) * time.Millisecond
		if life == 0 && last.number(unix.NFTA_DYNSET_OP) != dynsetDelete {
			return nil, 0
		}
		if !p.Answer && !p.Port && (last.number(unix.NFTA_DYNSET_OP) == unix.NFT_DYNSET_OP_ADD || keeps(last) == counterName) {
			return guessRecord(p.V6, last), n + 1
		}
		set := last.text(unix.NFTA_DYNSET_SET_NAME)
		if last.number(unix.NFTA_DYNSET_OP) == dynsetDelete {
			return ruleset.Forget{Peer: p, Set: set}, n + 1
		}
		over := guessLimit(last)
		if !p.Answer && !p.Port && keeps(last) == "" && strings.HasPrefix(set, bannedSet) {
			return ruleset.Ban{V6: p.V6, Set: set, For: life}, n + 1
		}
		return ruleset.Learn{Peer: p, Set: set, For: life, Over: over}, n + 1
	}
	return nil, 0
}

// dynsetDelete is NFT_DYNSET_OP_DELETE of linux/netfilter/nf_tables.h, which
// golang.org/x/sys/unix lacks.
const dynsetDelete = 2

func guessLimit(dynset expression) ruleset.Limit {
	if keeps(dynset) != "limit" {
		return ruleset.Limit{}
	}
	e := expressionOf(attribute(dynset.data, unix.NFTA_DYNSET_EXPR))
	return ruleset.Limit{
		Rate:  e.number(unix.NFTA_LIMIT_RATE),
		Per:   time.Duration(e.number(unix.NFTA_LIMIT_UNIT)) * time.Second,
		Burst: uint32(e.number(unix.NFTA_LIMIT_BURST)),
	}
}

// keeps is the name of the expression that each element of a set has, "" for none.
func keeps(dynset expression) string {
	nested := attribute(dynset.data, unix.NFTA_DYNSET_EXPR)
	return expressionOf(nested).name
}
