package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/report"
)

func historyCommand(a *app) *cobra.Command {
	var addresses bool
	c := &cobra.Command{
		Use:   "history [N]",
		Short: "Show the generations: when, by whom, what changed",
		Long: `history lists the stored generations, the newest first: when and by whom
each was made, by which command, and what it changed in the rules of the one
before. A generation is made by apply and by rollback; refresh makes none. One that
was not confirmed in time is marked as undone: the next one changes the rules of the
one before it.

With N it shows one generation with each of its changes and its policy.

With --addresses it lists which addresses have come and gone since by answers of
name servers, the newest first: when, by which name, and whether ringfence
refresh, run or apply has asked. With N only those while N was in force.`,
		Example: `  ringfence history
  ringfence history --addresses
  ringfence history 12      what did generation 12 change, and what is its policy?
  ringfence rollback 11     go back to the one before`,
		Args: oneGeneration,
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

// runMoves lists which addresses have come and gone, all or those of a generation.
func runMoves(a *app, generation int) error {
	all, err := a.fence().Moves()
	if err != nil {
		return err
	}
	list := report.MovesOf(all, generation)
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

func runHistory(a *app) error {
	all, err := a.fence().History()
	if err != nil {
		return err
	}
	list := []report.Generation{}
	for _, g := range slices.Backward(all) {
		list = append(list, report.GenerationOf(g))
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
				output.Printf(w, "%d\t%s\t%s\t%s\t%s%s\n", g.Generation, notice.Ago(g.Time), g.User, g.Command, g.Text(), standing(g))
			}
		}
	})
	return nil
}

// standing says in brackets whether a generation is in force, or was undone.
func standing(g report.Generation) string {
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
	g := report.GenerationOf(*past)
	if a.json() {
		whole := report.WholeGeneration{Generation: g, Changes: []plan.Change{}, Policy: past.Entry.Policy}
		if past.Plan != nil {
			whole.Changes = append(whole.Changes, past.Plan.Changes...)
		}
		return a.writeJSON(whole)
	}
	output.Table(a.stdout, func(w io.Writer) {
		output.Printf(w, "generation\t%d%s\n", g.Generation, standing(g))
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
