package fence

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// ShortestWindow and LongestWindow limit the time for a confirmation.
const (
	ShortestWindow = time.Second
	LongestWindow  = 24 * time.Hour
)

// kernelGrace is how much later than the deadline the kernel takes the ports out of the
// fence, if no process has undone the generation by then. It counts from the commit,
// which is a little after the generation was begun, and is over 2 seconds after the
// deadline.
const kernelGrace = 1500 * time.Millisecond

// Pending is a generation that is undone unless it is confirmed.
type Pending struct {
	ID         string
	Generation int
	Before     int // the generation to go back to, 0 for no fence
	User       string
	Left       time.Duration // 0 = the deadline has passed
	Deadline   time.Time
}

// unconfirmedLeft returns the time until the deadline, by the clock that no program
// changes. After a reboot there is none.
func unconfirmedLeft(u *journal.Unconfirmed, now resolve.Moment) time.Duration {
	if now.Boot != u.Made.Boot {
		return 0
	}
	return max(time.Duration(u.Window)-now.Since(u.Made), 0)
}

func pendingOf(f *session, u *journal.Unconfirmed) *Pending {
	now := f.Now()
	left := unconfirmedLeft(u, now)
	return &Pending{u.ID, u.Generation, u.Before, u.User, left, now.Time.Add(left)}
}

// Pending returns the generation that waits for a confirmation, nil if there is none.
func (f *session) Pending() (*Pending, error) {
	u, err := f.Unconfirmed()
	if u == nil || err != nil || u.Confirmed {
		return nil, err
	}
	return pendingOf(f, u), nil
}

// errPending refuses what cannot be done while a generation waits for a confirmation.
func errPending(p *Pending) error {
	err := fmt.Errorf("generation %d by %s waits for a confirmation, for %s more",
		p.Generation, p.User, p.Left.Round(time.Second))
	return notice.WithHint(err,
		"ringfence confirm keeps it; otherwise it is undone, and then this can be done")
}

// refusePending returns an error if a generation waits for a confirmation.
func refusePending(f *session) error {
	p, err := f.Pending()
	if err == nil && p != nil {
		err = errPending(p)
	}
	return err
}

// unconfirmed returns what is or will be unconfirmed in the kernel, nil if nothing is.
func (f *session) unconfirmed() *journal.Unconfirmed {
	if f.keeping {
		return nil
	}
	if f.arming != nil {
		return f.arming
	}
	if u, err := f.Unconfirmed(); err == nil && u != nil && !u.Confirmed {
		return u
	}
	return nil
}

// prepareUnconfirmed makes the mark for the next generation, if a confirmation is asked
// for and the plan changes anything. nil is no mark.
func (f *committer) prepareUnconfirmed(
	window time.Duration, p *plan.Plan, newest *journal.Entry,
) (*journal.Unconfirmed, error) {
	if window == 0 || p.Empty() {
		return nil, nil
	}
	number, err := f.NextNumber()
	if err != nil {
		return nil, err
	}
	u := &journal.Unconfirmed{
		ID: rand.Text(), Generation: number, Before: numberOf(newest),
		User: f.User, Made: f.Now(), Window: resolve.Span(window),
	}
	down, err := f.down()
	if down != nil {
		u.Before = 0
	}
	return u, err
}

// begun writes the mark and starts the watchdog, before the kernel is changed.
func (f *committer) begun(u *journal.Unconfirmed) error {
	if u == nil {
		return nil
	}
	if err := f.SetUnconfirmed(*u); err != nil {
		return err
	}
	if f.Watchdog == nil {
		return nil
	}
	if err := f.Watchdog(u.ID); err != nil {
		return errors.Join(fmt.Errorf("start the watchdog that undoes the change: %w", err), f.ClearUnconfirmed())
	}
	return nil
}

