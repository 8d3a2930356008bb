package iptables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Counters returns the packets that each counter has seen since the fence was made, in
// all tables of both families; none without a fence. It runs no program: the service
// reads them every second.
func (k *Kernel) Counters(ctx context.Context) (map[string]uint64, error) {
	t, err := k.tool()
	if err != nil {
		return nil, err
	}
	counters := map[string]uint64{}
	count := func(chain string, packets uint64) {
		if counter, ok := counterOf(chain); ok {
			counters[counter] += packets
		}
	}
	if t.flavour == Legacy {
		return counters, legacyCounts(count)
	}
	return counters, nftCounts(ctx, count)
}

// tableTries is how often a table is read again because it has changed meanwhile.
const tableTries = 10

// legacyCounts hands over what the first rule of each chain has counted.
func legacyCounts(count func(chain string, packets uint64)) error {
	for _, v6 := range []bool{false, true} {
		if len(legacyTables(v6)) == 0 {
			continue
		}
		fd, err := tableSocket(v6)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, table := range tables {
			entries, err := rawTable(fd, v6, table)
			for try := 1; errors.Is(err, unix.EAGAIN) && try < tableTries; try++ {
				entries, err = rawTable(fd, v6, table)
			}
			if errors.Is(err, unix.ENOENT) {
				continue
			}
			if err != nil {
				return fmt.Errorf("read table %s: %w", where{table, v6}, kernelError(err))
			}
			firstRules(offsetsOf(v6), entries, count)
		}
	}
	return nil
}

// What a target begins with (struct xt_entry_target), and the name in that of the entry
// before the first rule of a chain (struct xt_error_target).
const (
	targetName = 2
	targetHead = 32
	chainStart = "ERROR"
)

// firstRules hands over the packets of the first rule of each chain of a legacy table.
func firstRules(of offsets, table []byte, count func(chain string, packets uint64)) {
	chain := ""
	for e := range of.entries(table) {
		at := int(binary.NativeEndian.Uint16(e[of.target:]))
		if at+targetHead > len(e) {
			return
		}
		if unix.ByteSliceToString(e[at+targetName:at+targetHead]) == chainStart {
			chain = unix.ByteSliceToString(e[at+targetHead:])
			continue
		}
		if chain != "" {
			count(chain, binary.NativeEndian.Uint64(e[of.counters:]))
		}
		chain = ""
	}
}

// nftCounts hands over what the first rule of each chain of iptables-nft's tables has
// counted.
func nftCounts(ctx context.Context, count func(chain string, packets uint64)) error {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return fmt.Errorf("open netfilter socket: %w", kernelError(err))
	}
	defer conn.Close()
	for _, w := range allPlaces() {
		if err := ctx.Err(); err != nil {
			return err
		}
		family := byte(unix.NFPROTO_IPV4)
		if w.v6 {
			family = unix.NFPROTO_IPV6
		}
		e := netlink.NewAttributeEncoder()
		e.String(unix.NFTA_RULE_TABLE, w.table)
		table, err := e.Encode()
		if err != nil {
			return fmt.Errorf("write netlink message: %w", err)
		}
		answers, err := conn.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETRULE, Flags: netlink.Request | netlink.Dump},
			Data:   append([]byte{family, unix.NFNETLINK_V0, 0, 0}, table...),
		})
		if err != nil {
			return fmt.Errorf("read table %s: %w", w, kernelError(err))
		}
		before := ""
		for _, m := range answers {
			if chain, packets := countedRule(m); chain != before {
				before = chain
				count(chain, packets)
			}
		}
	}
	return nil
}

// countedRule reads the chain of a rule, and the packets that it has counted.
func countedRule(m netlink.Message) (chain string, packets uint64) {
	if len(m.Data) < 4 {
		return "", 0
	}
	d, err := netlink.NewAttributeDecoder(m.Data[4:])
	if err != nil {
		return "", 0
	}
	for d.Next() {
		switch d.Type() {
		case unix.NFTA_RULE_CHAIN:
			chain = d.String()
		case unix.NFTA_RULE_EXPRESSIONS:
			d.Nested(func(list *netlink.AttributeDecoder) error {
				for list.Next() {
					list.Nested(func(e *netlink.AttributeDecoder) error {
						packets += counterPackets(e)
						return nil
					})
				}
				return nil
			})
		}
	}
	return chain, packets
}

// counterPackets reads an expression, and returns the packets of a counter.
func counterPackets(e *netlink.AttributeDecoder) (packets uint64) {
	name := ""
	for e.Next() {
		switch {
		case e.Type() == unix.NFTA_EXPR_NAME:
			name = e.String()
		case e.Type() == unix.NFTA_EXPR_DATA && name == "counter":
			e.Nested(func(data *netlink.AttributeDecoder) error {
				data.ByteOrder = bigEndian
				for data.Next() {
					if data.Type() == unix.NFTA_COUNTER_PACKETS {
						packets = data.Uint64()
					}
				}
				return nil
			})
		}
	}
	return packets
}
