package view

import (
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/report"
)

// Dropped prints the first of the sources that were dropped in a time, or would be in monitor
// mode.
func Dropped(w io.Writer, d fence.Drops, since time.Duration, most int) {
	list, monitor := d.Sources, d.Monitor
	switch {
	case len(list) == 0 && monitor:
		output.Printf(w, "Nobody would have been dropped in the last %s.\n", policy.DurationText(since))
	case len(list) == 0:
		output.Printf(w, "Nobody was dropped in the last %s.\n", policy.DurationText(since))
	case monitor:
		output.Println(w, "These would be dropped. In monitor mode what they send passes.")
	}
	shown := list[:min(len(list), most)]
	dropped(w, "", report.EachDropped(shown))
	if more := len(list) - len(shown); more > 0 {
		output.Printf(w, "%s before; ringfence dropped --all shows all\n", notice.Count(more, "more source"))
	}
}

// dropped prints sources, each with what it has sent last.
func dropped(out io.Writer, indent string, list iter.Seq[report.Dropped]) {
	output.Table(out, func(w io.Writer) {
		for d := range list {
			output.Printf(w, "%s%s\t%s\tlast %s\t%s", indent, d.Address, packets(d.Packets), notice.Ago(d.Last), d.Text)
			if what := Sent(d); what != "" {
				output.Printf(w, "\t%s", what)
			}
			output.Println(w)
		}
	})
}

func packets(n uint64) string { return notice.Count(int(n), "packet") }

// Sent says what a source has sent last, "" if that is not known.
func Sent(d report.Dropped) string {
	var words []string
	if d.Method != "" {
		words = append(words, d.Method)
	}
	if d.Called != "" {
		words = append(words, "of "+d.Called)
	}
	if d.UserAgent != "" {
		words = append(words, "by "+d.UserAgent)
	}
	return strings.Join(words, " ")
}

// writeLatest prints the sources that were dropped last.
func writeLatest(out io.Writer, l report.Latest, monitor bool) {
	if l.Sources == 0 {
		return
	}
	title := "dropped in the last day"
	if monitor {
		title = "would be dropped, in the last day"
	}
	output.Printf(out, "\n%s: %s; ringfence dropped shows all\n", title, notice.Count(l.Sources, "source"))
	dropped(out, "  ", slices.Values(l.Latest))
}

// Watched prints a source of which packets have come, as one line.
func Watched(w io.Writer, m report.Watched) {
	output.Printf(w, "%s  %s  %s  %s  %s\n", time.Now().Format(time.TimeOnly), m.Address, packets(m.More), m.Text, Sent(m.Dropped))
}
