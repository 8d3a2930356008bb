package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

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

// resolvedName is the object that resolve prints for one name.
type resolvedName struct {
	Name      string             `json:"name"`
	Addresses []resolvedAddress  `json:"addresses"`
	Rejected  []resolve.Rejected `json:"rejected"`
	Failures  []resolve.Problem  `json:"failures"`
	Tree      []treeNode         `json:"tree"`
}

type resolvedAddress struct {
	Address netip.Addr `json:"address"`
	Via     string     `json:"via"`
	TTL     int64      `json:"ttl"`
}

type treeNode struct {
	Question string       `json:"question"`
	Type     resolve.Type `json:"type"`
	Aliases  []string     `json:"aliases,omitempty"`
	NoName   bool         `json:"no_such_name,omitempty"`
	Records  []treeRecord `json:"records"`
	Error    string       `json:"error,omitempty"`
	Children []treeNode   `json:"children,omitempty"`
}

type treeRecord struct {
	Text    string     `json:"text"`
	TTL     int64      `json:"ttl"`
	Address netip.Addr `json:"address,omitzero"`
	Target  string     `json:"target,omitempty"`
	// Priority and Weight are the order and preference of a NAPTR record.
	Priority uint16 `json:"priority,omitempty"`
	Weight   uint16 `json:"weight,omitempty"`
	Port     uint16 `json:"port,omitempty"`
	Service  string `json:"service,omitempty"`
	// Rejected is why the record leads to no allowed address.
	Rejected string `json:"rejected,omitempty"`
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
	p, err := readPolicy(a.policyPath)
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
	var resolved []resolvedName
	for i, r := range found.Results {
		r.Roots = views[i].Narrow(r.Roots)
		resolved = append(resolved, describe(r, found.Known[i], found.Failures, found.AddressFilter))
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

func describe(r resolve.Result, known resolve.Known, problems []resolve.Problem, filter resolve.AddressFilter) resolvedName {
	n := resolvedName{
		Name: r.Target.Name, Addresses: []resolvedAddress{}, Rejected: []resolve.Rejected{}, Failures: []resolve.Problem{},
		Tree: treeOf(r.Roots, filter),
	}
	n.Rejected = append(n.Rejected, known.Rejected...)
	for _, k := range known.Addresses {
		n.Addresses = append(n.Addresses, resolvedAddress{k.Address, k.Via, k.TTL})
	}
	for _, p := range problems {
		if p.Target == r.Target {
			n.Failures = append(n.Failures, p)
		}
	}
	return n
}

func treeOf(nodes []*resolve.Node, filter resolve.AddressFilter) []treeNode {
	var tree []treeNode
	for _, n := range nodes {
		t := treeNode{
			Question: n.Question.Name, Type: n.Question.Type, Aliases: n.Aliases, NoName: n.NoName,
			Records: []treeRecord{}, Children: treeOf(n.Children, filter),
		}
		for _, r := range n.Records {
			record := treeRecord{r.String(), int64(r.TTL / time.Second), r.Address, r.Target, r.Priority, r.Weight, r.Port, r.Service, r.Unused()}
			if why := filter.Reject(r.Address); r.Address.IsValid() && why != "" {
				record.Rejected = "it " + why
			}
			t.Records = append(t.Records, record)
		}
		if n.Err != nil {
			t.Error = n.Err.Error()
		}
		tree = append(tree, t)
	}
	return tree
}

func writeResolved(a *app, resolved []resolvedName) {
	for i, n := range resolved {
		if i > 0 {
			fmt.Fprintln(a.stdout)
		}
		fmt.Fprintln(a.stdout, n.Name)
		writeTree(a.stdout, n.Tree, "  ", map[string]bool{})
		fmt.Fprintln(a.stdout, "allowed:")
		if len(n.Addresses) == 0 {
			fmt.Fprintln(a.stdout, "  no address")
		}
		table(a.stdout, func(w io.Writer) {
			for _, address := range n.Addresses {
				fmt.Fprintf(w, "  %s\t%s\tTTL %d s\n", address.Address, address.Via, address.TTL)
			}
		})
		if len(n.Rejected) > 0 {
			fmt.Fprintln(a.stdout, "left out:")
		}
		for _, r := range n.Rejected {
			fmt.Fprintf(a.stdout, "  %s %s\n", r.Address, r.Why)
		}
		for _, f := range n.Failures {
			if f.Type == "" { // the others are in the tree
				a.warn(site.ProblemText(f))
			}
		}
	}
}

// writeTree prints one line for each question and each record. What several records
// lead to is printed once.
func writeTree(w io.Writer, tree []treeNode, indent string, seen map[string]bool) {
	for _, n := range tree {
		line := n.Question + " " + string(n.Type)
		again := seen[line] && len(n.Records) > 0
		seen[line] = true
		if len(n.Aliases) > 0 {
			line += " (alias " + strings.Join(n.Aliases, ", ") + ")"
		}
		switch {
		case n.Error != "":
			line += ": " + n.Error
		case n.NoName:
			line += ": no such name"
		case len(n.Records) == 0:
			line += ": none"
		case again:
			line += ": as above"
		}
		fmt.Fprintln(w, indent+line)
		if again {
			continue
		}
		for _, r := range n.Records {
			text := r.Text
			if r.Rejected != "" {
				text += ", left out: " + r.Rejected
			}
			fmt.Fprintf(w, "%s  %s\n", indent, text)
		}
		writeTree(w, n.Children, indent+"    ", seen)
	}
}
