package fence_test

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/activity"
	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/events"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/plan/plantest"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// saw writes what the daemon writes of dropped packets.
func saw(t *testing.T, f *fence.Fence, drops ...events.Drop) {
	t.Helper()
	var tally events.Tally
	for _, d := range drops {
		tally.Add(d)
		tally.Count(d.Time, "dropped_"+d.Reason, 1)
	}
	folder := filepath.Dir(f.Reconciler().AddressesFile())
	_, err := (&events.Store{Path: filepath.Join(folder, "events.db"), Keep: 24 * time.Hour}).Write(&tally, time.Now())
	labtest.Must(t, err)
}

func drop(address string, ago time.Duration, reason, agent string) events.Drop {
	return events.Drop{
		Time: time.Now().Add(-ago), Source: netip.MustParseAddr(address), Port: 5060, Protocol: "udp", Interface: "wan",
		Reason: reason, Method: "REGISTER", UserAgent: agent, Called: "100",
	}
}

// TestDroppedLately: who was dropped lately comes from the kernel, and what it sent from what the
// daemon has written; each source is there once, the last one first, and with a sentence
// that says why.
func TestDroppedLately(t *testing.T) {
	kernel := &plantest.Kernel{}
	f, _ := newFence(t, kernel)
	if d, err := f.View().Dropped(t.Context(), time.Hour, 9); err != nil || len(d.Sources) > 0 {
		t.Errorf("without a fence: %+v, %v", d, err)
	}
	apply(t, f, firstPolicy, fence.ApplyOptions{})
	now := time.Now()
	kernel.Drop(backend.Dropped{Address: stranger, Packets: 7, First: now.Add(-50 * time.Minute), Last: now.Add(-time.Minute)})
	kernel.Drop(backend.Dropped{Address: netip.MustParseAddr("198.51.100.8"), Packets: 2, Last: now.Add(-3 * time.Hour)})
	saw(t, f,
		drop("198.51.100.7", 30*time.Minute, "unknown", "old-agent"), drop("198.51.100.7", 2*time.Minute, "unknown", "friendly-scanner"),
		drop("198.51.100.9", 10*time.Minute, "unknown", ""), drop("198.51.100.10", 5*time.Hour, "unknown", ""))
	d, err := f.View().Dropped(t.Context(), time.Hour, 9)
	labtest.Must(t, err)
	var got []string
	for _, s := range d.Sources {
		got = append(got, s.Address.String())
		if s.Text == "" || s.Reason != "unknown" {
			t.Errorf("%s was dropped because %q: %q", s.Address, s.Reason, s.Text)
		}
	}
	if strings.Join(got, " ") != "198.51.100.7 198.51.100.9" || d.Monitor {
		t.Fatalf("dropped were %q", got)
	}
	first := d.Sources[0]
	if first.Packets != 7 || first.UserAgent != "friendly-scanner" || first.Method != "REGISTER" || first.Called != "100" || first.Port != 5060 {
		t.Errorf("the last one is %+v", first)
	}
	apply(t, f, firstPolicy+"mode: monitor\n", fence.ApplyOptions{})
	if d, err := f.View().Dropped(t.Context(), time.Hour, 9); err != nil || !d.Monitor {
		t.Errorf("in monitor mode: %+v, %v", d, err)
	}
}

