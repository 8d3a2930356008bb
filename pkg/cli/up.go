package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/classifier"
	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

func (a *app) upCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "up",
		Short: "Put the fence up as it last was (for boot)",
		Long: `up puts the newest generation into force with the addresses that were saved. It
asks no name server and needs no network, so it can run before there is any. It
also ends what down began.`,
		Example: `  @reboot root ringfence up     (a line of /etc/cron.d/ringfence)`,
		Args:    noArguments,
		RunE:    func(c *cobra.Command, _ []string) error { return a.up(c.Context()) },
	}
}

func (a *app) up(ctx context.Context) error {
	if err := a.kernel(true).Probe(ctx); err != nil {
		return err
	}
	leave, err := a.enter(ctx, "up")
	if err != nil {
		return err
	}
	defer leave()
	newest, passed, err := a.journal().NewestReadable()
	for _, damaged := range passed {
		a.say("warning", damaged.Error()+"; going on with an older generation")
	}
	if err != nil {
		return err
	}
	saved, err := a.asSaved(newest)
	if err != nil {
		return err
	}
	down, err := a.isDown()
	if err != nil {
		return err
	}
	kernel := a.kernel(false)
	begin := func(*plan.Plan, *ruleset.State) error {
		if down == nil {
			return nil
		}
		return a.setPhase(*down, journal.Coming)
	}
	p, err := a.putUp(ctx, kernel, saved, begin)
	if err != nil {
		return a.restoreDown(down, err)
	}
	a.inForce = true
	a.noteKernel(kernel, p)
	a.isUp(down)
	if a.json() {
		return a.tellPlan(p, newest.Number)
	}
	fmt.Fprintf(a.stdout, "Generation %d, %s: %s.\n", newest.Number, saved.size, summary(p))
	return nil
}

// saved is what a generation asks for with the addresses that were saved: a
// site or, if this version cannot read its policy any more, the rules that it was
// compiled to. A host must not boot without a fence because of an upgrade.
type saved struct {
	site  *site
	state *ruleset.State
	size  string
}

func (a *app) asSaved(e *journal.Entry) (saved, error) {
	memory, err := a.recall(true, e)
	if err != nil {
		return saved{}, err
	}
	s, err := siteOf(e, memory)
	if mistakes, ok := errors.AsType[policy.Mistakes](err); ok {
		a.say("warning", mistakes[0].Error()+"; putting up the rules as they were compiled")
		var state ruleset.State
		if err := json.Unmarshal(e.State, &state); err != nil {
			return saved{}, fmt.Errorf("read rules of generation %d: %w", e.Number, err)
		}
		a.withWhatStands(&state)
		return saved{state: &state, size: "its rules as compiled"}, nil
	}
	if err != nil {
		return saved{}, err
	}
	now, err := a.readHost()
	if err != nil {
		return saved{}, err
	}
	s.host = both(a.lastHost(e), now)
	s.present = []string{}
	for _, i := range now.Interfaces {
		s.present = append(s.present, i.Name)
	}
	s.remember(memory, a.now())
	return saved{site: s, size: "as saved, " + s.size()}, nil
}

// withWhatStands completes rules of which nobody knows any more what their
// classifier looked for: what stands in the kernel stays. If nothing does, nobody
// has a User-Agent that they require.
func (a *app) withWhatStands(state *ruleset.State) {
	var err error
	if state.Classifier, err = classifier.Observe(); err == nil && len(state.Classifier) > 0 {
		return
	}
	for _, chain := range state.Chains {
		for i, rule := range chain.Rules {
			statements := slices.DeleteFunc(slices.Clone(rule.Statements()), func(s ruleset.Statement) bool {
				return s == ruleset.Statement(ruleset.Mark{Class: ruleset.OtherAgent})
			})
			if len(statements) < len(rule.Statements()) {
				a.say("warning", "unknown phones are dropped, because nobody reads their User-Agent: ringfence apply mends that")
				chain.Rules[i] = ruleset.NewRule(statements...)
			}
		}
	}
}

// putUp brings the kernel to what was saved.
func (a *app) putUp(ctx context.Context, tables control.Kernel, s saved, begin func(*plan.Plan, *ruleset.State) error) (*plan.Plan, error) {
	if s.site == nil {
		return control.Controller{Kernel: kernelOf(tables, nil)}.Sync(ctx, control.Desired{State: s.state}, func(p *plan.Plan) error { return begin(p, s.state) })
	}
	before := *s.site
	p, err := a.sync(ctx, s.site, syncOptions{kernel: withClassifier(tables), before: &before, begin: begin})
	if err == nil {
		a.warnOfEngine(s.site)
	}
	return p, err
}

// both are the facts of the host as they were saved together with those of now:
// at boot, interfaces, addresses and forwarding may still be to come.
func both(saved, now ruleset.Host) ruleset.Host {
	now.Forwards = now.Forwards || saved.Forwards
	now.Interfaces = append(now.Interfaces, saved.Interfaces...)
	now.Gateways = append(now.Gateways, saved.Gateways...)
	now.Outside = append(now.Outside, saved.Outside...)
	now.NameServers = append(now.NameServers, saved.NameServers...)
	return now
}

func (a *app) downCommand() *cobra.Command {
	var adopt bool
	c := &cobra.Command{
		Use:   "down",
		Short: "Take the fence down",
		Long: `down removes everything that ringfence has put into the kernel, and remembers
it: until apply or up, refresh changes nothing. The generations stay.`,
		Example: `  ringfence down
  ringfence up                  and up again`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return a.down(c.Context(), adopt) },
	}
	addAdoptFlag(c, &adopt)
	return c
}

func (a *app) down(ctx context.Context, adopt bool) error {
	if err := a.kernel(true).Probe(ctx); err != nil {
		return err
	}
	leave, err := a.enter(ctx, "down")
	if err != nil {
		return err
	}
	defer leave()
	was, err := a.isDown()
	if err != nil {
		return err
	}
	d := control.Desired{State: &ruleset.State{}}
	if d.Guards, err = a.foreignTable(adopt); err != nil {
		return err
	}
	begun, now := false, journal.Down{Time: time.Now(), User: userName()}
	p, err := control.Controller{Kernel: kernelOf(a.kernel(false), nil)}.Sync(ctx, d, func(*plan.Plan) error {
		begun = true
		return a.setPhase(now, journal.Going)
	})
	if err != nil {
		if begun {
			err = a.restoreDown(was, err)
		}
		if _, refused := errors.AsType[*plan.Refusal](err); refused {
			return err
		}
		hint := fmt.Sprintf("the table alone is removed by: nft delete table inet %s; a refresh would put it back", ruleset.Table)
		if more := a.hint(err); more != "" {
			hint = more + "; " + hint
		}
		return hinted{err, hint}
	}
	a.inForce = true
	if err := a.setPhase(now, journal.Resting); err != nil {
		a.say("warning", "the fence is down, and is remembered as being taken down still: "+err.Error())
	}
	newest, err := a.newest()
	if err != nil {
		a.say("warning", err.Error())
	}
	if a.json() {
		return a.tellPlan(p, numberOf(newest))
	}
	if p.Empty() {
		fmt.Fprintln(a.stdout, "There was no fence. Until apply or up, refresh puts none up.")
	} else {
		fmt.Fprintln(a.stdout, "The fence is down: ringfence drops nothing until apply or up.")
	}
	return nil
}
