package view

import (
	"fmt"
	"io"

	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/report"
)

// Signatures prints a line for each condition.
func Signatures(w io.Writer, list []report.Signature) {
	output.Table(w, func(w io.Writer) {
		fmt.Fprintln(w, "NAME\tCLASS\tHEADER\tMATCH\tPACKETS")
		for _, s := range list {
			packets := "-"
			switch {
			case !s.On:
				packets = "off"
			case s.Packets != nil:
				packets = fmt.Sprint(*s.Packets)
			}
			first := report.Condition{Header: s.Header, Match: s.Match, Value: s.Value}
			if len(s.All) > 0 {
				first = s.All[0]
			}
			output.Printf(w, "%s\t%s\t%s\t%s %q\t%s\n", s.Name, s.Class, first.Header, first.Match, first.Value, packets)
			for _, also := range s.All[min(1, len(s.All)):] {
				output.Printf(w, "  and\t\t%s\t%s %q\t\n", also.Header, also.Match, also.Value)
			}
		}
	})
}

// Message prints what a SIP message is taken for, and where it matches.
func Message(w io.Writer, t report.Message) {
	output.Println(w, t.Verdict)
	output.Table(w, func(w io.Writer) {
		for _, f := range t.Findings {
			output.Printf(w, "  %d:%d\t%s\t%s\t%s: %q\n", f.Line, f.Column, f.Signature, f.Class, f.Header, f.Text)
		}
	})
}
