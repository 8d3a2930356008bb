package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/plan"
)

func (a *app) diffCommand() *cobra.Command {
	var offline, full bool
	c := &cobra.Command{
		Use:   "diff",
		Short: "Show what apply would change",
		Long: `diff shows what apply would change, each line with its reason, and changes
nothing. It asks DNS as apply does but keeps nothing of it. Where DNS fails it
goes by the addresses that are remembered, and says so.

Exit status: 0 nothing would change, 1 error, 2 something would change.`,
		Example: `  ringfence diff
  ringfence diff --offline -o json`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return a.diff(c.Context(), offline, full) },
	}
	c.Flags().BoolVar(&offline, "offline", false, "ask no name server, go by remembered addresses")
	c.Flags().BoolVar(&full, "full", false, "read the whole table even if nobody has changed any rule")
	return c
}

func (a *app) diff(ctx context.Context, offline, full bool) error {
	s, err := a.gather(ctx, offline)
	if err != nil {
		return err
	}
	before, newest, err := a.background(s, false)
	if err != nil {
		return err
	}
	p, err := a.planFor(ctx, a.kernel(full), s, before)
	if err != nil {
		return err
	}
	if err := a.tellPlan(p, numberOf(newest)); err != nil {
		return err
	}
	a.tellRejected(s.memory)
	a.tellProblems(s.memory.Refresh.Failures)
	if n := s.rememberedOnly(); n > 0 {
		a.say("note", fmt.Sprintf("for %s this goes by addresses remembered from earlier answers", count(n, "name")))
	}
	a.warnOf(s)
	guards, err := a.guards(s, applyOptions{}, newest)
	if err != nil {
		return err
	}
	if refusal, ok := errors.AsType[*plan.Refusal](p.Check(guards...)); ok {
		a.say("warning", "apply would be "+refusal.Error())
		a.say("hint", a.hint(refusal))
	}
	if p.Empty() {
		if !a.json() {
			fmt.Fprintln(a.stdout, "No changes.")
		}
		return nil
	}
	return statusError(exitChanges)
}
