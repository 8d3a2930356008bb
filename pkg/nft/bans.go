package nft

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// banSets are the sets of banned addresses.
var banSets = []string{"banned4", "banned6"}

func banSet(a netip.Addr) string {
	if a.Is4() {
		return banSets[0]
	}
	return banSets[1]
}

// Bans returns all addresses that are banned for a time, sorted; none without a
// table.
func (k *Kernel) Bans(ctx context.Context) ([]Banned, error) {
	r, err := newReader()
	if err != nil {
		return nil, err
	}
	defer r.close()
	var bans []Banned
	for _, set := range banSets {
		points, err := r.elements(ctx, set)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read elements of set %s: %w", set, err)
		}
		for _, p := range points {
			if a, ok := addressOf(p.key); ok {
				bans = append(bans, Banned{Address: a, Left: p.expires, Comment: p.comment})
			}
		}
	}
	slices.SortFunc(bans, func(a, b Banned) int { return a.Address.Compare(b.Address) })
	return bans, nil
}

// banTries is how often a ban is tried again because somebody else was faster.
const banTries = 5

// Ban bans an address for a time of whole milliseconds, and restarts the time if it is banned
// already. Its error wraps ErrNoFence or ErrFull where these are the cause.
func (k *Kernel) Ban(ctx context.Context, b Banned) error {
	return k.changeBan(ctx, b.Address, func(conn *nftables.Conn, set *nftables.Set, banned bool) (bool, error) {
		element := nftables.SetElement{Key: b.Address.AsSlice(), Timeout: b.Left, Comment: b.Comment}
		if banned {
			// Older kernels leave the lifetime of an element that is there.
			if err := conn.SetDeleteElements(set, []nftables.SetElement{{Key: element.Key}}); err != nil {
				return false, err
			}
		}
		return true, conn.SetAddElements(set, []nftables.SetElement{element})
	})
}

// Unban ends the ban of an address. It reports whether there was one.
func (k *Kernel) Unban(ctx context.Context, a netip.Addr) (was bool, err error) {
	err = k.changeBan(ctx, a, func(conn *nftables.Conn, set *nftables.Set, banned bool) (bool, error) {
		was = banned
		if !banned {
			return false, nil
		}
		return true, conn.SetDeleteElements(set, []nftables.SetElement{{Key: a.AsSlice()}})
	})
	return was, err
}

// changeBan lets f queue what changes one ban; f says whether anything does. An element may run out, or be
// banned by a packet, between looking and changing: then it looks again. What is
// known of the kernel stays known: a ban is no part of its state.
func (k *Kernel) changeBan(ctx context.Context, a netip.Addr, f func(conn *nftables.Conn, set *nftables.Set, banned bool) (queued bool, err error)) error {
	set := &nftables.Set{
		Table: &nftables.Table{Name: ruleset.Table, Family: nftables.TableFamilyINet}, Name: banSet(a), HasTimeout: true,
	}
	for range banTries {
		id, banned, err := isBanned(ctx, a)
		if err != nil {
			return err
		}
		conn, err := nftables.New()
		if err != nil {
			return fmt.Errorf("open netfilter socket: %w", kernelError(err))
		}
		if queued, err := f(conn, set, banned); err != nil || !queued {
			return err
		}
		err = conn.FlushWithGenID(uint32(id))
		switch {
		case err == nil:
			if k.Known.Holds(id) {
				k.Known.GenID, k.changed = NextGenID(id), true
			}
			return nil
		case errors.Is(err, unix.ENFILE):
			return ErrFull
		case !errors.Is(err, unix.ERESTART) && !errors.Is(err, unix.ENOENT):
			return fmt.Errorf("change ban: %w", changeError(err))
		}
	}
	return fmt.Errorf("change ban: %w, %d times in a row", plan.ErrStale, banTries)
}

// isBanned looks an address up among the bans of a generation.
func isBanned(ctx context.Context, a netip.Addr) (id uint64, banned bool, err error) {
	r, err := newReader()
	if err != nil {
		return 0, false, err
	}
	defer r.close()
	if id, err = r.genID(ctx); err != nil {
		return 0, false, err
	}
	points, err := r.elements(ctx, banSet(a))
	if errors.Is(err, unix.ENOENT) {
		return 0, false, ErrNoFence
	}
	if err != nil {
		return 0, false, fmt.Errorf("read bans: %w", err)
	}
	return id, slices.ContainsFunc(points, func(p point) bool { return string(p.key) == string(a.AsSlice()) }), nil
}
