package cli

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/cli/flag"
	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/report"
)

// defaultBan is how long a ban by hand lasts without --for.
const defaultBan = time.Hour

type banOptions struct {
	lasts          time.Duration
	allowProtected bool
}

func banCommand(a *app) *cobra.Command {
	var o banOptions
	c := &cobra.Command{
		Use:   "ban ADDR",
		Short: "Ban an address for a time",
		Long: `ban blocks one address from the SIP ports for a time. Banning it again restarts
the time. A ban is run-time state: it is not part of a generation. It stays if another
program removes the table, and over a reboot, where ringfence up puts it back. To ban
an address permanently, list it under bans.addresses in the policy.

With unknown.action drop, unknown sources are dropped anyway. An address that is
allowed, and one that this host needs (its own, its name servers, its gateways),
is refused.

Exit status: 0 done, 1 error, 3 refused (in both nothing was changed).`,
		Example: `  ringfence ban 198.51.100.7
  ringfence ban 2001:db8::7 --for 24h`,
		RunE: func(c *cobra.Command, args []string) error {
			addr, err := oneAddress(c, args)
			if err != nil {
				return err
			}
			return runBan(c.Context(), a, addr, o)
		},
	}
	c.Flags().Var(flag.NewDuration(&o.lasts, defaultBan), "for", "for how long, such as 30m, 2h or 7d")
	c.Flags().BoolVar(&o.allowProtected, "allow-protected", false, "ban even an address that is allowed or that this host needs")
	return c
}

func unbanCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "unban ADDR",
		Short:   "End the ban of an address",
		Long:    `unban ends the ban of one address, whether it was banned by a rule or by hand.`,
		Example: `  ringfence unban 198.51.100.7`,
		RunE: func(c *cobra.Command, args []string) error {
			addr, err := oneAddress(c, args)
			if err != nil {
				return err
			}
			return runUnban(c.Context(), a, addr)
		},
	}
}

func bansCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "bans",
		Short: "Show the banned addresses, the time left, and why",
		Long: `bans lists the addresses that are banned for a time, because a packet matched the
signature of a scanner or by hand, and those that the policy bans permanently.`,
		Example: `  ringfence bans
  ringfence bans -o json`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runBans(c.Context(), a) },
	}
}

func oneAddress(c *cobra.Command, args []string) (netip.Addr, error) {
	if len(args) != 1 {
		return netip.Addr{}, notice.WithHint(fmt.Errorf("%s needs one address", c.CommandPath()), "for example: %s 198.51.100.7", c.CommandPath())
	}
	addr, err := netip.ParseAddr(args[0])
	if err != nil || addr.Zone() != "" {
		err := fmt.Errorf("%q is not an address", args[0])
		if _, prefixErr := netip.ParsePrefix(args[0]); prefixErr == nil {
			list := "bans.addresses"
			if strings.HasSuffix(c.Name(), "allow") {
				list = "trusted.addresses"
			}
			return addr, notice.WithHint(fmt.Errorf("%w, but a whole network", err), "list it under %s in the policy, and apply", list)
		}
		return addr, err
	}
	return addr.Unmap(), nil
}

func runBan(ctx context.Context, a *app, addr netip.Addr, o banOptions) error {
	if err := checkTime(o.lasts); err != nil {
		return err
	}
	b, err := a.fence().Ban(ctx, addr, o.lasts, o.allowProtected)
	if err != nil {
		return err
	}
	return printBan(a, report.BannedOf(b), fmt.Sprintf("%s is banned for %s.", addr, policy.DurationText(b.Left)))
}

// checkTime refuses a time that nothing can last by hand.
func checkTime(lasts time.Duration) error {
	if whole := lasts.Truncate(time.Millisecond); whole < fence.ShortestBan || whole > fence.LongestBan {
		return fmt.Errorf("--for %s: write a time from 1s to %dh", lasts, fence.LongestBan/time.Hour)
	}
	return nil
}

func runUnban(ctx context.Context, a *app, addr netip.Addr) error {
	was, err := a.fence().Unban(ctx, addr)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s is no longer banned.", addr)
	if !was {
		text = fmt.Sprintf("%s was not banned.", addr)
	}
	return printBan(a, report.Banned{Address: addr.String()}, text)
}

func printBan(a *app, b report.Banned, text string) error {
	if a.json() {
		return a.writeJSON(b)
	}
	output.Println(a.stdout, text)
	return nil
}

func runBans(ctx context.Context, a *app) error {
	banned, err := a.fence().View().Bans(ctx)
	if err != nil {
		return err
	}
	list := []report.Banned{}
	for _, b := range banned {
		list = append(list, report.BannedOf(b))
	}
	if a.json() {
		return a.writeJSON(list)
	}
	view.Bans(a.stdout, list)
	return nil
}
