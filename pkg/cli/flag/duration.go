// Package flag has the kinds of flags that the command line needs and its library lacks.
package flag

import (
	"time"

	"github.com/ringfence/ringfence/pkg/policy"
)

// Duration is a flag's time, with the units that a policy has.
type Duration struct{ to *time.Duration }

// NewDuration returns the flag of a time.
func NewDuration(to *time.Duration, byDefault time.Duration) *Duration {
	*to = byDefault
	return &Duration{to}
}

// Set reads the flag's text.
func (d *Duration) Set(text string) error {
	t, err := policy.ParseDuration(text)
	if err == nil {
		*d.to = t
	}
	return err
}

// String writes the time as a policy would.
func (d *Duration) String() string {
	if d.to == nil {
		return ""
	}
	return policy.DurationText(*d.to)
}

// Type is what the help writes behind the flag.
func (d *Duration) Type() string { return "duration" }
