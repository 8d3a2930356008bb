package fence

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// sole is a back end whose fence is the only one: those that other back ends have left
// differ from what should be, and are taken down behind its own changes.
type sole struct {
	backend.Kernel
	others []backend.Kernel
}

// Observe returns the fence, with the places of those of other back ends.
func (s sole) Observe(ctx context.Context) (*ruleset.State, error) {
	state, err := s.Kernel.Observe(ctx)
	if err != nil {
		return nil, err
	}
	for _, other := range s.left(ctx) {
		state.Others = append(state.Others, other.Describe().Place)
	}
	return state, nil
}

// left are the other back ends with a fence. One that does not work here has none.
func (s sole) left(ctx context.Context) []backend.Kernel {
	var left []backend.Kernel
	for _, other := range s.others {
		if exists, err := other.Exists(ctx); err == nil && exists {
			left = append(left, other)
		}
	}
	return left
}

// Commit does the plan in this back end, looks whether it is in force, and only then
// takes down the fences of others: while both stand, a packet passes that both let pass.
func (s sole) Commit(ctx context.Context, p *plan.Plan) error {
	have := *p.Have
	have.Others = nil
	own := plan.Diff(&have, p.Want)
	if !own.KeepsRules() {
		if err := s.Kernel.Commit(ctx, p); err != nil {
			return err
		}
	}
	if len(p.Have.Others) == 0 {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	if !own.KeepsRules() {
		now, err := s.Kernel.Observe(ctx)
		if err != nil {
			return fmt.Errorf("look at the new fence: %w", err)
		}
		// What is left of the lifetime of ports may be less than it was at first.
		runsOut := func(e ruleset.Element) bool { return e.Timeout > 0 }
		now = withoutSurplus(now, p.Want)
		if !plan.Diff(withLifetime(now, 1, runsOut), withLifetime(p.Want, 1, runsOut)).KeepsRules() {
			return plan.ErrStale
		}
	}
	var errs []error
	for _, other := range s.left(ctx) {
		if err := takeDown(ctx, other); err != nil {
			errs = append(errs, fmt.Errorf("take down %s: %w", other.Describe().Place, err))
		}
	}
	if len(errs) == 0 {
		errs = append(errs, dropSurplus(ctx, s.Kernel, p.Want))
	}
	return errors.Join(errs...)
}

// withoutSurplus is a state without the sets that are not wanted. Both flavours of iptables
// use the same sets: those that only the other fence needs stay as long as it does.
func withoutSurplus(have, want *ruleset.State) *ruleset.State {
	less := *have
	less.Sets = maps.Clone(have.Sets)
	maps.DeleteFunc(less.Sets, func(name string, _ ruleset.Set) bool {
		_, wanted := want.Sets[name]
		return !wanted
	})
	return &less
}

// dropSurplus deletes the sets that only the fences of others have needed.
func dropSurplus(ctx context.Context, k backend.Kernel, want *ruleset.State) error {
	now, err := k.Observe(ctx)
	if err != nil {
		return fmt.Errorf("look for sets of the other fence: %w", err)
	}
	if less := withoutSurplus(now, want); len(less.Sets) < len(now.Sets) {
		return k.Commit(ctx, plan.Diff(now, less))
	}
	return nil
}

// Tidy removes what any back end has left that judges no packet.
func (s sole) Tidy(ctx context.Context) error {
	err := s.Kernel.Tidy(ctx)
	for _, other := range s.others {
		_ = other.Tidy(ctx) // it may not work here at all
	}
	return err
}

func takeDown(ctx context.Context, k backend.Kernel) error {
	have, err := k.Observe(ctx)
	if err != nil {
		return err
	}
	if err := k.Commit(ctx, plan.Diff(have, &ruleset.State{})); err != nil {
		return err
	}
	return k.Tidy(ctx)
}

// backendOf is the back end that a policy asks for; auto, if nobody can read it.
func (f *session) backendOf(name, text string) policy.Backend {
	p, err := f.parse(name, text)
	if err != nil {
		return policy.BackendAuto
	}
	return p.Backend
}

// chosen is the back end of the policy that a command is about, or else of the newest
// generation.
func (f *session) chosen() policy.Backend {
	if f.choice != "" {
		return f.choice
	}
	newest, err := f.Newest()
	if err != nil || newest == nil {
		return policy.BackendAuto
	}
	p, err := f.parseEntry(newest)
	if err != nil {
		return policy.BackendAuto
	}
	return p.Backend
}

// open returns a back end that knows nothing of the table yet.
func (f *session) open(b policy.Backend) backend.Kernel {
	if f.Backend == nil {
		return f.Kernel()
	}
	k := f.Backend(b)
	return sole{Kernel: k, others: f.Backends(k.Describe().Name)}
}
