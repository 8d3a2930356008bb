package fence

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// recovery completes or undoes what earlier runs have left that were killed, or that
// nobody has confirmed. The lock is held.
type recovery struct{ *session }

func (f *session) recovery() recovery { return recovery{f} }

// all leaves nothing to complete or to undo.
func (f recovery) all(ctx context.Context) error {
	for _, recover := range []func(context.Context) error{f.recoverUnconfirmed, f.recoverGeneration, f.recoverDown} {
		if err := recover(ctx); err != nil {
			return err
		}
	}
	return f.dropOrphan(ctx)
}

// recoverGeneration handles a generation that was begun by a run that was killed: if
// the kernel has its rules, it gets its number; otherwise it is discarded.
func (f recovery) recoverGeneration(ctx context.Context) error {
	pending, err := f.Interrupted()
	if pending == nil || err != nil {
		return err
	}
	var state ruleset.State
	var memory resolve.Memory
	if err := errors.Join(json.Unmarshal(pending.State, &state), json.Unmarshal(pending.Addresses, &memory)); err != nil {
		return pending.Discard()
	}
	kernel := f.open(f.backendOf(pending.Source, pending.Policy))
	arm(f.session, &state)
	have, err := f.observe(ctx, kernel)
	if err != nil {
		return err
	}
	if !f.nearerTo(have, &state) {
		f.Notice.Note(notice.RunInterrupted, "an earlier %s was killed before its rules were in the kernel: they are discarded", pending.Command)
		if newest, err := f.newest(); err == nil && newest == nil && !have.Exists {
			// The classifier was attached before the rules.
			if err := f.clear(ctx); err != nil {
				return err
			}
		}
		return pending.Discard()
	}
	err = pending.Finish()
	if pending.Number == 0 {
		return err
	}
	if err != nil {
		f.Notice.Warn(notice.StateUnsaved, "%v", err)
	}
	f.Notice.Note(notice.RunInterrupted, "an earlier %s was killed after its rules were in the kernel: they are generation %d", pending.Command, pending.Number)
	old, err := f.recall(true)
	if err != nil {
		return err
	}
	var names []resolve.Target
	for _, k := range memory.Names {
		names = append(names, resolve.Target{Name: k.Name, Registrar: k.Registrar})
	}
	return f.keep(&site.Site{Memory: memory, Retired: old.Without(names), Host: pending.Host})
}

// clear removes the table and the classifier from the kernel, if they are there.
func (f recovery) clear(ctx context.Context) error {
	nothing := control.Desired{State: &ruleset.State{}}
	kernel := f.kernel(true)
	_, err := control.Controller{Kernel: f.withClassifier(kernel, nil)}.Sync(ctx, nothing, func(*plan.Plan) error { return nil })
	return errors.Join(err, kernel.Tidy(ctx))
}

// nearerTo reports whether the kernel's table comes from state rather than from the
// newest generation. Another program may have changed it since.
func (s store) nearerTo(have, state *ruleset.State) bool {
	differences := len(plan.Diff(have, state).Changes)
	if differences == 0 {
		return true
	}
	before := &ruleset.State{}
	if newest, err := s.Journal.Newest(); err == nil {
		if err := json.Unmarshal(newest.State, before); err != nil {
			return false
		}
	}
	return have.Exists && differences < len(plan.Diff(have, before).Changes)
}

// recoverDown handles a fence that a run was taking down or putting up when it was
// killed: what that run had begun in the kernel decides.
func (f recovery) recoverDown(ctx context.Context) error {
	down, err := f.down()
	if down == nil || err != nil || down.Phase == journal.Resting {
		return err
	}
	have, err := f.observe(ctx, f.kernel(true))
	if err != nil {
		return err
	}
	switch {
	case have.Exists && down.Phase == journal.Coming:
		f.Notice.Note(notice.RunInterrupted, "an earlier run was killed after it had put the fence up")
		return f.ClearDown()
	case have.Exists:
		f.Notice.Note(notice.RunInterrupted, "an earlier ringfence down was killed before it was finished: taking the fence down now")
	}
	if err := f.clear(ctx); err != nil {
		return err
	}
	return f.setPhase(*down, journal.Resting)
}
