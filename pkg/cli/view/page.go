package view

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"html"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/report"
)

//go:embed page.css
var pageStyle string

// markup is HTML that is being written. What is put into it is escaped, so that no text
// of a packet becomes markup: only formats are, which are all in this file. html/template
// would do the same, and make the program a fifth larger, because it keeps every method
// of every type.
type markup struct{ bytes.Buffer }

// put writes a format in which every argument is a %s: the content of an element, or the
// value of an attribute in quotes.
func (m *markup) put(format string, args ...any) {
	for i, a := range args {
		args[i] = html.EscapeString(output.Escape(fmt.Sprint(a)))
	}
	fmt.Fprintf(&m.Buffer, format, args...)
	m.WriteByte('\n')
}

// Page writes a report as a page of HTML that needs nothing else.
func Page(w io.Writer, r report.Activity, host string) error {
	var m markup
	m.head(r, host)
	m.remarks(r)
	m.totals(r)
	m.times(r)
	m.lists(r)
	m.hosts(r)
	m.providers(r)
	m.put("<footer>Made by ringfence report. Of each source and reason, one packet a minute is looked at: sources, tools, methods and users are of these.</footer>")
	m.put("</main>\n</body>\n</html>")
	_, err := w.Write(m.Bytes())
	return err
}

func (m *markup) head(r report.Activity, host string) {
	m.put(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>SIP report of %s</title>
<style>`, host)
	m.WriteString(pageStyle)
	m.put("</style>\n</head>\n<body>\n<main>\n<h1>SIP report of %s</h1>", host)
	monitor := ""
	if r.Mode == "monitor" {
		monitor = ": what would be dropped passes"
	}
	m.put(`<p class="soft"><time>%s</time> to <time>%s</time> (%s), mode %s%s</p>`,
		moment(r.Since), moment(r.Until), r.Until.Local().Format("MST"), r.Mode, monitor)
}

func moment(t time.Time) string { return t.Local().Format(clock) }

// remarks are what somebody should read first.
func (m *markup) remarks(r report.Activity) {
	if r.At != nil {
		m.put("<section class=\"card note\">\n<h2>What was it at %s?</h2>\n<p>%s</p>\n</section>", moment(r.At.Time), r.At.Text)
	}
	if len(r.Suggestions) == 0 {
		return
	}
	m.put("<section class=\"card note\">\n<h2>Not like scanners</h2>")
	for _, s := range r.Suggestions {
		m.put(`<p><code>%s</code> %s<br><span class="soft">%s</span></p>`, s.Address, s.Text, s.WayOut)
	}
	m.put("</section>")
}

func (m *markup) totals(r report.Activity) {
	least, within := "", ""
	switch {
	case !r.Counted:
		least = "at least "
	case r.At != nil:
		within = " in that hour"
	}
	tile := func(title, number string) {
		m.put(`<section class="card"><span class="soft">%s</span><b>%s</b></section>`, title, number)
	}
	m.put(`<div class="tiles">`)
	tile("Packets"+thatWere(r)+" "+verb(r)+within, least+grouped(report.Total(r.Dropped)))
	n, atLeast := sourceCount(r)
	tile("Sources", atLeast+grouped(uint64(n)))
	if r.Counted {
		tile("Packets let in"+within, grouped(report.Total(r.Allowed)))
	}
	m.put("</div>")
	if !r.Counted && len(r.Hosts) == 0 {
		m.put(`<section class="card"><p>Nothing was recorded in this time. What comes when is recorded by <code>ringfence run</code>.</p></section>`)
	}
}

// thatWere leads from packets to what became of them.
func thatWere(r report.Activity) string {
	if verb(r) == "dropped" {
		return ""
	}
	return " that"
}

func (m *markup) times(r report.Activity) {
	if r.At != nil {
		return
	}
	m.picture("Packets"+thatWere(r)+" "+verb(r), pictureOf(r.Times, func(t report.TimeSpan) map[string]uint64 { return t.Dropped }))
	m.picture("Packets let in", pictureOf(r.Times, func(t report.TimeSpan) map[string]uint64 { return t.Allowed }))
}

func (m *markup) picture(title string, p picture) {
	if len(p.Bars) == 0 {
		return
	}
	m.put("<section class=\"card\">\n<h2>%s</h2>", title)
	m.put(`<svg class="picture" viewBox="0 0 %s %s" preserveAspectRatio="none" role="img" aria-label="packets over time, at most %s in one bar">`,
		units(pictureWidth), units(pictureHeight), grouped(p.Most))
	for _, b := range p.Bars {
		m.put(`<rect class="%s" x="%s" y="%s" width="%s" height="%s"><title>%s</title></rect>`, b.Class, b.X, b.Y, b.Width, b.Height, b.Title)
	}
	m.put("</svg>\n<div class=\"axis\"><span>%s</span><span>%s</span><span>%s</span></div>", p.First, p.Middle, p.End)
	m.put("<div class=\"axis\"><span>highest bar: %s packets</span></div>\n<div class=\"legend\">", grouped(p.Most))
	for _, l := range p.Legend {
		m.put(`<span><i class="%s"></i>%s %s</span>`, l.Class, strings.ReplaceAll(l.Name, "_", " "), grouped(l.Packets))
	}
	m.put("</div>\n</section>")
}

func (m *markup) lists(r report.Activity) {
	var tools []report.Named
	for _, t := range r.Tools {
		tools = append(tools, report.Named{Name: toolName(t), Packets: t.Packets})
	}
	if len(tools)+len(r.Methods)+len(r.Called) == 0 {
		return
	}
	m.put(`<div class="lists">`)
	m.list("Tools", tools)
	m.list("Methods", r.Methods)
	m.list("Called users", r.Called)
	m.put("</div>")
}

// list is a list with bars.
func (m *markup) list(title string, names []report.Named) {
	if len(names) == 0 {
		return
	}
	m.put("<section class=\"card\">\n<h2>%s</h2>", title)
	for _, n := range names[:min(len(names), mostNames)] {
		m.put(`<div class="row"><div><span>%s</span><span class="number">%s</span></div><svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true"><rect width="%s" height="1"/></svg></div>`,
			n.Name, grouped(n.Packets), units(100*float64(n.Packets)/float64(max(names[0].Packets, 1))))
	}
	m.put("</section>")
}