// recoverUnconfirmed ends what a generation was waiting for: it is undone after the
// deadline, and a confirmation that was interrupted is completed. The lock is held.
func (f recovery) recoverUnconfirmed(ctx context.Context) error {
	u, err := f.Unconfirmed()
	if isDamaged(err) {
		f.Notice.Warn(notice.StateDamaged, "%v; the newest generation counts as confirmed", f.SetUnconfirmedAside(err))
		return nil
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

// dropOrphan removes the mark of a generation that never came to be.
func (f recovery) dropOrphan() error {
	u, err := f.Unconfirmed()
	if u == nil || err != nil {
		return err
	}
	numbers, err := f.Numbers()
	if err != nil || slices.Contains(numbers, u.Generation) {
		return err
	}
	return f.ClearUnconfirmed()
}

// undo puts back what was in force before an unconfirmed generation. It can be repeated
// if it was killed: the mark is the last thing to go.
func (f recovery) undo(ctx context.Context, u *journal.Unconfirmed) error {
	f.keeping = true
	defer func() { f.keeping = false }()
	down, err := f.down()
	if err != nil {
		return err
	}
	back := "there is no fence, as before"
	_, unread := f.Entry(u.Before)
	if u.Before != 0 && isDamaged(unread) {
		// An open fence cuts nobody off.
		f.Notice.Warn(notice.StateDamaged, "%v; taking the fence down instead", unread)
		back = "there is no fence: run ringfence apply"
	}
	if u.Before == 0 || down != nil || isDamaged(unread) {
		if err := f.clear(ctx); err != nil {
			return fmt.Errorf("undo generation %d: %w", u.Generation, err)
		}
		if down != nil {
			if err := f.setPhase(*down, journal.Resting); err != nil {
				return err
			}
		}
	} else {
		if err := f.putBack(ctx, u.Before); err != nil {
			return fmt.Errorf("undo generation %d: %w", u.Generation, err)
		}
		back = fmt.Sprintf("generation %d is in force again", u.Before)
	}
	if err := f.SetAsideUnconfirmed(u); err != nil {
		return err
	}
	f.Notice.Warn(notice.Undone, "generation %d was not confirmed in time and was undone: %s", u.Generation, back)
	return nil
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

// Confirm keeps the generation that waits for a confirmation, and returns its number.
// number is the one that is meant; for 0 it is the one of this user.
func (f *Fence) Confirm(ctx context.Context, number int) (int, error) {
	if err := f.Probe(ctx); err != nil {
		return 0, err
	}
	leave, err := f.enter(ctx, "confirm")
	if err != nil {
		return 0, err
	}
	defer leave()
	u, err := f.Unconfirmed()
	switch {
	case err != nil:
		return 0, err
	case u == nil:
		return 0, nothingPending(&f.session)
	case number != 0 && number != u.Generation:
		return 0, fmt.Errorf("generation %d does not wait for a confirmation: generation %d does", number, u.Generation)
	case number == 0 && u.User != f.User:
		err := fmt.Errorf("generation %d, which waits for a confirmation, was made by %s", u.Generation, u.User)
		return 0, notice.WithHint(err, "to confirm it all the same: ringfence confirm %d", u.Generation)
	}
	u.Confirmed = true
	if err := f.SetUnconfirmed(*u); err != nil {
		return 0, err
	}
	if err := f.recovery().complete(ctx, u); err != nil {
		u.Confirmed = false
		return 0, errors.Join(err, f.SetUnconfirmed(*u))
	}
	f.inForce = true
	return u.Generation, nil
}

// nothingPending says why there is nothing to confirm.
func nothingPending(f *session) error {
	number, err := f.NextNumber()
	undone, undoneErr := f.LastUndone()
	if err := errors.Join(err, undoneErr); err != nil {
		return err
	}
	if undone > 0 && undone == number-1 {
		return fmt.Errorf("generation %d was not confirmed in time and was undone", undone)
	}
	return errors.New("no generation waits for a confirmation")
}

// Undo undoes the generation that waits for a confirmation with this ID, at once. It
// does nothing if there is none.
func (f *Fence) Undo(ctx context.Context, id string) error {
	leave, err := f.enter(ctx, "undo")
	if err != nil {
		return err
	}
	defer leave()
	u, err := f.Unconfirmed()
	if u == nil || err != nil || u.ID != id {
		return err
	}
	return f.recovery().undo(ctx, u)
}

// watchEvery is how often a watchdog looks whether its generation is confirmed.
const watchEvery = time.Second

// WatchUnconfirmed waits until the generation that waits for a confirmation with this ID is
// confirmed or undone, and undoes it after the deadline.
func (f *Fence) WatchUnconfirmed(ctx context.Context, id string) error {
	for {
		u, err := f.Unconfirmed()
		if err == nil && (u == nil || u.ID != id) {
			return nil
		}
		wait := watchEvery
		if err == nil {
			wait = min(wait, unconfirmedLeft(u, f.Now()))
		}
		if wait > 0 {
			if !sleep(ctx, wait) {
				return ctx.Err()
			}
			continue
		}
		leave, err := f.enter(ctx, "watchdog")
		if err == nil {
			leave()
			continue
		}
		f.Log.Error("undo what was not confirmed", "error", err)
		if !sleep(ctx, watchEvery/10) {
			return ctx.Err()
		}
	}
}

// sleep waits, and reports whether the context has not ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timed, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-timed.Done()
	return ctx.Err() == nil
}

// LetThrough returns how many packets of providers and trusted networks have passed.
func (f *Fence) LetThrough(ctx context.Context) (uint64, error) {
	counters, err := f.kernel(true).Counters(ctx)
	return counters["allowed_provider"] + counters["allowed_trusted"], err
}
