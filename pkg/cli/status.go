package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/report"
)

func statusCommand(a *app) *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show who is allowed, since when, and who was dropped",
		Long: `status shows the fence as it is: mode, generation, who is allowed and by which
name, when each address was last seen in an answer, how many packets were let
through and dropped since the table was made, how the last refresh went, and
whether the kernel differs from the newest generation (drift). Alarms come first:
what makes the fence less than the policy says, each with its way out. It asks no
name server and changes nothing.

With --check it writes one line, for monitoring.

Exit status: 0 done, 1 error; with --check also 4 if an alarm stands or nothing is
fenced.`,
		Example: `  ringfence status
  ringfence status -o json
  ringfence status --check`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runStatus(c.Context(), a, check) },
	}
	c.Flags().BoolVar(&check, "check", false, "write one line; exit status 4 if an alarm stands or nothing is fenced")
	return c
}

func runStatus(ctx context.Context, a *app, check bool) error {
	s, err := a.fence().View().Status(ctx)
	if err != nil {
		return err
	}
	r := report.StatusOf(s)
	switch {
	case a.json():
		a.printAll(s.Notices)
		if err := a.writeJSON(r); err != nil || !check {
			return err
		}
	case check:
		output.Println(a.stdout, report.Line(s))
	default:
		a.printAll(s.Notices)
		view.Status(a.stdout, s, r)
	}
	return partly(check && !report.Well(s))
}
