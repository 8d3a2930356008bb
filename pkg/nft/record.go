package nft

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// encodeRecord translates what keeps a packet's source, or reports the packet. These
// begin a rule, so they ask for the family themselves.
func encodeRecord(s ruleset.Statement) []expr.Any {
	switch s := s.(type) {
	case ruleset.Record:
		// [ dynset update reg_key 1 set … timeout …ms expr [ counter pkts 0 bytes 0 ] ]
		return append(loadSource(s.V6), &expr.Dynset{
			SrcRegKey: fenceRegister, SetName: s.Set, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: s.For,
			Exprs: []expr.Any{&expr.Counter{}},
		})
	case ruleset.Note:
		// [ dynset add reg_key 1 set … timeout …ms ]
		return append(loadSource(s.V6), &expr.Dynset{
			SrcRegKey: fenceRegister, SetName: s.Set, Operation: unix.NFT_DYNSET_OP_ADD, Timeout: s.For,
		})
	case ruleset.Log:
		// [ log prefix … group … snaplen … ]
		const given = 1<<unix.NFTA_LOG_PREFIX | 1<<unix.NFTA_LOG_GROUP | 1<<unix.NFTA_LOG_SNAPLEN
		return []expr.Any{&expr.Log{Key: given, Group: ruleset.LogGroup, Snaplen: ruleset.LogBytes, Data: []byte(s)}}
	}
	return nil
}

// loadSource loads the source address of a packet of the family; a rule ends at a packet
// of the other one.
func loadSource(v6 bool) []expr.Any {
	family := byte(unix.NFPROTO_IPV4)
	if v6 {
		family = unix.NFPROTO_IPV6
	}
	return []expr.Any{
		// [ meta load nfproto => reg 1 ] [ cmp eq reg 1 0x02 ]
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: fenceRegister},
		compare([]byte{family}),
		// [ payload load 4b @ network header + 12 => reg 1 ]
		sourceAddress(v6),
	}
}

// guessRecord reads what encodeRecord writes for a set.
func guessRecord(v6 bool, dynset expression) ruleset.Statement {
	set := dynset.text(unix.NFTA_DYNSET_SET_NAME)
	lifetime := time.Duration(dynset.number(unix.NFTA_DYNSET_TIMEOUT)) * time.Millisecond
	if dynset.number(unix.NFTA_DYNSET_OP) == unix.NFT_DYNSET_OP_ADD {
		return ruleset.Note{V6: v6, Set: set, For: lifetime}
	}
	return ruleset.Record{V6: v6, Set: set, For: lifetime}
}

// counter is what a counter has counted, nil if the expression is none.
func (e expression) counter() *expr.Counter {
	if e.name != counterName {
		return nil
	}
	return &expr.Counter{Packets: e.number(unix.NFTA_COUNTER_PACKETS), Bytes: e.number(unix.NFTA_COUNTER_BYTES)}
}

// Dropped returns the sources whose packets were dropped, or would be in monitor mode, or
// only that of an address; none without a table. The zero address stands for all.
func (k *Kernel) Dropped(ctx context.Context, of netip.Addr) ([]backend.Dropped, error) {
	r, err := newReader()
	if err != nil {
		return nil, err
	}
	defer r.close()
	var list []backend.Dropped
	for _, family := range []string{"4", "6"} {
		if of.IsValid() && setOfFamily("", of) != family {
			continue
		}
		kept, err := r.members(ctx, "dropped"+family, of)
		if err != nil {
			return nil, err
		}
		scanners, err := r.members(ctx, ruleset.Scanners+family, of)
		if err != nil {
			return nil, err
		}
		known := map[netip.Addr]bool{}
		for _, s := range scanners {
			known[s.Address] = true
		}
		for _, d := range kept {
			d.Scanner = known[d.Address]
			list = append(list, d)
		}
	}
	return list, nil
}

// members returns the elements of a set, or only that of an address; none of one that is
// not there.
func (r *reader) members(ctx context.Context, set string, of netip.Addr) (list []backend.Dropped, err error) {
	err = steadily(func() error {
		list = list[:0]
		return r.dropped(ctx, set, of, func(d backend.Dropped) { list = append(list, d) })
	})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("read elements of set %s: %w", set, err)
	}
	return list, nil
}

// dropped hands the elements of a set to take, or only that of an address. The error of one
// that is not there is ENOENT.
func (r *reader) dropped(ctx context.Context, set string, of netip.Addr, take func(backend.Dropped)) error {
	flags := netlink.Dump
	question := []netlink.Attribute{
		textAttribute(unix.NFTA_SET_ELEM_LIST_TABLE, ruleset.Table), textAttribute(unix.NFTA_SET_ELEM_LIST_SET, set),
	}
	if of.IsValid() {
		flags = 0
		element, err := elementQuestion(of)
		if err != nil {
			return err
		}
		question = append(question, element)
	}
	return r.ask(ctx, unix.NFT_MSG_GETSETELEM, flags, question, func(b []byte) {
		now := time.Now()
		for element := range elementsIn(b) {
			if d := droppedOf(element, now); d.Address.IsValid() {
				take(d)
			}
		}
	})
}

// elementQuestion asks for the element of an address.
func elementQuestion(a netip.Addr) (netlink.Attribute, error) {
	data := a.AsSlice()
	for _, kind := range []uint16{unix.NFTA_DATA_VALUE, unix.NFTA_SET_ELEM_KEY, unix.NFTA_LIST_ELEM} {
		if kind != unix.NFTA_DATA_VALUE {
			kind |= unix.NLA_F_NESTED
		}
		var err error
		if data, err = netlink.MarshalAttributes([]netlink.Attribute{{Type: kind, Data: data}}); err != nil {
			return netlink.Attribute{}, fmt.Errorf("write netlink message: %w", err)
		}
	}
	return netlink.Attribute{Type: unix.NFTA_SET_ELEM_LIST_ELEMENTS | unix.NLA_F_NESTED, Data: data}, nil
}

// droppedOf reads an element that has counted a source's packets. There may be very many.
func droppedOf(element []byte, now time.Time) (d backend.Dropped) {
	var timeout, expires time.Duration
	for kind, value := range attributes(element) {
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			d.Address, _ = addressOf(attribute(value, unix.NFTA_DATA_VALUE))
		case unix.NFTA_SET_ELEM_TIMEOUT:
			timeout = time.Duration(number(value)) * time.Millisecond
		case unix.NFTA_SET_ELEM_EXPIRATION:
			expires = time.Duration(number(value)) * time.Millisecond
		case unix.NFTA_SET_ELEM_EXPR:
			if counter := expressionOf(value).counter(); counter != nil {
				d.Packets = counter.Packets
			}
		}
	}
	d.Last = now.Add(expires - timeout)
	return d
}
