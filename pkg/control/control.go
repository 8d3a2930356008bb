// Package control brings a kernel to a desired state: observe, plan, ask the guards,
// write to the journal, commit; and again if another program changed the table in
// between. apply, refresh, rollback, up and down are this one operation with different
// desired states, and diff is its first half.
//
// It imports no package that touches the system: its caller hands it the kernel and the
// journal.
package control

import (
	"context"
	"errors"
	"fmt"

	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Kernel holds a table.
type Kernel interface {
	// Observe returns the table as it is now; if there is none, an empty state.
	Observe(ctx context.Context) (*ruleset.State, error)
	// Commit does all of the plan or nothing, and returns plan.ErrStale if the
	// kernel has changed since the plan's GenID. After another error the state is
	// unknown.
	Commit(ctx context.Context, p *plan.Plan) error
}

// Desired is what the kernel should hold.
type Desired struct {
	State *ruleset.State
	// Will says where its addresses come from. Was says where the addresses come from
	// that are there now; it is called only if some of them are removed, and nil means
	// that nothing is known of them.
	Will ruleset.Origins
	Was  func() ruleset.Origins
	// Why says what has changed in the policy or on the host.
	Why string
	// Guards may refuse the plan.
	Guards []plan.Guard
}

// Controller brings Kernel to desired states.
type Controller struct {
	Kernel Kernel
}

// tries is how many times a plan is made before Sync gives up.
const tries = 5

// Plan returns what would be done, and changes nothing. Guards are not asked.
func (c Controller) Plan(ctx context.Context, d Desired) (*plan.Plan, error) {
	have, err := c.Kernel.Observe(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's state: %w", err)
	}
	p := plan.Diff(have, d.State)
	var was ruleset.Origins
	if d.Was != nil && p.Deletes() {
		was = d.Was()
	}
	p.Explain(was, d.Will, d.Why)
	return p, nil
}

// Sync brings the kernel to the desired state and returns the plan that did it,
// which is empty if there was nothing to do. begin is called once, after the guards
// have agreed and before the kernel is changed, even if the plan is empty. If it fails,
// nothing is changed.
//
// Without an error the desired state is in force. With one, the kernel holds what
// it held before, unless the error says otherwise.
func (c Controller) Sync(ctx context.Context, d Desired, begin func(*plan.Plan) error) (*plan.Plan, error) {
	begun := false
	for range tries {
		p, err := c.Plan(ctx, d)
		if err != nil {
			return nil, err
		}
		if err := p.Check(d.Guards...); err != nil {
			return p, err
		}
		if !begun {
			if err := begin(p); err != nil {
				return p, err
			}
			begun = true
		}
		if p.Empty() {
			return p, nil
		}
		failure := c.Kernel.Commit(ctx, p)
		if failure == nil {
			return p, nil
		}
		if !errors.Is(failure, plan.ErrStale) {
			again, err := c.verifyCommit(ctx, p, failure)
			if !again {
				return p, err
			}
		}
	}
	return nil, fmt.Errorf("%w, %d times in a row: another program keeps changing the rules", plan.ErrStale, tries)
}

// verifyCommit finds out what a failed commit has left behind. It returns no error if
// the change is in force all the same. again is true if another try may help: the
// kernel was not in the state that the plan was made from.
func (c Controller) verifyCommit(ctx context.Context, p *plan.Plan, failure error) (again bool, err error) {
	now, err := c.Kernel.Observe(context.WithoutCancel(ctx))
	switch {
	case err != nil:
		return false, fmt.Errorf("%s; it is not known whether the rules have changed, because the kernel cannot be read any more: %w", failure.Error(), err)
	case plan.Diff(now, p.Want).Empty():
		return false, nil
	case plan.Diff(now, p.Have).Empty():
		return false, failure
	case now.GenID == p.GenID:
		return true, nil
	}
	return false, fmt.Errorf("%s; the fence is neither as it was before nor as it should be: another program may have changed it", failure.Error())
}
