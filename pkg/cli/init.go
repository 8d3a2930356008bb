package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/report"
)

func initCommand(a *app) *cobra.Command {
	var providers []string
	c := &cobra.Command{
		Use:   "init",
		Short: "Write a first policy for this host",
		Long: `init looks at this host (its networks, the interfaces that lead outside, whether
it forwards, the SIP server that listens, the name servers) and writes a policy
for it, with comments, which you then complete. It changes nothing else, and
never replaces a policy.

A provider is one of the presets that ringfence ships (ringfence providers lists
them) or the registrar's name as your phones have it. Without one the policy
begins in monitor mode, which drops nothing. So it does where a SIP server listens
on a public address and no network of phones is connected: phones may be anywhere
then, and enforce would drop those that you have not listed.`,
		Example: `  ringfence init
  ringfence init --provider telnyx --provider sip.provider.example
  ringfence init --provider twilio:trunk=mycompany`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return runInit(a, providers) },
	}
	c.Flags().StringArrayVar(&providers, "provider", nil, "a `preset` (with :parameter=value where it needs one), or the registrar's name")
	return c
}

func runInit(a *app, names []string) error {
	if err := fence.NoPolicy(a.policyPath); err != nil {
		return err
	}
	providers, warnings, err := catalog.Entries(names, time.Now())
	if err != nil {
		return err
	}
	for _, warning := range warnings {
		a.warn(warning)
	}
	world := a.fence().World
	h, err := world.Host()
	if err != nil {
		return err
	}
	servers, err := world.Listeners()
	if err != nil {
		return err
	}
	draft := policy.NewDraft(h, servers, providers)
	text := draft.Text(time.Now())
	if _, err := catalog.Parse(a.policyPath, []byte(text)); err != nil {
		return fmt.Errorf("draft policy: %w", err)
	}
	if err := fence.WritePolicy(a.policyPath, text); err != nil {
		return err
	}
	if a.json() {
		return a.writeJSON(report.DraftOf(a.policyPath, draft))
	}
	view.Draft(a.stdout, a.policyPath, draft)
	return nil
}
