package view

import (
	"io"
	"maps"
	"slices"

	"github.com/ringfence/ringfence/pkg/capture"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/report"
)

// Totals prints how many packets of a capture are taken for what.
func Totals(to io.Writer, totals report.Totals) {
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
