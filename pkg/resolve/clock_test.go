package resolve_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/resolve"
)

const first = "sip.example A 192.0.2.1"

// wall moves the wall clock alone, boot restarts the host.
func (l *learner) wall(d time.Duration) { l.now.Time = l.now.Time.Add(d) }

func (l *learner) boot(name string, after time.Duration) {
	l.now = resolve.Moment{Time: l.now.Time.Add(after), Boot: name, Up: resolve.Span(time.Second)}
}

// TestAMovedWallClockRemovesNothing, and it stops nobody from ageing what is
// missing.
func TestAMovedWallClockRemovesNothing(t *testing.T) {
	for _, jump := range []time.Duration{day, -day, 10 * 365 * day, -10 * 365 * day} {
		l := newLearner(t)
		l.ask(0, two)
		l.hours(12, first)
		l.wall(jump)
		l.hours(12, first)
		if got := l.addresses(); got != "192.0.2.1 192.0.2.2" {
			t.Errorf("jump of %s: addresses %s", jump, got)
		}
		if due := l.memory.Due(registrar, l.now); due < time.Minute || due > 2*time.Minute {
			t.Errorf("jump of %s: the next lookup is due in %s", jump, due)
		}
		l.wall(jump)
		if due := l.memory.Due(registrar, l.now); due > 2*time.Minute {
			t.Errorf("jump of %s: the next lookup is due in %s", jump, due)
		}
		l.ask(time.Hour, first)
		l.want("192.0.2.1")
	}
}

// TestSilenceRemovesNothing: whatever was not asked, or not answered, is no time
// in which an address was missing. The first answer after it removes nothing.
func TestSilenceRemovesNothing(t *testing.T) {
	for _, test := range []struct {
		name    string
		silence func(l *learner)
	}{
		{"nobody asked for ten days", func(l *learner) { l.pass(10 * day) }},
		{"no name server for ten days", func(l *learner) { l.hours(240, "sip.example A !timeout") }},
		{"the host was off for ten days", func(l *learner) { l.boot("second", 10*day) }},
		{"the host was off, and its clock starts in 1970", func(l *learner) { l.boot("second", -50*365*day) }},
		{"the host was off, and its clock starts in 2099", func(l *learner) { l.boot("second", 70*365*day) }},
		{"nobody knows the boot", func(l *learner) { l.boot("", 10*day) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLearner(t)
			l.ask(0, two)
			l.hours(12, first)
			test.silence(l)
			l.ask(time.Minute, first)
			if got := l.addresses(); got != "192.0.2.1 192.0.2.2" {
				t.Fatalf("addresses %s", got)
			}
			// The time before it is not forgotten, and it ends.
			l.hours(13, first)
			l.want("192.0.2.1")
		})
	}
}

// TestRareRefreshes: cron asks once a day, and a moved address leaves all the
// same.
func TestRareRefreshes(t *testing.T) {
	l := newLearner(t)
	l.ask(0, two)
	for range 3 {
		if got := l.addresses(); got != "192.0.2.1 192.0.2.2" {
			t.Fatalf("after %s: addresses %s", l.now.Time.Sub(start), got)
		}
		l.ask(day, first)
	}
	l.want("192.0.2.1")
}

// TestShortHold: a short hold is kept exactly, and not until the next look.
func TestShortHold(t *testing.T) {
	l := newLearner(t)
	l.settings.Hold = 2 * time.Second
	l.ask(0, two)
	l.ask(time.Hour, first)
	l.ask(1999*time.Millisecond, first)
	l.want("192.0.2.1 192.0.2.2")
	l.ask(time.Millisecond, first)
	l.want("192.0.2.1")
	l.settings.Hold = 0
	l.ask(time.Hour, two)
	l.ask(time.Millisecond, first)
	l.want("192.0.2.1")
}

