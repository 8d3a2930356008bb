package view

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/report"
)

// Verified prints what a copy of the rules has done with packets, and what differs from
// the policy.
func Verified(w io.Writer, place string, r report.Verified) {
	output.Printf(w, "%s were sent through a copy of %s, in a network namespace of its own.\n",
		notice.Count(len(r.Packets), "packet"), place)
	if r.Tried < r.Addresses {
		output.Printf(w, "Of %s in its sets, %d were tried.\n", notice.Count(r.Addresses, "address"), r.Tried)
	}
	if !r.Signatures {
		output.Println(w, Line("Signatures were not part of it: "+r.Without+"."))
	}
	if r.Mode == "monitor" {
		output.Println(w, "In monitor mode what would be dropped passes.")
	}
	output.Println(w)
	output.Table(w, func(w io.Writer) {
		fmt.Fprintln(w, "WHO\tSOURCE\tBY\tPORTS\tSENT\tRESULT")
		for _, row := range rowsOf(r.Packets) {
			p := row.Probed
			result := p.Result
			if p.Result != p.Policy {
				result = Alarm(fmt.Sprintf("%s, and should %s (%s)", p.Result, p.Policy, p.Reason))
			}
			ports := p.Protocol + " " + strings.Join(row.ports, ", ")
			output.Printf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", p.Who, p.Source, p.Interface, ports, p.Kind, result)
		}
	})
	output.Println(w)
	for _, other := range r.NotCopied {
		output.Paragraph(w, "", Alarm("Another program's, which is not copied: "+Line(other)))
	}
	differ := 0
	for _, p := range r.Packets {
		if p.Result != p.Policy {
			differ++
		}
	}
	switch {
	case differ > 0:
		output.Println(w, Alarm(fmt.Sprintf("%d of them are not what the policy says.", differ)))
	case len(r.NotCopied) == 0:
		output.Println(w, "All is as the policy says.")
	}
}

// row is what several ports have in common.
type row struct {
	report.Probed
	ports []string
}

// rowsOf puts packets together that differ only in their port, in the order in which they
// were sent.
func rowsOf(packets []report.Probed) []row {
	var rows []row
	for _, p := range packets {
		port := fmt.Sprint(p.Port)
		p.Port = 0
		i := slices.IndexFunc(rows[max(0, len(rows)-6):], func(r row) bool { return r.Probed == p })
		if i < 0 {
			rows = append(rows, row{p, []string{port}})
			continue
		}
		last := &rows[max(0, len(rows)-6)+i]
		last.ports = append(last.ports, port)
	}
	return rows
}
