package fence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// Restored is the result of Up or Down.
type Restored struct {
	Plan       *plan.Plan
	Generation int
	Size       string // of the policy's names
}

// Up puts the newest generation into force with the saved addresses.
func (f *Fence) Up(ctx context.Context) (*Restored, error) {
	if err := f.Probe(ctx); err != nil {
		return nil, err
	}
	if newest, _, err := f.NewestReadable(); err == nil {
		prepareFor(&f.session, newest)
	}
	leave, err := f.enter(ctx, "up")
	if err != nil {
		return nil, err
	}
	defer leave()
	// Last, because a change deletes sets that its rules do not need.
	defer func() { makeSaved(ctx, f) }()
	newest, passed, err := f.NewestReadable()
	for _, damaged := range passed {
		f.Notice.Warn(notice.StateDamaged, "%v; using an older generation", damaged)
	}
	if err != nil {
		return nil, err
	}
	saved, err := f.asSaved(newest)
	if err != nil {
		return nil, err
	}
	down, err := f.down()
	if err != nil {
		return nil, err
	}
	kernel := f.kernel(false)
	p, err := f.putUp(ctx, kernel, saved, func(*plan.Plan, *ruleset.State) error { return f.comingUp(down) })
	if err != nil {
		return nil, f.restoreDown(down, err)
	}
	f.inForce = true
	f.note(ctx, kernel, p)
	f.isUp(down)
	return &Restored{p, newest.Number, saved.size}, nil
}

// makeSaved makes the sets that the host's saved rules name. At boot they are loaded
// after up, all or none.
func makeSaved(ctx context.Context, f *Fence) {
	if f.MakeSaved == nil {
		return
	}
	if err := f.MakeSaved(ctx); err != nil {
		f.Notice.Warn(notice.SavedRules, "the host's saved rules name sets of ringfence's and may not load: %v", err)
	}
}

// saved is the state of a generation with the saved addresses: a site or, if this
// version cannot read its policy any more, the rules that it was compiled to. An
// upgrade must not make a host boot without a fence.
type saved struct {
	site  *site.Site
	state *ruleset.State
	size  string
}

func (f *committer) asSaved(e *journal.Entry) (saved, error) {
	memory, err := f.recall(true, e)
	if err != nil {
		return saved{}, err
	}
	s, err := f.siteOf(e, memory)
	if mistakes, ok := errors.AsType[policy.Mistakes](err); ok {
		f.Notice.Warn(notice.RulesAsCompiled, "%v; putting up the rules as they were compiled", mistakes[0])
		var state ruleset.State
		if err := json.Unmarshal(e.State, &state); err != nil {
			return saved{}, fmt.Errorf("read rules of generation %d: %w", e.Number, err)
		}
		f.withAttached(&state)
		return saved{state: &state, size: "its rules as compiled"}, nil
	}
	if err != nil {
		return saved{}, err
	}
	if err := f.readHost(s); err != nil {
		return saved{}, err
	}
	s.Classifier.Present = []string{}
	for _, i := range s.Host.Interfaces {
		s.Classifier.Present = append(s.Classifier.Present, i.Name)
	}
	s.Host = both(f.lastHost(e), s.Host)
	s.Remember(memory, f.Now())
	return saved{site: s, size: "as saved, " + s.Size()}, nil
}

// withAttached completes compiled rules for which it is not known any more what their
// classifier looked for: the attached one stays. If none is attached, no packet has a
// User-Agent that they require.
func (f *committer) withAttached(state *ruleset.State) {
	var err error
	if state.Classifier, err = f.Classifier.Observe(); err == nil && len(state.Classifier) > 0 {
		return
	}
	for _, chain := range state.Chains {
		for i, rule := range chain.Rules {
			statements := slices.DeleteFunc(slices.Clone(rule.Statements()), func(s ruleset.Statement) bool {
				m, ok := s.(ruleset.Mark)
				return ok && m.Class == ruleset.OtherAgent
			})
			if len(statements) < len(rule.Statements()) {
				f.Notice.Warn(notice.ClassifierUnavailable, "unknown phones are dropped, because the classifier does not read their User-Agent: run ringfence apply")
				chain.Rules[i] = ruleset.NewRule(statements...)
			}
		}
	}
}

