package cli_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/ringfence/ringfence/pkg/events"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

const watchedPolicy = `version: 1
mode: monitor
providers:
  - name: acme
    addresses: [203.0.113.5]
`

// hostile is a User-Agent that somebody sends to spoil what others read.
const hostile = "\"><script>alert(1)</script>\x1b[2J\u202e&amp;"

// recorded puts what a daemon would have recorded into a site: an hour ago a phone, a
// server of acme that nobody has listed, a scanner, and somebody hostile.
func recorded(t *testing.T, s *site, now time.Time) (at time.Time) {
	t.Helper()
	at = now.Add(-time.Hour)
	var tally events.Tally
	for i := range 5 {
		for source, d := range map[string]events.Drop{
			"192.0.2.7":    {Reason: "unknown", Method: "REGISTER", Called: "201", UserAgent: "Yealink SIP-T46S 66.86.0.15"},
			"203.0.113.9":  {Reason: "unknown", Method: "INVITE", Called: "4930123456", UserAgent: "SBC"},
			"198.51.100.9": {Reason: "signature", Method: "OPTIONS", Called: "100", UserAgent: "friendly-scanner", Signature: "friendly-scanner"},
			"2001:db8::66": {Reason: "unknown", Method: "INVITE", Called: hostile, UserAgent: hostile},
		} {
			d.Source, d.Port, d.Protocol, d.Time = netip.MustParseAddr(source), 5060, "udp", at.Add(time.Duration(i)*time.Second)
			tally.Add(d)
		}
	}
	tally.Count(at, "dropped_unknown", 700)
	tally.Count(at, "allowed_provider", 42)
	aside, err := (&events.Store{Path: filepath.Join(s.state(), "events.db"), Keep: 30 * 24 * time.Hour}).Write(&tally, now)
	if aside != nil {
		t.Fatal(aside)
	}
	labtest.Must(t, err)
	return at
}

// TestReport: what was recorded is shown in text, JSON and HTML, with who should be let in
// before the fence is enforced, and none of it is spoiled by what others have sent.
func TestReport(t *testing.T) {
	t.Parallel()
	h := labtest.Host(t, "pbx")
	labtest.Run(t, h, "ip", "link", "add", "eth0", "type", "bridge")
	s := newSite(t, h, watchedPolicy)
	if o := s.must(t, 0, "report"); !strings.Contains(o.stdout, "nothing: that takes ringfence run") {
		t.Errorf("before there is a fence: %s", o.stdout)
	}
	s.must(t, 0, "apply")
	at := recorded(t, s, time.Now())

	text := s.must(t, 0, "report").stdout
	for _, want := range []string{
		"would be dropped  700 packets  unknown 700\n", "sources           4 sources\n", "let in            42 packets  provider 42\n",
		"192.0.2.7  REGISTER of 201 by Yealink SIP-T46S 66.86.0.15: is it a remote phone?\n           ringfence allow 192.0.2.7 --for 2h",
		"203.0.113.9  INVITE of 4930123456 by SBC: is it another server of acme?", "OPTIONS of 100 by a scanner (friendly-scanner)",
		`by "><script>alert(1)</script>\x1b[2J\u202e&amp;`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report does not say %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "allow 198.51.100.9") {
		t.Errorf("it suggests to let a scanner in:\n%s", text)
	}

	object := s.must(t, 0, "report", "-o", "json").stdout
	labtest.Must(t, describes("report", object))
	var r struct {
		Sources     []struct{ Address, UserAgent, Called string }
		Suggestions []struct{ Address string }
	}
	labtest.Must(t, json.Unmarshal([]byte(object), &r))
	if len(r.Sources) != 4 || len(r.Suggestions) != 2 {
		t.Errorf("the object has %d sources and %d suggestions:\n%s", len(r.Sources), len(r.Suggestions), object)
	}

	clock := at.Format("2006-01-02 15:04:05")
	if o := s.must(t, 0, "report", "--at", clock); !strings.Contains(o.stdout, "It was probably a ghost call: ") {
		t.Errorf("somebody called, and there was no fence yet, but it says:\n%s", o.stdout)
	}
	object = s.must(t, 0, "report", "--at", clock, "-o", "json").stdout
	labtest.Must(t, describes("report", object))
	if !strings.Contains(object, `"verdict": "ghost-call"`) {
		t.Errorf("the answer is:\n%s", object)
	}
	if o := s.must(t, 0, "report", "--at", at.Add(-30*time.Minute).Format(time.RFC3339)); strings.Contains(o.stdout, "192.0.2.7") {
		t.Errorf("half an hour before nobody came:\n%s", o.stdout)
	}
	for _, wrong := range [][]string{{"--at", "nonsense"}, {"--at", "2099-01-01 00:00"}, {"--since", "nonsense"}, {"-o", "pdf"}} {
		s.must(t, 1, append([]string{"report"}, wrong...)...)
	}
	if o := s.run(t, "status", "-o", "html"); o.status != 1 {
		t.Errorf("status -o html ends with %d", o.status)
	}
	labtest.Must(t, os.WriteFile(filepath.Join(s.state(), "events.db"), []byte("damaged"), 0o640))
	if o := s.run(t, "report"); o.status != 1 || o.stdout != "" || strings.Count(o.stderr, "ringfence: error: ") != 1 {
		t.Errorf("with a damaged store it ends with %d:\n%s%s", o.status, o.stdout, o.stderr)
	}
}

