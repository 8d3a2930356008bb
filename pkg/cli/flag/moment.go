package flag

import (
	"fmt"
	"time"

	"github.com/ringfence/ringfence/pkg/notice"
)

// moments are the ways to write a time. Those without a date are of the last 24 hours.
var moments = []string{time.TimeOnly, "15:04", time.DateTime, "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04", time.RFC3339}

// Moment reads a flag's text as a time that has passed.
func Moment(name, text string, now time.Time) (time.Time, error) {
	for i, layout := range moments {
		t, err := time.ParseInLocation(layout, text, now.Location())
		if err != nil {
			continue
		}
		if i < 2 {
			t = time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), 0, now.Location())
			if t.After(now) {
				t = t.AddDate(0, 0, -1)
			}
		}
		if t.After(now) {
			return t, fmt.Errorf("--%s %q has not come yet", name, text)
		}
		return t, nil
	}
	return time.Time{}, notice.WithHint(fmt.Errorf("--%s %q is no time", name, text), `write 14:05, or "2026-11-29 14:05"`)
}
