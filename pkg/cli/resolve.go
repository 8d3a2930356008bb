package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"slices"
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
	// Cut are the limits beyond which there is more.
	Cut []resolve.CutBy `json:"cut,omitempty"`
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
	// Server is the name server that says so, "" for the host's own file.
	Server  string       `json:"server,omitempty"`
	Records []treeRecord `json:"records"`
	Error   string       `json:"error,omitempty"`
	// Again says that the children are where the question stands before.
	Again    bool       `json:"again,omitempty"`
	Children []treeNode `json:"children,omitempty"`
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
		r.Roots = views[i].Narrow(r.Roots, r.Target)
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
		Tree: treeOf(r.Roots, filter, map[resolve.Question]bool{}), Cut: r.Cut,
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

// treeOf describes nodes. What several records lead to is described once.
func treeOf(nodes []*resolve.Node, filter resolve.AddressFilter, seen map[resolve.Question]bool) []treeNode {
	var tree []treeNode
	for _, n := range nodes {
		t := treeNode{
			Question: n.Question.Name, Type: n.Question.Type, Aliases: n.Aliases, NoName: n.NoName,
			Server: n.Server, Records: []treeRecord{}, Again: seen[n.Question],
		}
		if seen[n.Question] = true; !t.Again {
			t.Children = treeOf(n.Children, filter, seen)
		}
		for _, r := range n.Records {
			record := treeRecord{r.String(), int64(r.TTL / time.Second), r.Address, r.Target, r.Priority, r.Weight, r.Port, r.Service, r.Unused()}
			if why := filter.RejectFrom(n.Question, r.Address); r.Address.IsValid() && why != "" {
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
		w := treeWriter{Writer: a.stdout, seen: map[string]bool{}}
		servers := serversOf(n.Tree)
		w.named = len(servers) > 1
		fmt.Fprintln(w, n.Name)
		w.write(n.Tree, "  ")
		if len(servers) > 0 {
			fmt.Fprintln(w, "answered by "+strings.Join(servers, ", "))
		}
		if len(n.Cut) > 0 {
			var limits []string
			for _, limit := range n.Cut {
				limits = append(limits, string(limit))
			}
			fmt.Fprintf(w, "left out is what goes beyond %s\n", strings.Join(limits, ", "))
		}
		fmt.Fprintln(a.stdout, "allowed:")
		if len(n.Addresses) == 0 {
			fmt.Fprintln(a.stdout, "  no address")
		}
		table(a.stdout, func(w io.Writer) {
			for _, address := range n.Addresses {
				fmt.Fprintf(w, "  %s\t%s\t%s\n", address.Address, address.Via, ttlText(address.TTL))
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

// ttlText writes how long an answer may be kept; what the host's own file says holds
// until somebody changes it.
func ttlText(seconds int64) string {
	if time.Duration(seconds)*time.Second >= resolve.LongestTTL {
		return ""
	}
	return fmt.Sprintf("TTL %d s", seconds)
}

// serversOf are the name servers that have answered something in a tree, sorted.
func serversOf(tree []treeNode) []string {
	var servers []string
	for _, n := range tree {
		servers = append(servers, serversOf(n.Children)...)
		if n.Server != "" {
			servers = append(servers, n.Server)
		}
	}
	slices.Sort(servers)
	return slices.Compact(servers)
}

// treeWriter prints one line for each question and each record. What several records
// lead to is printed once.
type treeWriter struct {
	io.Writer
	seen  map[string]bool
	named bool // name the server that has answered
}

func (w treeWriter) write(tree []treeNode, indent string) {
	for _, n := range tree {
		line := n.Question + " " + string(n.Type)
		again := w.seen[line] && len(n.Records) > 0
		w.seen[line] = true
		if len(n.Aliases) > 0 {
			line += " (alias " + strings.Join(n.Aliases, ", ") + ")"
		}
		if w.named && n.Server != "" {
			line += " (by " + n.Server + ")"
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
		w.write(n.Children, indent+"    ")
	}
}
