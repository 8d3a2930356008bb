package view

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/report"
)

//go:embed page.html
var pageText string

// page is the template of a report's page. It escapes what it gets, by where it stands.
var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"safe": output.Escape, "clock": func(t time.Time) string { return t.Local().Format(clock) }, "count": grouped,
	"reason": reasonText, "words": func(s string) string { return strings.ReplaceAll(s, "_", " ") },
}).Parse(pageText))

// Page writes a report as a page of HTML that needs nothing else.
func Page(w io.Writer, r report.Activity, host string) error {
	d := pageData{
		Activity: r, Host: host, Zone: r.Until.Local().Format("MST"), Verb: verb(r), Count: strings.TrimSuffix(strings.TrimSuffix(sourcesText(r), "s"), " source"),
		Bad: pictureOf(r.Times, func(t report.TimeSpan) map[string]uint64 { return t.Dropped }),
		Let: pictureOf(r.Times, func(t report.TimeSpan) map[string]uint64 { return t.Allowed }),
	}
	d.Total, d.LetIn = report.Total(r.Dropped), report.Total(r.Allowed)
	d.Hosts = r.Hosts[:min(len(r.Hosts), mostRows)]
	d.Further = len(r.Hosts) - len(d.Hosts) + r.More.Sources
	for _, s := range d.Hosts {
		d.Sent = append(d.Sent, content(s))
	}
	tools := []report.Named{}
	for _, t := range r.Tools {
		tools = append(tools, report.Named{Name: toolName(t), Packets: t.Packets})
	}
	d.Lists = []list{{"Tools", rowsOf(tools)}, {"Methods", rowsOf(r.Methods)}, {"Called users", rowsOf(r.Called)}}
	d.Lists = slices.DeleteFunc(d.Lists, func(l list) bool { return len(l.Rows) == 0 })
	var text bytes.Buffer
	if err := page.Execute(&text, d); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	_, err := w.Write(text.Bytes())
	return err
}

// mostRows is how many sources a page lists, and mostNames how many of each other list.
const (
	mostRows  = 50
	mostNames = 12
)

type pageData struct {
	report.Activity
	Host, Zone, Verb, Count string
	Total, LetIn            uint64
	Further                 int
	Hosts                   []report.Source
	Sent                    []string // what each of the hosts has sent
	Bad, Let                picture
	Lists                   []list
}

// list is a list with bars.
type list struct {
	Title string
	Rows  []listRow
}

type listRow struct {
	report.Named
	Width string // of the bar, in percent
}

func rowsOf(names []report.Named) (rows []listRow) {
	for _, n := range names[:min(len(names), mostNames)] {
		rows = append(rows, listRow{n, fmt.Sprintf("%.1f", 100*float64(n.Packets)/float64(max(names[0].Packets, 1)))})
	}
	return rows
}

// The size of a picture, in units of its own: it is stretched to the page.
const (
	pictureWidth  = 960.0
	pictureHeight = 200.0
)

// picture is what came when, as stacked bars.
type picture struct {
	Width, Height      float64
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
	p := picture{Width: pictureWidth, Height: pictureHeight}
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
