package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/plan"
)

func (a *app) rollbackCommand() *cobra.Command {
	var o applyOptions
	c := &cobra.Command{
		Use:   "rollback [N]",
		Short: "Go back to an earlier generation",
		Long: `rollback puts the policy of generation N into force again, at once: it asks no
name server, does not read the policy file and does not ask you. Without N it
takes the generation before the one in force. The names of that policy get the
addresses that are known now, or else those that were known then. The result is
a new generation, so that rollback undoes a rollback too. ringfence history
shows all generations.

The policy file stays as it is: mend it before the next apply.

Exit status: 0 done or nothing to do, 1 error, 3 refused by a guard (in both
nothing was changed).`,
		Example: `  ringfence rollback        to the generation before
  ringfence rollback 12`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) <= 1 {
				return nil
			}
			return fmt.Errorf("%s takes the number of one generation, and %q is one more", c.CommandPath(), args[1])
		},
		RunE: func(c *cobra.Command, args []string) error { return a.rollback(c.Context(), args, o) },
	}
	addEmptyFlag(c, &o)
	return c
}

func (a *app) rollback(ctx context.Context, args []string, o applyOptions) error {
	wanted := 0 // the one before
	if len(args) == 1 {
		n, err := strconv.Atoi(args[0])
		if err != nil || n < 1 {
			return withHint(fmt.Errorf("%q is no number of a generation", args[0]), "ringfence history shows them")
		}
		wanted = n
	}
	if err := a.kernel(true).Probe(ctx); err != nil {
		return err
	}
	leave, err := a.enter(ctx, "rollback")
	if err != nil {
		return err
	}
	defer leave()

	newest, err := a.newest()
	if _, damaged := errors.AsType[*journal.Damaged](err); damaged {
		// It is not needed to leave it.
		a.say("warning", err.Error())
		newest, err = nil, nil
	}
	if err != nil {
		return err
	}
	target, err := a.generationToGoTo(wanted)
	if err != nil {
		return err
	}
	memory, err := a.recall(true, newest, target)
	if err != nil {
		return err
	}
	s, err := siteOf(target, memory)
	if err != nil {
		return err
	}
	if s.host, err = a.readHost(); err != nil {
		return err
	}
	s.remember(memory, a.now())
	then, err := siteThen(target)
	if err != nil {
		return err
	}
	o.allowCutInside = true // what was in force before must be possible again: it is only said
	sync := syncOptions{before: a.siteBefore(s, newest, memory), guards: s.guards(o.asBefore(then)), otherPolicy: true}
	p, generation, err := a.commit(ctx, s, sync, newest, fmt.Sprintf("rollback %d", target.Number))
	if err != nil {
		return err
	}
	if err := a.tellPlan(p, generation); err != nil {
		return err
	}
	a.warnOf(s)
	a.warnOfCut(s)
	if !a.json() {
		a.tellRolledBack(target, newest, generation, p)
	}
	return nil
}

// generationToGoTo reads generation n or, for 0, the newest readable one before
// the newest.
func (a *app) generationToGoTo(n int) (*journal.Entry, error) {
	numbers, err := a.journal().Numbers()
	if err != nil {
		return nil, err
	}
	switch {
	case len(numbers) == 0:
		return nil, journal.ErrNone
	case n > 0 && !slices.Contains(numbers, n):
		return nil, withHint(fmt.Errorf("there is no generation %d: kept are %d to %d", n, numbers[0], numbers[len(numbers)-1]),
			"ringfence history shows them")
	case n > 0:
		entry, err := a.journal().Entry(n)
		if _, damaged := errors.AsType[*journal.Damaged](err); damaged {
			err = withHint(err, "ringfence history shows the generations that can be read")
		}
		return entry, err
	}
	for _, before := range slices.Backward(numbers[:len(numbers)-1]) {
		entry, err := a.journal().Entry(before)
		if err == nil {
			return entry, nil
		}
		a.say("warning", err.Error()+"; going on to an older generation")
	}
	return nil, withHint(errors.New("there is no generation before the one in force"), "ringfence history shows them")
}

// siteThen is a generation as it was when it was made.
func siteThen(e *journal.Entry) (*site, error) {
	memory, err := memoryOf(e)
	if err != nil {
		return nil, err
	}
	return siteOf(e, memory)
}

func (a *app) tellRolledBack(target, newest *journal.Entry, generation int, p *plan.Plan) {
	switch {
	case generation == target.Number && p.Empty():
		fmt.Fprintf(a.stdout, "Nothing to do: generation %d is in force.\n", generation)
	case generation == target.Number:
		fmt.Fprintf(a.stdout, "Generation %d is in force: %s.\n", generation, count(len(p.Changes), "change"))
	case generation == numberOf(newest):
		fmt.Fprintf(a.stdout, "Generation %d is in force; its policy is that of generation %d.\n", generation, target.Number)
	default:
		fmt.Fprintf(a.stdout, "Generation %d is in force, with the policy of generation %d: %s.\n", generation, target.Number, count(len(p.Changes), "change"))
	}
	// Anything but a file, such as standard input, might never end.
	if info, err := os.Stat(target.Source); err != nil || !info.Mode().IsRegular() {
		return
	}
	if text, err := os.ReadFile(target.Source); err == nil && string(text) != target.Policy {
		fmt.Fprintf(a.stdout, "The policy file %s says something else: mend it before the next apply.\n", target.Source)
	}
}
