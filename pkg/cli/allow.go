package cli

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/cli/flag"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/report"
)

// defaultAllowance is how long an address is allowed by hand if nobody says otherwise.
const defaultAllowance = 2 * time.Hour

func allowCommand(a *app) *cobra.Command {
	lasts := defaultAllowance
	c := &cobra.Command{
		Use:   "allow ADDR",
		Short: "Let an address in for a time",
		Long: `allow lets one address reach the SIP ports for a time, without a change of the
policy: a phone on the road, a test call. Allowing it again restarts the time. It
has the rights of a trusted one: it passes although it is banned, and whatever its
User-Agent is. What the policy bans for good is refused.

It is no part of a generation. It stays over refresh, apply, rollback and a reboot,
and if another program removes the table. ringfence status shows who is allowed.

Exit status: 0 done, 1 error and nothing was changed.`,
		Example: `  ringfence allow 198.51.100.7
  ringfence allow 2001:db8::7 --for 30m`,
		RunE: func(c *cobra.Command, args []string) error {
			addr, err := oneAddress(c, args)
			if err != nil {
				return err
			}
			return runAllow(c.Context(), a, addr, lasts)
		},
	}
	c.Flags().Var(flag.NewDuration(&lasts, defaultAllowance), "for", "for how long, such as 30m, 2h or 7d")
	return c
}

func disallowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "disallow ADDR",
		Short: "End what allow has begun",
		Long: `disallow ends at once that an address is allowed by hand. What the policy says of
it holds again.`,
		Example: `  ringfence disallow 198.51.100.7`,
		RunE: func(c *cobra.Command, args []string) error {
			addr, err := oneAddress(c, args)
			if err != nil {
				return err
			}
			return runDisallow(c.Context(), a, addr)
		},
	}
}

func runAllow(ctx context.Context, a *app, addr netip.Addr, lasts time.Duration) error {
	if err := checkTime(lasts); err != nil {
		return err
	}
	b, err := a.fence().Allow(ctx, addr, lasts)
	if err != nil {
		return err
	}
	return printBan(a, report.ByHand([]fence.ByHand{b})[0], fmt.Sprintf("%s is allowed for %s.", addr, policy.DurationText(b.Left)))
}

func runDisallow(ctx context.Context, a *app, addr netip.Addr) error {
	was, err := a.fence().Disallow(ctx, addr)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s is not allowed by hand any more.", addr)
	if !was {
		text = fmt.Sprintf("%s was not allowed by hand.", addr)
	}
	return printBan(a, report.Banned{Address: addr.String()}, text)
}
