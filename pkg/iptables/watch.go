package iptables

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/backend"
)

// What announces no changes, the tables of the legacy flavour and sets, is looked at again and
// again: every watchEvery, but where other programs have very many rules only so often that
// it takes no more than one part in restAfterLook of the time.
const (
	watchEvery    = 250 * time.Millisecond
	latestLook    = time.Second
	restAfterLook = 100
)

// rest is the time until the next look.
func rest(took time.Duration) time.Duration {
	return min(max(watchEvery, restAfterLook*took), latestLook)
}

// watched is what announces no changes, with what it was like at the last observation.
type watched struct {
	mu     sync.Mutex
	poll   *poll
	closed bool
	// known is a hash of what was there just before it was last read, 0 if this program
	// has changed it since. reported is one that was reported since then.
	known, reported uint64
}

// look returns a hash of what is there now, 0 if it cannot be read.
func (w *watched) look(ctx context.Context) uint64 {
	if w.closed {
		return 0
	}
	hash, err := w.poll.look(ctx)
	if err != nil {
		return 0
	}
	return hash
}

// observing notes that all is about to be read: what changes from now on has to be
// reported.
func observing(ctx context.Context, k *Kernel) {
	if w := k.watched.Load(); w != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.known, w.reported = w.look(ctx), 0
	}
}

// changing notes that what was read is about to change. Whatever is there at the next
// look is reported, also what was there before: between two looks, another program may
// undo what is put back.
func changing(k *Kernel) {
	if w := k.watched.Load(); w != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.known = 0
	}
}

// changed reports whether there is something that was neither observed nor reported.
func (w *watched) changed(ctx context.Context) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	hash := w.look(ctx)
	if hash == 0 || hash == w.known || hash == w.reported && w.known != 0 {
		return false
	}
	w.reported = hash
	return true
}

func (w *watched) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.poll.close()
}

// Watch reports changes of the fence, also of its own process. In the nft flavour the
// kernel announces each change of rules; those of the legacy flavour, and of the number
// of elements of a set, are found some times a second.
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
	w := &watched{poll: p}
	w.known = w.look(ctx)
	k.watched.Store(w)
	go func() {
		defer close(touched)
		defer w.close()
		next := time.NewTimer(watchEvery)
		defer next.Stop()
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-next.C:
				began := time.Now()
				if w.changed(ctx) {
					send(backend.Touched{})
				}
				next.Reset(rest(time.Since(began)))
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
				case <-time.After(time.Second): // the socket has no room, or is gone
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
		*ours = *ours || concerns(m)
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

// concerns reports whether a message is about a table or a chain that ringfence has a part
// in. Programs that change their own chains and sets again and again wake nobody.
func concerns(m netlink.Message) bool {
	if m.Data[0] != unix.NFPROTO_IPV4 && m.Data[0] != unix.NFPROTO_IPV6 {
		return false
	}
	d, err := netlink.NewAttributeDecoder(m.Data[4:])
	if err != nil {
		return true
	}
	var table, chain string
	kind := uint16(m.Header.Type) & 0xff
	rule := kind == unix.NFT_MSG_NEWRULE || kind == unix.NFT_MSG_DELRULE
	for d.Next() {
		switch {
		case d.Type() == unix.NFTA_TABLE_NAME: // the same number in every message
			table = d.String()
		case rule && d.Type() == unix.NFTA_RULE_CHAIN,
			(kind == unix.NFT_MSG_NEWCHAIN || kind == unix.NFT_MSG_DELCHAIN) && d.Type() == unix.NFTA_CHAIN_NAME:
			chain = d.String()
		}
	}
	switch {
	case !slices.Contains(tables, table):
		return false
	case chain == "":
		return kind == unix.NFT_MSG_NEWTABLE || kind == unix.NFT_MSG_DELTABLE
	}
	for _, p := range places {
		if p.table == table && slices.Contains(p.hooks, chain) {
			return true
		}
	}
	return strings.HasPrefix(chain, chainPrefix)
}
