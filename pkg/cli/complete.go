package cli

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// candidates are what an argument or a flag may be. What cannot be read has none.
type candidates func(a *app, c *cobra.Command, args []string) []string

// completed says for what a shell gets candidates: the argument of a command, or a flag.
var completed = []struct {
	command, flag string
	candidates
}{
	{"", "output", outputs},
	{"", "log-level", fixed("debug", "info", "warn", "error")},
	{"run", "metrics", fixed("127.0.0.1:9960")},
	{"rollback", "", generations},
	{"history", "", generations},
	{"confirm", "", generations},
	{"unban", "", bannedAddresses},
	{"disallow", "", allowedAddresses},
	{"resolve", "", policyNames},
	{"dropped", "since", fixed("1h", "24h")},
	{"watch", "since", fixed("1h", "24h")},
	{"report", "since", fixed("24h", "7d", "30d")},
	{"report", "at", lately},
	{"why", "proto", fixed("udp", "tcp", "sctp", "dccp", "udplite")},
	{"why", "in", interfaces},
	{"refresh", "accept-large", policyNamesAndLists},
	{"apply", "allow-empty", policyProviders},
	{"rollback", "allow-empty", policyProviders},
	{"init", "provider", presetNames},
	{"phone", "provider", presetNames},
	{"providers show", "", presetNames},
	{"phone", "", makerNames},
	{"phone list", "", makerNames},
	{"phone", "model", modelNames},
	{"phone", "format", fixed("cfg", "xml", "text")},
	{"demo", "backend", fixed(string(policy.BackendNFTables), string(policy.BackendIPTables), string(policy.BackendIPTablesLegacy), string(policy.BackendIPTablesNFT))},
}

// complete adds shell completion.
func (a *app) complete(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.RunE = func(*cobra.Command, []string) error {
				return errors.New("name a shell: ringfence completion bash, zsh, fish or powershell")
			}
		}
	}
	for _, what := range completed {
		c, _, err := root.Find(strings.Fields(what.command))
		if err != nil {
			continue // the test of this list finds it
		}
		offer := func(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			a.log = slog.New(slog.DiscardHandler)
			return what.candidates(a, c, args), cobra.ShellCompDirectiveNoFileComp
		}
		if what.flag != "" {
			_ = c.RegisterFlagCompletionFunc(what.flag, offer) // fails only for a flag that is not there
			continue
		}
		c.ValidArgsFunction = func(c *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) > 0 && c.Name() != "resolve" {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return offer(c, args, begun)
		}
	}
}

func fixed(words ...string) candidates {
	return func(*app, *cobra.Command, []string) []string { return words }
}

// lately are times of which somebody may ask.
func lately(*app, *cobra.Command, []string) (times []string) {
	for _, minutes := range []int{5, 15, 30, 60} {
		times = append(times, time.Now().Add(-time.Duration(minutes)*time.Minute).Format("15:04"))
	}
	return times
}

// outputs are the forms in which a command prints.
func outputs(_ *app, c *cobra.Command, _ []string) []string {
	if c.Name() == "report" {
		return []string{"text", "json", "html"}
	}
	return []string{"text", "json"}
}

// generations are those on disk, the newest first.
func generations(a *app, _ *cobra.Command, _ []string) []string {
	numbers, err := a.fenceFor(nil).Numbers()
	if err != nil {
		return nil
	}
	var words []string
	for _, n := range slices.Backward(numbers) {
		words = append(words, strconv.Itoa(n))
	}
	return words
}

func bannedAddresses(a *app, c *cobra.Command, _ []string) []string {
	banned, err := a.fenceFor(nil).View().Bans(c.Context())
	if err != nil {
		return nil
	}
	var words []string
	for _, b := range banned {
		if b.Left > 0 { // the policy's own are none of unban's
			words = append(words, ruleset.PrefixText(b.Prefix)+"\t"+b.Why)
		}
	}
	return words
}

func allowedAddresses(a *app, _ *cobra.Command, _ []string) []string {
	allowed, err := a.fenceFor(nil).View().AllowedByHand()
	if err != nil {
		return nil
	}
	var words []string
	for _, b := range allowed {
		words = append(words, b.Address.String()+"\t"+b.Why)
	}
	return words
}

func interfaces(a *app, _ *cobra.Command, _ []string) []string {
	names, _ := a.fenceFor(nil).View().Interfaces()
	return names
}

func policyNames(a *app, c *cobra.Command, _ []string) []string {
	p, err := readPolicy(c.Context(), a.policyPath)
	if err != nil {
		return nil
	}
	var words []string
	for _, n := range compile.Names(p.Policy) {
		words = append(words, n.Host)
	}
	return words
}

func policyNamesAndLists(a *app, c *cobra.Command, args []string) []string {
	words := policyNames(a, c, args)
	p, err := readPolicy(c.Context(), a.policyPath)
	if err != nil {
		return nil
	}
	for _, l := range site.Lists(p.Policy) {
		words = append(words, l.URL)
	}
	return words
}

func policyProviders(a *app, c *cobra.Command, _ []string) []string {
	p, err := readPolicy(c.Context(), a.policyPath)
	if err != nil {
		return nil
	}
	var words []string
	for _, provider := range p.Providers {
		words = append(words, provider.Name)
	}
	return words
}

func presetNames(*app, *cobra.Command, []string) []string {
	known, _ := catalog.Providers()
	return slices.Sorted(maps.Keys(known))
}

func makerNames(*app, *cobra.Command, []string) []string {
	makers, _ := catalog.Makers()
	var words []string
	for _, m := range makers {
		words = append(words, m.Name+"\t"+m.Title)
	}
	return words
}

// modelNames are those of the maker that was named, or of all.
func modelNames(_ *app, _ *cobra.Command, args []string) []string {
	makers, _ := catalog.Makers()
	var words []string
	for _, m := range makers {
		if len(args) > 0 && args[0] != m.Name {
			continue
		}
		for _, f := range m.Families {
			for _, model := range f.Models {
				words = append(words, strings.TrimSuffix(model, "*"))
			}
		}
	}
	return words
}
