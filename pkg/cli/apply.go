package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/plan"
)

func applyCommand(a *app) *cobra.Command {
	var o fence.ApplyOptions
	var yes bool
	var window string
	c := &cobra.Command{
		Use:   "apply",
		Short: "Put the policy into force",
		Long: `apply reads the policy, asks DNS for its names, shows what changes, and puts it
into the kernel in one transaction: other programs and packets see the old rules
or the new ones, never a mixture. It makes a new generation if the
policy has changed. On a terminal it asks before it changes anything.

With --confirm the change is undone after a time, unless you run ringfence confirm
or answer y on the terminal: a mistake cannot cut you off for good. Where systemd
runs, it undoes the change (systemctl list-timers 'ringfence-undo-*'), and else a
process in a session of its own. If every process that could undo it is killed, the
kernel lets all packets pass within 2 s of that; ringfence refresh then puts back
what was in force before.

Exit status: 0 done or nothing to do, 1 error, 3 refused by a guard (in both
nothing was changed), 4 done, but a name had no good answer or there is an
alarm.`,
		Example: `  ringfence apply
  ringfence apply --yes                 do not ask
  ringfence apply --confirm             undo it after 60 s unless it is confirmed
  ringfence apply --policy new.yaml`,
		RunE: func(c *cobra.Command, args []string) (err error) {
			if o.Confirm, args, err = takeWindow(c, window, args); err != nil {
				return err
			}
			if err := noArguments(c, args); err != nil {
				return err
			}
			return runApply(c.Context(), a, o, yes)
		},
		Args: cobra.ArbitraryArgs,
	}
	addConfirmFlag(c, &window)
	c.Flags().BoolVar(&yes, "yes", false, "do not ask, also on a terminal")
	addEmptyFlag(c, &o.Allow.Empty)
	c.Flags().BoolVar(&o.Allow.CutInside, "allow-cut-inside", false, "go on although phones inside may lose their provider or this host")
	c.Flags().BoolVar(&o.Allow.CutLive, "allow-cut-live", false, "go on although calls or registrations that are up now would end")
	addAdoptFlag(c, &o.Adopt)
	return c
}

func addAdoptFlag(c *cobra.Command, adopt *bool) {
	c.Flags().BoolVar(adopt, "adopt", false, "go on although another program has made the table, or the chains of iptables")
}

func addEmptyFlag(c *cobra.Command, allowed *[]string) {
	c.Flags().StringArrayVar(allowed, "allow-empty", nil, "go on although no address of this `provider` is known")
}

func runApply(ctx context.Context, a *app, o fence.ApplyOptions, yes bool) error {
	p, err := readPolicy(ctx, a.policyPath)
	if err != nil {
		return err
	}
	asked := !yes && isTerminal(a.stdin) && a.stdout.Terminal
	if asked {
		o.Agree = func(ctx context.Context, p *plan.Plan) error { return confirm(ctx, a, p) }
	}
	applied, err := a.fence().Apply(ctx, p, o)
	if err != nil {
		return err
	}
	if !asked || a.json() {
		if err := a.printPlan(applied.Plan, applied.Generation); err != nil {
			return err
		}
	}
	a.printAll(applied.Notices)
	if !a.json() {
		view.Applied(a.stdout, applied)
	}
	if err := awaitConfirmation(ctx, a, applied.Pending); err != nil {
		return err
	}
	return partly(applied.Partly)
}

// partly returns the exit status of a command that did everything, except that a name
// may have failed.
func partly(bad bool) error {
	if bad {
		return statusError(exitPartly)
	}
	return nil
}

// confirm shows the plan on the terminal and asks for confirmation.
func confirm(ctx context.Context, a *app, p *plan.Plan) error {
	view.Plan(a.stderr, p)
	fmt.Fprint(a.stderr, "Change this? [y/N] ")
	answered := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(a.stdin).ReadString('\n')
		answered <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		output.Println(a.stderr)
		return ctx.Err()
	case answer := <-answered:
		if answer != "y" && answer != "yes" {
			return errors.New("not confirmed: nothing was changed")
		}
		return nil
	}
}
