package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/cli/view"
)

func doctorCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Name what this host lacks, or what works against the fence",
		Long: `doctor looks at the host and at what other programs have in its kernel: alarms
first, then tables that drop or accept SIP beside ringfence, what reads or forwards
packets past it, name servers, the clock, the state folder, and whether anything
refreshes the fence. Each finding says why it matters and what to do. It asks each
name server once and changes nothing.

Exit status: 0 there is nothing to say, 1 error, 4 there is.`,
		Example: `  sudo ringfence doctor
  ringfence doctor -o json`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runDoctor(c.Context(), a) },
	}
}

func runDoctor(ctx context.Context, a *app) error {
	found, err := a.fence().View().Examine(ctx)
	if err != nil {
		return err
	}
	if a.json() {
		if err := a.writeJSON(found); err != nil {
			return err
		}
		return partly(len(found) > 0)
	}
	view.Findings(a.stdout, found)
	return partly(len(found) > 0)
}
