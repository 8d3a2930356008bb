package cli

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/plan"
)

func historyCommand(a *app) *cobra.Command {
	var addresses bool
	c := &cobra.Command{
		Use:   "history [N]",
		Short: "Show the generations: when, by whom, what changed",
		Long: `history lists the stored generations, the newest first: when and by whom
each was made, by which command, and what it changed in the rules of the one
before. A generation is made by apply and by rollback; refresh makes none.

With N it shows one generation with each of its changes and its policy.

With --addresses it lists which addresses have come and gone since by answers of
name servers, the newest first: when, by which name, and whether ringfence
refresh, run or apply has asked. With N only those while N was in force.`,
		Example: `  ringfence history
  ringfence history --addresses
  ringfence history 12      what did generation 12 change, and what is its policy?
  ringfence rollback 11     go back to the one before`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) <= 1 {
				return nil
			}
			return fmt.Errorf("%s takes the number of one generation, but got %q as well", c.CommandPath(), args[1])
		},
		RunE: func(_ *cobra.Command, args []string) error {
			n, err := generationOf(args)
			switch {
			case err != nil:
				return err
			case addresses:
				return runMoves(a, n)
			case n == 0:
				return runHistory(a)
			}
			return runGeneration(a, n)
		},
	}
	c.Flags().BoolVar(&addresses, "addresses", false, "list which addresses have come and gone")
	return c
}

// move is the object that history --addresses prints for one address.
type move struct {
	Time       time.Time   `json:"time"`
	Action     plan.Action `json:"action"`
	Address    netip.Addr  `json:"address"`
	Reason     string      `json:"reason"`
	Command    string      `json:"command"`
	Generation int         `json:"generation"`
}

// runMoves lists which addresses have come and gone, all or those of a generation.
func runMoves(a *app, generation int) error {
	all, err := a.fence().Moves()
	if err != nil {
		return err
	}
	list := []move{}
	for _, m := range slices.Backward(all) {
		action := plan.Add
		if m.Gone {
			action = plan.Delete
		}
		if generation == 0 || m.Generation == generation {
			list = append(list, move{m.Time, action, m.Address, m.Reason, m.Command, m.Generation})
		}
	}
	if a.json() {
		return a.writeJSON(list)
	}
	if len(list) == 0 {
		output.Println(a.stdout, "No address has come or gone by answers of name servers.")
	}
	output.Table(a.stdout, func(w io.Writer) {
		for _, m := range list {
			output.Printf(w, "%s\t%s\t%s %s\t%s\n", m.Time.Local().Format(time.DateTime), m.Command, sign(m.Action), m.Address, m.Reason)
		}
	})
	return nil
}

// pastGeneration is the object that history prints for one generation.
type pastGeneration struct {
	Generation int       `json:"generation"`
	Time       time.Time `json:"time,omitzero"`
	User       string    `json:"user,omitempty"`
	Command    string    `json:"command,omitempty"`
	Version    string    `json:"version,omitempty"`
	Source     string    `json:"source,omitempty"`
	InForce    bool      `json:"in_force"`
	Summary    string    `json:"summary,omitempty"`
	// PolicyChanges are the keys of the policy that differ from the generation before.
	PolicyChanges []string `json:"policy_changes,omitempty"`
	Damaged       string   `json:"damaged,omitempty"`
}

func reportGeneration(g fence.Generation) pastGeneration {
	r := pastGeneration{Generation: g.Number, InForce: g.InForce}
	if g.Damaged != nil {
		r.Damaged = g.Damaged.Error()
	}
	if e := g.Entry; e != nil {
		r.Time, r.User, r.Command, r.Version, r.Source = e.Time, e.User, e.Command, e.Version, e.Source
	}
	r.PolicyChanges = g.PolicyChanges
	if g.Plan != nil {
		r.Summary = plan.Changed(g.Plan)
	}
	return r
}

// mostPolicyChanges is how many changes of a policy the list writes out.
const mostPolicyChanges = 3

// text says in one line what a generation has changed.
func (g pastGeneration) text() string {
	parts := g.PolicyChanges
	if more := len(parts) - mostPolicyChanges; more > 0 {
		parts = append(slices.Clone(parts[:mostPolicyChanges]), notice.Count(more, "more change")+" of the policy")
	}
	if g.Summary != "" {
		parts = append(slices.Clone(parts), g.Summary)
	}
	return strings.Join(parts, "; ")
}

func runHistory(a *app) error {
	all, err := a.fence().History()
	if err != nil {
		return err
	}
	list := []pastGeneration{}
	for _, g := range slices.Backward(all) {
		list = append(list, reportGeneration(g))
	}
	if a.json() {
		return a.writeJSON(list)
	}
	if len(list) == 0 {
		output.Println(a.stdout, "There is no generation yet: write a policy and run ringfence apply.")
		return nil
	}
	output.Table(a.stdout, func(w io.Writer) {
		for _, g := range list {
			switch {
			case g.Damaged != "":
				output.Printf(w, "%d\t%s\n", g.Generation, alarm(g.Damaged))
			default:
				output.Printf(w, "%d\t%s\t%s\t%s\t%s%s\n", g.Generation, notice.Ago(g.Time), g.User, g.Command, g.text(), inForce(g.InForce))
			}
		}
	})
	return nil
}

func inForce(yes bool) string {
	if yes {
		return " (in force)"
	}
	return ""
}

// runGeneration shows one generation completely.
func runGeneration(a *app, number int) error {
	past, err := a.fence().Generation(number)
	if err != nil {
		return err
	}
	g := reportGeneration(*past)
	if a.json() {
		changes := []plan.Change{}
		if past.Plan != nil {
			changes = append(changes, past.Plan.Changes...)
		}
		return a.writeJSON(struct {
			pastGeneration
			Changes []plan.Change `json:"changes"`
			Policy  string        `json:"policy"`
		}{g, changes, past.Entry.Policy})
	}
	output.Table(a.stdout, func(w io.Writer) {
		output.Printf(w, "generation\t%d%s\n", g.Generation, inForce(g.InForce))
		output.Printf(w, "made\t%s (%s), by %s\n", g.Time.Local().Format(time.DateTime), notice.Ago(g.Time), g.User)
		output.Printf(w, "command\t%s\n", g.Command)
		output.Printf(w, "version\t%s\n", g.Version)
		output.Printf(w, "policy from\t%s\n", g.Source)
	})
	if len(g.PolicyChanges) > 0 {
		fmt.Fprintln(a.stdout, "\nchanges of the policy")
		for _, line := range g.PolicyChanges {
			output.Printf(a.stdout, "  %s\n", line)
		}
	}
	fmt.Fprintln(a.stdout, "\nchanges")
	switch {
	case past.Plan == nil:
		output.Println(a.stdout, "  not known: the generation before it is not stored any more")
	case past.Plan.Empty():
		output.Println(a.stdout, "  none in the rules")
	default:
		writePlan(a.stdout, past.Plan)
	}
	fmt.Fprintln(a.stdout, "\npolicy\n"+strings.TrimSuffix(past.Entry.Policy, "\n"))
	return nil
}
