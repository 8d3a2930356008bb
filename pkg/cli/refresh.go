package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

func refreshCommand(a *app) *cobra.Command {
	var o fence.RefreshOptions
	c := &cobra.Command{
		Use:   "refresh",
		Short: "Bring addresses up to date (for cron and timers)",
		Long: `refresh asks DNS again for the names of the newest generation, brings the
addresses in the kernel up to date, and puts back what another program removed.
It never reads the policy file: only apply does. An error or an empty answer
never removes an address.

Runs may overlap: one waits for the other, or leaves the work to it.

Exit status: 0 done or nothing to do, 1 error and nothing changed, 4 done, but a
name had no good answer or there is an alarm.`,
		Example: `  */5 * * * * root ringfence refresh     (a line of /etc/cron.d/ringfence)`,
		Args:    noArguments,
		RunE:    func(c *cobra.Command, _ []string) error { return runRefresh(c.Context(), a, o) },
	}
	c.Flags().StringArrayVar(&o.Large, "accept-large", nil, "accept the answers for this `name` although they have more than 64 records, now and later up to this number")
	return c
}

func runRefresh(ctx context.Context, a *app, o fence.RefreshOptions) error {
	r, err := a.fence().Refresh(ctx, o)
	if err != nil {
		return err
	}
	if r.Idle != "" {
		return printIdle(a, r)
	}
	if a.json() {
		err = a.printPlan(r.Plan, r.Generation)
	} else {
		for _, c := range r.Plan.Changes {
			a.log.Debug("change", "action", c.Action, "kind", c.Kind, "name", c.Name, "value", c.Value, "reason", c.Reason)
		}
		fmt.Fprintf(a.stdout, "Generation %d, %s: %s.\n", r.Generation, r.Size, plan.Summary(r.Plan))
	}
	if err != nil {
		return err
	}
	a.printAll(r.Notices)
	return partly(r.Partly)
}

// printIdle says why nothing was done. With -o json this is the only output.
func printIdle(a *app, r *fence.Refreshed) error {
	if !a.json() {
		fmt.Fprintln(a.stdout, r.Idle)
		return nil
	}
	a.say("note", r.Idle)
	if r.Unread != nil {
		return r.Unread
	}
	return a.printPlan(plan.Diff(&ruleset.State{}, &ruleset.State{}), r.Generation)
}
