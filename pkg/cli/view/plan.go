package view

import (
	"cmp"
	"io"

	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

var signs = map[plan.Action]string{plan.Add: "+", plan.Delete: "-", plan.Modify: "~"}

var signColours = map[plan.Action]output.Colour{plan.Add: output.Green, plan.Delete: output.Red, plan.Modify: output.Yellow}

// sign is that of an action, in its colour.
func sign(action plan.Action) string { return output.Paint(signColours[action], signs[action]) }

// Plan prints one line for each change. The parts of a new table other than
// addresses are the same for everyone, so they are only counted.
func Plan(out io.Writer, p *plan.Plan) {
	fresh := !p.Have.Exists && p.Want.Exists
	output.Table(out, func(w io.Writer) {
		for _, c := range p.Changes {
			switch {
			case fresh && c.Kind == plan.KindTable && c.Action == plan.Add:
				output.Printf(w, "%s %s  %s, %s, %s\n", sign(c.Action), cmp.Or(p.Have.Place, "table inet "+c.Name),
					notice.Count(len(p.Want.Sets), "set"), notice.Count(len(p.Want.Chains), "chain"), notice.Count(len(p.Want.Counters), "counter"))
			case fresh && c.Kind != plan.KindElement && c.Kind != plan.KindClassifier:
			case c.Kind == plan.KindElement:
				// There may be very many, and Printf takes longer.
				_, _ = io.WriteString(w, sign(c.Action)+" "+output.Escape(c.Name)+"\t"+output.Escape(c.Value)+"\t"+output.Escape(c.Reason)+"\n")
			case c.Kind == plan.KindClassifier: // the value is a hash, for programs only
				output.Printf(w, "%s classifier\t%s\t%s\n", sign(c.Action), c.Name, c.Reason)
			case c.Kind == plan.KindTable && p.Have.Place != "" && c.Name == ruleset.Table:
				output.Printf(w, "%s %s\t%s\n", sign(c.Action), p.Have.Place, c.Reason)
			case c.Value == "":
				output.Printf(w, "%s %s %s\t%s\n", sign(c.Action), string(c.Kind), c.Name, c.Reason)
			default:
				output.Printf(w, "%s %s %s\t%s\t%s\n", sign(c.Action), string(c.Kind), c.Name, c.Value, c.Reason)
			}
			for _, line := range c.Rules {
				output.Printf(w, "    %s\n", line)
			}
		}
	})
}
