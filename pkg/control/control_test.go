package control_test

import (
	"errors"
	"testing"

	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/plan/plantest"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// wanted is a small table.
func wanted(ports ...uint16) control.Desired {
	return control.Desired{State: &ruleset.State{
		Exists:   true,
		Sets:     map[string]ruleset.Set{"ports": {Key: ruleset.Service, Elements: ruleset.Services(ports, nil)}},
		Counters: []string{"dropped_unknown"},
		Chains: map[string]ruleset.Chain{"sip": {Rules: []ruleset.Rule{
			ruleset.NewRule(ruleset.Count("dropped_unknown"), ruleset.Verdict{Kind: ruleset.Drop}),
		}}},
	}}
}

func nothing(*plan.Plan) error { return nil }

func TestSync(t *testing.T) {
	kernel := &plantest.Kernel{}
	c := control.Controller{Kernel: kernel}
	begun := 0
	begin := func(*plan.Plan) error { begun++; return nil }
	for i, changed := range []bool{true, false} {
		p, err := c.Sync(t.Context(), wanted(5060), begin)
		if err != nil || p.Empty() == changed {
			t.Fatalf("sync %d: %v, empty %t", i, err, p.Empty())
		}
	}
	if begun != 2 || kernel.Commits != 1 {
		t.Errorf("begun %d times and committed %d times, want 2 and 1", begun, kernel.Commits)
	}
}

func TestSyncAfterAnotherProgram(t *testing.T) {
	kernel := &plantest.Kernel{Between: func(s *ruleset.State) { s.Exists = true }}
	c := control.Controller{Kernel: kernel}
	begun := 0
	p, err := c.Sync(t.Context(), wanted(5060), func(*plan.Plan) error { begun++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if begun != 1 || !p.Have.Exists {
		t.Errorf("begun %d times; the plan was made from a table that exists: %t; want 1 and true", begun, p.Have.Exists)
	}
}

func TestSyncGivesUp(t *testing.T) {
	kernel := &plantest.Kernel{}
	var again func(*ruleset.State)
	again = func(*ruleset.State) { kernel.Between = again }
	kernel.Between = again
	_, err := control.Controller{Kernel: kernel}.Sync(t.Context(), wanted(5060), nothing)
	if !errors.Is(err, plan.ErrStale) || kernel.Commits != 0 {
		t.Errorf("got %v after %d commits", err, kernel.Commits)
	}
}

func TestSyncFailures(t *testing.T) {
	broken := errors.New("no buffer space")
	t.Run("nothing was changed", func(t *testing.T) {
		kernel := &plantest.Kernel{Fails: true, Err: broken}
		if _, err := (control.Controller{Kernel: kernel}).Sync(t.Context(), wanted(5060), nothing); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
		if s, _ := kernel.Observe(t.Context()); s.Exists {
			t.Error("half of the plan is in force")
		}
	})
	t.Run("in force all the same", func(t *testing.T) {
		kernel := &plantest.Kernel{AfterCommit: true, Err: broken}
		if _, err := (control.Controller{Kernel: kernel}).Sync(t.Context(), wanted(5060), nothing); err != nil {
			t.Errorf("an error although the state is as wanted: %v", err)
		}
	})
	t.Run("begin fails", func(t *testing.T) {
		kernel := &plantest.Kernel{}
		_, err := control.Controller{Kernel: kernel}.Sync(t.Context(), wanted(5060), func(*plan.Plan) error { return broken })
		if !errors.Is(err, broken) || kernel.Commits != 0 {
			t.Errorf("got %v after %d commits", err, kernel.Commits)
		}
	})
	t.Run("a guard refuses", func(t *testing.T) {
		kernel := &plantest.Kernel{}
		d := wanted(5060)
		d.Guards = []plan.Guard{func(*plan.Plan) error { return &plan.Refusal{Guard: "test"} }}
		begun := false
		_, err := control.Controller{Kernel: kernel}.Sync(t.Context(), d, func(*plan.Plan) error { begun = true; return nil })
		if _, ok := errors.AsType[*plan.Refusal](err); !ok || begun || kernel.Commits != 0 {
			t.Errorf("got %v, begun %t, %d commits", err, begun, kernel.Commits)
		}
	})
}

func TestPlanChangesNothing(t *testing.T) {
	kernel := &plantest.Kernel{}
	p, err := control.Controller{Kernel: kernel}.Plan(t.Context(), wanted(5060))
	if err != nil || p.Empty() || kernel.Commits != 0 {
		t.Errorf("%v, empty %t, %d commits", err, p.Empty(), kernel.Commits)
	}
}
