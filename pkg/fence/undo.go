package fence

import (
	"context"
	"fmt"
	"slices"

	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// recoverUnconfirmed ends what a generation was waiting for: it is undone after the
// deadline, and a confirmation that was interrupted is completed. The lock is held.
func (f recovery) recoverUnconfirmed(ctx context.Context) error {
	u, err := f.Unconfirmed()
	if isDamaged(err) {
		return f.endDamaged(ctx, err)
	}
	switch {
	case u == nil || err != nil:
		return err
	case u.Confirmed:
		return f.complete(ctx, u)
	case unconfirmedLeft(u, f.Now()) > 0:
		return nil
	}
	return f.undo(ctx, u)
}

// endDamaged ends what was waiting for a confirmation if the mark cannot be read: nobody knows
// when its time is over, so it is over.
func (f recovery) endDamaged(ctx context.Context, damaged error) error {
	u, err := f.seemsUnconfirmed(ctx)
	if err != nil {
		return err
	}
	if u == nil {
		f.Notice.Warn(notice.StateDamaged, "%v; the newest generation counts as confirmed", journal.SetUnconfirmedAside(damaged))
		return nil
	}
	f.Notice.Warn(notice.StateDamaged, "%v; generation %d counts as not confirmed", damaged, u.Generation)
	return f.undo(ctx, u)
}

// seemsUnconfirmed returns the generation that a damaged mark is about, nil if none waits for
// a confirmation: the kernel holds it for good then.
func (f recovery) seemsUnconfirmed(ctx context.Context) (*journal.Unconfirmed, error) {
	numbers, err := f.Numbers()
	if err != nil {
		return nil, err
	}
	if f.Begun() {
		next, err := f.NextNumber()
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, next)
	}
	down, err := f.down()
	if err != nil || down != nil || len(numbers) == 0 {
		return nil, err
	}
	have, err := f.observe(ctx, f.kernel(true))
	if err != nil {
		return nil, err
	}
	runsOut := func(e ruleset.Element) bool { return e.Timeout > 0 }
	if ports := have.Sets[portsSet].Elements; have.Exists && len(ports) > 0 && !slices.ContainsFunc(ports, runsOut) {
		return nil, nil
	}
	u := &journal.Unconfirmed{Generation: numbers[len(numbers)-1]}
	if len(numbers) > 1 {
		u.Before = numbers[len(numbers)-2]
	}
	return u, nil
}

// dropOrphan removes the mark of a generation that never came to be. The kernel may hold a
// part of it, with ports that run out.
func (f recovery) dropOrphan(ctx context.Context) error {
	u, err := f.Unconfirmed()
	if u == nil || err != nil {
		return err
	}
	numbers, err := f.Numbers()
	if err != nil || slices.Contains(numbers, u.Generation) {
		return err
	}
	if _, err := f.restore(ctx, u); err != nil {
		return err
	}
	return f.ClearUnconfirmed()
}

// undo puts back what was in force before an unconfirmed generation. It can be repeated
// if it was killed: the mark is the last thing to go.
func (f recovery) undo(ctx context.Context, u *journal.Unconfirmed) error {
	back, err := f.restore(ctx, u)
	if err != nil {
		return err
	}
	if err := journal.SetAsideUnconfirmed(f.Journal, u); err != nil {
		return err
	}
	why := "was not confirmed in time and was undone"
	if unconfirmedLeft(u, f.Now()) > 0 {
		why = "was undone"
	}
	f.Notice.Warn(notice.Undone, "generation %d %s: %s", u.Generation, why, back)
	return nil
}

// restore brings the kernel back to what was in force before an unconfirmed generation, and
// says what that is.
func (f recovery) restore(ctx context.Context, u *journal.Unconfirmed) (back string, err error) {
	f.keeping = true
	defer func() {
		f.keeping = false
		if err != nil {
			err = fmt.Errorf("undo generation %d: %w", u.Generation, err)
		}
	}()
	down, err := f.down()
	if err != nil {
		return "", err
	}
	_, unread := f.Entry(u.Before)
	switch {
	case u.Before != 0 && down == nil && !isDamaged(unread):
		return fmt.Sprintf("generation %d is in force again", u.Before), f.putBack(ctx, u.Before)
	case u.Before != 0 && isDamaged(unread):
		// An open fence cuts nobody off.
		f.Notice.Warn(notice.StateDamaged, "%v; taking the fence down instead", unread)
		back = "there is no fence: run ringfence apply"
	default:
		back = "there is no fence, as before"
	}
	if down == nil {
		down = u.Down // else the next refresh would put the fence up
	}
	if err := f.clear(ctx); err != nil || down == nil {
		return back, err
	}
	return back, f.setPhase(*down, journal.Resting)
}

// putBack brings the kernel to an earlier generation, with the saved addresses.
func (f recovery) putBack(ctx context.Context, number int) error {
	entry, err := f.Entry(number)
	if err != nil {
		return err
	}
	before := f.choice
	f.choice = f.backendOf("", entry.Policy)
	defer func() { f.choice = before }()
	c := &committer{*f.session}
	saved, err := c.asSaved(entry)
	if err != nil {
		return err
	}
	kernel := f.kernel(true)
	p, err := c.putUp(ctx, kernel, saved, func(*plan.Plan, *ruleset.State) error { return nil })
	if err == nil {
		f.note(ctx, kernel, p)
	}
	return err
}

// complete takes the lifetimes off the ports of a confirmed generation, and removes the
// mark.
func (f recovery) complete(ctx context.Context, u *journal.Unconfirmed) error {
	f.keeping = true
	defer func() { f.keeping = false }()
	down, err := f.down()
	if err == nil && down == nil {
		err = f.putBack(ctx, u.Generation)
	}
	if err != nil {
		return fmt.Errorf("keep generation %d: %w", u.Generation, err)
	}
	return f.ClearUnconfirmed()
}
