package policy

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// AppendBinary appends the policy to a buffer, in a form that only the same program can
// read, by UnmarshalBinary: much faster than a policy file. Lists of addresses may be very
// long, and are written apart.
func (p *Policy) AppendBinary(b []byte) ([]byte, error) {
	short := *p
	short.Providers = slices.Clone(p.Providers)
	for i, provider := range short.Providers {
		if len(provider.Addresses) > 0 {
			short.Providers[i].Addresses = nil
		}
	}
	for _, list := range short.lists() {
		if len(*list) > 0 {
			*list = nil
		}
	}
	text, err := json.Marshal(short)
	if err != nil {
		return nil, fmt.Errorf("write policy: %w", err)
	}
	b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	for _, list := range p.lists() {
		b = ruleset.AppendPrefixes(b, *list)
	}
	for _, provider := range p.Providers {
		b = appendAddresses(b, provider.Addresses)
	}
	return b, nil
}

// lists are the long lists, besides those of the providers.
func (p *Policy) lists() []*[]netip.Prefix {
	return []*[]netip.Prefix{&p.Trusted.Addresses, &p.Trusted.Asymmetric, &p.Bans.Addresses}
}

// appendAddresses appends addresses, those from one place together.
func appendAddresses(b []byte, list []Address) []byte {
	for len(list) > 0 {
		n := slices.IndexFunc(list, func(a Address) bool { return a.From != list[0].From })
		if n < 0 {
			n = len(list)
		}
		prefixes := make([]netip.Prefix, n)
		for i, a := range list[:n] {
			prefixes[i] = a.Prefix
		}
		b = append(binary.AppendUvarint(b, uint64(len(list[0].From))), list[0].From...)
		b = ruleset.AppendPrefixes(b, prefixes)
		list = list[n:]
	}
	return binary.AppendUvarint(b, 0)
}

// errStored says that a buffer does not hold what AppendBinary has written.
var errStored = errors.New("read stored policy: it is not what was written")

// UnmarshalBinary reads what AppendBinary has written.
func (p *Policy) UnmarshalBinary(b []byte) error {
	var read Policy
	text, b, err := cutBytes(b)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &read); err != nil {
		return fmt.Errorf("read stored policy: %w", err)
	}
	for _, list := range read.lists() {
		b, err = ruleset.CutPrefixes(b,
			func(n int) { *list = slices.Grow(*list, n) },
			func(prefix netip.Prefix) { *list = append(*list, prefix) })
		if err != nil {
			return err
		}
	}
	for i := range read.Providers {
		if read.Providers[i].Addresses, b, err = cutAddresses(b); err != nil {
			return err
		}
	}
	if len(b) > 0 {
		return errStored
	}
	*p = read
	return nil
}

func cutAddresses(b []byte) (list []Address, rest []byte, err error) {
	for {
		var from []byte
		if from, b, err = cutBytes(b); err != nil || len(from) == 0 {
			return list, b, err
		}
		a := Address{From: string(from)}
		b, err = ruleset.CutPrefixes(b,
			func(n int) { list = slices.Grow(list, n) },
			func(prefix netip.Prefix) {
				a.Prefix = prefix
				list = append(list, a)
			})
		if err != nil {
			return nil, nil, err
		}
	}
}

// cutBytes cuts off bytes with their number before them.
func cutBytes(b []byte) (found, rest []byte, err error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, errStored
	}
	b = b[size:]
	return b[:n], b[n:], nil
}
