package nft

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/nftables/expr"
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

// Dropped returns the sources whose packets were dropped, or would be in monitor mode;
// none without a table.
func (k *Kernel) Dropped(ctx context.Context) ([]backend.Dropped, error) {
	r, err := newReader()
	if err != nil {
		return nil, err
	}
	defer r.close()
	var list []backend.Dropped
	for _, set := range []string{"dropped4", "dropped6"} {
		points, err := r.elementsNow(ctx, set)
		now := time.Now()
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read elements of set %s: %w", set, err)
		}
		for _, p := range points {
			if a, ok := addressOf(p.key); ok && p.counter != nil {
				list = append(list, backend.Dropped{Address: a, Packets: p.counter.Packets, Last: now.Add(p.expires - p.timeout)})
			}
		}
	}
	return list, nil
}
