package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/report"
	"github.com/ringfence/ringfence/pkg/ruleset"
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
	printDraft(a, draft)
	return nil
}

func printDraft(a *app, d policy.Draft) {
	output.Printf(a.stdout, "Wrote %s for this host:\n", a.policyPath)
	output.Table(a.stdout, func(w io.Writer) {
		none := func(texts []string, otherwise string) string {
			if len(texts) == 0 {
				return otherwise
			}
			return strings.Join(texts, ", ")
		}
		output.Printf(w, "  leads outside\t%s\n", none(d.Host.Outside, "no interface has a default route"))
		output.Printf(w, "  fenced\t%s\n", none(d.Interfaces, "every interface but lo"))
		output.Printf(w, "  trusted\t%s\n", none(texts(d.Trusted), "no private network is connected"))
		if d.Host.Forwards {
			output.Printf(w, "  inside\t%s\n", none(texts(d.Inside), "none"))
		}
		output.Printf(w, "  SIP server\t%s\n", none(serverTexts(d.Servers), "none listens now"))
	})
	switch {
	case len(d.Exposed) > 0:
		output.Printf(a.stdout, `It drops nothing yet (mode: monitor): %s can be reached from everywhere, and no
network of phones is connected, so enforce would drop every phone that is not
listed. ringfence status counts what it would drop; then write enforce.
`, strings.Join(serverTexts(d.Exposed), ", "))
	case d.Monitor:
		output.Println(a.stdout, "It drops nothing yet (mode: monitor): add your provider, and then write enforce.")
	}
	output.Println(a.stdout, "Read it, then: ringfence diff")
}

func texts[T fmt.Stringer](items []T) []string {
	var list []string
	for _, item := range items {
		list = append(list, item.String())
	}
	return list
}

func serverTexts(servers []ruleset.Listener) []string {
	var list []string
	for _, s := range servers {
		text := fmt.Sprintf("%s %d", strings.ToUpper(string(s.Protocol)), s.Port)
		if s.Program != "" {
			text += " (" + s.Program + ")"
		}
		list = append(list, text)
	}
	return list
}
