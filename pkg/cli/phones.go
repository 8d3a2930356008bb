package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/report"
)

func phonesCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "phones",
		Short: "Show the phones that are let in because they have registered",
		Long: `phones lists who is let in because the PBX has accepted a registration, with
unknown.action register: address, port, since when, and until when if the phone does
not register again. The port is * where roaming.match is address. The User-Agent is
known of phones that were dropped before, while ringfence run was running.

Learned phones are run-time state: they stay over refresh, apply and an upgrade. With
ringfence run they also stay over a reboot, and if another program removes the
table.`,
		Example: `  ringfence phones
  ringfence phones -o json`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runPhones(c.Context(), a) },
	}
}

func runPhones(ctx context.Context, a *app) error {
	phones, err := a.fence().View().Phones(ctx)
	if err != nil {
		return err
	}
	list := report.RegisteredOf(phones)
	if a.json() {
		return a.writeJSON(list)
	}
	view.Registered(a.stdout, list)
	return nil
}
