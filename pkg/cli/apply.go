package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/compile"
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

func addEmptyFlag(c *cobra.Command, o *applyOptions) {
	c.Flags().StringArrayVar(&o.allowEmpty, "allow-empty", nil, "go on although no address of this `provider` is known")
}

func addGuardFlags(c *cobra.Command, o *applyOptions) {
	addEmptyFlag(c, o)
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
	var confirmed []plan.Change
	asked := !o.yes && isTerminal(a.stdin) && a.onTerminal
	if asked {
		if confirmed, err = a.confirm(ctx, *s, o); err != nil {
			return err
		}
	}
	leave, err := a.enter(ctx, "apply")
	if err != nil {
		return err
	}
	defer leave()

	before, newest, err := a.background(s, true)
	if err != nil {
		return err
	}
	sync := syncOptions{before: before, strict: true, otherPolicy: true}
	if sync.guards, err = a.guards(s, o, newest); err != nil {
		return err
	}
	if asked {
		sync.guards = append(sync.guards, sameAs(confirmed))
	}
	p, generation, err := a.commit(ctx, s, sync, newest, "apply")
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

// guards are those that the way to a site must pass. What the newest generation
// does already was accepted when it was made, or has come over the host since.
func (a *app) guards(s *site, o applyOptions, newest *journal.Entry) ([]plan.Guard, error) {
	foreign, err := a.foreignTable(o.adopt)
	if err != nil {
		return nil, err
	}
	if before := a.siteBefore(s, newest, s.memory.Merge(s.retired)); before != nil {
		before.host = s.host
		o = o.asBefore(before)
	}
	return append(foreign, s.guards(o)...), nil
}

// asBefore allows what a site does already: who changes something else must not
// be stopped by it.
func (o applyOptions) asBefore(before *site) applyOptions {
	_, origins := before.compile()
	o.allowEmpty = slices.Clone(o.allowEmpty)
	for _, provider := range origins.Providers {
		if origins.Addresses(provider) == 0 {
			o.allowEmpty = append(o.allowEmpty, provider)
		}
	}
	if !before.policy.Monitor && !before.policy.Unknown.Accept {
		o.accepted = append(o.accepted, before.inside(nil)...)
	}
	return o
}

// sameAs refuses what differs from what somebody has just agreed to.
func sameAs(confirmed []plan.Change) plan.Guard {
	return func(p *plan.Plan) error {
		if !reflect.DeepEqual(p.Changes, confirmed) {
			return errors.New("what would be changed is not what you have agreed to any more: nothing was changed, run it again")
		}
		return nil
	}
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

// confirm shows the plan to whoever sits at the terminal, asks, and returns what
// was agreed to. The site is
// a copy, because nothing of this is kept.
func (a *app) confirm(ctx context.Context, s site, o applyOptions) ([]plan.Change, error) {
	before, newest, err := a.background(&s, false)
	if err != nil {
		return nil, err
	}
	p, err := a.planFor(ctx, a.kernel(false), &s, before)
	if err != nil {
		return nil, err
	}
	guards, err := a.guards(&s, o, newest)
	if err != nil {
		return nil, err
	}
	if err := p.Check(guards...); err != nil || p.Empty() {
		return p.Changes, err
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
		return nil, ctx.Err()
	case answer := <-answered:
		if answer != "y" && answer != "yes" {
			return nil, errors.New("not confirmed: nothing was changed")
		}
		return p.Changes, nil
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
