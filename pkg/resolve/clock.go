package resolve

import (
	"fmt"
	"time"
)

// Moment is a point in time on a host, by the wall clock, which may be set, and by a
// clock that only runs forward from the boot.
type Moment struct {
	Time time.Time `json:"time"`
	// Boot identifies the boot, and Up is how long the host has been running since.
	// Without Boot, only Time counts.
	Boot string `json:"boot,omitempty"`
	Up   Span   `json:"up,omitempty"`
}

// since returns the time since an earlier moment, at least 0. It is measured if both
// moments are of the same boot. Otherwise it is the difference of the wall clock, which
// may be wrong.
func (m Moment) since(then Moment) (passed time.Duration, measured bool) {
	if m.Boot != "" && m.Boot == then.Boot {
		return max(time.Duration(m.Up-then.Up), 0), true
	}
	if then.Time.IsZero() {
		return 0, false
	}
	return max(m.Time.Sub(then.Time), 0), false
}

// Since returns the time since an earlier moment, at least 0.
func (m Moment) Since(then Moment) time.Duration {
	passed, _ := m.since(then)
	return passed
}

// Span is a length of time, in files as "1h30m0s".
type Span time.Duration

// MarshalText writes the span to the millisecond.
func (s Span) MarshalText() ([]byte, error) {
	return []byte(time.Duration(s).Round(time.Millisecond).String()), nil
}

// UnmarshalText reads what MarshalText writes. A span is never negative.
func (s *Span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err == nil && d < 0 {
		err = fmt.Errorf("read span %q: it is negative", text)
	}
	*s = Span(d)
	return err
}
