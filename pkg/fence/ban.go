package fence

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// The limits of a ban by hand.
const (
	ShortestBan = time.Second
	LongestBan  = 366 * 24 * time.Hour
)

// Banned is an address or a prefix that is banned.
type Banned struct {
	Prefix netip.Prefix
	Left   time.Duration // 0 = permanently
	Why    string
}

// Ban bans an address for a time. If the address may reach the SIP ports, or this host
// needs it, Ban refuses unless allowProtected is set.
func (f *Fence) Ban(ctx context.Context, addr netip.Addr, lasts time.Duration, allowProtected bool) (Banned, error) {
	b := Banned{whole(addr), lasts.Truncate(time.Millisecond), "by " + f.User}
	err := f.changeBans(ctx, "ban", func(kernel backend.Kernel) error {
		have, err := kernel.Observe(ctx)
		if err != nil {
			return err
		}
		byHand, err := allowedByHand(ctx, kernel)
		if err != nil {
			return err
		}
		if isByHand(byHand, addr) {
			return notice.WithHint(fmt.Errorf("%s is allowed by hand, so a ban would have no effect", addr), "end that first: ringfence disallow %s", addr)
		}
		if refusal := refusesBan(f, have, addr); refusal != nil && !allowProtected {
			return refusal
		}
		return kernel.Ban(ctx, backend.Banned{Address: addr, Left: b.Left, Comment: b.Why})
	})
	if err == nil && monitors(&f.session) {
		f.Notice.Note(notice.Monitoring, "%s", addr.String()+" is not kept out: "+passes)
	}
	return b, err
}

// passes is what monitor mode does to a banned address.
const passes = "in monitor mode what it sends would be dropped, and passes"

// monitors reports whether what is in force drops nothing.
func monitors(f *session) bool {
	newest, err := f.newest()
	if newest == nil || err != nil {
		return false
	}
	s, err := f.siteOf(newest, resolve.Memory{})
	return err == nil && s.Policy.Monitor
}

// bansGuessers reports whether what is in force bans who fails to log in.
func bansGuessers(f *session) bool {
	newest, err := f.newest()
	if newest == nil || err != nil {
		return false
	}
	s, err := f.siteOf(newest, resolve.Memory{})
	return err == nil && compile.BansGuessers(s.Policy)
}

// Unban ends the ban of an address. It reports whether there was one.
func (f *Fence) Unban(ctx context.Context, addr netip.Addr) (was bool, err error) {
	err = f.changeBans(ctx, "unban", func(kernel backend.Kernel) error {
		have, err := kernel.Observe(ctx)
		if err != nil {
			return err
		}
		if have.Sets["blocked"+familyOf(addr)].Contains(addr) {
			return notice.WithHint(fmt.Errorf("%s is permanently banned by the policy", addr), "remove it from bans.addresses there, and apply")
		}
		was, err = kernel.Unban(ctx, addr)
		return err
	})
	return was, err
}

// changeBans calls change with the lock held, and saves what is known of the kernel.
func (f *Fence) changeBans(ctx context.Context, command string, change func(kernel backend.Kernel) error) error {
	if err := f.Probe(ctx); err != nil {
		return err
	}
	leave, err := f.enter(ctx, command)
	if err != nil {
		return err
	}
	defer leave()
	kernel := f.kernel(false)
	err = change(kernel)
	f.inForce = err == nil
	if err == nil && (command == "ban" || command == "unban") {
		f.phones().keep(ctx, kernel)
	}
	if err := saveSnapshot(&f.session, kernel)(); err != nil {
		f.Log.Info("save what is known of the kernel", "error", err)
	}
	if errors.Is(err, backend.ErrNoFence) {
		return notice.WithHint(err, "put it up with ringfence apply or ringfence up")
	}
	if errors.Is(err, backend.ErrFull) {
		if command == "allow" {
			return notice.WithHint(fmt.Errorf("the list of addresses allowed by hand is full: %w", err), "disallow some, or list whole networks under trusted.addresses")
		}
		return notice.WithHint(fmt.Errorf("the list of bans is full (bans.size): %w", err), "unban some, raise bans.size, or list whole networks under bans.addresses")
	}
	return err
}

