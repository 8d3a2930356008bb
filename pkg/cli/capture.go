package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/capture"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/signature"
)

// testedCapture is the object that signatures test prints for a capture.
type testedCapture struct {
	Packets []testedPacket `json:"packets"`
	Totals  captureTotals  `json:"totals"`
	// Error says why not all of it was read, null if it was.
	Error *string `json:"error"`
}

type testedPacket struct {
	Number      int              `json:"number"`
	Time        time.Time        `json:"time"`
	Protocol    string           `json:"protocol,omitempty"` // udp or tcp
	Source      string           `json:"source,omitempty"`
	Destination string           `json:"destination,omitempty"`
	Verdict     capture.Class    `json:"verdict"`
	Request     bool             `json:"request"`
	Named       string           `json:"named,omitempty"`   // the signature that decides
	Missing     int              `json:"missing,omitempty"` // bytes that were not captured
	Findings    []messageFinding `json:"findings,omitempty"`
}

type captureTotals struct {
	Packets    int                   `json:"packets"`
	Verdicts   map[capture.Class]int `json:"verdicts"`
	Signatures map[string]int        `json:"signatures"` // packets by the signature that decided
}

// testCapture prints what each packet is taken for. An error comes after what was read
// before it.
func testCapture(ctx context.Context, a *app, r *bufio.Reader, automaton *signature.Automaton, p *policy.Policy) error {
	tested := testedCapture{Packets: []testedPacket{}, Totals: captureTotals{Verdicts: map[capture.Class]int{}, Signatures: map[string]int{}}}
	totals := &tested.Totals
	judge := capture.NewJudge(automaton, p.Ports.UDP, p.Ports.TCP)
	err := capture.Read(r, func(p capture.Packet) error {
		v := judge.Judge(p)
		t := testedPacket{
			Number: p.Number, Time: p.Time, Protocol: p.Protocol, Source: endpoint(p.Source), Destination: endpoint(p.Destination),
			Verdict: v.Class, Request: v.Explanation.Request, Named: v.Explanation.Result.Signature, Missing: p.Missing,
		}
		totals.Packets++
		totals.Verdicts[t.Verdict]++
		if t.Named != "" {
			totals.Signatures[t.Named]++
		}
		if !a.json() {
			output.Println(a.stdout, t.line())
			return ctx.Err()
		}
		t.Findings = findingsIn(p.Payload, v.Explanation)
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
	printTotals(a.stdout, tested.Totals)
	return err
}

// endpoint is an address with its port where there is one.
func endpoint(a netip.AddrPort) string {
	switch {
	case !a.IsValid():
		return ""
	case a.Port() == 0:
		return a.Addr().String()
	}
	return a.String()
}

func (t testedPacket) line() string {
	text := fmt.Sprintf("%5d  %s", t.Number, t.Time.Format("15:04:05.000"))
	if t.Source != "" {
		text += strings.TrimSuffix(fmt.Sprintf("  %s > %s  %s", t.Source, t.Destination, t.Protocol), "  ")
	}
	text += "  " + string(t.Verdict)
	if t.Named != "" {
		text += ": " + t.Named
	}
	if t.Missing > 0 {
		text += fmt.Sprintf(" (%s not captured)", notice.Count(t.Missing, "byte"))
	}
	return text
}

func printTotals(to io.Writer, totals captureTotals) {
	output.Printf(to, "%s", notice.Count(totals.Packets, "packet"))
	separator := ": "
	for _, c := range capture.Classes {
		if n := totals.Verdicts[c]; n > 0 {
			output.Printf(to, "%s%d %s", separator, n, c)
			separator = ", "
		}
	}
	output.Println(to)
	output.Table(to, func(w io.Writer) {
		for _, name := range slices.Sorted(maps.Keys(totals.Signatures)) {
			output.Printf(w, "  %s\t%d\n", name, totals.Signatures[name])
		}
	})
}
