package cli

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
)

func historyCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "history [N]",
		Short: "Show the generations: when, by whom, what changed",
		Long: `history lists the stored generations, the newest first: when and by whom
each was made, by which command, and what it changed in the rules of the one
before. A generation is made by apply and by rollback; refresh makes none. One that
was not confirmed in time is marked as undone: the next one changes the rules of the
one before it.

With N it shows one generation with each of its changes and its policy.`,
		Example: `  ringfence history
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
			case n == 0:
				return runHistory(a)
			}
			return runGeneration(a, n)
		},
	}
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
	Undone     bool      `json:"undone,omitempty"`
	Summary    string    `json:"summary,omitempty"`
	Damaged    string    `json:"damaged,omitempty"`
}

func reportGeneration(g fence.Generation) pastGeneration {
	r := pastGeneration{Generation: g.Number, InForce: g.InForce, Undone: g.Undone}
	if g.Damaged != nil {
		r.Damaged = g.Damaged.Error()
	}
	if e := g.Entry; e != nil {
		r.Time, r.User, r.Command, r.Version, r.Source = e.Time, e.User, e.Command, e.Version, e.Source
	}
	if g.Plan != nil {
		r.Summary = plan.Changed(g.Plan)
	}
	return r
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
		fmt.Fprintln(a.stdout, "There is no generation yet: write a policy and run ringfence apply.")
		return nil
	}
	table(a.stdout, func(w io.Writer) {
		for _, g := range list {
			switch {
			case g.Damaged != "":
				fmt.Fprintf(w, "%d\t%s\n", g.Generation, a.alarm(g.Damaged))
			default:
				fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s%s\n", g.Generation, notice.Ago(g.Time), g.User, g.Command, g.Summary, g.standing())
			}
		}
	})
	return nil
}

// standing says in brackets whether a generation is in force, or was undone.
func (g pastGeneration) standing() string {
	switch {
	case g.InForce:
		return " (in force)"
	case g.Undone:
		return " (not confirmed, undone)"
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
	table(a.stdout, func(w io.Writer) {
		fmt.Fprintf(w, "generation\t%d%s\n", g.Generation, g.standing())
		fmt.Fprintf(w, "made\t%s (%s), by %s\n", g.Time.Local().Format(time.DateTime), notice.Ago(g.Time), g.User)
		fmt.Fprintf(w, "command\t%s\n", g.Command)
		fmt.Fprintf(w, "version\t%s\n", g.Version)
		fmt.Fprintf(w, "policy from\t%s\n", g.Source)
	})
	fmt.Fprintln(a.stdout, "\nchanges")
	switch {
	case past.Plan == nil:
		fmt.Fprintln(a.stdout, "  not known: the generation before it is not stored any more")
	case past.Plan.Empty():
		fmt.Fprintln(a.stdout, "  none in the rules")
	default:
		a.writePlan(a.stdout, past.Plan)
	}
	fmt.Fprintf(a.stdout, "\npolicy\n%s", past.Entry.Policy)
	return nil
}
