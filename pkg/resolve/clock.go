package resolve

import (
	"fmt"
	"time"
)

// Moment is a point in time as a host tells it: by its wall clock, which people
// and programs set, and by a clock that only goes forward from boot to boot.
type Moment struct {
	Time time.Time `json:"time"`
	// Boot names the boot, and Up is how long the host has run since. Without
	// Boot, only Time counts.
	Boot string `json:"boot,omitempty"`
	Up   Span   `json:"up,omitempty"`
}

// since returns how much time has passed since an earlier moment, never less
// than none. It is measured if one boot saw both; else it is what the wall clock
// says, which may be anything.
func (m Moment) since(then Moment) (passed time.Duration, measured bool) {
	if m.Boot != "" && m.Boot == then.Boot {
		return max(time.Duration(m.Up-then.Up), 0), true
	}
	if then.Time.IsZero() {
		return 0, false
	}
	return max(m.Time.Sub(then.Time), 0), false
}

// Since returns how much time has passed since an earlier moment, never less than
// none.
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
