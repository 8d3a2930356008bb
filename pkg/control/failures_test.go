package control_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/plan/plantest"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// scripted is a kernel whose calls do what the test says, and what the fake kernel does
// where the test says nothing.
type scripted struct {
	plantest.Kernel
	observe, commit func(call int) error
	observed, asked int
}

func (k *scripted) Observe(ctx context.Context) (*ruleset.State, error) {
	k.observed++
	if k.observe != nil {
		if err := k.observe(k.observed); err != nil {
			return nil, err
		}
	}
	return k.Kernel.Observe(ctx)
}

func (k *scripted) Commit(ctx context.Context, p *plan.Plan) error {
	k.asked++
	if k.commit != nil {
		if err := k.commit(k.asked); err != nil {
			return err
		}
	}
	return k.Kernel.Commit(ctx, p)
}

// TestUnreadable: a kernel that cannot be read is an error of diff and of apply, and after
// a commit that has failed it is said that the rules may have changed.
func TestUnreadable(t *testing.T) {
	broken := errors.New("operation not permitted")
	kernel := &scripted{observe: func(int) error { return broken }}
	c := control.Controller{Kernel: kernel}
	if _, err := c.Plan(t.Context(), wanted(5060)); !errors.Is(err, broken) || err.Error() != "read the kernel's state: operation not permitted" {
		t.Errorf("plan: %v", err)
	}
	begun := false
	if _, err := c.Sync(t.Context(), wanted(5060), func(*plan.Plan) error { begun = true; return nil }); !errors.Is(err, broken) || begun {
		t.Errorf("sync: %v; begun: %t", err, begun)
	}

	kernel = &scripted{
		observe: func(call int) error {
			if call > 1 {
				return broken
			}
			return nil
		},
		commit: func(int) error { return errors.New("no buffer space") },
	}
	_, err := control.Controller{Kernel: kernel}.Sync(t.Context(), wanted(5060), nothing)
	if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "no buffer space; it is not known whether the rules have changed") {
		t.Errorf("after a commit of unknown result: %v", err)
	}
}

// TestNeitherBeforeNorAfter: a commit that fails, with another program's table in the
// kernel afterwards, is said to have ended so; where the table only was another one than
// the plan was made from, the next try does it.
func TestNeitherBeforeNorAfter(t *testing.T) {
	failure := errors.New("no buffer space")
	kernel := &scripted{}
	kernel.commit = func(int) error {
		kernel.Change(func(s *ruleset.State) { s.Exists = true })
		return failure
	}
	_, err := control.Controller{Kernel: kernel}.Sync(t.Context(), wanted(5060), nothing)
	if err == nil || err.Error() != "no buffer space; the fence is neither as it was before nor as it should be: another program may have changed it" || kernel.asked != 1 {
		t.Errorf("%v after %d tries", err, kernel.asked)
	}

	// The kernel reads differently the second time, at the same generation: an
	// observation may have been torn.
	torn := &tornKernel{Kernel: &plantest.Kernel{}, failure: failure}
	p, err := control.Controller{Kernel: torn}.Sync(t.Context(), wanted(5060), nothing)
	if err != nil || torn.Commits != 1 || !p.Have.Exists {
		t.Errorf("%v after %d commits", err, torn.Commits)
	}
}

// tornKernel shows at first no table although there is one, and refuses a plan for that.
type tornKernel struct {
	*plantest.Kernel
	failure error
	seen    int
}

func (k *tornKernel) Observe(ctx context.Context) (*ruleset.State, error) {
	k.seen++
	if k.seen == 1 {
		k.Change(func(s *ruleset.State) { s.Exists, s.Counters = true, []string{"dropped_unknown"} })
		s, err := k.Kernel.Observe(ctx)
		return &ruleset.State{GenID: s.GenID}, err
	}
	return k.Kernel.Observe(ctx)
}

func (k *tornKernel) Commit(ctx context.Context, p *plan.Plan) error {
	if !p.Have.Exists {
		return k.failure
	}
	return k.Kernel.Commit(ctx, p)
}

// TestWhyItWasThere: a plan that removes an address asks why it was there, and the line of
// the plan says so; a plan that removes none does not ask.
func TestWhyItWasThere(t *testing.T) {
	kernel := &plantest.Kernel{}
	c := control.Controller{Kernel: kernel}
	asked := 0
	d := wanted(5060, 5080)
	d.Was = func() ruleset.Origins { asked++; return ruleset.Origins{} }
	if _, err := c.Sync(t.Context(), d, nothing); err != nil || asked != 0 {
		t.Fatalf("%v; asked %d times although nothing was removed", err, asked)
	}
	d.State = wanted(5060).State
	p, err := c.Plan(t.Context(), d)
	if err != nil || asked != 1 || len(p.Changes) != 1 || p.Changes[0].Reason != "nothing in the policy asks for it" {
		t.Errorf("%v; asked %d times for %+v", err, asked, p.Changes)
	}
}

// TestClassifierAlone: a change of the classifier alone does not touch the rules, and one
// of the rules alone does not touch the classifier. What cannot be read is an error.
func TestClassifierAlone(t *testing.T) {
	kernel := &scripted{}
	e := &fakeClassifier{}
	c := control.Controller{Kernel: control.Classified{Rules: kernel, Classifier: e}}
	for _, step := range []struct {
		ports           []uint16
		link            string
		commits, begins int
	}{
		{[]uint16{5060}, "eth0", 1, 1},
		{[]uint16{5060}, "eth1", 1, 2},
		{[]uint16{5070}, "eth1", 2, 2},
	} {
		d := wanted(step.ports...)
		d.State.Classifier = ruleset.Classifier{step.link: "ringfence:1"}
		if _, err := c.Sync(t.Context(), d, nothing); err != nil {
			t.Fatal(err)
		}
		begins := 0
		for _, event := range e.events {
			if event == "begin" {
				begins++
			}
		}
		if kernel.asked != step.commits || begins != step.begins || e.attached[step.link] == "" {
			t.Errorf("%v on %s: %d commits, the classifier changed %d times and is at %v", step.ports, step.link, kernel.asked, begins, e.attached)
		}
	}
	broken := errors.New("operation not permitted")
	kernel.observe = func(int) error { return broken }
	if _, err := c.Plan(t.Context(), wanted(5060)); !errors.Is(err, broken) {
		t.Errorf("with rules that cannot be read: %v", err)
	}
	c.Kernel = control.Classified{Rules: &plantest.Kernel{}, Classifier: unreadable{broken}}
	if _, err := c.Plan(t.Context(), wanted(5060)); !errors.Is(err, broken) || !strings.Contains(err.Error(), "read the classifier's state") {
		t.Errorf("with a classifier that cannot be read: %v", err)
	}
}

// unreadable cannot be observed.
type unreadable struct{ err error }

func (c unreadable) Observe() (ruleset.Classifier, error)             { return nil, c.err }
func (c unreadable) Begin(ruleset.Classifier) (control.Change, error) { return nil, c.err }
