package view

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/report"
)

// reasons are the sentences for what a packet was dropped for, in the order of the rules.
var reasons = []struct{ name, text string }{
	{"spoofed", "forged: answers would not go back to the source"},
	{"blocked", "banned for good by the policy"},
	{"banned", "banned for a time"},
	{"signature", "sent by a scanner"},
	{"user_agent", "no User-Agent that the policy requires"},
	{"method", "a method that the policy does not let strangers use"},
	{"rate", "too many requests in a minute"},
	{"unknown", "never allowed"},
}

// reasonText is the sentence for a reason, or the reason itself.
func reasonText(name string) string {
	for _, r := range reasons {
		if r.name == name {
			return r.text
		}
	}
	return name
}

// mostLines is how many lines of each list people get; JSON and HTML have more.
const mostLines = 15

const clock = "2 Jan 15:04"

// Report prints who was dropped over a time.
func Report(out io.Writer, r report.Activity) {
	if r.At != nil {
		output.Paragraph(out, r.At.Time.Local().Format(clock)+"  ", Line(r.At.Text))
		output.Println(out)
	}
	output.Table(out, func(w io.Writer) { head(w, r) })
	days(out, r)
	for _, s := range r.Suggestions {
		output.Println(out)
		output.Paragraph(out, s.Address+"  ", Line(s.Text))
		output.Paragraph(out, strings.Repeat(" ", len(s.Address)+2), Line(s.WayOut))
	}
	sources(out, r)
	tools(out, r.Tools)
	ranking(out, "called", r.Called)
	ranking(out, "methods", r.Methods)
}

// verb says what happened to what was dropped.
func verb(r report.Activity) string {
	if r.Mode == "monitor" {
		return "would be dropped"
	}
	return "dropped"
}

func head(w io.Writer, r report.Activity) {
	output.Printf(w, "time\t%s to %s\n", r.Since.Local().Format(clock), r.Until.Local().Format(clock))
	output.Printf(w, "mode\t%s\n", r.Mode)
	least, hour := "", ""
	if !r.Counted {
		least = "at least "
	}
	if !r.Counted && len(r.Hosts) == 0 {
		output.Printf(w, "recorded\tnothing: that takes ringfence run as a service\n")
		sum := func(prefix string) (n uint64) {
			for name, packets := range r.Counters {
				if strings.HasPrefix(name, prefix) && name != "allowed_scanner" {
					n += packets
				}
			}
			return n
		}
		output.Printf(w, "since the table was made\t%s %s, %d let in\n", packets(sum("dropped_")), verb(r), sum("allowed_"))
		return
	}
	if r.At != nil && r.Counted {
		hour = " in that hour"
	}
	output.Printf(w, "%s\t%s%s%s\t%s\n", verb(r), least, packets(report.Total(r.Dropped)), hour, packetsText(r.Dropped))
	output.Printf(w, "sources\t%s\n", sourcesText(r))
	if r.Counted {
		output.Printf(w, "let in\t%s%s\t%s\n", packets(report.Total(r.Allowed)), hour, packetsText(r.Allowed))
	}
}

// sourceCount is how many sources there were, or at least.
func sourceCount(r report.Activity) (n int, atLeast string) {
	if r.More.AtLeast || r.More.Packets > 0 {
		atLeast = "at least "
	}
	return len(r.Hosts) + r.More.Sources, atLeast
}

func sourcesText(r report.Activity) string {
	n, atLeast := sourceCount(r)
	return atLeast + notice.Count(n, "source")
}

// packetsText are packets by reason, most first.
func packetsText(packets map[string]uint64) string {
	var parts []string
	for _, name := range byPackets(packets) {
		parts = append(parts, fmt.Sprintf("%s %d", strings.ReplaceAll(name, "_", " "), packets[name]))
	}
	return strings.Join(parts, ", ")
}

// byPackets are the names with packets, most first.
func byPackets(packets map[string]uint64) (names []string) {
	for name, n := range packets {
		if n > 0 {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(packets[b], packets[a]), cmp.Compare(a, b)) })
	return names
}

// days prints what came when, as bars: of a day, or of an hour or month.
func days(out io.Writer, r report.Activity) {
	layout := "Mon 2 Jan"
	switch span := r.Until.Sub(r.Since); {
	case span <= time.Hour:
		return
	case span <= 48*time.Hour:
		layout = "2 Jan 15:04"
	case span > 40*24*time.Hour:
		layout = "Jan 2006"
	}
	type row struct {
		name    string
		packets uint64
	}
	var rows []row
	most := uint64(0)
	for _, t := range r.Times {
		name := t.Time.Local().Format(layout)
		if len(rows) == 0 || rows[len(rows)-1].name != name {
			rows = append(rows, row{name: name})
		}
		last := &rows[len(rows)-1]
		last.packets += report.Total(t.Dropped)
		most = max(most, last.packets)
	}
	if most == 0 {
		return
	}
	const widest = 40
	output.Printf(out, "\nwhen, packets %s\n", verb(r))
	output.Table(out, func(w io.Writer) {
		for _, row := range rows {
			bar := strings.Repeat("#", int((row.packets*widest+most-1)/most))
			output.Printf(w, "  %s\t%d", row.name, row.packets)
			if bar != "" {
				output.Printf(w, "\t%s", bar)
			}
			output.Println(w)
		}
	})
}

func sources(out io.Writer, r report.Activity) {
	if len(r.Hosts) == 0 {
		return
	}
	title := "sources"
	if !r.Counted {
		title += ", with all packets that the kernel has counted, some perhaps before that time"
	}
	output.Printf(out, "\n%s\n", title)
	output.Table(out, func(w io.Writer) {
		for _, s := range r.Hosts[:min(len(r.Hosts), mostLines)] {
			output.Printf(w, "  %s\t%d\t%s\t%s", s.Address, s.Packets, s.Last.Local().Format(clock), s.Reason)
			if what := content(s); what != "" {
				output.Printf(w, "\t%s", what)
			}
			output.Println(w)
		}
	})
	if more := len(r.Hosts) + r.More.Sources - mostLines; more > 0 {
		output.Printf(out, "  and %d more (-o json has the first %d)\n", more, len(r.Hosts))
	}
}

// content says what a source has sent.
func content(s report.Source) string {
	parts := []string{s.Method}
	if s.Called != "" {
		parts = append(parts, "of "+s.Called)
	}
	if s.Several {
		parts = append(parts, "and others")
	}
	switch {
	case s.Signature != "":
		parts = append(parts, "by a scanner ("+s.Signature+")")
	case s.UserAgent != "":
		parts = append(parts, "by "+s.UserAgent)
	}
	return strings.TrimSpace(strings.Join(parts, " "))
}

func tools(out io.Writer, list []report.Tool) {
	var names []report.Named
	for _, t := range list {
		names = append(names, report.Named{Name: toolName(t), Packets: t.Packets})
	}
	ranking(out, "tools", names)
}

func toolName(t report.Tool) string {
	if t.Signature != "" {
		return "scanner " + t.Signature
	}
	return t.UserAgent
}

func ranking(out io.Writer, title string, list []report.Named) {
	if len(list) == 0 {
		return
	}
	output.Printf(out, "\n%s\n", title)
	output.Table(out, func(w io.Writer) {
		for _, n := range list[:min(len(list), mostLines)] {
			output.Printf(w, "  %d\t%s\n", n.Packets, n.Name)
		}
	})
}
