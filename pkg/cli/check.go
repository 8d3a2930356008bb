package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/report"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

func checkCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check the policy file",
		Long: `check reads and compiles the policy and names every mistake in it with its line
and column. It touches neither the kernel nor the network, and needs no root.`,
		Example: `  ringfence check
  ringfence --policy new.yaml check`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runCheck(c.Context(), a) },
	}
}

func runCheck(ctx context.Context, a *app) error {
	p, err := readPolicy(ctx, a.policyPath)
	if err != nil {
		return err
	}
	compile.State(p.Policy, nil, ruleset.Host{})
	if len(p.Signatures.Deny)+len(p.Unknown.RequireUserAgent) > 0 {
		// Only the policy's own signatures can be too many: the tests check the shipped
		// lists.
		if _, err := catalog.AutomatonOf(p.Policy); err != nil {
			return err
		}
	}
	old, err := catalog.PresetWarnings(p.Policy, time.Now())
	if err != nil {
		return err
	}
	for _, text := range old {
		a.warn(text)
	}
	names := len(compile.Names(p.Policy))
	if a.json() {
		a.printAll(append(site.FileWarnings(p.Policy), site.PolicyWarnings(p.Policy)...))
		return a.writeJSON(report.Checked{OK: true, Providers: len(p.Providers), Names: names, Addresses: len(p.Allowed())})
	}
	output.Printf(a.stdout, "%s is valid: %s, %s to resolve, %s.\n", a.policyPath,
		notice.Count(len(p.Providers), "provider"), notice.Count(names, "name"), notice.Count(len(p.Allowed()), "listed prefix"))
	a.printAll(append(site.FileWarnings(p.Policy), site.PolicyWarnings(p.Policy)...))
	return nil
}
