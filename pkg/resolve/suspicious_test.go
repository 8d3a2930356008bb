package resolve_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/resolve"
)

// TestMovedCompletely: nearly nothing is as it was. Two answers that say so are
// believed at once, one alone waits.
func TestMovedCompletely(t *testing.T) {
	const moved = "sip.example A 198.51.100.1\nsip.example A 198.51.100.2"
	const contradicted = "contradicted: sip.example: one answer has 198.51.100.1, 198.51.100.2 instead of the known addresses, another does not; they wait for a second answer"
	l := newLearner(t)
	l.ask(0, two)
	l.ask(time.Hour, moved, moved)
	l.want("192.0.2.1 192.0.2.2 198.51.100.1 198.51.100.2")

	t.Run("the second answer denies it", func(t *testing.T) {
		l := newLearner(t)
		l.ask(0, two)
		l.ask(time.Hour, moved, two)
		l.want("192.0.2.1 192.0.2.2")
		l.alarms(contradicted)
		l.ask(time.Hour, two)
		l.alarms(contradicted)
		l.hours(24, two)
		l.alarms()
		l.want("192.0.2.1 192.0.2.2")
	})
	t.Run("the second answer fails, the next lookup confirms", func(t *testing.T) {
		l := newLearner(t)
		l.settings.Min = 20 * time.Second // the zone's TTL is a minute
		l.ask(0, two)
		l.ask(time.Hour, moved, "sip.example A !timeout\nsip.example AAAA !timeout\nsip.example NAPTR !timeout")
		l.want("192.0.2.1 192.0.2.2")
		l.alarms()
		if due := l.memory.Due(registrar, l.now); due < 20*time.Second || due > 22*time.Second {
			t.Errorf("the next lookup is due in %s, want as soon as may be", due)
		}
		l.ask(20*time.Second, moved, "")
		l.want("192.0.2.1 192.0.2.2 198.51.100.1 198.51.100.2")
	})
	t.Run("two answers more than hold apart", func(t *testing.T) {
		l := newLearner(t)
		l.ask(0, two)
		l.ask(time.Hour, moved, two)
		l.hours(25, two)
		l.ask(time.Hour, moved, two)
		l.want("192.0.2.1 192.0.2.2")
	})
	t.Run("while it waits, nothing ages", func(t *testing.T) {
		l := newLearner(t)
		const stays = "sip.example AAAA 2001:db8::1\n"
		l.ask(0, two+stays)
		for i := range 100 {
			l.ask(time.Hour, stays+fmt.Sprintf("sip.example A 198.51.100.%d\nsip.example A 198.51.100.%d", i, 100+i), "sip.example A !timeout")
		}
		if got := l.addresses(); got != "192.0.2.1 192.0.2.2 2001:db8::1" {
			t.Errorf("addresses %s", got)
		}
	})
}

// TestWhenThereIsDoubt: only if more than half is new and more than half of what
// was there is gone.
func TestWhenThereIsDoubt(t *testing.T) {
	const four = "sip.example A 192.0.2.1\nsip.example A 192.0.2.2\nsip.example A 192.0.2.3\nsip.example A 192.0.2.4\n"
	for _, test := range []struct {
		name, before, after string
		doubt               bool
	}{
		{"the first answer", "sip.example TXT x", four, false},
		{"the same", two, two, false},
		{"one of two is new", two, "sip.example A 192.0.2.1\nsip.example A 192.0.2.3", false},
		{"three are added", "sip.example A 192.0.2.1", four, false},
		{"all are new", two, "sip.example A 192.0.2.3\nsip.example A 192.0.2.4", true},
		{"three of four are new", four, "sip.example A 192.0.2.4\nsip.example A 192.0.2.5\nsip.example A 192.0.2.6\nsip.example A 192.0.2.7", true},
		{"two of four are new", four, "sip.example A 192.0.2.3\nsip.example A 192.0.2.4\nsip.example A 192.0.2.5\nsip.example A 192.0.2.6", false},
		{"most are gone, two of five are new", pool(10), pool(3) + "sip.example A 192.0.2.5\nsip.example A 192.0.2.6", false},
		{"most are gone, three of five are new", pool(10), pool(2) + "sip.example A 192.0.2.5\nsip.example A 192.0.2.6\nsip.example A 192.0.2.7", true},
		{"a part of what is known", four, "sip.example A 192.0.2.4", false},
		{"another type is new, the old one fails", two, "sip.example A !servfail\nsip.example AAAA 2001:db8::1", false},
		{"another type is new, and the old one gone", two, "sip.example AAAA 2001:db8::1", true},
		{"all fails", two, "sip.example A !servfail", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLearner(t)
			l.ask(0, test.before)
			results := resolve.Resolve(t.Context(), newZone(t, test.after).lookup, []resolve.Target{registrar})
			if suspicious := l.memory.Suspicious(results, l.settings); (len(suspicious) > 0) != test.doubt {
				t.Errorf("suspicious %v", suspicious)
			}
		})
	}
}

