package cli

import (
	"bufio"
	"context"
	"errors"

	"github.com/ringfence/ringfence/pkg/capture"
	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/report"
	"github.com/ringfence/ringfence/pkg/signature"
)

// testCapture prints what each packet is taken for. An error comes after what was read
// before it.
func testCapture(ctx context.Context, a *app, r *bufio.Reader, automaton *signature.Automaton, p *policy.Policy) error {
	tested := report.Capture{Packets: []report.Packet{}, Totals: report.Totals{Verdicts: map[capture.Class]int{}, Signatures: map[string]int{}}}
	totals := &tested.Totals
	judge := capture.NewJudge(automaton, p.Ports.UDP, p.Ports.TCP)
	err := capture.Read(r, func(p capture.Packet) error {
		v := judge.Judge(p)
		t := report.Packet{
			Number: p.Number, Time: p.Time, Protocol: p.Protocol, Source: report.Endpoint(p.Source), Destination: report.Endpoint(p.Destination),
			Verdict: v.Class, Request: v.Explanation.Request, Named: v.Explanation.Result.Signature, Missing: p.Missing,
		}
		totals.Packets++
		totals.Verdicts[t.Verdict]++
		if t.Named != "" {
			totals.Signatures[t.Named]++
		}
		if !a.json() {
			output.Println(a.stdout, t.Line())
			return ctx.Err()
		}
		t.Findings = report.Findings(p.Payload, v.Explanation)
		tested.Packets = append(tested.Packets, t)
		return ctx.Err()
	})
	if a.json() {
		if err != nil {
			text := err.Error()
			tested.Error = &text
		}
		return errors.Join(a.writeJSON(tested), err)
	}
	view.Totals(a.stdout, tested.Totals)
	return err
}
