package cli

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/fatih/color"

	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// writeJSON prints one object.
func (a *app) writeJSON(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// printPlan prints a plan as one JSON object or as lines.
func (a *app) printPlan(p *plan.Plan, generation int) error {
	if !a.json() {
		a.writePlan(a.stdout, p)
		return nil
	}
	changes := p.Changes
	if changes == nil {
		changes = []plan.Change{}
	}
	return a.writeJSON(struct {
		Changed    bool          `json:"changed"`
		Generation int           `json:"generation"`
		Changes    []plan.Change `json:"changes"`
	}{!p.Empty(), generation, changes})
}

// progress reports progress if standard error is a terminal.
func (a *app) progress(format string, args ...any) {
	if isTerminal(a.stderr) {
		fmt.Fprintf(a.stderr, format+"\n", args...)
	}
}

var signs = map[plan.Action]string{plan.Add: "+", plan.Delete: "-", plan.Modify: "~"}

// writePlan prints one line for each change. The parts of a new table other than
// addresses are the same for everyone, so they are only counted.
func (a *app) writePlan(out io.Writer, p *plan.Plan) {
	fresh := !p.Have.Exists && p.Want.Exists
	buffer := bufio.NewWriter(out)
	defer buffer.Flush()
	out = buffer
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	for _, c := range p.Changes {
		sign := a.paint(c.Action, signs[c.Action])
		switch {
		case fresh && c.Kind == plan.KindTable && c.Action == plan.Add:
			fmt.Fprintf(out, "%s %s  %s, %s, %s\n", sign, cmp.Or(p.Have.Place, "table inet "+c.Name),
				notice.Count(len(p.Want.Sets), "set"), notice.Count(len(p.Want.Chains), "chain"), notice.Count(len(p.Want.Counters), "counter"))
		case fresh && c.Kind != plan.KindElement && c.Kind != plan.KindClassifier:
		case c.Kind == plan.KindElement:
			fmt.Fprintf(w, "%s %s\t%s\t%s\n", sign, c.Name, c.Value, c.Reason)
		case c.Kind == plan.KindClassifier: // the value is a hash, for programs only
			fmt.Fprintf(w, "%s classifier\t%s\t%s\n", sign, c.Name, c.Reason)
		case c.Kind == plan.KindTable && p.Have.Place != "" && c.Name == ruleset.Table:
			fmt.Fprintf(w, "%s %s\t%s\n", sign, p.Have.Place, c.Reason)
		case c.Value == "":
			fmt.Fprintf(w, "%s %s %s\t%s\n", sign, c.Kind, c.Name, c.Reason)
		default:
			fmt.Fprintf(w, "%s %s %s\t%s\t%s\n", sign, c.Kind, c.Name, c.Value, c.Reason)
		}
		if len(c.Rules) > 0 {
			w.Flush()
			for _, line := range c.Rules {
				fmt.Fprintf(out, "    %s\n", line)
			}
		}
	}
}

var signColours = map[plan.Action]color.Attribute{
	plan.Add: color.FgGreen, plan.Delete: color.FgRed, plan.Modify: color.FgYellow,
}

// paint colours a sign if the output is a terminal and NO_COLOR is not set.
func (a *app) paint(action plan.Action, text string) string {
	return a.coloured(signColours[action], text)
}

// alarm colours what needs attention.
func (a *app) alarm(text string) string { return a.coloured(color.FgRed, text) }

func (a *app) coloured(attribute color.Attribute, text string) string {
	c := color.New(attribute)
	if a.onTerminal && !color.NoColor {
		c.EnableColor()
	} else {
		c.DisableColor()
	}
	return c.Sprint(text)
}

// table prints aligned columns. The buffer joins the tabwriter's many small writes.
func table(w io.Writer, write func(w io.Writer)) {
	buffer := bufio.NewWriter(w)
	t := tabwriter.NewWriter(buffer, 0, 0, 2, ' ', 0)
	write(t)
	t.Flush()
	buffer.Flush()
}