// TestDoubtIsAboutProviders, not about names: one of many names may move.
func TestDoubtIsAboutProviders(t *testing.T) {
	names := func(addresses ...string) string {
		var b strings.Builder
		for i, a := range addresses {
			fmt.Fprintf(&b, "n%d.example A %s\n", i, a)
		}
		return b.String()
	}
	before := names("192.0.2.1", "192.0.2.2", "192.0.2.3")
	for _, test := range []struct {
		name, after string
		owners      []string
		want        []string
	}{
		{"one of three", names("192.0.2.9", "192.0.2.2", "192.0.2.3"), []string{"acme", "acme", "acme"}, nil},
		{"two of three", names("192.0.2.9", "192.0.2.8", "192.0.2.3"), []string{"acme", "acme", "acme"}, []string{"n0.example", "n1.example"}},
		{"one that is all of its provider", names("192.0.2.9", "192.0.2.2", "192.0.2.3"), []string{"other", "acme", "acme"}, []string{"n0.example"}},
		{"two that change places", names("192.0.2.2", "192.0.2.1", "192.0.2.3"), []string{"acme", "acme", "acme"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLearner(t)
			l.settings.Names = nil
			for i, o := range test.owners {
				l.settings.Names = append(l.settings.Names, resolve.Name{Target: resolve.Target{Name: fmt.Sprintf("n%d.example", i)}, Owners: []string{o}})
			}
			l.ask(0, before)
			var targets []resolve.Target
			for _, n := range l.settings.Names {
				targets = append(targets, n.Target)
			}
			var got []string
			results := resolve.Resolve(t.Context(), newZone(t, test.after).lookup, targets)
			for _, d := range l.memory.Suspicious(results, l.settings) {
				got = append(got, d.Name)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			// The daemon asks one name at a time: of the others it goes by memory.
			for i, r := range results {
				suspicious := l.memory.Suspicious(results[i:i+1], l.settings)
				alone := test.owners[i] != "acme"
				if len(suspicious) > 0 != (alone && slices.Contains(test.want, r.Target.Name)) {
					t.Errorf("%s alone: suspicious %v", r.Target.Name, suspicious)
				}
			}
		})
	}
}

// flapping answers with the next two of a pool of 18, each time it is asked.
type flapping struct{ pool, next int }

func (f *flapping) zone() string {
	var b strings.Builder
	for range 2 {
		fmt.Fprintf(&b, "sip.example A 192.0.2.%d\n", 1+f.next%f.pool)
		f.next++
	}
	return b.String()
}

// TestFlappingPool: each answer has 2 of 18. The whole pool comes in, stays in,
// and is still there after a day without DNS.
func TestFlappingPool(t *testing.T) {
	l := newLearner(t)
	f := &flapping{pool: 18}
	for range 60 {
		l.ask(time.Minute, f.zone(), f.zone())
	}
	if n := len(l.memory.Addresses(registrar)); n != 18 {
		t.Fatalf("after an hour %d of 18 addresses are in", n)
	}
	lookUp := func(n int, zone func() string) {
		t.Helper()
		for range n {
			before := l.addresses()
			l.ask(time.Minute, zone())
			if after := l.addresses(); after != before {
				t.Fatalf("after %s the addresses change from %s to %s", l.now.Time.Sub(start), before, after)
			}
		}
		l.alarms()
	}
	lookUp(24*60, f.zone)
	lookUp(24*4, func() string { return "sip.example A !timeout" })
	lookUp(24*60, f.zone)
}

// TestALiarFillsNoMemory: addresses that somebody makes up are forgotten.
func TestALiarFillsNoMemory(t *testing.T) {
	l := newLearner(t)
	l.ask(0, two)
	for i := range 1000 {
		l.ask(time.Second, fmt.Sprintf("sip.example A 198.51.%d.%d", i/256, i%256), two)
	}
	if n := len(l.memory.Names[0].Quarantined); n > 256 {
		t.Errorf("%d addresses wait", n)
	}
	l.want("192.0.2.1 192.0.2.2")
}
