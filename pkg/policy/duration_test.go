package policy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/policy"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "90s": 90 * time.Second, "24h": 24 * time.Hour, "1h30m": 90 * time.Minute, "7d": 7 * 24 * time.Hour,
		"30d": 720 * time.Hour, "1d12h": 36 * time.Hour, "0d": 0,
	} {
		if got, err := policy.ParseDuration(text); err != nil || got != want {
			t.Errorf("%s is %v (%v), want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "1", "1x", "1.5d", "-1d", "1d-2h", "2h1d", "1 d", "999999d", "1d100000000000h"} {
		_, err := policy.ParseDuration(text)
		if err == nil {
			t.Errorf("%q was accepted", text)
		} else if strings.Contains(err.Error(), "time:") {
			t.Errorf("%q: the error speaks of Go: %v", text, err)
		}
	}
}
