package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// enter takes the lock for a command that changes the fence, and settles what an
// earlier one has left that was killed.
func (a *app) enter(ctx context.Context, command string) (leave func(), err error) {
	unlock, err := journal.Lock(ctx, a.runDir, command)
	if err != nil {
		return nil, err
	}
	a.journal().Sweep()
	if err := errors.Join(a.settleGeneration(ctx), a.settleDown(ctx)); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// settleGeneration looks after a generation that was begun by a run that is
// gone: if the kernel has taken its rules it gets its number, else it is dropped.
func (a *app) settleGeneration(ctx context.Context) error {
	pending, err := a.journal().Interrupted()
	if pending == nil || err != nil {
		return err
	}
	var state ruleset.State
	var memory resolve.Memory
	if err := errors.Join(json.Unmarshal(pending.State, &state), json.Unmarshal(pending.Addresses, &memory)); err != nil {
		return pending.Discard()
	}
	have, err := kernelOf(a.kernel(true), nil).Observe(ctx)
	if err != nil {
		return err
	}
	if !a.nearerTo(have, &state) {
		a.say("note", fmt.Sprintf("an earlier %s was killed before the kernel had taken its rules: they are dropped", pending.Command))
		if newest, err := a.newest(); err == nil && newest == nil && !have.Exists {
			// Its classifier went in first.
			if err := a.clear(ctx); err != nil {
				return err
			}
		}
		return pending.Discard()
	}
	if err := pending.Finish(); pending.Number == 0 {
		return err
	}
	a.say("note", fmt.Sprintf("an earlier %s was killed after the kernel had taken its rules; they are generation %d", pending.Command, pending.Number))
	old, err := a.recall(true)
	if err != nil {
		return err
	}
	var names []resolve.Target
	for _, k := range memory.Names {
		names = append(names, resolve.Target{Name: k.Name, Registrar: k.Registrar})
	}
	return a.keep(&site{memory: memory, retired: old.Without(names), host: pending.Host})
}

// clear takes table and classifier out of the kernel, if they are there.
func (a *app) clear(ctx context.Context) error {
	nothing := control.Desired{State: &ruleset.State{}}
	_, err := control.Controller{Kernel: kernelOf(a.kernel(true), nil)}.Sync(ctx, nothing, func(*plan.Plan) error { return nil })
	return err
}

// nearerTo reports whether what the kernel has comes from a state rather than
// from the newest generation. Another program may have changed something since.
func (a *app) nearerTo(have, state *ruleset.State) bool {
	differences := len(plan.Diff(have, state).Changes)
	if differences == 0 {
		return true
	}
	before := &ruleset.State{}
	if newest, err := a.newest(); newest != nil && err == nil {
		if err := json.Unmarshal(newest.State, before); err != nil {
			return false
		}
	}
	return have.Exists && differences < len(plan.Diff(have, before).Changes)
}

// settleDown looks after a fence that a run that is gone was taking down or
// putting up: what it had begun in the kernel decides.
func (a *app) settleDown(ctx context.Context) error {
	down, err := a.isDown()
	if down == nil || err != nil || down.Phase == journal.Resting {
		return err
	}
	have, err := kernelOf(a.kernel(true), nil).Observe(ctx)
	if err != nil {
		return err
	}
	switch {
	case have.Exists && down.Phase == journal.Coming:
		a.say("note", "an earlier run was killed after it had put the fence up")
		return a.journal().ClearDown()
	case have.Exists:
		a.say("note", "an earlier ringfence down was killed before it was done: taking the fence down now")
	}
	if err := a.clear(ctx); err != nil {
		return err
	}
	return a.setPhase(*down, journal.Resting)
}
