package view

import (
	"io"

	"github.com/ringfence/ringfence/pkg/doctor"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
)

// Findings prints what a host lacks, or what works against its fence.
func Findings(w io.Writer, found []doctor.Finding) {
	if len(found) == 0 {
		output.Println(w, "Nothing works against the fence here.")
	}
	for i, f := range found {
		if i > 0 {
			output.Println(w)
		}
		severity := string(f.Severity)
		if f.Severity == notice.Alarm {
			severity = Alarm(severity)
		}
		output.Paragraph(w, severity+": ", Line(f.Finding))
		output.Paragraph(w, "  why: ", Line(f.Why))
		output.Paragraph(w, "  way out: ", Line(f.WayOut))
	}
}
