package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/site"
)

func resolveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "resolve NAME...",
		Short: "Show every address behind a name, and how it was found",
		Long: `resolve asks for everything behind a registrar's name, as apply would (RFC 3263:
NAPTR, SRV, A and AAAA), and shows the whole tree of answers, with what is left
out and why. It changes nothing and saves nothing.

For a SIP URI, or a name with a port, the tree shows what a client with that
URI uses. All of it is allowed, because clients differ.

Exit status: 0 every name has an address and no question failed, 4 otherwise.`,
		Example: `  ringfence resolve sip.example.net
  ringfence resolve sip:sip.example.net:5061 -o json`,
		RunE: func(c *cobra.Command, names []string) error { return runResolve(c.Context(), a, names) },
	}
}

func runResolve(ctx context.Context, a *app, names []string) error {
	if len(names) == 0 {
		return notice.WithHint(errors.New("resolve needs a name"), "for example: ringfence resolve sip.example.net")
	}
	var targets []resolve.Target
	var views []resolve.View
	for _, name := range names {
		r, ok := policy.ParseRegistrar(name)
		switch {
		case !ok:
			return notice.WithHint(fmt.Errorf("%q is not a name", name), "write a domain such as sip.example.net, or a SIP URI")
		case r.Host == "":
			return fmt.Errorf("%q is an address already", name)
		}
		targets = append(targets, resolve.Target{Name: r.Host, Registrar: true})
		views = append(views, resolve.ViewOf(name))
	}
	p, err := readPolicy(ctx, a.policyPath)
	if err != nil {
		// resolve works without a valid policy, so that it can help to write or correct
		// one.
		if !errors.Is(err, fs.ErrNotExist) {
			a.warn("the policy cannot be read, so the host's name servers are asked; see ringfence check")
		}
		p.Policy = &policy.Policy{}
	}
	found, err := a.fence().Resolve(ctx, p.Policy, targets)
	if err != nil {
		return err
	}
	var resolved []resolve.Report
	for i, r := range found.Results {
		r.Roots = views[i].Narrow(r.Roots, r.Target)
		resolved = append(resolved, resolve.ReportOf(r, found.Known[i], found.Failures, found.AddressFilter))
	}
	if a.json() {
		err = a.writeJSON(resolved)
	} else {
		view.Resolved(a.stdout, resolved)
		for _, n := range resolved {
			for _, f := range n.Failures {
				if f.Type == "" { // the others are in the tree
					a.warn(site.ProblemText(f))
				}
			}
		}
	}
	if err == nil && !found.OK {
		err = statusError(exitPartly)
	}
	return err
}
