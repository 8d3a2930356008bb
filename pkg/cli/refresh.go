package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

func refreshCommand(a *app) *cobra.Command {
	var o fence.RefreshOptions
	var verbose bool
	c := &cobra.Command{
		Use:   "refresh",
		Short: "Bring addresses up to date (for cron and timers)",
		Long: `refresh asks DNS again for the names of the newest generation, brings the
addresses in the kernel up to date, and puts back what another program removed.
It puts nothing of the policy file into force: only apply does. That the file is
newer than what is in force is an alarm. An error or an empty answer
never removes an address.

Runs may overlap: one waits for the other, or leaves the work to it.

On standard error it writes what is wrong, each thing once, so that cron sends mail
when something is new, not every time. ringfence status shows what stands.

Exit status: 0 done or nothing to do, 1 error and nothing changed, 4 done, but a
name had no good answer or there is an alarm.`,
		Example: `  */5 * * * * root ringfence refresh     (a line of /etc/cron.d/ringfence)`,
		Args:    noArguments,
		RunE:    func(c *cobra.Command, _ []string) error { return runRefresh(c.Context(), a, o, verbose) },
	}
	c.Flags().StringArrayVar(&o.Large, "accept-large", nil, "accept the answers for this `name` although they have more than 64 records, now and later up to this number; a provider's list goes by its URL")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "write everything that is wrong, not only what is new since the last run")
	return c
}

func runRefresh(ctx context.Context, a *app, o fence.RefreshOptions, verbose bool) error {
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
		if r.Plan.Have.Exists {
			view.Plan(a.stdout, r.Plan)
		}
		output.Printf(a.stdout, "Generation %d, %s: %s.%s\n", r.Generation, r.Size, plan.Summary(r.Plan), a.standing(r.Alarms))
	}
	if err != nil {
		return err
	}
	if verbose {
		a.printAll(r.Notices)
	} else {
		a.printAll(r.News)
	}
	return partly(r.Partly)
}

// standing says to somebody at a terminal how many alarms stand, of which standard
// error may say nothing any more.
func (a *app) standing(alarms int) string {
	switch {
	case alarms == 0 || !a.stdout.Terminal:
		return ""
	case alarms == 1:
		return " 1 alarm stands: see ringfence status."
	}
	return fmt.Sprintf(" %d alarms stand: see ringfence status.", alarms)
}

// printIdle says why nothing was done; programs hear only that.
func printIdle(a *app, r *fence.Refreshed) error {
	if !a.json() {
		output.Println(a.stdout, r.Idle)
		return nil
	}
	a.say("note", r.Idle)
	if r.Unread != nil {
		return r.Unread
	}
	return a.printPlan(plan.Diff(&ruleset.State{}, &ruleset.State{}), r.Generation)
}
