package cli

import (
	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/report"
)

// writeJSON prints one object.
func (a *app) writeJSON(v any) error { return output.JSON(a.stdout, v) }

// printPlan prints a plan as one JSON object or as lines.
func (a *app) printPlan(p *plan.Plan, generation int) error {
	if !a.json() {
		view.Plan(a.stdout, p)
		return nil
	}
	return a.writeJSON(report.PlanOf(p, generation))
}

// progress reports progress if standard error is a terminal.
func (a *app) progress(format string, args ...any) {
	if a.stderr.Terminal {
		output.Printf(a.stderr, format+"\n", args...)
	}
}
