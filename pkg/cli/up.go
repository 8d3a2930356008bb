package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/plan"
)

func upCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "up",
		Short: "Put the fence up as it last was (for boot)",
		Long: `up puts the newest generation into force with the addresses that were saved. It
asks no name server and needs no network, so it can run before the network is up. It
also ends the effect of down.

Over iptables it also makes the sets that the host's saved rules name, because
iptables-restore refuses a whole file for one that is missing: run it before
netfilter-persistent, or iptables.service and ip6tables.service.`,
		Example: `  @reboot root ringfence up     (a line of /etc/cron.d/ringfence)`,
		Args:    noArguments,
		RunE:    func(c *cobra.Command, _ []string) error { return runUp(c.Context(), a) },
	}
}

func runUp(ctx context.Context, a *app) error {
	r, err := a.fence().Up(ctx)
	if err != nil {
		return err
	}
	if a.json() {
		return a.printPlan(r.Plan, r.Generation)
	}
	output.Printf(a.stdout, "Generation %d, %s: %s.\n", r.Generation, r.Size, plan.Summary(r.Plan))
	return nil
}
