package site_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/site"
)

// TestCountAlarms: an alarm stands from the first packet that should not be counted until
// an hour after the last, also over a table that is made again.
func TestCountAlarms(t *testing.T) {
	start := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	s := &site.Site{Policy: &policy.Policy{}}
	var counts site.Counts
	for _, step := range []struct {
		after                  time.Duration
		unseen, allowedScanner uint64
		want                   string
	}{
		{0, 0, 0, ""},
		{time.Minute, 3, 0, "unseen: 3 packets"},
		{40 * time.Minute, 3, 0, "unseen: 3 packets"},
		{62 * time.Minute, 3, 0, ""},
		{63 * time.Minute, 3, 1, "allowed-scanner: 1 packet "},
		{64 * time.Minute, 1, 0, "unseen: 1 packet "}, // another table
		{65 * time.Minute, 1, 1, "unseen: 1 packet allowed-scanner: 1 packet "},
		{200 * time.Minute, 1, 1, ""},
		{201 * time.Minute, 0, 0, ""},
	} {
		look := site.Look{
			Now: resolve.Moment{Time: start.Add(step.after)}, Counts: counts,
			Counters: map[string]uint64{"unseen": step.unseen, "allowed_scanner": step.allowedScanner, "dropped_unknown": 9},
			Before:   map[string][]string{"eth0": {"tc filter pref 1 (bpf)"}},
		}
		var got strings.Builder
		for _, a := range s.Alarms(look) {
			text, _, _ := strings.Cut(a.Text, "to a fenced")
			text, _, _ = strings.Cut(text, "from allowed")
			got.WriteString(string(a.Kind) + ": " + text)
			if a.Kind == site.AlarmUnseen && (a.Name != "eth0" || !strings.Contains(a.Text, "tc filter pref 1 (bpf) on eth0 sees packets first")) {
				t.Errorf("the alarm does not say what is in the way: %+v", a)
			}
		}
		if strings.TrimSpace(got.String()) != strings.TrimSpace(step.want) {
			t.Errorf("after %v: %q, want %q", step.after, got.String(), step.want)
		}
		counts = counts.Next(look.Counters, look.Now.Time)
	}
}