// putUp brings the kernel to the saved state.
func (f *committer) putUp(ctx context.Context, tables backend.Kernel, s saved, begin func(*plan.Plan, *ruleset.State) error) (*plan.Plan, error) {
	if s.site == nil {
		c := control.Controller{Kernel: f.withClassifier(tables, nil)}
		return c.Sync(ctx, control.Desired{State: s.state}, func(p *plan.Plan) error { return begin(p, s.state) })
	}
	before := *s.site
	p, err := f.sync(ctx, s.site, change{tables: tables, before: &before, begin: begin})
	if err == nil {
		f.Notice.Send(site.ClassifierWarnings(s.site)...)
	}
	return p, err
}

// both combines the saved facts of the host with the present ones: at boot, interfaces,
// addresses and forwarding may not be there yet.
func both(saved, now ruleset.Host) ruleset.Host {
	now.Forwards = now.Forwards || saved.Forwards
	now.Translates = now.Translates || saved.Translates
	now.Interfaces = append(now.Interfaces, saved.Interfaces...)
	now.Gateways = append(now.Gateways, saved.Gateways...)
	now.Outside = append(now.Outside, saved.Outside...)
	now.NameServers = append(now.NameServers, saved.NameServers...)
	return now
}

// StillUp is the error if a fence could not be taken down.
type StillUp struct {
	Err    error
	Remove string // the command that removes the table alone
}

func (s *StillUp) Error() string { return s.Err.Error() }

func (s *StillUp) Unwrap() error { return s.Err }

// warnOfSaved says which files of saved rules name what is not there any more.
func warnOfSaved(f *Fence) {
	if f.Condition == nil {
		return
	}
	for _, path := range f.Condition(f.StateDir).SavedRules {
		f.Notice.Warn(notice.SavedRules, "%s names what was ringfence's: at the next boot its rules put an old fence back, "+
			"or do not load at all; save the host's rules again", path)
	}
}

// Down removes everything that ringfence has put into the kernel, and records that.
// adopt allows to remove a table that another program has made.
func (f *Fence) Down(ctx context.Context, adopt bool) (*Restored, error) {
	if err := f.Probe(ctx); err != nil {
		return nil, err
	}
	leave, err := f.enter(ctx, "down")
	if err != nil {
		return nil, err
	}
	defer leave()
	was, err := f.down()
	if err != nil {
		return nil, err
	}
	d := control.Desired{State: &ruleset.State{}}
	if d.Guards, err = foreignTable(&f.session, adopt); err != nil {
		return nil, err
	}
	f.phones().keep(ctx, f.kernel(false))
	begun, now := false, journal.Down{Time: time.Now(), User: f.User}
	kernel := f.kernel(false)
	c := control.Controller{Kernel: f.withClassifier(kernel, nil)}
	p, err := c.Sync(ctx, d, func(*plan.Plan) error {
		begun = true
		return f.setPhase(now, journal.Going)
	})
	if err != nil {
		if begun {
			err = f.restoreDown(was, err)
		}
		if _, refused := errors.AsType[*plan.Refusal](err); !refused {
			err = &StillUp{err, kernel.Describe().Remove}
		}
		return nil, err
	}
	f.inForce = true
	if err := kernel.Tidy(ctx); err != nil {
		f.Log.Warn("remove what an interrupted change has left", "error", err)
	}
	if err := f.setPhase(now, journal.Resting); err != nil {
		f.Notice.Warn(notice.StateUnsaved, "the fence is down, but the record of taking it down could not be completed: %v", err)
	}
	if u, err := f.Unconfirmed(); u != nil && err == nil {
		if err := journal.SetAsideUnconfirmed(f.Journal, u); err != nil {
			f.Notice.Warn(notice.StateUnsaved, "the fence is down, but the unconfirmed generation could not be set aside: %v", err)
		}
	}
	warnOfSaved(f)
	newest, err := f.newest()
	if err != nil {
		f.Notice.Warn(notice.StateDamaged, "%v", err)
	}
	return &Restored{Plan: p, Generation: numberOf(newest)}, nil
}
