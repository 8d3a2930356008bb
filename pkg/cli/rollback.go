package cli

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
)

func rollbackCommand(a *app) *cobra.Command {
	var allowEmpty []string
	var window string
	c := &cobra.Command{
		Use:   "rollback [N]",
		Short: "Go back to an earlier generation",
		Long: `rollback puts the policy of generation N into force again, at once: it asks no
name server, does not read the policy file and does not ask you. Without N it
takes the generation before the one in force. The names of that policy get the
addresses that are known now, or else those that were known then. The result is
a new generation, so that rollback undoes a rollback too. ringfence history
shows all generations.

The policy file stays as it is: correct it before the next apply.

Exit status: 0 done or nothing to do, 1 error, 3 refused by a guard (in both
nothing was changed).`,
		Example: `  ringfence rollback        to the generation before
  ringfence rollback 12
  ringfence rollback 12 --confirm    undo it after 60 s unless it is confirmed`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			lasts, args, err := takeWindow(window, args)
			if err != nil {
				return err
			}
			if err := oneGeneration(c, args); err != nil {
				return err
			}
			return runRollback(c.Context(), a, args, allowEmpty, lasts)
		},
	}
	addConfirmFlag(c, &window)
	addEmptyFlag(c, &allowEmpty)
	return c
}

func runRollback(ctx context.Context, a *app, args, allowEmpty []string, window time.Duration) error {
	n, err := generationOf(args)
	if err != nil {
		return err
	}
	r, err := a.fence().Rollback(ctx, n, allowEmpty, window)
	if err != nil {
		return err
	}
	if err := a.printPlan(r.Plan, r.Generation); err != nil {
		return err
	}
	a.printAll(r.Notices)
	if !a.json() {
		printRolledBack(a, r)
	}
	return awaitConfirmation(ctx, a, r.Pending)
}

// oneGeneration refuses a second argument.
func oneGeneration(c *cobra.Command, args []string) error {
	if len(args) <= 1 {
		return nil
	}
	return fmt.Errorf("%s takes the number of one generation, but got %q as well", c.CommandPath(), args[1])
}

// generationOf reads the number of a generation. It returns 0 if there is none.
func generationOf(args []string) (int, error) {
	if len(args) == 0 {
		return 0, nil
	}
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 1 {
		return 0, notice.WithHint(fmt.Errorf("%q is not the number of a generation", args[0]), "ringfence history shows them")
	}
	return n, nil
}

func printRolledBack(a *app, r *fence.RolledBack) {
	switch {
	case r.Generation == r.Target && r.Plan.Empty():
		output.Printf(a.stdout, "Nothing to do: generation %d is in force.\n", r.Generation)
	case r.Generation == r.Target:
		output.Printf(a.stdout, "Generation %d is in force: %s.\n", r.Generation, notice.Count(len(r.Plan.Changes), "change"))
	case !r.New:
		output.Printf(a.stdout, "Generation %d is in force; its policy is that of generation %d.\n", r.Generation, r.Target)
	default:
		output.Printf(a.stdout, "Generation %d is in force, with the policy of generation %d: %s.\n", r.Generation, r.Target, notice.Count(len(r.Plan.Changes), "change"))
	}
	printMode(a, &r.Applied)
	// Reading anything but a regular file, such as standard input, might never end.
	info, err := os.Stat(r.Source)
	if err != nil || !info.Mode().IsRegular() {
		return
	}
	same := info.Size() == int64(len(r.Text)) // a file of any other size is not read
	if same {
		text, err := os.ReadFile(r.Source)
		same = err != nil || string(text) == r.Text
	}
	if !same {
		output.Printf(a.stdout, "The policy file %s differs from it: correct the file before the next apply.\n", r.Source)
	}
}
