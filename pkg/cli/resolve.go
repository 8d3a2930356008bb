package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
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
		writeResolved(a, resolved)
	}
	if err == nil && !found.OK {
		err = statusError(exitPartly)
	}
	return err
}

func writeResolved(a *app, resolved []resolve.Report) {
	for i, n := range resolved {
		if i > 0 {
			output.Println(a.stdout)
		}
		output.Println(a.stdout, n.Name)
		for _, line := range n.Lines() {
			output.Println(a.stdout, "  "+line)
		}
		if servers := n.Servers(); len(servers) > 0 {
			output.Println(a.stdout, "answered by "+strings.Join(servers, ", "))
		}
		if len(n.Cut) > 0 {
			var limits []string
			for _, limit := range n.Cut {
				limits = append(limits, string(limit))
			}
			output.Printf(a.stdout, "left out is what goes beyond %s\n", strings.Join(limits, ", "))
		}
		output.Println(a.stdout, "allowed:")
		if len(n.Addresses) == 0 {
			output.Println(a.stdout, "  no address")
		}
		output.Table(a.stdout, func(w io.Writer) {
			for _, address := range n.Addresses {
				output.Printf(w, "  %s\t%s\t%s\n", address.Address, address.Via, ttlText(address.TTL))
			}
		})
		if len(n.Rejected) > 0 {
			output.Println(a.stdout, "left out:")
		}
		for _, r := range n.Rejected {
			output.Printf(a.stdout, "  %s %s\n", r.Address, r.Why)
		}
		for _, f := range n.Failures {
			if f.Type == "" { // the others are in the tree
				a.warn(site.ProblemText(f))
			}
		}
	}
}

// ttlText writes how long an answer may be kept; what the host's own file says holds
// until somebody changes it.
func ttlText(seconds int64) string {
	if time.Duration(seconds)*time.Second >= resolve.LongestTTL {
		return ""
	}
	return fmt.Sprintf("TTL %d s", seconds)
}
