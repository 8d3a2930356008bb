package cli

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/notice"
)

func providersCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "providers",
		Short: "List the providers that a policy can name",
		Long: `providers lists the presets: what ringfence ships about providers, for the
policy's "preset:". Write any other provider by hand, with the names that
your phones use and the addresses that the provider's help pages list.`,
		Example: `  ringfence providers
  ringfence providers show twilio
  ringfence providers check acme.yaml    is my own file about a provider right?`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return runProviders(a) },
	}
	c.AddCommand(
		&cobra.Command{
			Use:   "show NAME",
			Short: "Show everything that is known about a provider",
			Args:  oneArgument("a provider, such as twilio"),
			RunE:  func(_ *cobra.Command, args []string) error { return runShowProvider(a, args[0]) },
		},
		&cobra.Command{
			Use:   "check FILE",
			Short: "Check a file about a provider, before you send it",
			Long: `check reads a file in the form of those in rules/providers, names every
mistake in it with its line and column, and compiles a policy with it. It touches
neither the kernel nor the network.`,
			Args: oneArgument("a file, such as acme.yaml"),
			RunE: func(_ *cobra.Command, args []string) error { return runCheckProvider(a, args[0]) },
		},
	)
	return c
}

// oneArgument refuses any number of arguments but one.
func oneArgument(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 1 {
			return nil
		}
		return notice.WithHint(fmt.Errorf("%s takes one argument, %s", c.CommandPath(), what), "see %s --help", c.CommandPath())
	}
}

func runProviders(a *app) error {
	known, err := catalog.Providers()
	if err != nil {
		return err
	}
	reports := []catalog.Provider{}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		reports = append(reports, catalog.Describe(known[name], time.Now()))
	}
	if a.json() {
		return a.writeJSON(reports)
	}
	view.Providers(a.stdout, reports)
	return nil
}

func runShowProvider(a *app, name string) error {
	p, err := catalog.FindProvider(name)
	if err != nil {
		return err
	}
	r := catalog.Describe(p, time.Now())
	if a.json() {
		return a.writeJSON(r)
	}
	view.Provider(a.stdout, r)
	for _, warning := range r.Warnings {
		a.warn(warning)
	}
	return nil
}

func runCheckProvider(a *app, path string) error {
	p, err := fence.CheckProvider(path)
	if err != nil {
		return err
	}
	r := catalog.Describe(p, time.Now())
	if a.json() {
		return a.writeJSON(r)
	}
	view.CheckedProvider(a.stdout, path, r)
	for _, warning := range r.Warnings {
		a.warn(warning)
	}
	return nil
}
