package cli

import (
	"time"

	"github.com/ringfence/ringfence/pkg/policy"
)

// lasting is a flag's time, with the units that a policy has.
type lasting struct{ to *time.Duration }

func newLasting(to *time.Duration, byDefault time.Duration) *lasting {
	*to = byDefault
	return &lasting{to}
}

// Set reads the flag's text.
func (l *lasting) Set(text string) error {
	d, err := policy.ParseDuration(text)
	if err == nil {
		*l.to = d
	}
	return err
}

// String writes the time as a policy would.
func (l *lasting) String() string {
	if l.to == nil {
		return ""
	}
	return policy.DurationText(*l.to)
}

// Type is what the help writes behind the flag.
func (l *lasting) Type() string { return "duration" }
