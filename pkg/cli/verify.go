package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/report"
)

func verifyCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Send packets through a copy of the rules, and compare with the policy",
		Long: `verify copies the rules that are in the kernel now into a network namespace of its
own, sends packets through them there, and says which pass: calls, scans and
connections of each provider and each trusted, allowed, blocked and banned address
and of strangers, to each SIP port by UDP and TCP, IPv4 and IPv6. Where a set has
more than 50 addresses, 50 of them are tried.

What passes is compared with the policy of the newest generation. Rules that
another program has put into the table are named, and are not part of the copy.

It needs root. Nothing is sent by the network of this host, and nothing is changed.

Exit status: 0 all is as the policy says, 1 error, 4 something differs.`,
		Example: `  ringfence verify
  ringfence verify -o json`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runVerify(c.Context(), a) },
	}
}

func runVerify(ctx context.Context, a *app) error {
	v, err := a.fence().View().Verify(ctx)
	if err != nil {
		return err
	}
	r := report.VerifiedOf(v)
	if a.json() {
		err = a.writeJSON(r)
	} else {
		view.Verified(a.stdout, v.Backend.Place, r)
	}
	if err != nil {
		return err
	}
	return partly(!r.OK)
}
