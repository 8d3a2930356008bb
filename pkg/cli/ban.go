package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/nft"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// The limits of a ban by hand.
const (
	defaultBan = time.Hour
	longestBan = 366 * 24 * time.Hour
)

type banOptions struct {
	lasts          time.Duration
	allowProtected bool
}

func (a *app) banCommand() *cobra.Command {
	var o banOptions
	c := &cobra.Command{
		Use:   "ban ADDR",
		Short: "Shut an address out for a time",
		Long: `ban shuts one address out of the SIP ports for a time, or for that time anew. A
ban is run-time state: it is no part of a generation, and gone after a reboot. To
shut somebody out for good, list him under bans.addresses in the policy.

With unknown.action drop, everybody unknown is dropped anyway. An address that is
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
			return a.ban(c.Context(), addr, o)
		},
	}
	c.Flags().DurationVar(&o.lasts, "for", defaultBan, "for how long")
	c.Flags().BoolVar(&o.allowProtected, "allow-protected", false, "go on although the address is allowed or this host needs it")
	return c
}

func (a *app) unbanCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "unban ADDR",
		Short:   "End the ban of an address",
		Long:    `unban ends the ban of one address, whether a packet or somebody has banned it.`,
		Example: `  ringfence unban 198.51.100.7`,
		RunE: func(c *cobra.Command, args []string) error {
			addr, err := oneAddress(c, args)
			if err != nil {
				return err
			}
			return a.unban(c.Context(), addr)
		},
	}
}

func (a *app) bansCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "bans",
		Short: "Show who is shut out, for how long still, and why",
		Long: `bans lists the addresses that are banned for a time, by a packet that bore the
signature of a scanner or by hand, and those that the policy bans for good.`,
		Example: `  ringfence bans
  ringfence bans -o json`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return a.bans(c.Context()) },
	}
}

func oneAddress(c *cobra.Command, args []string) (netip.Addr, error) {
	if len(args) != 1 {
		return netip.Addr{}, withHint(fmt.Errorf("%s needs one address", c.CommandPath()), "for example: %s 198.51.100.7", c.CommandPath())
	}
	addr, err := netip.ParseAddr(args[0])
	if err != nil || addr.Zone() != "" {
		err := fmt.Errorf("%q is no address", args[0])
		if _, prefixErr := netip.ParsePrefix(args[0]); prefixErr == nil {
			return addr, withHint(fmt.Errorf("%w, but a whole network", err), "list it under bans.addresses in the policy, and apply")
		}
		return addr, err
	}
	return addr.Unmap(), nil
}

func (a *app) ban(ctx context.Context, addr netip.Addr, o banOptions) error {
	lasts := o.lasts.Truncate(time.Millisecond)
	if lasts < time.Second || lasts > longestBan {
		return fmt.Errorf("--for %s: write a time from 1s to %dh", o.lasts, longestBan/time.Hour)
	}
	return a.changeBans(ctx, "ban", func(kernel *nft.Kernel) error {
		have, err := kernel.Observe(ctx)
		if err != nil {
			return err
		}
		if refusal := a.refusesBan(have, addr); refusal != nil && !o.allowProtected {
			return refusal
		}
		if err := kernel.Ban(ctx, nft.Banned{Address: addr, Left: lasts, Comment: "by " + userName()}); err != nil {
			return err
		}
		a.inForce = true
		return a.tellBan(ban{Address: addr.String(), Left: seconds(lasts), Why: "by " + userName()},
			fmt.Sprintf("%s is banned for %s.", addr, briefly(lasts)))
	})
}

func (a *app) unban(ctx context.Context, addr netip.Addr) error {
	return a.changeBans(ctx, "unban", func(kernel *nft.Kernel) error {
		have, err := kernel.Observe(ctx)
		if err != nil {
			return err
		}
		if set := "blocked" + familyOf(addr); contains(have.Sets[set], addr) {
			return withHint(fmt.Errorf("%s is banned for good by the policy", addr), "remove it from bans.addresses there, and apply")
		}
		was, err := kernel.Unban(ctx, addr)
		if err != nil {
			return err
		}
		a.inForce = true
		text := fmt.Sprintf("%s is not banned any more.", addr)
		if !was {
			text = fmt.Sprintf("%s was not banned.", addr)
		}
		return a.tellBan(ban{Address: addr.String()}, text)
	})
}

// changeBans runs f with the lock held, and keeps what is known of the kernel.
func (a *app) changeBans(ctx context.Context, command string, f func(kernel *nft.Kernel) error) error {
	if err := a.kernel(true).Probe(ctx); err != nil {
		return err
	}
	leave, err := a.enter(ctx, command)
	if err != nil {
		return err
	}
	defer leave()
	kernel := a.kernel(false)
	before := kernel.Known.Generation
	err = f(kernel)
	if kernel.Known.Generation != before {
		if err := a.journal().WriteKernel(kernel.Known); err != nil {
			a.log.Info("note what the kernel holds", "error", err)
		}
	}
	if errors.Is(err, nft.ErrNoFence) {
		return withHint(err, "put it up with ringfence apply or ringfence up")
	}
	if errors.Is(err, nft.ErrFull) {
		return withHint(err, "unban some, raise bans.size, or list whole networks under bans.addresses")
	}
	return err
}

// refusesBan is the guard of addresses that must not be banned: those that may
// reach the SIP ports, and those that this host needs.
func (a *app) refusesBan(have *ruleset.State, addr netip.Addr) error {
	const allowed = "an allowed address is shut out by removing it from the policy"
	for _, set := range []struct{ name, is, wayOut string }{
		{"providers", "is allowed", allowed},
		{"trusted", "is trusted", allowed},
		{"protected", "is needed by this host", "this host needs its gateways, its name servers and itself for more than SIP"},
	} {
		name := set.name + familyOf(addr)
		if !contains(have.Sets[name], addr) {
			continue
		}
		why := fmt.Sprintf("%s %s", addr, set.is)
		if origin := a.originOf(name, addr); origin != "" {
			why += " (" + origin + ")"
		}
		return &plan.Refusal{
			Guard: "protected", Why: why,
			WayOut: set.wayOut,
			Flag:   "--allow-protected",
		}
	}
	return nil
}

// originOf says why an address is in a set, "" if that is not known.
func (a *app) originOf(set string, addr netip.Addr) string {
	newest, err := a.newest()
	if newest == nil || err != nil {
		return ""
	}
	memory, err := a.recall(false, newest)
	if err != nil {
		return ""
	}
	s, err := siteOf(newest, memory)
	if err != nil {
		return ""
	}
	s.host = a.lastHost(newest)
	s.remember(memory, a.now())
	_, origins := s.compile()
	origin, ok := origins.Of(set, netip.PrefixFrom(addr, addr.BitLen()))
	if !ok {
		return ""
	}
	return origin.String()
}

func familyOf(a netip.Addr) string {
	if a.Is4() {
		return "4"
	}
	return "6"
}

func contains(s ruleset.Set, a netip.Addr) bool {
	for _, e := range s.Elements {
		if e.From.IsValid() && e.From.Compare(a) <= 0 && a.Compare(e.To) <= 0 {
			return true
		}
	}
	return false
}

// ban is the object that bans prints for an address.
type ban struct {
	Address string `json:"address"`
	// Left are the seconds that the ban lasts still; null for good.
	Left *int64 `json:"left"`
	Why  string `json:"why"`
}

func seconds(d time.Duration) *int64 { return new(int64((d + time.Second - 1) / time.Second)) }

func (a *app) tellBan(b ban, text string) error {
	if a.json() {
		return a.writeJSON(b)
	}
	fmt.Fprintln(a.stdout, text)
	return nil
}

func (a *app) bans(ctx context.Context) error {
	kernel := a.kernel(false)
	have, err := kernel.Observe(ctx)
	if err != nil {
		return err
	}
	banned, err := kernel.Bans(ctx)
	if err != nil {
		return err
	}
	list := []ban{}
	for _, b := range banned {
		entry := ban{Address: b.Address.String(), Why: b.Comment}
		if b.Left > 0 {
			entry.Left = seconds(b.Left)
		}
		if entry.Why == "" {
			entry.Why = "it sent what a scanner sends"
		}
		for _, set := range []string{"providers", "trusted"} {
			if contains(have.Sets[set+familyOf(b.Address)], b.Address) {
				entry.Why += "; without effect, because the policy allows it now"
				break
			}
		}
		list = append(list, entry)
	}
	for _, set := range []string{"blocked4", "blocked6"} {
		for _, e := range have.Sets[set].Elements {
			for _, p := range e.Prefixes() {
				list = append(list, ban{Address: ruleset.PrefixText(p), Why: "the policy: bans.addresses"})
			}
		}
	}
	if a.json() {
		return a.writeJSON(list)
	}
	if len(list) == 0 {
		fmt.Fprintln(a.stdout, "Nobody is banned.")
		return nil
	}
	table(a.stdout, func(w io.Writer) {
		for _, b := range list {
			left := "for good"
			if b.Left != nil {
				left = briefly(time.Duration(*b.Left)*time.Second) + " left"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", b.Address, left, b.Why)
		}
	})
	return nil
}

// briefly writes a time without what is 0: 1h instead of 1h0m0s.
func briefly(d time.Duration) string {
	text := d.Round(time.Second).String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = strings.TrimSuffix(text, zero[1:])
		}
	}
	return text
}
