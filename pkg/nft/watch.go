package nft

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// watchBuffer holds what the kernel tells about the changes of all programs
// while this one is busy. It is only used up in that case.
const watchBuffer = 1 << 20

// Watch tells of every change of the table, also of its own process, until the context
// ends; then, or if the kernel tells nothing more, the channel is closed.
// Of very many changes that come while nobody receives, the last are reported.
func Watch(ctx context.Context) (<-chan Touched, error) {
	r, err := newReader()
	if err != nil {
		return nil, err
	}
	if err := r.conn.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		r.close()
		return nil, fmt.Errorf("listen to changes of nftables: %w", kernelError(err))
	}
	// Without room the kernel says that something was lost, and that is enough.
	_ = r.conn.SetReadBuffer(watchBuffer)
	touched := make(chan Touched, 64)
	go func() {
		defer close(touched)
		defer r.close()
		stop := context.AfterFunc(ctx, func() { r.conn.Close() }) // and its reader ends
		defer stop()
		r.watch(touched)
	}()
	return touched, nil
}

func (r *reader) watch(touched chan Touched) {
	ours := false // a part of the transaction was about our table
	send := func(t Touched) {
		for {
			select {
			case touched <- t:
				return
			default:
			}
			select {
			case <-touched: // the oldest
				t = Touched{Lost: true}
			default:
			}
		}
	}
	for {
		batch, err := r.receive()
		if errors.Is(err, unix.ENOBUFS) {
			ours = false
			send(Touched{Lost: true})
			continue
		}
		if err != nil {
			return
		}
		for m := range messages(batch) {
			if m.malformed {
				ours = false
				send(Touched{Lost: true})
				break
			}
			if m.kind>>8 != unix.NFNL_SUBSYS_NFTABLES || len(m.payload) < 4 {
				continue
			}
			family, attributes := m.payload[0], m.payload[4:] // struct nfgenmsg
			if m.kind&0xff != unix.NFT_MSG_NEWGEN {
				table := attribute(attributes, unix.NFTA_TABLE_NAME) // the same in every message
				ours = ours || family == unix.NFPROTO_INET && text(table) == ruleset.Table
				continue
			}
			// The last message of a transaction.
			if ours {
				id := attribute(attributes, unix.NFTA_GEN_ID)
				program := attribute(attributes, unix.NFTA_GEN_PROC_NAME)
				pid := attribute(attributes, unix.NFTA_GEN_PROC_PID)
				send(Touched{GenID: number(id), Program: text(program), PID: int(number(pid))})
			}
			ours = false
		}
	}
}
