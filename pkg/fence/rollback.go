package fence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/site"
)

// RolledBack is the result of a rollback.
type RolledBack struct {
	Applied
	// Target is the generation whose policy is in force now, with the text of that
	// policy and the file that it was read from.
	Target       int
	Source, Text string
}

// Rollback puts the policy of generation n into force again, or for 0 that of the one
// before the newest. The providers in allowEmpty may be without an address. After window it
// is undone unless it is confirmed; 0 is never.
func (f *Fence) Rollback(ctx context.Context, n int, allowEmpty []string, window time.Duration) (*RolledBack, error) {
	if err := f.Probe(ctx); err != nil {
		return nil, err
	}
	if target, err := f.generationToGoTo(n); err == nil {
		prepareFor(&f.session, target)
	}
	leave, err := f.enter(ctx, "rollback")
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := refusePending(&f.session); err != nil {
		return nil, err
	}
	newest, err := f.newestOrDamaged()
	if err != nil {
		return nil, err
	}
	target, err := f.generationToGoTo(n)
	if err != nil {
		return nil, err
	}
	f.choice = f.backendOf(target.Source, target.Policy)
	memory, err := f.recall(true, newest, target)
	if err != nil {
		return nil, err
	}
	s, err := f.siteOf(target, memory)
	if err != nil {
		return nil, err
	}
	if err := f.readHost(s); err != nil {
		return nil, err
	}
	s.Remember(memory, f.Now())
	then, err := f.siteThen(target)
	if err != nil {
		return nil, err
	}
	c := change{before: f.siteBefore(s, newest, memory), otherPolicy: true, window: window, guards: s.Guards(site.Allowances{Empty: allowEmpty, CutInside: true, CutLive: true}.As(then))}
	p, generation, err := f.commit(ctx, s, c, newest, fmt.Sprintf("rollback %d", target.Number))
	if err != nil {
		return nil, err
	}
	return &RolledBack{
		Applied: Applied{
			Plan: lasting(p), Generation: generation, New: generation != numberOf(newest), Pending: pendingNow(&f.session), Monitor: s.Policy.Monitor,
			Notices: append(s.Warnings(), site.CutWarnings(s)...),
		},
		Target: target.Number, Source: target.Source, Text: target.Policy,
	}, nil
}

// wasUndone reports whether a generation is stored that was not confirmed in time.
func wasUndone(s store, n int) bool {
	undone, err := s.Undone()
	return err == nil && slices.Contains(undone, n)
}

// generationToGoTo reads generation n or, for 0, the newest readable one before the
// newest.
func (s store) generationToGoTo(n int) (*journal.Entry, error) {
	numbers, err := s.Numbers()
	if err != nil {
		return nil, err
	}
	const history = "ringfence history shows them"
	switch {
	case len(numbers) == 0:
		return nil, journal.ErrNone
	case n > 0 && wasUndone(s, n):
		return nil, notice.WithHint(fmt.Errorf("generation %d was not confirmed in time and was undone", n), "write its policy to a file and apply that: ringfence history %d shows it", n)
	case n > 0 && !slices.Contains(numbers, n):
		return nil, notice.WithHint(fmt.Errorf("there is no generation %d: those from %d to %d are stored", n, numbers[0], numbers[len(numbers)-1]), history)
	case n > 0:
		entry, err := s.Entry(n)
		if isDamaged(err) {
			err = notice.WithHint(err, "ringfence history shows the generations that can be read")
		}
		return entry, err
	}
	for _, before := range slices.Backward(numbers[:len(numbers)-1]) {
		entry, err := s.Entry(before)
		if err == nil {
			return entry, nil
		}
		s.notice.Warn(notice.StateDamaged, "%v; using an older generation", err)
	}
	return nil, notice.WithHint(errors.New("there is no generation before the one in force"), "ringfence down removes the fence")
}
