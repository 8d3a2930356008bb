package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

func (a *app) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check the policy file",
		Long: `check reads and compiles the policy and names every mistake in it with its line
and column. It touches neither the kernel nor the network, and needs no root.`,
		Example: `  ringfence check
  ringfence --policy new.yaml check`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return a.check() },
	}
}

func (a *app) check() error {
	p, _, err := a.readPolicy()
	if err != nil {
		return err
	}
	compile.State(p, nil, ruleset.Host{})
	if len(p.Signatures.Deny)+len(p.Unknown.RequireUserAgent) > 0 {
		// Only what the policy adds can be too much: of the rest, tests take care.
		if _, err := catalog.AutomatonOf(p); err != nil {
			return err
		}
	}
	old, err := catalog.PresetWarnings(p, time.Now())
	if err != nil {
		return err
	}
	for _, text := range old {
		a.say("warning", text)
	}
	names := len(compile.Names(p))
	if a.json() {
		a.warnOfPolicy(p)
		return a.writeJSON(struct {
			OK        bool `json:"ok"`
			Providers int  `json:"providers"`
			Names     int  `json:"names"`
			Addresses int  `json:"addresses"`
		}{true, len(p.Providers), names, len(p.Allowed())})
	}
	fmt.Fprintf(a.stdout, "%s is valid: %s, %s to resolve, %s.\n", a.policyPath,
		count(len(p.Providers), "provider"), count(names, "name"), count(len(p.Allowed()), "listed prefix"))
	a.warnOfPolicy(p)
	return nil
}
