package control

import (
	"context"
	"errors"
	"fmt"

	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Classifier marks packets before the rules see them.
type Classifier interface {
	// Observe returns which program is attached to which interface.
	Observe() (ruleset.Classifier, error)
	// Begin attaches programs beside those that are attached already. After an error
	// nothing has changed. Otherwise exactly one of the methods of Change is called,
	// once.
	Begin(want ruleset.Classifier) (Change, error)
}

// Change is a change of the attached programs that has begun.
type Change interface {
	// Finish detaches the programs of before; Undo detaches the new ones.
	Finish() error
	Undo() error
}

// ErrClassifier says that the classifier could not be attached where the plan wants it.
// What was attached before still is.
var ErrClassifier = errors.New("attach the classifier")

// Classified is a kernel with a classifier in front of it. The classifier is attached
// before the rules that depend on it are added, and detached after they are removed.
type Classified struct {
	Rules      Kernel
	Classifier Classifier
}

// Observe returns the table together with the classifier.
func (c Classified) Observe(ctx context.Context) (*ruleset.State, error) {
	state, err := c.Rules.Observe(ctx)
	if err != nil {
		return nil, err
	}
	if state.Classifier, err = c.Classifier.Observe(); err != nil {
		return nil, fmt.Errorf("read the classifier's state: %w", err)
	}
	return state, nil
}

// Commit does all of the plan or nothing. Its error wraps ErrClassifier if the
// classifier could not be attached.
func (c Classified) Commit(ctx context.Context, p *plan.Plan) error {
	if p.KeepsClassifier() {
		return c.Rules.Commit(ctx, p)
	}
	change, err := c.Classifier.Begin(p.Want.Classifier)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrClassifier, err)
	}
	if !p.KeepsRules() {
		if err := c.Rules.Commit(ctx, p); err != nil && !c.inForce(ctx, p, err) {
			return errors.Join(err, change.Undo())
		}
	}
	if err := change.Finish(); err != nil {
		// An interface is gone, or another program is attached to it now: the rest of
		// the work needs a new plan.
		return fmt.Errorf("%w: %w", plan.ErrStale, err)
	}
	return nil
}

// inForce reports whether the rules have changed although the kernel returned an error.
func (c Classified) inForce(ctx context.Context, p *plan.Plan, failure error) bool {
	if errors.Is(failure, plan.ErrStale) {
		return false
	}
	now, err := c.Rules.Observe(context.WithoutCancel(ctx))
	return err == nil && plan.Diff(now, p.Want).KeepsRules()
}
