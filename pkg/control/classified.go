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
	// Begin puts programs in, beside those that are there. After an error nothing
	// has changed; else either end of the change is called once.
	Begin(want ruleset.Classifier) (Change, error)
}

// Change is a program on its way in.
type Change interface {
	// Finish takes out what was there before, Undo what has come.
	Finish() error
	Undo() error
}

// ErrClassifier says that the classifier cannot be put where it is wanted. What
// was there before is there still.
var ErrClassifier = errors.New("put the classifier in place")

// Classified is a kernel whose packets a classifier marks first. The classifier
// goes in before the rules that go by it, and out after them.
type Classified struct {
	Rules      Kernel
	Classifier Classifier
}

// Observe returns the table with the classifier.
func (c Classified) Observe(ctx context.Context) (*ruleset.State, error) {
	state, err := c.Rules.Observe(ctx)
	if err != nil {
		return nil, err
	}
	if state.Classifier, err = c.Classifier.Observe(); err != nil {
		return nil, fmt.Errorf("look at the classifier: %w", err)
	}
	return state, nil
}

// Commit does all of the plan or nothing. Its error wraps ErrClassifier if it is
// the classifier that could not be put in place.
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
		// An interface has gone, or another program has put something there: what
		// is left to do is another plan.
		return fmt.Errorf("%w: %w", plan.ErrStale, err)
	}
	return nil
}

// inForce reports whether the rules have changed although the kernel said that
// they have not.
func (c Classified) inForce(ctx context.Context, p *plan.Plan, failure error) bool {
	if errors.Is(failure, plan.ErrStale) {
		return false
	}
	now, err := c.Rules.Observe(context.WithoutCancel(ctx))
	return err == nil && plan.Diff(now, p.Want).KeepsRules()
}
