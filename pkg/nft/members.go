package nft

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/conntrack"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// The kinds of sets whose members come and go while the rules stay. Each family has
// one of a kind.
const (
	bannedSet  = "banned"
	allowedSet = "allowed"
)

func setOfFamily(kind string, a netip.Addr) string {
	if a.Is4() {
		return kind + "4"
	}
	return kind + "6"
}

// member is an address in a set of a kind.
type member struct {
	address netip.Addr
	left    time.Duration
	comment string
}

// members returns the members of both families' sets, sorted; none without a table.
func members(ctx context.Context, kind string) ([]member, error) {
	r, err := newReader()
	if err != nil {
		return nil, err
	}
	defer r.close()
	var list []member
	for _, set := range []string{kind + "4", kind + "6"} {
		points, err := r.elementsNow(ctx, set)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read elements of set %s: %w", set, err)
		}
		for _, p := range points {
			if a, ok := addressOf(p.key); ok {
				list = append(list, member{a, p.expires, p.comment})
			}
		}
	}
	slices.SortFunc(list, func(a, b member) int { return a.address.Compare(b.address) })
	return list, nil
}

// Bans returns all addresses that are banned for a time, sorted; none without a
// table.
func (k *Kernel) Bans(ctx context.Context) ([]Banned, error) {
	list, err := members(ctx, bannedSet)
	var bans []Banned
	for _, m := range list {
		bans = append(bans, Banned{Address: m.address, Left: m.left, Comment: m.comment})
	}
	return bans, err
}

// Ban bans an address for a time of whole milliseconds, and restarts the time if it is banned
// already. Its error wraps ErrNoFence or ErrFull where these are the cause.
func (k *Kernel) Ban(ctx context.Context, b Banned) error {
	return addMember(ctx, k, bannedSet, member{b.Address, b.Left, b.Comment})
}

// Unban ends the ban of an address. It reports whether there was one.
func (k *Kernel) Unban(ctx context.Context, a netip.Addr) (was bool, err error) {
	return removeMember(ctx, k, bannedSet, a)
}

// Allowances returns all addresses that are allowed by hand, sorted; none without a
// table.
func (k *Kernel) Allowances(ctx context.Context) ([]backend.Allowed, error) {
	list, err := members(ctx, allowedSet)
	var allowed []backend.Allowed
	for _, m := range list {
		allowed = append(allowed, backend.Allowed{Address: m.address, Left: m.left, Comment: m.comment})
	}
	return allowed, err
}

// Allow lets an address in for a time of whole milliseconds, and restarts the time if it
// is let in already. Its error wraps ErrNoFence or ErrFull where these are the cause.
func (k *Kernel) Allow(ctx context.Context, a backend.Allowed) error {
	return addMember(ctx, k, allowedSet, member{a.Address, a.Left, a.Comment})
}

// Disallow ends that, and reports whether it was so.
func (k *Kernel) Disallow(ctx context.Context, a netip.Addr) (was bool, err error) {
	if was, err = removeMember(ctx, k, allowedSet, a); err != nil || !was {
		return was, err
	}
	have, err := k.Observe(ctx)
	if err != nil {
		return was, err
	}
	var gone netipx.IPSetBuilder
	gone.Add(a)
	set, err := gone.IPSet()
	if err != nil {
		return was, fmt.Errorf("make set of addresses: %w", err)
	}
	if err := conntrack.ForgetAddresses(have, set); err != nil && k.Log != nil {
		k.Log.Warn("forget a removed address", "error", err)
	}
	return was, nil
}

// memberTries is how often a change is tried again because another program was faster.
const memberTries = 5

func addMember(ctx context.Context, k *Kernel, kind string, m member) error {
	return changeMember(ctx, k, kind, m.address, func(conn *nftables.Conn, set *nftables.Set, there bool) (bool, error) {
		element := nftables.SetElement{Key: m.address.AsSlice(), Timeout: m.left, Comment: m.comment}
		if there {
			// Older kernels leave the lifetime of an element that is there.
			if err := conn.SetDeleteElements(set, []nftables.SetElement{{Key: element.Key}}); err != nil {
				return false, err
			}
		}
		return true, conn.SetAddElements(set, []nftables.SetElement{element})
	})
}

func removeMember(ctx context.Context, k *Kernel, kind string, a netip.Addr) (was bool, err error) {
	err = changeMember(ctx, k, kind, a, func(conn *nftables.Conn, set *nftables.Set, there bool) (bool, error) {
		was = there
		if !there {
			return false, nil
		}
		return true, conn.SetDeleteElements(set, []nftables.SetElement{{Key: a.AsSlice()}})
	})
	return was, err
}

// changeMember lets f queue what changes one member; f says whether anything does. An
// element may run out, or be added by a packet, between looking and changing: then it
// looks again. What is known of the kernel stays known: members are no part of its
// state.
func changeMember(ctx context.Context, k *Kernel, kind string, a netip.Addr, f func(conn *nftables.Conn, set *nftables.Set, there bool) (queued bool, err error)) error {
	set := &nftables.Set{
		Table: &nftables.Table{Name: ruleset.Table, Family: nftables.TableFamilyINet}, Name: setOfFamily(kind, a), HasTimeout: true,
	}
	for range memberTries {
		id, there, err := isMember(ctx, set.Name, a)
		if err != nil {
			return err
		}
		conn, err := nftables.New()
		if err != nil {
			return fmt.Errorf("open netfilter socket: %w", kernelError(err))
		}
		if queued, err := f(conn, set, there); err != nil || !queued {
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
			return fmt.Errorf("change set %s: %w", set.Name, changeError(err))
		}
	}
	return fmt.Errorf("change set %s: %w, %d times in a row", set.Name, plan.ErrStale, memberTries)
}

// isMember looks an address up in the set of a generation.
func isMember(ctx context.Context, set string, a netip.Addr) (id uint64, there bool, err error) {
	r, err := newReader()
	if err != nil {
		return 0, false, err
	}
	defer r.close()
	if id, err = r.genID(ctx); err != nil {
		return 0, false, err
	}
	points, err := r.elementsNow(ctx, set)
	if errors.Is(err, unix.ENOENT) {
		return 0, false, ErrNoFence
	}
	if err != nil {
		return 0, false, fmt.Errorf("read elements of set %s: %w", set, err)
	}
	return id, slices.ContainsFunc(points, func(p point) bool { return string(p.key) == string(a.AsSlice()) }), nil
}
