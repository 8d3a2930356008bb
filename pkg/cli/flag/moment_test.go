package flag_test

import (
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/cli/flag"
)

func TestMoment(t *testing.T) {
	now := time.Date(2026, 11, 29, 14, 0, 0, 0, time.FixedZone("", 3600))
	for text, want := range map[string]string{
		"13:05":                     "2026-11-29T13:05:00+01:00",
		"14:05":                     "2026-11-28T14:05:00+01:00", // yesterday's
		"13:05:09":                  "2026-11-29T13:05:09+01:00",
		"2026-11-29 13:05":          "2026-11-29T13:05:00+01:00",
		"2026-11-29T12:05:00Z":      "2026-11-29T12:05:00Z",
		"2026-11-29T13:05":          "2026-11-29T13:05:00+01:00",
		"2026-11-30 13:05":          `--at "2026-11-30 13:05" has not come yet`,
		"noon":                      `--at "noon" is no time`,
		"2026-11-29T13:05:00+01:00": "2026-11-29T13:05:00+01:00",
	} {
		got, err := flag.Moment("at", text, now)
		if err != nil && err.Error() != want || err == nil && got.Format(time.RFC3339) != want {
			t.Errorf("%q: %v, %v, want %s", text, got, err, want)
		}
	}
}
