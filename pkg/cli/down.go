package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/output"
)

func downCommand(a *app) *cobra.Command {
	var adopt bool
	c := &cobra.Command{
		Use:   "down",
		Short: "Take the fence down",
		Long: `down removes everything that ringfence has put into the kernel, and records
this: until apply or up, refresh changes nothing. The generations are kept.`,
		Example: `  ringfence down
  ringfence up                  and up again`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runDown(c.Context(), a, adopt) },
	}
	addAdoptFlag(c, &adopt)
	return c
}

func runDown(ctx context.Context, a *app, adopt bool) error {
	r, err := a.fence().Down(ctx, adopt)
	if err != nil {
		return err
	}
	if a.json() {
		return a.printPlan(r.Plan, r.Generation)
	}
	if r.Plan.Empty() {
		output.Println(a.stdout, "There was no fence. Until apply or up, refresh does not put one up.")
	} else {
		output.Println(a.stdout, "The fence is down: ringfence drops nothing until apply or up.")
	}
	return nil
}
