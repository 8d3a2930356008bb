package cli

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/notice"
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
			lasts, args, err := takeWindow(c, window, args)
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
		view.RolledBack(a.stdout, r, edited(r.Source, r.Text))
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

// edited reports whether a policy file is another text than that of a generation.
func edited(path, text string) bool {
	// Reading anything but a regular file, such as standard input, might never end.
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	if info.Size() != int64(len(text)) { // a file of any other size is not read
		return true
	}
	now, err := os.ReadFile(path)
	return err == nil && string(now) != text
}
