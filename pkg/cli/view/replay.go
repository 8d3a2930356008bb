package view

import (
	"fmt"
	"io"
	"strings"

	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/replay"
	"github.com/ringfence/ringfence/pkg/report"
)

// mostSources is how many sources of a capture a text lists. JSON has them all.
const mostSources = 50

// Replay prints what the rules would do with the sources of a capture.
func Replay(w io.Writer, sources []replay.Source, r report.Replay) {
	output.Printf(w, "%s, %d to or from SIP ports, from %s to %s.\n", notice.Count(r.Packets, "packet"), r.SIP,
		notice.Count(len(r.Sources), "source"), ownText(r.Own))
	if len(sources) > 0 {
		output.Println(w)
		output.Table(w, func(w io.Writer) {
			fmt.Fprintln(w, "SOURCE\tPACKETS\tVERDICT\tSENT")
			for _, s := range sources[:min(len(sources), mostSources)] {
				verdict := report.VerdictText(s.Answer, s.Dropped > 0 && s.Dropped < s.Packets)
				output.Printf(w, "%s\t%d\t%s\t%s\n", s.Address, s.Packets, verdict, sentText(s))
			}
		})
	}
	if more := len(sources) - mostSources; more > 0 {
		output.Printf(w, "and %s; -o json has them all\n", notice.Count(more, "source")+" more")
	}
	if r.Untold > 0 {
		output.Printf(w, "and %s from so many other sources that they are not listed\n", notice.Count(r.Untold, "packet"))
	}
	if len(r.Unknown) > 0 {
		output.Println(w)
		output.Paragraph(w, "", fmt.Sprintf("No address is remembered for %s, so who is allowed only by that counts as unknown. "+
			"replay asks no name server; ringfence apply does.", strings.Join(r.Unknown, ", ")))
	}
	output.Println(w)
	if r.Text == "" {
		output.Println(w, "Nobody who got a good answer would be silenced.")
		return
	}
	output.Paragraph(w, "", Alarm(Line(r.Text))+". What the policy lacks for them:")
	for _, line := range r.Lines {
		output.Println(w, "  "+line)
	}
}

func ownText(own []string) string {
	if len(own) == 0 {
		return "no address of this side"
	}
	return strings.Join(own, ", ")
}

// sentText says what a source has sent, and got.
func sentText(s replay.Source) string {
	parts := []string{strings.Join(s.Methods, ", ")}
	if s.Called != "" {
		parts = append(parts, "of "+s.Called)
	}
	if s.UserAgent != "" {
		parts = append(parts, "by "+s.UserAgent)
	}
	if s.Signature != "" {
		parts = append(parts, "("+s.Signature+")")
	}
	var said []string
	if text := strings.TrimSpace(strings.Join(parts, " ")); text != "" {
		said = append(said, text)
	}
	for _, is := range []struct {
		so   bool
		text string
	}{
		{s.Got.Registered, "its registration was accepted"},
		{s.Got.Call, "its call was accepted"},
		{s.Gave.Call, "it accepted a call"},
		{s.Gave.Registered, "it accepted a registration"},
		{s.Bans, "it would be banned"},
	} {
		if is.so {
			said = append(said, is.text)
		}
	}
	return strings.Join(said, "; ")
}