// refusesBan is the guard for addresses that must not be banned: those that may reach
// the SIP ports, and those that this host needs.
func refusesBan(f *Fence, have *ruleset.State, addr netip.Addr) error {
	const allowed = "to block an allowed address, remove it from the policy"
	for _, set := range []struct{ name, is, wayOut string }{
		{"providers", "is allowed", allowed},
		{"trusted", "is trusted", allowed},
		{"protected", "is needed by this host", "this host needs its own addresses, its gateways and its name servers for more than SIP"},
	} {
		name := set.name + familyOf(addr)
		if !have.Sets[name].Contains(addr) {
			continue
		}
		why := fmt.Sprintf("%s %s", addr, set.is)
		if origin := originOf(&f.session, name, addr); origin != "" {
			why += " (" + origin + ")"
		}
		return &plan.Refusal{Guard: plan.GuardProtected, Why: why, WayOut: set.wayOut}
	}
	return nil
}

// originOf says why an address is in a set, "" if that is not known.
func originOf(f *session, set string, addr netip.Addr) string {
	return originsNow(f).Why(set, whole(addr))
}

// originsNow are the origins of what is in force, none if that is not known.
func originsNow(f *session) ruleset.Origins {
	newest, err := f.newest()
	if newest == nil || err != nil {
		return ruleset.Origins{}
	}
	memory, err := f.recall(false, newest)
	if err != nil {
		return ruleset.Origins{}
	}
	s, err := f.siteOf(newest, memory)
	if err != nil {
		return ruleset.Origins{}
	}
	s.Host = f.lastHost(newest)
	s.Remember(memory, f.Now())
	_, origins := s.Compile()
	return origins
}

func whole(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func familyOf(a netip.Addr) string {
	if a.Is4() {
		return "4"
	}
	return "6"
}

// allowsPart reports whether any address of a prefix is one of a provider or trusted.
func allowsPart(have *ruleset.State, p netip.Prefix) bool {
	last := ruleset.Addresses([]netip.Prefix{p})[0].To
	for _, set := range []string{"providers", "trusted"} {
		for _, e := range have.Sets[set+familyOf(p.Addr())].Elements {
			if e.From.Compare(last) <= 0 && p.Addr().Compare(e.To) <= 0 {
				return true
			}
		}
	}
	return false
}

// allowedBy says who is let in although a prefix is banned, "" for nobody: what is allowed
// is asked first. origins is called if anybody is.
func allowedBy(have *ruleset.State, p netip.Prefix, origins func() ruleset.Origins) string {
	if !allowsPart(have, p) {
		return ""
	}
	var owners []string
	for _, set := range []string{"providers", "trusted"} {
		for _, o := range origins().Of(set+familyOf(p.Addr()), p) {
			if !slices.Contains(owners, o.Owner) {
				owners = append(owners, o.Owner)
			}
		}
	}
	if len(owners) == 0 {
		owners = []string{"what another program has put there"}
	}
	part := ""
	if !p.IsSingleIP() {
		part = "a part of it is "
	}
	return "; " + part + "allowed all the same, by " + strings.Join(owners, ", ")
}

// Bans lists the addresses that are banned for a time, and those that the policy bans
// permanently.
func (f View) Bans(ctx context.Context) ([]Banned, error) {
	kernel := f.kernel(false)
	have, err := kernel.Observe(ctx)
	if err != nil {
		return nil, err
	}
	banned, err := kernel.Bans(ctx)
	if err != nil {
		return nil, err
	}
	byHand, err := allowedByHand(ctx, kernel)
	if err != nil {
		return nil, err
	}
	var list []Banned
	origins := sync.OnceValue(func() ruleset.Origins { return originsNow(&f.session) })
	onlyWatched, guessing := monitors(&f.session), bansGuessers(&f.session)
	for _, b := range banned {
		entry := Banned{whole(b.Address), b.Left, b.Comment}
		if entry.Why == "" {
			entry.Why = "it sent what a scanner sends"
			if guessing {
				entry.Why += ", or failed to log in too often"
			}
		}
		entry.Why += allowedBy(have, whole(b.Address), origins)
		if have.Sets["protected"+familyOf(b.Address)].Contains(b.Address) {
			entry.Why += "; no effect while this host needs it (its own, a gateway, a name server)"
		}
		if isByHand(byHand, b.Address) {
			entry.Why += "; no effect while it is allowed by hand"
		}
		if onlyWatched {
			entry.Why += "; " + passes
		}
		list = append(list, entry)
	}
	for _, set := range []string{"blocked4", "blocked6"} {
		for _, e := range have.Sets[set].Elements {
			for _, p := range e.Prefixes() {
				why := "the policy: bans.addresses" + allowedBy(have, p, origins)
				if onlyWatched {
					why += "; " + passes
				}
				list = append(list, Banned{Prefix: p, Why: why})
			}
		}
	}
	return list, nil
}
