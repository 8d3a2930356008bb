package iptables

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/backend"
)

// Phones returns none: the rules of this back end learn no phones.
func (k *Kernel) Phones(context.Context) ([]backend.Phone, error) { return nil, nil }

// PutBack adds those bans that the sets lack, with the time that they have left. Its
// error wraps ErrFull if there is no room for all of them.
func (k *Kernel) PutBack(ctx context.Context, _ []backend.Phone, bans []backend.Banned) error {
	there, err := timed(ctx, "banned")
	if err != nil {
		return err
	}
	banned := map[netip.Addr]bool{}
	for _, x := range there {
		banned[x.prefix.Addr()] = true
	}
	missing := map[string][]entry{}
	for _, b := range bans {
		if banned[b.Address] {
			continue
		}
		set := timedSet("banned", b.Address)
		missing[set] = append(missing[set], entry{
			prefix:  netip.PrefixFrom(b.Address, b.Address.BitLen()),
			timeout: uint32(min((b.Left+time.Second-1)/time.Second, longestBan)), hasTimeout: true, comment: b.Comment,
		})
	}
	conn, err := openSets()
	if err != nil {
		return err
	}
	defer conn.close()
	var errs []error
	for set, entries := range missing {
		err := conn.add(ctx, set, entries)
		switch {
		case errors.Is(err, errSetFull):
			errs = append(errs, backend.ErrFull)
		case !errors.Is(err, unix.ENOENT):
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Stale returns none.
func (k *Kernel) Stale(context.Context) ([]backend.Phone, error) { return nil, nil }
