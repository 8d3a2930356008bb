package metrics_test

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/metrics"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/site"
)

var update = flag.Bool("update", false, "write the golden files")

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// whole is a fence with everything that has a metric.
func whole() *fence.Status {
	ago := func(d time.Duration) *time.Time { return new(noon.Add(-d)) }
	at := netip.MustParsePrefix
	return &fence.Status{
		Backend: backend.Description{Name: "nftables"}, Table: true, Fenced: true,
		Counters: map[string]uint64{
			"allowed_provider": 10, "allowed_scanner": 1, "dropped_unknown": 4711, "dropped_user_agent": 2, "unseen": 3, "unread": 0,
		},
		Generation: 7, Made: noon.Add(-time.Hour), Monitor: true, Differences: 2, PolicyChanged: true, Down: ago(time.Minute),
		Pending: &fence.Pending{Deadline: noon.Add(time.Minute)}, Names: 3, Banned: 5, Dropped: 321, Phones: new(17), ByHand: []fence.ByHand{{}},
		Providers: []fence.Allowed{
			{Name: "acme", Addresses: []fence.Address{
				{Prefix: at("203.0.113.5/32"), From: "sip.acme.example", LastSeen: ago(time.Hour)},
				{Prefix: at("203.0.113.6/32"), From: "sip.acme.example", LastSeen: ago(2 * time.Minute)},
				{Prefix: at("2001:db8::5/128"), From: "edge.acme.example", LastSeen: ago(5 * time.Minute)},
				{Prefix: at("198.51.100.0/24"), From: "addresses"},
			}},
			{Name: "listed", Addresses: []fence.Address{{Prefix: at("192.0.2.0/24"), From: "addresses"}}},
			{Name: "silent"},
		},
		Trusted: []fence.Address{{Prefix: at("10.0.0.0/8")}},
		LeftOut: []fence.LeftOut{{}},
		Refresh: resolve.Refreshed{Time: noon.Add(-2 * time.Minute), Failures: make([]resolve.Problem, 2)},
		Alarms: []site.Alarm{
			{Kind: site.AlarmDrift, Name: "table inet ringfence"},
			{Kind: "no-answer", Name: "sip.acme.example", Type: "A"},
			{Kind: "no-answer", Name: "sip.acme.example", Type: "AAAA"},
		},
		Engine: policy.EngineBPF, Hits: map[string]uint64{"sipvicious": 4},
	}
}

func text(t *testing.T, s *fence.Status) string {
	t.Helper()
	out, err := metrics.Text(s, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestText: the metrics are as people review them, and the linters of Prometheus find
// nothing.
func TestText(t *testing.T) {
	for name, s := range map[string]*fence.Status{
		"whole": whole(),
		"none":  {Backend: backend.Description{Name: "nftables"}, Engine: policy.EngineOff},
	} {
		got := text(t, s)
		shown := goVersion(got)
		golden := "testdata/" + name + ".prom"
		if *update {
			if err := os.WriteFile(golden, []byte(shown), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), shown); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		problems, err := promlint.New(strings.NewReader(got)).Lint()
		if err != nil || len(problems) > 0 {
			t.Errorf("promlint of %s: %v, %v", name, problems, err)
		}
	}
}

// goVersion leaves out the version of Go.
func goVersion(text string) string {
	before, rest, _ := strings.Cut(text, `goversion="`)
	_, after, _ := strings.Cut(rest, `"`)
	return before + `goversion="GO"` + after
}

// TestPromtool: Prometheus' own program finds nothing either.
func TestPromtool(t *testing.T) {
	labtest.Need(t, "promtool")
	check := exec.CommandContext(t.Context(), "promtool", "check", "metrics")
	check.Stdin = strings.NewReader(text(t, whole()))
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// TestHarmless: what comes from files and answers cannot spoil the text.
func TestHarmless(t *testing.T) {
	evil := "a\"b\\c\nringfence_up 1\n\x1b[31m\xff\u202e"
	s := &fence.Status{
		Table: true, Generation: 1, Hits: map[string]uint64{evil: 1}, Alarms: []site.Alarm{{Kind: "policy-changed", Name: evil}},
		Providers: []fence.Allowed{{Name: evil}},
	}
	got := text(t, s)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader([]byte(got)))
	if err != nil {
		t.Fatal(err)
	}
	if up := families["ringfence_up"].GetMetric(); len(up) != 1 || up[0].GetGauge().GetValue() != 0 {
		t.Errorf("ringfence_up is %v", up)
	}
	if n := strings.Count(got, "\nringfence_up "); n != 1 {
		t.Errorf("%d lines of ringfence_up", n)
	}
	for _, r := range got {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Fatalf("the text has %q:\n%q", r, got)
		}
	}
}
