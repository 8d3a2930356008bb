package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/cli/hint"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/output"
)

func diffCommand(a *app) *cobra.Command {
	var o fence.DiffOptions
	c := &cobra.Command{
		Use:   "diff",
		Short: "Show what apply would change",
		Long: `diff shows what apply would change, each line with its reason, and changes
nothing. It asks DNS as apply does but does not save the answers. If DNS fails, it
uses the saved addresses and says so.

Exit status: 0 nothing would change, 1 error, 2 something would change.`,
		Example: `  ringfence diff
  ringfence diff --offline -o json`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runDiff(c.Context(), a, o) },
	}
	c.Flags().BoolVar(&o.Offline, "offline", false, "ask no name server, use the saved addresses")
	c.Flags().BoolVar(&o.Full, "full", false, "read everything even if no rule has changed")
	return c
}

func runDiff(ctx context.Context, a *app, o fence.DiffOptions) error {
	p, err := readPolicy(ctx, a.policyPath)
	if err != nil {
		return err
	}
	d, err := a.fence().Diff(ctx, p, o)
	if err != nil {
		return err
	}
	if err := a.printPlan(d.Plan, d.Generation); err != nil {
		return err
	}
	a.printAll(d.Notices)
	if d.Refusal != nil {
		a.warn("apply would be " + d.Refusal.Error())
		a.say("hint", hint.Of(d.Refusal, fence.OwnRights()))
	}
	if d.Plan.Empty() {
		if !a.json() {
			output.Println(a.stdout, "No changes.")
		}
		return nil
	}
	return statusError(exitChanges)
}
