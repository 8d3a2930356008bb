package report

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/capture"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/signature"
)

// Message is the object that signatures test prints.
type Message struct {
	Request  bool      `json:"request"`
	Verdict  string    `json:"verdict"`
	Named    string    `json:"named,omitempty"` // the signature that decides
	Findings []Finding `json:"findings"`
}

// Finding is where a signature matches.
type Finding struct {
	Signature string          `json:"signature"`
	Class     signature.Class `json:"class"`
	Header    string          `json:"header"`
	Line      int             `json:"line"`
	Column    int             `json:"column"`
	Text      string          `json:"text"`
}

// Capture is the object that signatures test prints for a capture.
type Capture struct {
	Packets []Packet `json:"packets"`
	Totals  Totals   `json:"totals"`
	// Error says why not all of it was read, null if it was.
	Error *string `json:"error"`
}

// Packet is a packet of a capture, and what it is taken for.
type Packet struct {
	Number      int           `json:"number"`
	Time        time.Time     `json:"time"`
	Protocol    string        `json:"protocol,omitempty"` // udp or tcp
	Source      string        `json:"source,omitempty"`
	Destination string        `json:"destination,omitempty"`
	Verdict     capture.Class `json:"verdict"`
	Request     bool          `json:"request"`
	Named       string        `json:"named,omitempty"`   // the signature that decides
	Missing     int           `json:"missing,omitempty"` // bytes that were not captured
	Findings    []Finding     `json:"findings,omitempty"`
}

// Totals count the packets of a capture.
type Totals struct {
	Packets    int                   `json:"packets"`
	Verdicts   map[capture.Class]int `json:"verdicts"`
	Signatures map[string]int        `json:"signatures"` // packets by the signature that decided
}

// Findings are the places in a message where signatures match, in their order.
func Findings(message []byte, e signature.Explanation) []Finding {
	findings := []Finding{}
	for _, f := range e.Findings {
		findings = append(findings, Finding{
			f.Signature.Name, f.Signature.Class, cmp.Or(f.Header, signature.RequestLine), f.Line, f.Column,
			strings.TrimRight(string(message[f.From:f.To]), "\r\n"),
		})
	}
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return findings
}

// verdictText says how the kernel would treat a message.
func verdictText(e signature.Explanation, automaton *signature.Automaton, length int) string {
	switch {
	case e.Result.Mark == signature.Scanner:
		return fmt.Sprintf("It comes from a scanner: %s.", e.Result.Signature)
	case !e.Request:
		return "It is not a SIP request, so it is not checked."
	case e.Result.Mark == signature.NotAllowed:
		return "Its User-Agent is not one of those that the policy requires."
	case e.Result.Mark == signature.Allowed:
		return fmt.Sprintf("Its User-Agent is one of those that the policy requires: %s.", e.Allowed)
	case e.Result.Signature != "":
		return fmt.Sprintf("It is only counted: %s.", e.Result.Signature)
	}
	verdict := fmt.Sprintf("It matches none of %s.", notice.Count(len(automaton.Signatures()), "signature"))
	if length > signature.MaxLength {
		verdict += fmt.Sprintf(" Only the first %d bytes are read.", signature.MaxLength)
	}
	return verdict
}

// Endpoint is an address with its port where there is one.
func Endpoint(a netip.AddrPort) string {
	switch {
	case !a.IsValid():
		return ""
	case a.Port() == 0:
		return a.Addr().String()
	}
	return a.String()
}

// Line is the packet in one line.
func (t Packet) Line() string {
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

// MessageOf makes the object of a message.
func MessageOf(message []byte, automaton *signature.Automaton) Message {
	e := automaton.Explain(message)
	return Message{e.Request, verdictText(e, automaton, len(message)), e.Result.Signature, Findings(message, e)}
}
