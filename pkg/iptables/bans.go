package iptables

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/conntrack"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// longestBan is the longest timeout of ipset in seconds (IPSET_MAX_TIMEOUT). The kernel
// cuts longer ones short without a word.
const longestBan = (math.MaxUint32 >> 1) / 1000

// Bans returns all addresses that are banned for a time, sorted; none without a fence.
func (k *Kernel) Bans(ctx context.Context) ([]backend.Banned, error) {
	members, err := timed(ctx, "banned")
	var bans []backend.Banned
	for _, x := range members {
		bans = append(bans, backend.Banned{Address: x.prefix.Addr(), Left: left(x), Comment: x.comment})
	}
	return bans, err
}

// Ban bans an address for a time of whole seconds, which restarts if it is banned
// already. Its error wraps ErrNoFence or ErrFull where these are the cause.
func (k *Kernel) Ban(ctx context.Context, b backend.Banned) error {
	return addTimed(ctx, "banned", b.Address, b.Left, b.Comment)
}

// Unban ends the ban of an address. It reports whether there was one.
func (k *Kernel) Unban(ctx context.Context, a netip.Addr) (was bool, err error) {
	return removeTimed(ctx, "banned", a)
}

// Allowances returns all addresses that are allowed by hand, sorted; none without a
// fence.
func (k *Kernel) Allowances(ctx context.Context) ([]backend.Allowed, error) {
	members, err := timed(ctx, "allowed")
	var list []backend.Allowed
	for _, x := range members {
		list = append(list, backend.Allowed{Address: x.prefix.Addr(), Left: left(x), Comment: x.comment})
	}
	return list, err
}

// Allow lets an address in for a time of whole seconds, which restarts if it is let in
// already. Its error wraps ErrNoFence or ErrFull where these are the cause.
func (k *Kernel) Allow(ctx context.Context, a backend.Allowed) error {
	return addTimed(ctx, "allowed", a.Address, a.Left, a.Comment)
}

// Disallow ends that, also for connections that pass because they are there.
func (k *Kernel) Disallow(ctx context.Context, a netip.Addr) (was bool, err error) {
	have, err := k.Observe(ctx)
	if err != nil {
		return false, err
	}
	if was, err = removeTimed(ctx, "allowed", a); err != nil {
		return was, err
	}
	gone := ruleset.Union([]netip.Prefix{netip.PrefixFrom(a, a.BitLen())})
	return was, conntrack.ForgetAddresses(have, gone)
}

func left(x entry) time.Duration { return time.Duration(x.timeout) * time.Second }

// timedSet is the set of a kind that an address belongs to.
func timedSet(kind string, a netip.Addr) string {
	if a.Is4() {
		return setName(kind + "4")
	}
	return setName(kind + "6")
}

// timed returns the members of both families' sets of a kind, sorted.
func timed(ctx context.Context, kind string) ([]entry, error) {
	conn, err := openSets()
	if err != nil {
		return nil, err
	}
	defer conn.close()
	var members []entry
	for _, suffix := range []string{"4", "6"} {
		entries, err := conn.elements(ctx, setName(kind+suffix))
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, err
		}
		members = append(members, entries...)
	}
	slices.SortFunc(members, func(a, b entry) int { return a.prefix.Addr().Compare(b.prefix.Addr()) })
	return members, nil
}

// addTimed adds an address to a set of a kind, or starts its time again. A time of 0 is
// for ever.
func addTimed(ctx context.Context, kind string, a netip.Addr, lasts time.Duration, comment string) error {
	conn, err := openSets()
	if err != nil {
		return err
	}
	defer conn.close()
	seconds := (lasts + time.Second - 1) / time.Second
	if seconds > longestBan {
		return fmt.Errorf("ipset keeps an address for at most %d days: write it into the policy instead", longestBan/(24*60*60))
	}
	err = conn.add(ctx, timedSet(kind, a), []entry{{
		prefix: netip.PrefixFrom(a, a.BitLen()), timeout: uint32(seconds), hasTimeout: true, comment: comment,
	}})
	switch {
	case errors.Is(err, unix.ENOENT):
		return backend.ErrNoFence
	case errors.Is(err, errSetFull):
		return backend.ErrFull
	}
	return err
}

// removeTimed removes an address from a set of a kind, and reports whether it was there.
func removeTimed(ctx context.Context, kind string, a netip.Addr) (was bool, err error) {
	members, err := timed(ctx, kind)
	if err != nil {
		return false, err
	}
	was = slices.ContainsFunc(members, func(x entry) bool { return x.prefix.Addr() == a })
	conn, err := openSets()
	if err != nil {
		return false, err
	}
	defer conn.close()
	err = conn.remove(ctx, timedSet(kind, a), plain([]netip.Prefix{netip.PrefixFrom(a, a.BitLen())}))
	if errors.Is(err, unix.ENOENT) {
		return false, backend.ErrNoFence
	}
	return was, err
}
