package cli

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/cli/view"
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
	view.Moves(a.stdout, list)
	return nil
}

func runHistory(a *app) error {
	all, err := a.fence().View().History()
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
	view.History(a.stdout, list)
	return nil
}

// runGeneration shows one generation completely.
func runGeneration(a *app, number int) error {
	past, err := a.fence().View().Generation(number)
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
	view.Generation(a.stdout, g, past.Plan, past.Entry.Policy)
	return nil
}
