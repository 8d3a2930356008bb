package notice_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/notice"
)

// TestRecord: what holds is news once, what was gone is news again, and only a user
// who was shown something knows of it.
func TestRecord(t *testing.T) {
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	alarm := notice.Notice{Severity: notice.Alarm, Code: notice.Standing, About: "drift", Text: "1 difference"}
	warning := notice.Warningf(notice.NameFailed, "sip.acme.example: timeout")
	note := notice.Notice{Severity: notice.Note, Code: notice.RunInterrupted, Text: "an earlier run was killed"}
	var record notice.Record
	for i, step := range []struct {
		found []notice.Notice
		shown bool
		news  []notice.Notice
		since int // hours after the start
	}{
		{[]notice.Notice{alarm}, false, []notice.Notice{alarm}, 0},
		{[]notice.Notice{alarm, warning}, true, []notice.Notice{alarm, warning}, 0},
		{[]notice.Notice{withText(alarm, "2 differences"), warning, note}, true, []notice.Notice{note}, 0},
		{[]notice.Notice{alarm, withText(warning, "refused")}, true, []notice.Notice{withText(warning, "refused")}, 0},
		{nil, true, nil, -1},
		{[]notice.Notice{alarm}, true, []notice.Notice{alarm}, 5},
		{[]notice.Notice{alarm}, false, nil, 5},
		{[]notice.Notice{alarm}, true, nil, 5},
	} {
		now := start.Add(time.Duration(i) * time.Hour)
		next, news := record.Next(step.found, now, step.shown)
		if diff := cmp.Diff(step.news, news); diff != "" {
			t.Errorf("look %d: %s", i, diff)
		}
		if since := next.Since(alarm, now); step.since >= 0 && !since.Equal(start.Add(time.Duration(step.since)*time.Hour)) {
			t.Errorf("look %d: since %v", i, since)
		}
		record = next
	}
}

func withText(n notice.Notice, text string) notice.Notice {
	n.Text = text
	return n
}
