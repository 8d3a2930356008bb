package fence

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// allowance is an address that is allowed by hand for a time. It is stored on disk,
// because it disappears from the kernel with the table.
type allowance struct {
	Address netip.Addr     `json:"address"`
	Made    resolve.Moment `json:"made"`
	Lasts   resolve.Span   `json:"lasts"`
	By      string         `json:"by"`
}

// left returns the remaining time.
func (a allowance) left(now resolve.Moment) time.Duration {
	return (time.Duration(a.Lasts) - now.Since(a.Made)).Truncate(time.Millisecond)
}

// allowances are the addresses that are allowed by hand, as they are stored.
type allowances struct{ *session }

func (f *session) allowances() allowances { return allowances{f} }

// list returns those that have not expired.
func (f allowances) list() ([]allowance, error) {
	var list []allowance
	err := journal.Read(f.Journal, journal.AllowedFile, &list)
	now := f.Now()
	return slices.DeleteFunc(list, func(a allowance) bool { return a.left(now) < ShortestBan }), err
}

// ByHand is an address that is allowed by hand.
type ByHand struct {
	Address netip.Addr
	Left    time.Duration
	Why     string
}

// Allow allows an address for a time, whatever the policy says, unless the policy bans
// it permanently. While it is allowed, a temporary ban has no effect.
func (f *Fence) Allow(ctx context.Context, addr netip.Addr, lasts time.Duration) (ByHand, error) {
	b := ByHand{addr, lasts.Truncate(time.Millisecond), "by " + f.User}
	err := f.changeBans(ctx, "allow", func(kernel backend.Kernel) error {
		have, err := kernel.Observe(ctx)
		if err != nil {
			return err
		}
		if have.Sets["blocked"+familyOf(addr)].Contains(addr) {
			return notice.WithHint(fmt.Errorf("%s is permanently banned by the policy", addr), "remove it from bans.addresses there, and apply")
		}
		if err := letInByHand(ctx, f, kernel, have); err != nil {
			return err
		}
		if err := kernel.Allow(ctx, backend.Allowed{Address: addr, Left: b.Left, Comment: b.Why}); err != nil {
			return err
		}
		made := allowance{Address: addr, Made: f.Now(), Lasts: resolve.Span(b.Left), By: b.Why}
		if err := f.allowances().rewrite(addr, &made); err != nil {
			f.Notice.Warn(notice.StateUnsaved, "%s is allowed, but will not be after the fence is made again: %v", addr, err)
		}
		return nil
	})
	return b, err
}

// letInByHand makes the rules for what is allowed by hand, if the table has none yet: a
// packet pays for them, so there are none while nobody ever was. That the file of the
// allowances exists says that somebody was.
func letInByHand(ctx context.Context, f *Fence, kernel backend.Kernel, have *ruleset.State) error {
	if !have.Exists || compile.LetsInByHand(have) {
		return nil
	}
	if !f.Kept(journal.AllowedFile) {
		if err := journal.Write(f.Journal, journal.AllowedFile, []allowance{}); err != nil {
			return err
		}
	}
	newest, err := f.generation()
	if err != nil {
		return err
	}
	memory, err := f.recall(false, newest)
	if err != nil {
		return err
	}
	s, err := f.siteOf(newest, memory)
	if err != nil {
		return err
	}
	if err := f.readHost(s); err != nil {
		return err
	}
	s.Remember(memory, f.Now())
	p, err := f.sync(ctx, s, change{
		tables: kernel, before: f.siteBefore(s, newest, memory),
		begin: func(*plan.Plan, *ruleset.State) error { return f.keepHost(s.Host) },
	})
	if err != nil {
		return err
	}
	return kernel.Note(p)
}

// rewrite stores all allowances, with the given one in place of that for
// addr, or without any for addr if with is nil.
func (f allowances) rewrite(addr netip.Addr, with *allowance) error {
	list, err := f.list()
	if isDamaged(err) {
		f.Notice.Warn(notice.StateDamaged, "%v; continuing without it", err)
		err = nil
	}
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(a allowance) bool { return a.Address == addr })
	if with != nil {
		list = append(list, *with)
	}
	return journal.Write(f.Journal, journal.AllowedFile, list)
}

// Disallow ends what Allow began. It reports whether there was such an allowance.
func (f *Fence) Disallow(ctx context.Context, addr netip.Addr) (was bool, err error) {
	err = f.changeBans(ctx, "disallow", func(kernel backend.Kernel) error {
		before, _ := f.allowances().list()
		was = slices.ContainsFunc(before, func(a allowance) bool { return a.Address == addr })
		// On disk first: an allowance left there would return with the next table.
		if was {
			if err := f.allowances().rewrite(addr, nil); err != nil {
				return err
			}
		}
		inKernel, err := kernel.Disallow(ctx, addr)
		switch {
		case errors.Is(err, backend.ErrNoFence) && was:
			return nil
		case err != nil && was:
			return errors.Join(err, journal.Write(f.Journal, journal.AllowedFile, before))
		}
		was = was || inKernel
		return err
	})
	return was, err
}

// AllowedByHand lists the addresses that should be allowed by hand now, whatever the kernel
// holds.
func (f View) AllowedByHand() ([]ByHand, error) {
	stored, err := f.allowances().list()
	var list []ByHand
	for _, a := range stored {
		list = append(list, ByHand{a.Address, a.left(f.Now()), a.By})
	}
	return list, err
}

// allowedByHand lists the addresses that are allowed by hand now.
func allowedByHand(ctx context.Context, kernel backend.Kernel) ([]ByHand, error) {
	allowed, err := kernel.Allowances(ctx)
	var list []ByHand
	for _, a := range allowed {
		list = append(list, ByHand{a.Address, a.Left, a.Comment})
	}
	return list, err
}

func isByHand(list []ByHand, addr netip.Addr) bool {
	return slices.ContainsFunc(list, func(b ByHand) bool { return b.Address == addr })
}

// restore adds the allowances that are missing from the kernel, because the
// table was removed or another program removed them. The lock is held.
func (f allowances) restore(ctx context.Context, kernel backend.Kernel) error {
	list, err := f.list()
	if err != nil || len(list) == 0 {
		return err
	}
	there, err := kernel.Allowances(ctx)
	if err != nil {
		return err
	}
	now := f.Now()
	for _, a := range list {
		if slices.ContainsFunc(there, func(t backend.Allowed) bool { return t.Address == a.Address }) {
			continue
		}
		if err := kernel.Allow(ctx, backend.Allowed{Address: a.Address, Left: a.left(now), Comment: a.By}); err != nil {
			return fmt.Errorf("allow %s again: %w", a.Address, err)
		}
		f.Log.Info("allowed again", "address", a.Address, "left", a.left(now))
	}
	return nil
}
