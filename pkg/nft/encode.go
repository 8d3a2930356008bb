package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// encoded is one statement as the kernel's expressions, with the anonymous set
// that the last lookup among them asks.
type encoded struct {
	exprs []expr.Any
	set   *anonymousSet
}

// anonymousSet is a set without a name of its own, part of one rule.
type anonymousSet struct {
	keyType  nftables.SetDatatype
	interval bool
	elements []nftables.SetElement
	text     string // canonical: two sets with the same text are the same
}

// fenceRegister is where loads go. nft uses the same one, so that its rules and
// ours are equal.
const fenceRegister = unix.NFT_REG_1

// encodeRule translates the statements of a rule. As nft does, it asks only once for the
// family of a packet.
func encodeRule(statements []ruleset.Statement) ([]encoded, error) {
	all := make([]encoded, len(statements))
	var known [2]bool // of IPv4 and of IPv6
	for i, s := range statements {
		e, err := encode(s)
		if err != nil {
			return nil, err
		}
		if v6, ok := ofFamily(s); ok {
			family := &known[0]
			if v6 {
				family = &known[1]
			}
			if *family {
				e.exprs = e.exprs[2:]
			}
			*family = true
		}
		all[i] = e
	}
	return all, nil
}

// ofFamily returns the family that a statement asks for, if it asks for one.
func ofFamily(s ruleset.Statement) (v6, asks bool) {
	switch s := s.(type) {
	case ruleset.Source:
		return s.V6, true
	case ruleset.PeerIn:
		return s.V6, true
	case ruleset.Learn:
		return s.V6, true
	case ruleset.Forget:
		return s.V6, true
	}
	return false, false
}

// encode translates one statement. The comments show what nft's debug output
// calls each expression.
func encode(s ruleset.Statement) (encoded, error) {
	switch s := s.(type) {
	case ruleset.Source:
		return encodeSource(s)
	case ruleset.Destination:
		return encodeDestination(s), nil
	case ruleset.Connection:
		return encodeConnection(s)
	case ruleset.Verdict:
		kind, ok := verdicts[s.Kind]
		if !ok {
			return encoded{}, fmt.Errorf("encode verdict %q: no such verdict", s.Kind)
		}
		// [ immediate reg 0 … ]
		return encoded{exprs: []expr.Any{&expr.Verdict{Kind: kind, Chain: s.Chain}}}, nil
	}
	exprs := encodePlain(s)
	if exprs == nil {
		exprs = encodeTransport(s)
	}
	if exprs == nil {
		return encoded{}, fmt.Errorf("encode statement %q: no such statement", s)
	}
	return encoded{exprs: exprs}, nil
}

// encodePlain translates a statement that needs no set and cannot be wrong, nil if it
// is of another kind.
func encodePlain(s ruleset.Statement) []expr.Any {
	switch s := s.(type) {
	case ruleset.InInterface:
		return encodeInInterface(s)
	case ruleset.ReversePathMissing, ruleset.Unicast:
		return encodeFib(s)
	case ruleset.SourceNetwork:
		return encodeSourceNetwork(s)
	case ruleset.IPv6Packet:
		// [ meta load nfproto => reg 1 ] [ cmp eq reg 1 0x0a ]
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: fenceRegister}, compare([]byte{unix.NFPROTO_IPV6})}
	case ruleset.FirstFragment:
		return encodeFirstFragment()
	case ruleset.HasTransport:
		cmp := compare([]byte{255})
		cmp.Op = expr.CmpOpNeq
		// [ meta load l4proto => reg 1 ] [ cmp neq reg 1 0xff ]
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: fenceRegister}, cmp}
	case ruleset.OtherPort:
		return encodeOtherPort(s)
	case ruleset.Mark:
		return encodeMark(s)
	case ruleset.SetMark:
		return append(loadMark(^s.Bits.Of(0xf), s.Bits.Of(s.Class)),
			// [ meta set mark with reg 1 ]
			&expr.Meta{Key: expr.MetaKeyMARK, Register: fenceRegister, SourceRegister: true},
		)
	case ruleset.Ban:
		return []expr.Any{
			// [ payload load 4b @ network header + 12 => reg 1 ]
			sourceAddress(s.V6),
			// [ dynset update reg_key 1 set … timeout …ms ]
			&expr.Dynset{SrcRegKey: fenceRegister, SetName: s.Set, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: s.For},
		}
	case ruleset.PeerIn:
		return encodePeer(s.Peer, &expr.Lookup{SourceRegister: fenceRegister, SetName: s.Set, Invert: s.Not})
	case ruleset.Learn:
		return encodeLearn(s)
	case ruleset.Forget:
		return encodePeer(s.Peer, &expr.Dynset{SrcRegKey: fenceRegister, SetName: s.Set, Operation: dynsetDelete})
	case ruleset.Record, ruleset.Note, ruleset.Log:
		return encodeRecord(s)
	case ruleset.Count:
		// [ objref type 1 name … ]
		return []expr.Any{&expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: string(s)}}
	}
	return nil
}

