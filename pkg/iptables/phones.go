package iptables

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/backend"
)

// The kinds of sets of who is let in because the PBX has accepted him, of who fails to log
// in where somebody has logged in, and of where that is. An entry is an address, or an
// address with a port.
const (
	phonesSet  = "phones"
	staleSet   = "stale"
	knownSet   = "known"
	bannedSet  = "banned"
	allowedSet = "allowed"
)

// Phones returns all phones that the PBX has accepted, sorted; none without a fence.
func (k *Kernel) Phones(ctx context.Context) ([]backend.Phone, error) {
	return phonesIn(ctx, phonesSet)
}

// Stale returns those that fail to log in though somebody there has logged in lately,
// sorted; none without a fence.
func (k *Kernel) Stale(ctx context.Context) ([]backend.Phone, error) { return phonesIn(ctx, staleSet) }

// Logins returns the addresses where somebody has logged in within a day.
func (k *Kernel) Logins() backend.Logins { return logins{} }

type logins struct{}

// List returns all of them, sorted; none without a fence.
func (logins) List(ctx context.Context) ([]backend.Phone, error) { return phonesIn(ctx, knownSet) }

// Add adds those that the sets lack, with the time that they have left. Its error wraps
// ErrFull if there is no room for all of them.
func (logins) Add(ctx context.Context, added []backend.Phone) error {
	wanted := map[string][]entry{}
	for _, p := range added {
		set := timedSet(knownSet, p.Address)
		wanted[set] = append(wanted[set], entry{prefix: single(p.Address), timeout: secondsLeft(p.Left), hasTimeout: true})
	}
	return addMissing(ctx, wanted)
}

// phonesIn returns what the sets of a kind hold, sorted. A phone that has registered by two
// protocols from the same port is in for the longer time.
func phonesIn(ctx context.Context, kind string) ([]backend.Phone, error) {
	members, err := timed(ctx, kind)
	if err != nil {
		return nil, err
	}
	var phones []backend.Phone
	for _, x := range members {
		phones = append(phones, backend.Phone{Address: x.prefix.Addr(), Port: x.port, Left: left(x)})
	}
	slices.SortFunc(phones, func(a, b backend.Phone) int {
		if c := a.Compare(b); c != 0 {
			return c
		}
		return int(b.Left - a.Left)
	})
	return slices.CompactFunc(phones, func(a, b backend.Phone) bool { return a.Compare(b) == 0 }), nil
}

// PutBack adds those phones and bans that the sets lack, with the time that they have
// left. Where a set holds whole addresses, a phone lets in its address. Its error wraps
// ErrFull if there is no room for all of them.
func (k *Kernel) PutBack(ctx context.Context, phones []backend.Phone, bans []backend.Banned) error {
	conn, err := openSets()
	if err != nil {
		return err
	}
	defer conn.close()
	headers, err := conn.headers(ctx)
	if err != nil {
		return err
	}
	wanted := map[string][]entry{}
	for _, p := range phones {
		set := timedSet(phonesSet, p.Address)
		switch ports := headers[set].typeName == peerType; {
		case !ports:
			p.Port = 0
			fallthrough
		case p.Port != 0:
			wanted[set] = append(wanted[set], phoneEntries(p)...)
		}
	}
	for _, b := range bans {
		set := timedSet(bannedSet, b.Address)
		wanted[set] = append(wanted[set], entry{prefix: single(b.Address), timeout: secondsLeft(b.Left), hasTimeout: true, comment: b.Comment})
	}
	return addMissing(ctx, wanted)
}

// addMissing adds to sets what they lack.
func addMissing(ctx context.Context, wanted map[string][]entry) error {
	conn, err := openSets()
	if err != nil {
		return err
	}
	defer conn.close()
	var errs []error
	for set, entries := range wanted {
		errs = append(errs, addMissingTo(ctx, conn, set, entries))
	}
	return errors.Join(errs...)
}

// addMissingTo adds to a set what it lacks. One that is not there takes nothing.
func addMissingTo(ctx context.Context, conn setConn, set string, entries []entry) error {
	there, err := conn.elements(ctx, set)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	type key struct {
		netip.Prefix
		protocol uint8
		port     uint16
	}
	keyOf := func(x entry) key { return key{x.prefix, x.protocol, x.port} }
	has := map[key]bool{}
	for _, x := range there {
		has[keyOf(x)] = true
	}
	// Several phones at an address may be one entry, which lasts as long as the longest.
	lasts := func(x entry) uint32 { return x.timeout - 1 } // 0 is for ever
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(lasts(a), lasts(b)) })
	err = conn.add(ctx, set, slices.DeleteFunc(entries, func(x entry) bool { return has[keyOf(x)] }))
	switch {
	case errors.Is(err, errSetFull):
		return backend.ErrFull
	case errors.Is(err, unix.ENOENT):
		return nil
	}
	return err
}

// phoneEntries are those that let a phone in. Nobody knows any more by which protocol it
// has registered.
func phoneEntries(p backend.Phone) []entry {
	x := entry{prefix: single(p.Address), port: p.Port, timeout: secondsLeft(p.Left), hasTimeout: true}
	if p.Port == 0 {
		return []entry{x}
	}
	udp, tcp := x, x
	udp.protocol, tcp.protocol = unix.IPPROTO_UDP, unix.IPPROTO_TCP
	return []entry{udp, tcp}
}

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// secondsLeft writes what is left of a time; 0 is for ever.
func secondsLeft(d time.Duration) uint32 {
	return uint32(min((d+time.Second-1)/time.Second, longestBan))
}