// TestReportPage: the page is whole, needs nothing from elsewhere, runs nothing, and shows
// what others have sent as text.
func TestReportPage(t *testing.T) {
	t.Parallel()
	h := labtest.Host(t, "pbx")
	labtest.Run(t, h, "ip", "link", "add", "eth0", "type", "bridge")
	s := newSite(t, h, watchedPolicy)
	s.must(t, 0, "apply")
	at := recorded(t, s, time.Now())
	for _, args := range [][]string{{"report", "-o", "html"}, {"report", "--at", at.Format(time.RFC3339), "-o", "html"}, {"report", "--since", "1m", "-o", "html"}} {
		page := s.must(t, 0, args...).stdout
		root, err := html.Parse(strings.NewReader(page))
		labtest.Must(t, err)
		var text strings.Builder
		elements := map[string]int{}
		for n := range root.Descendants() {
			if n.Type == html.TextNode {
				text.WriteString(n.Data)
			}
			if n.Type != html.ElementNode {
				continue
			}
			elements[n.Data]++
			for _, a := range n.Attr {
				if a.Key == "src" || a.Key == "href" || strings.HasPrefix(a.Key, "on") || strings.Contains(a.Val, "//") {
					t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
				}
			}
		}
		for _, name := range []string{"script", "link", "img", "iframe", "object", "a"} {
			if elements[name] > 0 {
				t.Errorf("the page has <%s>", name)
			}
		}
		if elements["h1"] != 1 || elements["main"] != 1 || strings.Contains(text.String(), "{{") || strings.Contains(text.String(), "ZgotmplZ") {
			t.Errorf("the page is not whole:\n%s", page)
		}
		if args[1] == "--since" {
			continue
		}
		for _, want := range []string{"192.0.2.7", "friendly-scanner", `"><script>alert(1)</script>\x1b[2J\u202e&amp;`, "is it another server of acme?"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("%v: the page does not show %q:\n%s", args, want, text.String())
			}
		}
	}
}

// TestReportLive: while the service runs, what a stranger sends is in the report, and what
// rang a moment ago was a ghost call only if the fence let it pass.
func TestReportLive(t *testing.T) {
	t.Parallel()
	eachBackend(t, reportLive)
}

func reportLive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stranger, stranger4, _ := w.stranger(t, 1)
	for mode, want := range map[string]struct{ verdict, says string }{
		"monitor": {"ghost-call", stranger4 + " called, which nobody has allowed, and nothing was dropped then."},
		"enforce": {"dropped", "they were dropped. What is dropped makes nothing ring."},
	} {
		s := newSite(t, w.pbx, staticPolicy+"mode: "+mode+"\n")
		s.must(t, 0, "apply")
		r := serve(t, s)
		var object string
		r.until(t, "the service has written who called", func() bool {
			ask(t, stranger, stranger4, pbx4, "INVITE", "a scanner")
			object = s.must(t, 0, "report", "--at", time.Now().Format(time.RFC3339), "-o", "json").stdout
			return strings.Contains(object, `"method": "INVITE"`)
		})
		labtest.Must(t, describes("report", object))
		var got struct {
			At      struct{ Verdict, Text string }
			Sources []struct{ Address, Method string }
		}
		labtest.Must(t, json.Unmarshal([]byte(object), &got))
		if got.At.Verdict != want.verdict || !strings.Contains(got.At.Text, want.says) {
			t.Errorf("in %s mode the answer is %s: %s", mode, got.At.Verdict, got.At.Text)
		}
		if text := s.must(t, 0, "report", "--since", "1h").stdout; !strings.Contains(text, stranger4) || !strings.Contains(text, "by a scanner") {
			t.Errorf("in %s mode the report is\n%s", mode, text)
		}
		r.end(t)
		s.must(t, 0, "down")
	}
}
