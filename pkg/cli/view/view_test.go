package view_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/doctor"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/report"
)

// day is a Sunday, where the tests run.
var day = time.Date(2026, 11, 29, 12, 0, 0, 0, time.Local)

// prints compares what is printed.
func prints(t *testing.T, want string, write func(io.Writer)) {
	t.Helper()
	var b strings.Builder
	write(&b)
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestBans(t *testing.T) {
	prints(t, "No address is banned.\n", func(w io.Writer) { view.Bans(w, nil) })
	prints(t, `198.51.100.7    1h left      by admin
192.0.2.0/24    permanently  bans.addresses
\x1b[2J\u202e9  permanently  a\nb
`, func(w io.Writer) {
		view.Bans(w, []report.Banned{
			{Address: "198.51.100.7", Left: new(int64(3600)), Why: "by admin"},
			{Address: "192.0.2.0/24", Why: "bans.addresses"},
			{Address: "\x1b[2J\u202e9", Why: "a\nb"},
		})
	})
}

func TestFindings(t *testing.T) {
	prints(t, "Nothing works against the fence here.\n", func(w io.Writer) { view.Findings(w, nil) })
	prints(t, `warning: ulogd (pid 7) receives NFLOG group 5060
  why: packets are not looked at
  way out: give it another group

note: two; lines
  why: x
  way out: y
`, func(w io.Writer) {
		view.Findings(w, []doctor.Finding{
			{Severity: notice.Warning, Finding: "ulogd (pid 7) receives NFLOG group 5060", Why: "packets are not looked at", WayOut: "give it another group"},
			{Severity: notice.Note, Finding: "two\nlines", Why: "x", WayOut: "y"},
		})
	})
}

func TestRegistered(t *testing.T) {
	prints(t, "No phone is let in for having registered.\n", func(w io.Writer) { view.Registered(w, nil) })
	prints(t, `ADDRESS       PORT  SINCE                UNTIL                USER-AGENT
198.51.100.7  5066  2026-11-29 12:00:00  2026-11-29 13:00:00  Yealink
198.51.100.8  *     2026-11-29 12:00:00  2026-11-29 13:00:00  \x00
`, func(w io.Writer) {
		view.Registered(w, []report.Registered{
			{Address: "198.51.100.7", Port: new(uint16(5066)), Since: day, Until: day.Add(time.Hour), UserAgent: "Yealink"},
			{Address: "198.51.100.8", Since: day, Until: day.Add(time.Hour), UserAgent: "\x00"},
		})
	})
}

// TestReport: packets by their reasons, what came when, and who may be one to let in.
func TestReport(t *testing.T) {
	r := report.Activity{
		Since: day.AddDate(0, 0, -3), Until: day, Mode: "enforce", Counted: true,
		Dropped: map[string]uint64{"unknown": 5, "user_agent": 7, "rate": 0}, Allowed: map[string]uint64{"provider": 3},
		Times: []report.TimeSpan{
			{Time: day.AddDate(0, 0, -2), Dropped: map[string]uint64{"unknown": 2}},
			{Time: day.AddDate(0, 0, -1), Dropped: map[string]uint64{"unknown": 1}},
			{Time: day.AddDate(0, 0, -1).Add(time.Hour), Dropped: map[string]uint64{"unknown": 2, "user_agent": 7}},
		},
		Hosts: []report.Source{
			{Address: "198.51.100.7", Packets: 7, Last: day, Reason: "user_agent", Method: "REGISTER", Called: "201", Several: true, UserAgent: "\x1b[1mx"},
			{Address: "198.51.100.8", Packets: 5, Last: day, Reason: "unknown", Method: "OPTIONS", Called: "100", Signature: "sipvicious"},
		},
		More:        report.MoreSources{Packets: 1},
		Tools:       []report.Tool{{Signature: "sipvicious", Packets: 5}, {UserAgent: "\x1b[1mx", Packets: 7}},
		Called:      []report.Named{{Name: "201", Packets: 7}},
		Suggestions: []report.Suggestion{{Address: "198.51.100.7", Text: "is it a remote phone?", WayOut: "ringfence allow 198.51.100.7"}},
	}
	want := `time     26 Nov 12:00 to 29 Nov 12:00
mode     enforce
dropped  12 packets  user agent 7, unknown 5
sources  at least 2 sources
let in   3 packets  provider 3

when, packets dropped
  Fri 27 Nov  2   ########
  Sat 28 Nov  10  ########################################

198.51.100.7  is it a remote phone?
              ringfence allow 198.51.100.7

sources
  198.51.100.7  7  29 Nov 12:00  user_agent  REGISTER of 201 and others by \x1b[1mx
  198.51.100.8  5  29 Nov 12:00  unknown     OPTIONS of 100 by a scanner (sipvicious)

tools
  5  scanner sipvicious
  7  \x1b[1mx

called
  7  201
`
	prints(t, want, func(w io.Writer) { view.Report(w, r) })
	r.Mode = "monitor"
	r.At = &report.Answer{Time: day, Text: "It was probably a ghost call."}
	var b strings.Builder
	view.Report(&b, r)
	if got := b.String(); !strings.HasPrefix(got, "29 Nov 12:00  It was probably a ghost call.\n\n") || !strings.Contains(got, "\nwould be dropped  12 packets in that hour  ") {
		t.Errorf("of a moment in monitor mode it says\n%s", got)
	}
	nothing := report.Activity{Since: day.AddDate(0, 0, -3), Until: day, Mode: "enforce", Counters: map[string]uint64{"dropped_unknown": 4, "allowed_provider": 2, "allowed_scanner": 1}}
	prints(t, `time                      26 Nov 12:00 to 29 Nov 12:00
mode                      enforce
recorded                  nothing: that takes ringfence run as a service
since the table was made  4 packets dropped, 2 let in
`, func(w io.Writer) { view.Report(w, nothing) })
}
