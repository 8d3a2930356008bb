package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// commit puts the site into force and returns the generation that is then in
// force: a new one if the policy's text is not that of the newest. What is on
// disk changes only with what is in the kernel: if the commit fails, the next
// run finds everything as it was.
func (a *app) commit(ctx context.Context, s *site, o syncOptions, newest *journal.Entry, command string) (*plan.Plan, int, error) {
	down, err := a.isDown()
	if err != nil {
		return nil, 0, err
	}
	var pending *journal.Pending
	begun := false
	kernel := a.kernel(false)
	o.kernel = withClassifier(kernel)
	o.begin = func(_ *plan.Plan, want *ruleset.State) error {
		begun = true
		if newest != nil && newest.Policy == s.text {
			// The same names as before: to know more about them harms nobody.
			err = a.keep(s)
		} else {
			pending, err = a.beginGeneration(s, want, command)
		}
		if err != nil || down == nil {
			return err
		}
		return a.setPhase(*down, journal.Coming)
	}
	p, err := a.sync(ctx, s, o)
	if err != nil {
		if begun {
			err = a.restoreDown(down, err)
		}
		if pending != nil {
			err = errors.Join(err, pending.Discard())
		}
		return p, 0, err
	}
	a.inForce = true
	a.noteKernel(kernel, p)
	a.isUp(down)
	if pending == nil {
		return p, newest.Number, nil
	}
	if err := pending.Finish(); pending.Number == 0 {
		return p, 0, withHint(fmt.Errorf("the rules are in force, but their generation could not be recorded: %w", err),
			"mend the state folder and run ringfence %s again", command)
	}
	if err := a.keep(s); err != nil {
		// The generation holds the same, and is asked for what is missing here.
		a.say("warning", err.Error())
	}
	return p, pending.Number, nil
}

// gather brings together what a command needs that starts from the policy file:
// the policy, the host and, unless offline, the answers to all questions. It
// looks at the kernel first, so that nobody waits for DNS to hear that he is not
// root. The lock must not be held.
func (a *app) gather(ctx context.Context, offline bool) (*site, error) {
	p, text, err := a.readPolicy()
	if err != nil {
		return nil, err
	}
	if err := a.kernel(true).Probe(ctx); err != nil {
		return nil, err
	}
	h, err := a.readHost()
	if err != nil {
		return nil, err
	}
	s := &site{policy: p, text: text, source: absolute(a.policyPath), host: h}
	if err := a.needsEngine(s); err != nil {
		return nil, err
	}
	if !offline {
		a.ask(ctx, s, a.glance(), nil)
	}
	return s, ctx.Err()
}

// background fills in what the site remembers, and returns the site that the
// kernel's rules were made from and the newest generation, both nil if there is
// none that can be read. With aside, damaged addresses are set aside.
func (a *app) background(s *site, aside bool) (before *site, newest *journal.Entry, err error) {
	newest, err = a.newest()
	if _, damaged := errors.AsType[*journal.Damaged](err); damaged {
		// The policy file is at hand, so what is damaged is not needed.
		a.say("warning", err.Error())
		newest, err = nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	old, err := a.recall(aside, newest)
	if err != nil {
		return nil, nil, err
	}
	s.remember(old, a.now())
	return a.siteBefore(s, newest, old), newest, nil
}

// planFor is what would be done to bring the kernel to what a site wants.
func (a *app) planFor(ctx context.Context, tables control.Kernel, s, before *site) (*plan.Plan, error) {
	d, err := s.desired(before)
	if err != nil {
		return nil, err
	}
	return control.Controller{Kernel: kernelOf(tables, s)}.Plan(ctx, d)
}

// absolute is a path that means the same wherever the next run is started.
func absolute(path string) string {
	if whole, err := filepath.Abs(path); err == nil {
		return whole
	}
	return path
}
