package view

import (
	"io"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
)

// Applied says what apply has put into force.
func Applied(w io.Writer, applied *fence.Applied) {
	defer mode(w, applied)
	p, generation := applied.Plan, applied.Generation
	switch {
	case p.Empty() && !applied.New:
		output.Printf(w, "Nothing to do: generation %d is in force.\n", generation)
	case p.Empty():
		output.Printf(w, "Generation %d is in force; the rules are the same.\n", generation)
	case !p.Have.Exists:
		output.Printf(w, "Generation %d is in force.\n", generation)
	default:
		output.Printf(w, "Generation %d is in force: %s.\n", generation, notice.Count(len(p.Changes), "change"))
	}
}

// RolledBack says what rollback has put into force. The policy file may be edited: it is
// not the text of the generation gone back to.
func RolledBack(w io.Writer, r *fence.RolledBack, edited bool) {
	switch {
	case r.Generation == r.Target && r.Plan.Empty():
		output.Printf(w, "Nothing to do: generation %d is in force.\n", r.Generation)
	case r.Generation == r.Target:
		output.Printf(w, "Generation %d is in force: %s.\n", r.Generation, notice.Count(len(r.Plan.Changes), "change"))
	case !r.New:
		output.Printf(w, "Generation %d is in force; its policy is that of generation %d.\n", r.Generation, r.Target)
	default:
		output.Printf(w, "Generation %d is in force, with the policy of generation %d: %s.\n", r.Generation, r.Target, notice.Count(len(r.Plan.Changes), "change"))
	}
	mode(w, &r.Applied)
	if edited {
		output.Printf(w, "The policy file %s differs from it: correct the file before the next apply.\n", r.Source)
	}
}

// mode says to whom it may be news that nothing is dropped.
func mode(w io.Writer, applied *fence.Applied) {
	if applied.Monitor {
		output.Println(w, "Monitor mode: what would be dropped is counted, and passes.")
	}
}
