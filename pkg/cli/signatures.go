package cli

import (
	"context"
	"errors"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/report"
)

func signaturesCommand(a *app) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "signatures",
		Short: "Show what scanners are recognised by, and how often they were",
		Long: `signatures lists what the kernel recognises scanners by: the signatures of the
lists that the policy names, without those that it leaves out, and its own. Each
has its header, its text and its class: with unknown.action
accept, the source of one of class ban is banned; one of class label is only
counted. As root it also shows how many packets have matched.`,
		Example: `  ringfence signatures
  ringfence signatures --all              also those that are off
  ringfence signatures test message.txt   what would this message match?
  ringfence signatures test scan.pcap     and each packet of a capture?`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runSignatures(c.Context(), a, all) },
	}
	c.Flags().BoolVar(&all, "all", false, "also those that are off or left out")
	c.AddCommand(signaturesTestCommand(a))
	return c
}

func runSignatures(ctx context.Context, a *app, all bool) error {
	p, err := policyOrNone(ctx, a)
	if err != nil {
		return err
	}
	wanted, err := catalog.SignaturesOf(p)
	if err != nil {
		return err
	}
	hits, err := a.fence().View().Hits()
	if err != nil {
		a.log.Info("read how often signatures were matched", "error", err)
	}
	var others []catalog.Signature
	if all {
		if others, err = catalog.Signatures(); err != nil {
			return err
		}
	}
	list := report.SignaturesOf(wanted, others, hits)
	if a.json() {
		return a.writeJSON(list)
	}
	view.Signatures(a.stdout, list)
	return nil
}

// policyOrNone returns the policy, or if there is none, one with the defaults.
func policyOrNone(ctx context.Context, a *app) (*policy.Policy, error) {
	p, err := readPolicy(ctx, a.policyPath)
	if errors.Is(err, fs.ErrNotExist) {
		return catalog.Parse("default", []byte("version: 1\n"))
	}
	return p.Policy, err
}
