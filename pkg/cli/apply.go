package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

type applyOptions struct {
	yes            bool
	allowEmpty     []string
	allowCutInside bool
	adopt          bool
	// accepted are networks inside that are cut off already.
	accepted []ruleset.Network
}

func (a *app) applyCommand() *cobra.Command {
	var o applyOptions
	c := &cobra.Command{
		Use:   "apply",
		Short: "Put the policy into force",
		Long: `apply reads the policy, asks DNS for its names, shows what changes, and puts it
into the kernel in one transaction: other programs and packets see the old rules
or the new ones, never something between. It makes a new generation if the
policy has changed. On a terminal it asks before it changes anything.

Exit status: 0 done or nothing to do, 1 error, 3 refused by a guard (in both
nothing was changed), 4 done, but a name brought no good answer or an alarm
stands.`,
		Example: `  ringfence apply
  ringfence apply --yes                 do not ask
  ringfence apply --policy new.yaml`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return a.apply(c.Context(), o) },
	}
	c.Flags().BoolVar(&o.yes, "yes", false, "do not ask, also on a terminal")
	addGuardFlags(c, &o)
	addAdoptFlag(c, &o.adopt)
	return c
}

func addAdoptFlag(c *cobra.Command, adopt *bool) {
	c.Flags().BoolVar(adopt, "adopt", false, "go on although another program has made the table")
}

func addGuardFlags(c *cobra.Command, o *applyOptions) {
	c.Flags().StringArrayVar(&o.allowEmpty, "allow-empty", nil, "go on although no address of this `provider` is known")
	c.Flags().BoolVar(&o.allowCutInside, "allow-cut-inside", false, "go on although phones inside may lose their provider")
}

func (a *app) apply(ctx context.Context, o applyOptions) error {
	s, err := a.gather(ctx, false)
	if err != nil {
		return err
	}
	for _, name := range o.allowEmpty {
		if !slices.ContainsFunc(s.policy.Providers, func(p policy.Provider) bool { return p.Name == name }) {
			return fmt.Errorf("--allow-empty %s: the policy has no provider of that name", name)
		}
	}
	asked := !o.yes && isTerminal(a.stdin) && a.onTerminal
	if asked {
		if err := a.confirm(ctx, *s, o); err != nil {
			return err
		}
	}
	leave, err := a.enter(ctx, "apply")
	if err != nil {
		return err
	}
	defer leave()

	d, newest, err := a.desire(s, true)
	if err != nil {
		return err
	}
	if d.Guards, err = a.guards(s, o); err != nil {
		return err
	}
	p, generation, err := a.commit(ctx, s, d, newest, "apply")
	if err != nil {
		return err
	}
	if !asked || a.json() {
		if err := a.tellPlan(p, generation); err != nil {
			return err
		}
	}
	a.warnOf(s)
	if !a.json() {
		a.tellApplied(p, generation, generation != numberOf(newest))
	}
	return a.tellNames(s)
}

// guards are those that the way to a site must pass.
func (a *app) guards(s *site, o applyOptions) ([]plan.Guard, error) {
	foreign, err := a.foreignTable(o.adopt)
	return append(foreign, s.guards(o)...), err
}

// foreignTable is the guard of another program's table. There is none once
// anything was applied.
func (a *app) foreignTable(adopt bool) ([]plan.Guard, error) {
	numbers, err := a.journal().Numbers()
	if adopt || err != nil || len(numbers) > 0 {
		return nil, err
	}
	return []plan.Guard{plan.ForeignTable(compile.Counters())}, nil
}

// commit puts the site into force and returns the generation that is then in
// force: a new one if the policy's text is not that of the newest. What is on
// disk changes only with what is in the kernel: if the commit fails, the next
// run finds everything as it was.
func (a *app) commit(ctx context.Context, s *site, d control.Desired, newest *journal.Entry, command string) (*plan.Plan, int, error) {
	down, err := a.isDown()
	if err != nil {
		return nil, 0, err
	}
	var pending *journal.Pending
	begun := false
	kernel := a.kernel(false)
	p, err := control.Controller{Kernel: kernel}.Sync(ctx, d, func(*plan.Plan) error {
		begun = true
		if newest != nil && newest.Policy == s.text {
			// The same names as before: to know more about them harms nobody.
			err = a.keep(s)
		} else {
			pending, err = a.beginGeneration(s, d.State, command)
		}
		if err != nil {
			return err
		}
		return a.journal().ClearDown()
	})
	if err != nil {
		if begun {
			err = a.restoreDown(down, err)
		}
		if pending != nil {
			err = errors.Join(err, pending.Discard())
		}
		return p, 0, err
	}
	a.noteKernel(kernel, p)
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
	s := &site{policy: p, text: text, source: a.policyPath, host: h}
	if !offline {
		a.ask(ctx, s, a.glance(), nil)
	}
	return s, ctx.Err()
}

// desire makes the state that the site asks for, and returns the newest
// generation, nil if there is none that can be read. With aside, damaged
// addresses are set aside.
func (a *app) desire(s *site, aside bool) (control.Desired, *journal.Entry, error) {
	newest, err := a.newest()
	if _, damaged := errors.AsType[*journal.Damaged](err); damaged {
		// The policy file is at hand, so what is damaged is not needed.
		a.say("warning", err.Error())
		newest, err = nil, nil
	}
	if err != nil {
		return control.Desired{}, nil, err
	}
	old, err := a.recall(aside, newest)
	if err != nil {
		return control.Desired{}, nil, err
	}
	s.remember(old, a.now())
	return s.desired(a.siteBefore(s, newest, old)), newest, nil
}

// confirm shows the plan to whoever sits at the terminal, and asks. The site is
// a copy, because nothing of this is kept.
func (a *app) confirm(ctx context.Context, s site, o applyOptions) error {
	d, _, err := a.desire(&s, false)
	if err != nil {
		return err
	}
	p, err := control.Controller{Kernel: a.kernel(false)}.Plan(ctx, d)
	if err != nil {
		return err
	}
	guards, err := a.guards(&s, o)
	if err != nil {
		return err
	}
	if err := p.Check(guards...); err != nil || p.Empty() {
		return err
	}
	a.writePlan(a.stderr, p)
	fmt.Fprint(a.stderr, "Change this? [y/N] ")
	answered := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(a.stdin).ReadString('\n')
		answered <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(a.stderr)
		return ctx.Err()
	case answer := <-answered:
		if answer != "y" && answer != "yes" {
			return errors.New("not confirmed: nothing was changed")
		}
		return nil
	}
}

func (a *app) tellApplied(p *plan.Plan, generation int, isNew bool) {
	switch {
	case p.Empty() && !isNew:
		fmt.Fprintf(a.stdout, "Nothing to do: generation %d is in force.\n", generation)
	case p.Empty():
		fmt.Fprintf(a.stdout, "Generation %d is in force; the rules are the same.\n", generation)
	case !p.Have.Exists:
		fmt.Fprintf(a.stdout, "Generation %d is in force.\n", generation)
	default:
		fmt.Fprintf(a.stdout, "Generation %d is in force: %s.\n", generation, count(len(p.Changes), "change"))
	}
}
