package nft

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

func encodeSource(s ruleset.Source) (encoded, error) {
	family, keyType := byte(unix.NFPROTO_IPV4), nftables.TypeIPAddr
	if s.V6 {
		family, keyType = unix.NFPROTO_IPV6, nftables.TypeIP6Addr
	}
	e := encoded{exprs: []expr.Any{
		// [ meta load nfproto => reg 1 ] [ cmp eq reg 1 0x02 ]: a table of family
		// inet sees both families, and 12 bytes into the other header is no address.
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: fenceRegister},
		compare([]byte{family}),
		// [ payload load 4b @ network header + 12 => reg 1 ]
		sourceAddress(s.V6),
		// [ lookup reg 1 set … ]
		&expr.Lookup{SourceRegister: fenceRegister, SetName: s.Set, Invert: s.Not},
	}}
	if len(s.In) > 0 {
		elements := ruleset.Merged(s.In)
		for _, element := range elements {
			if element.From.Is6() != s.V6 {
				return e, fmt.Errorf("encode %q: %s is of the other family", s, element)
			}
		}
		e.set = &anonymousSet{keyType: keyType, interval: true, elements: intervals(elements)}
		e.set.text = anonymousText(keyType.GetNFTMagic(), true, elementTexts(elements))
	}
	return e, nil
}

// encodeSourceNetwork compares the leading bits of the source address. nft loads only
// the bytes that a prefix fills, where it fills whole ones.
func encodeSourceNetwork(s ruleset.SourceNetwork) []expr.Any {
	family, load := byte(unix.NFPROTO_IPV4), sourceAddress(s.Addr().Is6())
	if s.Addr().Is6() {
		family = unix.NFPROTO_IPV6
	}
	exprs := []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: fenceRegister}, compare([]byte{family}), load}
	value := s.Masked().Addr().AsSlice()
	if s.Bits()%8 == 0 {
		// [ payload load 3b @ network header + 12 => reg 1 ] [ cmp eq reg 1 … ]
		load.Len = uint32(s.Bits() / 8)
		return append(exprs, compare(value[:load.Len]))
	}
	mask := make([]byte, len(value))
	for bit := range s.Bits() {
		mask[bit/8] |= 0x80 >> (bit % 8)
	}
	return append(exprs,
		// [ bitwise reg 1 = ( reg 1 & … ) ^ 0x00000000 ] [ cmp eq reg 1 … ]
		&expr.Bitwise{
			SourceRegister: fenceRegister, DestRegister: fenceRegister, Len: load.Len,
			Mask: mask, Xor: make([]byte, len(mask)),
		},
		compare(value),
	)
}

// guessSourceNetwork reads what encodeSourceNetwork writes behind the family's match.
func guessSourceNetwork(v6 bool, at func(int) expression) (ruleset.Statement, int) {
	address, n, bits := make([]byte, 4), 4, 0
	if v6 {
		address = make([]byte, 16)
	}
	value := at(3).compared()
	bits = 8 * len(value)
	if at(3).name == "bitwise" {
		value, n, bits = at(4).compared(), 5, 0
		mask := attribute(at(3).data, unix.NFTA_BITWISE_MASK)
		for _, b := range attribute(mask, unix.NFTA_DATA_VALUE) {
			for ; b&0x80 != 0; b <<= 1 {
				bits++
			}
		}
	}
	copy(address, value)
	a, _ := netip.AddrFromSlice(address)
	p, err := a.Prefix(bits)
	if err != nil {
		return nil, 0
	}
	return ruleset.SourceNetwork{Prefix: p}, n
}

// sourceAddress loads the source address out of the IP header.
func sourceAddress(v6 bool) *expr.Payload {
	if v6 {
		return &expr.Payload{DestRegister: fenceRegister, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 16}
	}
	return &expr.Payload{DestRegister: fenceRegister, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}
}
