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
)

// ShortestWindow and LongestWindow limit the time for a confirmation.
const (
	ShortestWindow = time.Second
	LongestWindow  = 24 * time.Hour
)

// kernelGrace is how much later than the deadline the kernel takes the ports out of the
// fence, if no process has undone the generation by then. A commit may come up to slack
// after the generation was begun, so that it is over 1.6 seconds after the deadline at the
// latest, on a busy host too before the 2 that are promised.
const kernelGrace = 1200 * time.Millisecond

// Pending is a generation that is undone unless it is confirmed.
type Pending struct {
	ID         string
	Generation int
	Before     int // the generation to go back to, 0 for no fence
	User       string
	Left       time.Duration // 0 = the deadline has passed
	Deadline   time.Time
}

// Watch is what a watchdog waits for: that a generation is confirmed, or that the time for
// it is over.
type Watch struct {
	ID         string
	Generation int
	Window     time.Duration
}

func watchOf(u *journal.Unconfirmed) Watch { return Watch{u.ID, u.Generation, time.Duration(u.Window)} }

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

// pendingNow is Pending for a change that is in force: that it cannot be read does not make
// it less so.
func pendingNow(f *session) *Pending {
	p, err := f.Pending()
	if err != nil {
		f.Notice.Warn(notice.StateDamaged, "the change is in force, but whether it waits for a confirmation is not known: %v", err)
	}
	return p
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
	if u.Down, err = f.down(); u.Down != nil {
		u.Before = 0
	}
	return u, err
}

// begun starts the watchdog and writes the mark, before the kernel is changed. The watchdog
// comes first: a mark that nobody watches might stay.
func (f *committer) begun(ctx context.Context, u *journal.Unconfirmed) error {
	if u == nil {
		return nil
	}
	if before, err := f.Unconfirmed(); err == nil && before != nil && before.ID == u.ID {
		return nil // the change is tried again, without the classifier
	}
	if f.Watchdog != nil {
		// The watchdog is given the folder, which may be new.
		if err := journal.MakeFolder(f.Journal); err != nil {
			return err
		}
		if err := f.Watchdog(ctx, watchOf(u)); err != nil {
			return fmt.Errorf("start the watchdog that undoes the change: %w", err)
		}
	}
	u.Made = f.Now() // systemd may have needed some time
	return f.SetUnconfirmed(*u)
}

// unwatch ends the watchdog. It would also end by itself.
func unwatch(ctx context.Context, f *session, u *journal.Unconfirmed) {
	if f.Unwatch == nil {
		return
	}
	if err := f.Unwatch(ctx, watchOf(u)); err != nil {
		f.Log.Info("stop the watchdog", "error", err)
	}
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
	unwatch(ctx, &f.session, u)
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

// Undo undoes a generation that waits for a confirmation, at once. kept says that it does
// not wait any more, because it was confirmed.
func (f *Fence) Undo(ctx context.Context, p Pending) (kept bool, err error) {
	leave, err := f.enter(ctx, "undo")
	if err != nil {
		return false, err
	}
	defer leave()
	u, err := f.Unconfirmed()
	if err != nil {
		return false, err
	}
	if u == nil || u.ID != p.ID {
		numbers, err := f.Numbers()
		return slices.Contains(numbers, p.Generation), err
	}
	return false, f.recovery().undo(ctx, u)
}

// watchEvery is how often a watchdog looks whether its generation is confirmed.
const watchEvery = time.Second

// WatchUnconfirmed waits until a generation is confirmed or undone, and undoes it after the
// deadline. It may be called before the generation is made.
func (f *Fence) WatchUnconfirmed(ctx context.Context, w Watch) error {
	start, seen := f.Now(), false
	for {
		u, err := f.Unconfirmed()
		marked := err == nil && u != nil && u.ID == w.ID
		if err == nil && !marked && seen {
			return nil
		}
		seen = seen || marked
		left := w.Window - f.Now().Since(start)
		if marked {
			left = unconfirmedLeft(u, f.Now())
		}
		if left > 0 {
			if sleep(ctx, min(left, watchEvery)) {
				continue
			}
			if u, err := f.Unconfirmed(); err == nil && (u == nil || u.ID != w.ID) {
				return nil // who confirms also ends this
			}
			return ctx.Err()
		}
		leave, err := f.enter(ctx, "watchdog")
		if err == nil {
			leave()
			seen = true // if it was made at all
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