func (m *markup) hosts(r report.Activity) {
	if len(r.Hosts) == 0 {
		return
	}
	m.put(`<section class="card">
<h2>Sources</h2>
<table>
<thead><tr><th>Address</th><th class="number">Packets</th><th>Sent</th><th>Why</th><th>When</th></tr></thead>
<tbody>`)
	listed := r.Hosts[:min(len(r.Hosts), mostRows)]
	for _, s := range listed {
		m.put(`<tr><td><code>%s</code></td><td class="number">%s</td><td class="wide">%s</td><td class="wide soft">%s</td><td class="wide soft">`,
			s.Address, grouped(s.Packets), content(s), reasonText(s.Reason))
		if s.First != nil {
			m.put("<time>%s</time> to", moment(*s.First))
		}
		around := ""
		if s.Around {
			around = ", perhaps not between"
		}
		m.put("<time>%s</time>%s</td></tr>", moment(s.Last), around)
	}
	m.put("</tbody>\n</table>")
	if further := len(r.Hosts) - len(listed) + r.More.Sources; further > 0 {
		m.put(`<p class="soft">and %s more</p>`, strconv.Itoa(further))
	}
	m.put("</section>")
}

func (m *markup) providers(r report.Activity) {
	if len(r.Providers) == 0 {
		return
	}
	m.put("<section class=\"card\">\n<h2>Providers, allowed now</h2>")
	for _, p := range r.Providers {
		var addresses []string
		for _, a := range p.Addresses {
			addresses = append(addresses, a.Address)
		}
		m.put(`<p><b>%s</b> <span class="soft">%s</span></p>`, p.Name, cmp.Or(strings.Join(addresses, ", "), "no address"))
	}
	m.put("</section>")
}

// mostRows is how many sources a page lists, and mostNames how many of each other list.
const (
	mostRows  = 50
	mostNames = 12
)

// The size of a picture, in units of its own: it is stretched to the page.
const (
	pictureWidth  = 960.0
	pictureHeight = 200.0
)

// picture is what came when, as stacked bars.
type picture struct {
	Bars               []pictureBar
	Most               uint64 // packets of the highest bar
	First, Middle, End string
	Legend             []legend
}

type pictureBar struct {
	X, Y, Width, Height string
	Class               string // of its colour
	Title               string
}

type legend struct {
	Class, Name string
	Packets     uint64
}

// classes are the colours of reasons, in the order in which they are stacked.
var classes = map[string]string{
	"unknown": "c1", "signature": "c2", "banned": "c3", "user_agent": "c4", "method": "c5", "rate": "c6", "blocked": "c7", "spoofed": "c8",
	"provider": "c5", "trusted": "c6", "reply": "c7", "by_hand": "c3", "registered": "c4",
}

func pictureOf(times []report.TimeSpan, packets func(report.TimeSpan) map[string]uint64) picture {
	p := picture{}
	all := map[string]uint64{}
	for _, t := range times {
		p.Most = max(p.Most, report.Total(packets(t)))
		for name, n := range packets(t) {
			all[name] += n
		}
	}
	if p.Most == 0 {
		return p
	}
	order := byPackets(all)
	for _, name := range order {
		p.Legend = append(p.Legend, legend{classOf(name), name, all[name]})
	}
	wide := pictureWidth / float64(len(times))
	for i, t := range times {
		top := pictureHeight
		for _, name := range order {
			n := packets(t)[name]
			if n == 0 {
				continue
			}
			high := pictureHeight * float64(n) / float64(p.Most)
			top -= high
			p.Bars = append(p.Bars, pictureBar{
				X: units(float64(i)*wide + wide*0.1), Y: units(top), Width: units(wide * 0.8), Height: units(high), Class: classOf(name),
				Title: fmt.Sprintf("%s: %s %s", t.Time.Local().Format(clock), grouped(n), strings.ReplaceAll(name, "_", " ")),
			})
		}
	}
	layout := "2 Jan"
	if times[len(times)-1].Time.Sub(times[0].Time) < 48*time.Hour {
		layout = "Mon 15:04"
	}
	p.First, p.Middle = times[0].Time.Local().Format(layout), times[len(times)/2].Time.Local().Format(layout)
	p.End = times[len(times)-1].Time.Local().Format(layout)
	return p
}

func classOf(name string) string {
	if c, ok := classes[name]; ok {
		return c
	}
	return "c9"
}

func units(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }

// grouped writes a number with its thousands apart.
func grouped(n uint64) string {
	text := strconv.FormatUint(n, 10)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}
