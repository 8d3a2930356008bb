package view

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/report"
)

// Moves prints which addresses have come and gone.
func Moves(w io.Writer, list []report.Move) {
	if len(list) == 0 {
		output.Println(w, "No address has come or gone by answers of name servers.")
	}
	output.Table(w, func(w io.Writer) {
		for _, m := range list {
			output.Printf(w, "%s\t%s\t%s %s\t%s\n", m.Time.Local().Format(time.DateTime), m.Command, sign(m.Action), m.Address, m.Reason)
		}
	})
}

// History prints a line for each generation.
func History(w io.Writer, list []report.Generation) {
	if len(list) == 0 {
		output.Println(w, "There is no generation yet: write a policy and run ringfence apply.")
		return
	}
	output.Table(w, func(w io.Writer) {
		for _, g := range list {
			switch {
			case g.Damaged != "":
				output.Printf(w, "%d\t%s\n", g.Generation, Alarm(g.Damaged))
			default:
				output.Printf(w, "%d\t%s\t%s\t%s\t%s%s\n", g.Generation, notice.Ago(g.Time), g.User, g.Command, g.Text(), standing(g))
			}
		}
	})
}

// Generation shows one generation completely, with its policy and what it changed; no
// plan says that this is not known.
func Generation(w io.Writer, g report.Generation, changes *plan.Plan, policy string) {
	output.Table(w, func(w io.Writer) {
		output.Printf(w, "generation\t%d%s\n", g.Generation, standing(g))
		output.Printf(w, "made\t%s (%s), by %s\n", g.Time.Local().Format(time.DateTime), notice.Ago(g.Time), g.User)
		output.Printf(w, "command\t%s\n", g.Command)
		output.Printf(w, "version\t%s\n", g.Version)
		output.Printf(w, "policy from\t%s\n", g.Source)
	})
	if len(g.PolicyChanges) > 0 {
		fmt.Fprintln(w, "\nchanges of the policy")
		for _, line := range g.PolicyChanges {
			output.Printf(w, "  %s\n", line)
		}
	}
	fmt.Fprintln(w, "\nchanges")
	switch {
	case changes == nil:
		output.Println(w, "  not known: the generation before it is not stored any more")
	case changes.Empty():
		output.Println(w, "  none in the rules")
	default:
		Plan(w, changes)
	}
	fmt.Fprintln(w, "\npolicy\n"+strings.TrimSuffix(policy, "\n"))
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