// encodeFib translates a question to the routing table about the source address.
func encodeFib(s ruleset.Statement) []expr.Any {
	switch s.(type) {
	case ruleset.ReversePathMissing:
		return []expr.Any{
			// [ fib saddr . iif oif present => reg 1 ]
			&expr.Fib{Register: fenceRegister, FlagSADDR: true, FlagIIF: true, FlagPRESENT: true, ResultOIF: true},
			// [ cmp eq reg 1 0x00000000 ]
			compare(make([]byte, 4)),
		}
	case ruleset.Unicast:
		return []expr.Any{
			// [ fib saddr type => reg 1 ] [ cmp eq reg 1 RTN_UNICAST ]
			&expr.Fib{Register: fenceRegister, FlagSADDR: true, ResultADDRTYPE: true},
			compare(binary.NativeEndian.AppendUint32(nil, unix.RTN_UNICAST)),
		}
	}
	return nil
}

var verdicts = map[ruleset.VerdictKind]expr.VerdictKind{
	ruleset.Accept: expr.VerdictAccept,
	ruleset.Drop:   expr.VerdictDrop,
	ruleset.Jump:   expr.VerdictJump,
	ruleset.Goto:   expr.VerdictGoto,
	ruleset.Return: expr.VerdictReturn,
}

func compare(data []byte) *expr.Cmp {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: fenceRegister, Data: data}
}

// loopbackIndex is LOOPBACK_IFINDEX of the kernel's net/flow.h.
const loopbackIndex = 1

func encodeInInterface(s ruleset.InInterface) []expr.Any {
	// [ meta load iifname => reg 1 ]
	key, value := expr.MetaKeyIIFNAME, interfaceName(s.Name)
	if prefix, ok := strings.CutSuffix(s.Name, "*"); ok {
		value = []byte(prefix)
	}
	if s.Name == "lo" {
		// [ meta load iif => reg 1 ]: it is the first interface of every namespace.
		key, value = expr.MetaKeyIIF, binary.NativeEndian.AppendUint32(nil, loopbackIndex)
	}
	cmp := compare(value)
	if s.Not {
		cmp.Op = expr.CmpOpNeq
	}
	return []expr.Any{&expr.Meta{Key: key, Register: fenceRegister}, cmp}
}

func encodeFirstFragment() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: fenceRegister},
		compare([]byte{unix.NFPROTO_IPV6}),
		// [ exthdr load ipv6 2b @ 44 + 2 => reg 1 ]: the offset, RFC 8200 section 4.5
		&expr.Exthdr{DestRegister: fenceRegister, Type: unix.IPPROTO_FRAGMENT, Offset: 2, Len: 2, Op: expr.ExthdrOpIpv6},
		&expr.Bitwise{
			SourceRegister: fenceRegister, DestRegister: fenceRegister, Len: 2,
			Mask: []byte{0xff, 0xf8}, Xor: make([]byte, 2),
		},
		compare(make([]byte, 2)),
	}
}

// loadMark loads some bits of the mark, and others as they are to be.
func loadMark(mask, set uint32) []expr.Any {
	return []expr.Any{
		// [ meta load mark => reg 1 ] [ bitwise reg 1 = ( reg 1 & … ) ^ … ]
		&expr.Meta{Key: expr.MetaKeyMARK, Register: fenceRegister},
		&expr.Bitwise{
			SourceRegister: fenceRegister, DestRegister: fenceRegister, Len: 4,
			Mask: binary.NativeEndian.AppendUint32(nil, mask), Xor: binary.NativeEndian.AppendUint32(nil, set),
		},
	}
}

func encodeMark(s ruleset.Mark) []expr.Any {
	cmp := compare(binary.NativeEndian.AppendUint32(nil, s.Bits.Of(s.Class)))
	if s.Not {
		cmp.Op = expr.CmpOpNeq
	}
	return append(loadMark(s.Bits.Of(0xf), 0), cmp)
}

// interfaceName is a whole name with its NUL padding.
func interfaceName(name string) []byte {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return padded
}

