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
)

// longestBan is the longest timeout of ipset in seconds (IPSET_MAX_TIMEOUT). The kernel
// cuts longer ones short without a word.
const longestBan = (math.MaxUint32 >> 1) / 1000

// banSets are the sets of banned addresses.
var banSets = []string{"banned4", "banned6"}

func banSet(a netip.Addr) string {
	if a.Is4() {
		return setName(banSets[0])
	}
	return setName(banSets[1])
}

// Bans returns all addresses that are banned for a time, sorted; none without a fence.
func (k *Kernel) Bans(ctx context.Context) ([]backend.Banned, error) {
	conn, err := openSets()
	if err != nil {
		return nil, err
	}
	defer conn.close()
	var bans []backend.Banned
	for _, name := range banSets {
		entries, err := conn.elements(ctx, setName(name))
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, x := range entries {
			bans = append(bans, backend.Banned{Address: x.prefix.Addr(), Left: time.Duration(x.timeout) * time.Second, Comment: x.comment})
		}
	}
	slices.SortFunc(bans, func(a, b backend.Banned) int { return a.Address.Compare(b.Address) })
	return bans, nil
}

// Ban bans an address for a time of whole seconds, which restarts if it is banned
// already. Its error wraps ErrNoFence or ErrFull where these are the cause.
func (k *Kernel) Ban(ctx context.Context, b backend.Banned) error {
	conn, err := openSets()
	if err != nil {
		return err
	}
	defer conn.close()
	seconds := (b.Left + time.Second - 1) / time.Second
	if seconds > longestBan {
		return fmt.Errorf("ipset bans for at most %d days: list the address under bans.addresses to ban it for good", longestBan/(24*60*60))
	}
	err = conn.add(ctx, banSet(b.Address), []entry{{
		prefix: netip.PrefixFrom(b.Address, b.Address.BitLen()), timeout: uint32(seconds), hasTimeout: true, comment: b.Comment,
	}})
	switch {
	case errors.Is(err, unix.ENOENT):
		return backend.ErrNoFence
	case errors.Is(err, errSetFull):
		return backend.ErrFull
	}
	return err
}

// Unban ends the ban of an address. It reports whether there was one.
func (k *Kernel) Unban(ctx context.Context, a netip.Addr) (was bool, err error) {
	bans, err := k.Bans(ctx)
	if err != nil {
		return false, err
	}
	was = slices.ContainsFunc(bans, func(b backend.Banned) bool { return b.Address == a })
	conn, err := openSets()
	if err != nil {
		return false, err
	}
	defer conn.close()
	err = conn.remove(ctx, banSet(a), plain([]netip.Prefix{netip.PrefixFrom(a, a.BitLen())}))
	if errors.Is(err, unix.ENOENT) {
		return false, backend.ErrNoFence
	}
	return was, err
}

// Counters returns the packets that each counter has seen since the fence was made, in
// all tables of both families; none without a fence.
func (k *Kernel) Counters(ctx context.Context) (map[string]uint64, error) {
	t, err := k.tool()
	if err != nil {
		return nil, err
	}
	counters := map[string]uint64{}
	for _, w := range allPlaces() {
		saved, err := t.save(ctx, w)
		if err != nil {
			return nil, err
		}
		for name, chain := range saved {
			if counter, ok := counterOf(name); ok && len(chain.packets) > 0 {
				counters[counter] += chain.packets[0]
			}
		}
	}
	return counters, nil
}