// TestNextLook: TTLs schedule, within what the policy says; failures come back
// sooner, and then less and less often.
func TestNextLook(t *testing.T) {
	due := func(l *learner, zone string) time.Duration {
		l.ask(time.Hour, zone)
		return l.memory.Due(registrar, l.now)
	}
	within := func(t *testing.T, got, from, to time.Duration) {
		t.Helper()
		if got < from || got > to {
			t.Errorf("the next lookup is in %s, want %s to %s", got, from, to)
		}
	}
	l := newLearner(t)
	if due := l.memory.Due(registrar, l.now); due != 0 {
		t.Errorf("a name that was never asked for is due in %s", due)
	}
	within(t, due(l, two), time.Minute, 66*time.Second) // the zone's TTL is a minute
	l.settings.Min = 10 * time.Minute
	within(t, due(l, two), 10*time.Minute, 11*time.Minute)
	l.settings.Min, l.settings.Max = time.Second, 10*time.Second
	within(t, due(l, two), 10*time.Second, 11*time.Second)
	l.settings.Min, l.settings.Max = time.Minute, time.Hour
	for _, want := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 15 * time.Minute, 15 * time.Minute} {
		within(t, due(l, "sip.example A !servfail"), want*9/10, min(want*11/10, 15*time.Minute))
	}
	within(t, due(l, two+"sip.example AAAA !servfail"), time.Minute, 66*time.Second)
	within(t, due(l, two), time.Minute, 66*time.Second)
	within(t, due(l, "sip.example A !servfail"), 30*time.Second, 33*time.Second)
	l.boot("second", 0)
	if due := l.memory.Due(registrar, l.now); due != 0 {
		t.Errorf("after a boot the next lookup is in %s, want at once", due)
	}
}

// TestLooksSpread: names with one TTL do not all come due at once.
func TestLooksSpread(t *testing.T) {
	l := newLearner(t)
	l.settings.Names = nil
	zone := ""
	for _, letter := range "abcdefghijklmnopqrstuvwxyz" {
		name := string(letter) + ".example"
		l.settings.Names = append(l.settings.Names, resolve.Name{Target: resolve.Target{Name: name}})
		zone += name + " A 192.0.2.1\n"
	}
	l.ask(0, zone)
	moments := map[time.Duration]bool{}
	for _, n := range l.settings.Names {
		moments[l.memory.Due(n.Target, l.now)] = true
	}
	if len(moments) < 20 {
		t.Errorf("26 names are due at %d moments", len(moments))
	}
}

// TestOldFile: what version 1 has remembered is kept and ages as if this version
// had.
func TestOldFile(t *testing.T) {
	const text = `{"version": 1, "names": [{"name": "sip.example", "registrar": true, "addresses": [
		{"address": "192.0.2.1", "via": "A", "ttl": 60, "first_seen": "2026-11-01T00:00:00Z", "last_seen": "2026-11-20T00:00:00Z"},
		{"address": "192.0.2.2", "via": "A", "ttl": 60, "first_seen": "2026-11-01T00:00:00Z", "last_seen": "2026-11-20T00:00:00Z"},
		{"address": "192.0.2.7", "via": "SRV _sip._udp -> a.net A", "ttl": 60, "first_seen": "2026-11-01T00:00:00Z", "last_seen": "2026-11-20T00:00:00Z"},
		{"address": "2001:db8::1", "via": "AAAA", "ttl": 60, "first_seen": "2026-11-01T00:00:00Z", "last_seen": "2026-11-01T00:00:00Z", "missing_since": "2026-11-01T01:00:00Z"}
	], "questions": [{"name": "sip.example", "type": "A", "last_good": "2026-11-20T00:00:00Z"}]}]}`
	l := newLearner(t)
	if err := json.Unmarshal([]byte(text), &l.memory); err != nil {
		t.Fatal(err)
	}
	if err := l.memory.Check(); err != nil {
		t.Fatal(err)
	}
	const all = "192.0.2.1 192.0.2.2 192.0.2.7 2001:db8::1"
	l.hours(100, "sip.example A !servfail")
	if got := l.addresses(); got != all {
		t.Errorf("after failures: addresses %s", got)
	}
	const now = "sip.example A 192.0.2.1\n_sip._udp.sip.example SRV 10 b.net.\nb.net A 192.0.2.8"
	l.ask(time.Hour, now)
	l.want("192.0.2.1 192.0.2.2 192.0.2.7 192.0.2.8 2001:db8::1")
	l.hours(24, now)
	l.want("192.0.2.1 192.0.2.7 192.0.2.8 2001:db8::1") // what led to it is not known
	l.hours(48, now)
	l.want("192.0.2.1 192.0.2.8")
	if l.memory.Version != 2 {
		t.Errorf("the version is %d", l.memory.Version)
	}
}
