package cli

import (
	"bytes"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/policy"
)

// TestOldPresets: check says once of each preset that nobody has looked at it
// for more than 180 days, whatever today's date is.
func TestOldPresets(t *testing.T) {
	var out bytes.Buffer
	a := &app{stderr: &out}
	p := &policy.Policy{Providers: []policy.Provider{{Preset: "46elks"}, {Preset: "46elks"}, {Name: "acme"}}}
	for _, test := range []struct{ day, want string }{
		{"2026-11-23", ""},
		{"2126-11-22", "ringfence: warning: preset 46elks was last checked 36524 days ago, on 2026-11-22: compare it with its source (https://46elks.se/docs/ip-addresses)\n"},
	} {
		now, err := time.Parse(time.DateOnly, test.day)
		if err == nil {
			err = a.warnOfPresets(p, now)
		}
		if err != nil || out.String() != test.want {
			t.Errorf("on %s: %q (%v), want %q", test.day, out.String(), err, test.want)
		}
		out.Reset()
	}
}
