package policy_test

import (
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/policy"
)

func TestRegister(t *testing.T) {
	p, err := parse("version: 1\nunknown: {action: register, rate: 5/s}\nguessing: {failures: 3, within: 2m}\nroaming: {life: 1d, match: address}\n")
	if err != nil {
		t.Fatal(err)
	}
	if p.Unknown.Action != policy.ActionRegister || !p.Unknown.Registers() || p.Unknown.Accepts() || !p.Unknown.Admits() {
		t.Errorf("the action is %q", p.Unknown.Action)
	}
	if want := (policy.Rate{Count: 5, Per: time.Second}); p.Unknown.Rate != want {
		t.Errorf("the rate is %v, want %v", p.Unknown.Rate, want)
	}
	if want := (policy.Guessing{Failures: 3, Within: 2 * time.Minute}); p.Guessing != want {
		t.Errorf("guessing is %v, want %v", p.Guessing, want)
	}
	if want := (policy.Roaming{Life: 24 * time.Hour, Match: policy.MatchAddress}); p.Roaming != want {
		t.Errorf("roaming is %v, want %v", p.Roaming, want)
	}
	off, err := parse("version: 1\nunknown: {action: accept}\nbans: {duration: 0s}\n")
	if err != nil || off.Guessing.Failures != 10 {
		t.Errorf("without a ban and without guessing: %v, %v", off, err)
	}
}

func TestParseRate(t *testing.T) {
	for text, want := range map[string]string{
		"20/min": "20/min", "20/m": "20/min", "1/minute": "1/min", "5/s": "5/s", "5/second": "5/s", "100/h": "100/h", "0100/hour": "100/h",
	} {
		if r, err := policy.ParseRate(text); err != nil || r.String() != want {
			t.Errorf("ParseRate(%q) = %v, %v, want %s", text, r, err, want)
		}
	}
	for _, text := range []string{"", "20", "20/", "/min", "-1/min", "1.5/min", "20/day", "20 / min", "0/s", "9999999/s", "20/MIN", "20/min\n"} {
		if r, err := policy.ParseRate(text); err == nil {
			t.Errorf("ParseRate(%q) = %v, want an error", text, r)
		}
	}
}