// TestWhy: why answers from what is in the kernel now: who is let in by whom, who is banned
// or allowed by hand, and what was dropped of an address lately.
func TestWhy(t *testing.T) {
	kernel := &plantest.Kernel{}
	f, _ := newFence(t, kernel)
	ask := func(address netip.Addr) site.Answer {
		t.Helper()
		a, err := f.View().Why(t.Context(), site.Question{Address: address, Protocol: ruleset.UDP, Port: 5060, Interface: "wan"})
		labtest.Must(t, err)
		return a
	}
	if a := ask(stranger); a.Reason != "no_fence" {
		t.Errorf("without a fence: %+v", a)
	}
	apply(t, f, firstPolicy, fence.ApplyOptions{})
	if a := ask(provider); a.Reason != "provider" || len(a.By) != 1 || a.By[0] != "acme" {
		t.Errorf("the provider: %q by %q", a.Reason, a.By)
	}
	saw(t, f, drop("198.51.100.7", 30*time.Minute, "unknown", "agent"), drop("198.51.100.7", 10*time.Minute, "unknown", "agent"), drop("198.51.100.9", time.Minute, "unknown", ""))
	if a := ask(stranger); a.Reason != "unknown" || a.Lately == nil || a.Lately.Packets != 2 || a.Lately.UserAgent != "agent" {
		t.Errorf("a stranger: %q, lately %+v", a.Reason, a.Lately)
	}
	_, err := f.Allow(t.Context(), stranger, time.Hour)
	labtest.Must(t, err)
	if a := ask(stranger); a.Reason != "by_hand" || a.Temporary == nil || a.Temporary.Why != "by somebody" {
		t.Errorf("allowed by hand: %q, %+v", a.Reason, a.Temporary)
	}
	_, err = f.Disallow(t.Context(), stranger)
	labtest.Must(t, err)
	apply(t, f, firstPolicy+"unknown: {action: accept}\n", fence.ApplyOptions{})
	_, err = f.Ban(t.Context(), stranger, time.Hour, false)
	labtest.Must(t, err)
	if a := ask(stranger); a.Reason != "banned" || a.Temporary == nil {
		t.Errorf("banned: %q, %+v", a.Reason, a.Temporary)
	}
}

// TestActivity: a report sums up what the daemon has written, says which generation was in
// force at a moment, and suggests nobody who is let in already.
func TestActivity(t *testing.T) {
	f, _ := newFence(t, &plantest.Kernel{})
	apply(t, f, firstPolicy, fence.ApplyOptions{})
	saw(t, f, drop("198.51.100.7", 30*time.Minute, "unknown", "friendly-scanner"), drop("198.51.100.7", 20*time.Minute, "unknown", "friendly-scanner"),
		drop("203.0.113.5", 20*time.Minute, "unknown", "Yealink"))
	a, err := f.View().Activity(t.Context(), fence.Period{Since: time.Now().Add(-3 * time.Hour)})
	labtest.Must(t, err)
	if a.Dropped["unknown"] == 0 || len(a.Sources) != 2 || a.Now.Generation != 1 || a.Answer != nil {
		t.Errorf("of three hours: %+v of %d sources, %+v", a.Dropped, len(a.Sources), a.Answer)
	}
	for _, s := range a.Suggestions {
		if s.Address == provider {
			t.Errorf("it suggests to let in who is let in: %+v", s)
		}
	}
	a, err = f.View().Activity(t.Context(), fence.Period{At: time.Now()})
	labtest.Must(t, err)
	if a.Answer == nil {
		t.Error("of a moment there is no answer")
	}
	testThen(t, f)
	a, err = f.View().Activity(t.Context(), fence.Period{Since: time.Now().Add(-time.Minute)})
	labtest.Must(t, err)
	if len(a.Suggestions) > 0 && len(a.Sources) == 0 {
		t.Errorf("of a minute without packets: %+v", a.Suggestions)
	}
}

// testThen: what passed before the mode was changed was not dropped, though what is asked
// for is the moment after.
func testThen(t *testing.T, f *fence.Fence) {
	t.Helper()
	verdict := func() activity.Verdict {
		t.Helper()
		a, err := f.View().Activity(t.Context(), fence.Period{At: time.Now()})
		labtest.Must(t, err)
		return a.Answer.Verdict
	}
	saw(t, f, drop("198.51.100.8", 0, "unknown", "Yealink"))
	if v := verdict(); v != activity.Dropped {
		t.Errorf("enforced since before it came: %s", v)
	}
	apply(t, f, firstPolicy+"mode: monitor\n", fence.ApplyOptions{})
	saw(t, f, drop("198.51.100.9", 0, "unknown", "Yealink"))
	apply(t, f, firstPolicy, fence.ApplyOptions{})
	if v := verdict(); v != activity.Perhaps && v != activity.GhostCall {
		t.Errorf("in monitor mode when it came: %s", v)
	}
}
