package iptables

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/backend"
)

// watchEvery is how often what announces no changes is looked at: the tables of the
// legacy flavour, and sets.
const watchEvery = time.Second

// committed counts the changes of this process.
var committed atomic.Int64

// Watch reports changes of the fence, also of its own process. In the nft flavour the
// kernel announces each change of rules; those of the legacy flavour, and of the number
// of elements of a set, are found once a second.
func (k *Kernel) Watch(ctx context.Context) (<-chan backend.Touched, error) {
	t, err := k.tool()
	if err != nil {
		return nil, err
	}
	p, err := newPoll(t.flavour)
	if err != nil {
		return nil, err
	}
	touched := make(chan backend.Touched, 1)
	send := func(b backend.Touched) {
		select {
		case touched <- b:
		default: // one that waits says the same
		}
	}
	done := make(chan struct{})
	if t.flavour == NFT {
		if err := announce(ctx, send, done); err != nil {
			p.close()
			return nil, err
		}
	} else {
		close(done)
	}
	before, _ := p.look(ctx)
	commits := committed.Load()
	go func() {
		defer close(touched)
		defer p.close()
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-tick.C:
				// What this process has put back may be gone again: that looks like before.
				done := committed.Load()
				now, err := p.look(ctx)
				if err == nil && (now != before || done != commits) {
					before, commits = now, done
					send(backend.Touched{})
				}
			}
		}
		<-done
	}()
	return touched, nil
}

// announce hands on what the kernel says of changes of nf_tables, with the program that
// has made them. done is closed at the end.
func announce(ctx context.Context, send func(backend.Touched), done chan struct{}) error {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)})
	if err != nil {
		return fmt.Errorf("listen to changes of rules: %w", kernelError(err))
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	go func() {
		defer close(done)
		defer stop()
		ours := false // a part of the transaction was about a table of iptables'
		for {
			messages, err := conn.Receive()
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				send(backend.Touched{Lost: true})
				select {
				case <-ctx.Done():
					return
				case <-time.After(watchEvery): // the socket has no room, or is gone
				}
				continue
			}
			for _, m := range messages {
				if b, is := announced(m, &ours); is {
					send(b)
				}
			}
		}
	}()
	return nil
}

// announced reads a message about nf_tables. The last one of a transaction says who has
// made it.
func announced(m netlink.Message, ours *bool) (b backend.Touched, last bool) {
	if uint16(m.Header.Type)>>8 != unix.NFNL_SUBSYS_NFTABLES || len(m.Data) < 4 {
		return b, false
	}
	if uint16(m.Header.Type)&0xff != unix.NFT_MSG_NEWGEN {
		*ours = *ours || m.Data[0] == unix.NFPROTO_IPV4 || m.Data[0] == unix.NFPROTO_IPV6
		return b, false
	}
	was := *ours
	*ours = false
	d, err := netlink.NewAttributeDecoder(m.Data[4:])
	if err != nil {
		return b, was
	}
	for d.Next() {
		switch d.Type() {
		case unix.NFTA_GEN_PROC_NAME:
			b.Program = d.String()
		case unix.NFTA_GEN_PROC_PID:
			d.ByteOrder = bigEndian
			b.PID = int(d.Uint32())
		}
	}
	return b, was
}
