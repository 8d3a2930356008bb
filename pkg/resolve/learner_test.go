package resolve_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/resolve"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const (
	hold = 24 * time.Hour
	day  = 24 * time.Hour
)

var registrar = resolve.Target{Name: "sip.example", Registrar: true}

// learner asks again and again and remembers what was answered. Time passes only while it
// is made to.
type learner struct {
	t        *testing.T
	memory   resolve.Memory
	now      resolve.Moment
	settings resolve.Settings
}

func newLearner(t *testing.T) *learner {
	return &learner{
		t: t, now: resolve.Moment{Time: start, Boot: "first", Up: resolve.Span(time.Minute)},
		settings: resolve.Settings{
			Names: []resolve.Name{{Target: registrar, Owners: []string{"acme"}}},
			Hold:  hold, Min: time.Minute, Max: time.Hour, StaleAlarm: 7 * day,
		},
	}
}

// pass lets time go by.
func (l *learner) pass(d time.Duration) {
	l.now.Time = l.now.Time.Add(d)
	l.now.Up += resolve.Span(d)
}

// ask asks all names after some time, and again at once if there is doubt. Zones
// are what the name servers say, each of them once, the last one for good.
func (l *learner) ask(after time.Duration, zones ...string) {
	l.t.Helper()
	l.pass(after)
	var targets []resolve.Target
	for _, n := range l.settings.Names {
		targets = append(targets, n.Target)
	}
	results := resolve.Resolve(l.t.Context(), newZone(l.t, zones[0]).lookup, targets)
	if suspicious := l.memory.Suspicious(results, l.settings); len(suspicious) > 0 {
		again := zones[min(1, len(zones)-1)]
		results = append(results, resolve.Resolve(l.t.Context(), newZone(l.t, again).lookup, suspicious)...)
	}
	l.memory = l.memory.Learn(results, l.settings, l.now)
}

// hours asks once an hour.
func (l *learner) hours(n int, zone string) {
	l.t.Helper()
	for range n {
		l.ask(time.Hour, zone)
	}
}

func (l *learner) addresses() string {
	var got []string
	for _, a := range l.memory.Addresses(registrar) {
		got = append(got, a.Address.String())
	}
	return strings.Join(got, " ")
}

// want compares the addresses and what failed.
func (l *learner) want(addresses string, problems ...string) {
	l.t.Helper()
	if got := l.addresses(); got != addresses {
		l.t.Errorf("after %s: addresses %q, want %q", l.now.Time.Sub(start), got, addresses)
	}
	var texts []string
	for _, p := range l.memory.Refresh.Failures {
		texts = append(texts, trimmed(p))
	}
	if diff := cmp.Diff(problems, texts); diff != "" {
		l.t.Errorf("after %s: %s", l.now.Time.Sub(start), diff)
	}
	if l.memory.Refresh.OK != (len(problems) == 0) {
		l.t.Errorf("after %s: ok is %t", l.now.Time.Sub(start), l.memory.Refresh.OK)
	}
}

// alarms compares the alarms that stand, without their ways out.
func (l *learner) alarms(want ...string) {
	l.t.Helper()
	var texts []string
	for _, a := range l.memory.Alarms(l.settings, l.now) {
		if a.WayOut.Kind == "" || a.Since.IsZero() || a.Since.After(l.now.Time) {
			l.t.Errorf("after %s: alarm %+v has no way out or no time", l.now.Time.Sub(start), a)
		}
		texts = append(texts, fmt.Sprintf("%s: %s: %s", a.Kind, strings.TrimSpace(a.Name+" "+string(a.Type)), a.Text))
	}
	if diff := cmp.Diff(want, texts); diff != "" {
		l.t.Errorf("after %s: alarms %s", l.now.Time.Sub(start), diff)
	}
}

const two = "sip.example A 192.0.2.1\nsip.example A 192.0.2.2\n"

func trimmed(p resolve.Problem) string {
	return strings.TrimSpace(p.Name+" "+string(p.Type)) + ": " + p.Error
}