func encodeDestination(s ruleset.Destination) encoded {
	e := encoded{exprs: []expr.Any{
		// [ meta load l4proto => reg 1 ]
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: fenceRegister},
		// [ payload load 2b @ transport header + 2 => reg 9 ], the next 4 bytes
		&expr.Payload{DestRegister: unix.NFT_REG32_01, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		// [ lookup reg 1 set … ]
		&expr.Lookup{SourceRegister: fenceRegister, SetName: s.Set},
	}}
	if len(s.In) > 0 {
		keyType := keyTypes[ruleset.Service]
		e.set = &anonymousSet{keyType: keyType, elements: setElements(ruleset.Set{}, s.In)}
		e.set.text = anonymousText(keyType.GetNFTMagic(), false, elementTexts(s.In))
	}
	return e
}

// protocolNumbers are of IANA's assigned internet protocol numbers.
var protocolNumbers = map[ruleset.Protocol]byte{
	ruleset.TCP: 6, ruleset.UDP: 17, ruleset.DCCP: 33, ruleset.SCTP: 132, ruleset.UDPLite: 136,
}

// statusTranslated is IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
const statusTranslated = 0x20

func encodeConnection(s ruleset.Connection) (encoded, error) {
	switch s {
	case ruleset.Translated:
		zero := make([]byte, 4)
		different := compare(zero)
		different.Op = expr.CmpOpNeq
		return encoded{exprs: []expr.Any{
			// [ ct load status => reg 1 ] [ bitwise reg 1 = ( reg 1 & 0x20 ) ^ 0 ] [ cmp neq reg 1 0 ]
			&expr.Ct{Key: expr.CtKeySTATUS, Register: fenceRegister},
			&expr.Bitwise{
				SourceRegister: fenceRegister, DestRegister: fenceRegister, Len: 4,
				Mask: binary.NativeEndian.AppendUint32(nil, statusTranslated), Xor: zero,
			},
			different,
		}}, nil
	case ruleset.Original, ruleset.Reply:
		direction := byte(0)
		if s == ruleset.Reply {
			direction = 1
		}
		return encoded{exprs: []expr.Any{
			// [ ct load direction => reg 1 ]
			&expr.Ct{Key: expr.CtKeyDIRECTION, Register: fenceRegister},
			compare([]byte{direction}),
		}}, nil
	}
	return encoded{}, fmt.Errorf("encode %q: no such match", s)
}

// anonymousText is the canonical text of an anonymous set, from the number of
// its key's type.
func anonymousText(keyType uint32, interval bool, elements []string) string {
	elements = slices.Sorted(slices.Values(elements))
	return fmt.Sprintf("{ %s } type %d interval %t", strings.Join(elements, ", "), keyType, interval)
}

func elementTexts(elements []ruleset.Element) []string {
	texts := make([]string, len(elements))
	for i, e := range elements {
		texts[i] = e.String()
	}
	return texts
}

// intervals writes ranges of addresses as the kernel wants them: the first
// address of each, then the one behind its last, marked as an end. A range up
// to the very last address has no end.
func intervals(elements []ruleset.Element) []nftables.SetElement {
	list := make([]nftables.SetElement, 0, 2*len(elements))
	for _, e := range elements {
		list = append(list, nftables.SetElement{Key: e.From.AsSlice()})
		if end := e.To.Next(); end.IsValid() {
			list = append(list, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
		}
	}
	return list
}

// setElements writes the elements of a named set.
func setElements(s ruleset.Set, elements []ruleset.Element) []nftables.SetElement {
	if s.Interval {
		return intervals(elements)
	}
	list := make([]nftables.SetElement, len(elements))
	for i, e := range elements {
		list[i] = nftables.SetElement{Key: elementKey(e), Timeout: e.Timeout}
	}
	return list
}

func elementKey(e ruleset.Element) []byte {
	if e.From.IsValid() {
		return e.From.AsSlice()
	}
	if e.Protocol != "" {
		key := make([]byte, 8)
		key[0] = protocolNumbers[e.Protocol]
		binary.BigEndian.PutUint16(key[4:], e.Port)
		return key
	}
	return binaryutil.BigEndian.PutUint16(e.Port)
}

var keyTypes = map[ruleset.Key]nftables.SetDatatype{
	ruleset.IPv4: nftables.TypeIPAddr,
	ruleset.IPv6: nftables.TypeIP6Addr,
	ruleset.Port: nftables.TypeInetService,
	// Each part of a key that is made of several takes whole registers of 4 bytes.
	ruleset.Service:  nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeInetService),
	ruleset.IPv4Peer: nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService),
	ruleset.IPv6Peer: nftables.MustConcatSetType(nftables.TypeIP6Addr, nftables.TypeInetService),
}

// addressOf reads a key of 4 or 16 bytes.
func addressOf(key []byte) (netip.Addr, bool) { return netip.AddrFromSlice(key) }
