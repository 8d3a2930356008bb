package fence_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/plan/plantest"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

var (
	stranger = netip.MustParseAddr("198.51.100.7")
	provider = netip.MustParseAddr("203.0.113.5")
)

// TestByHand: who is allowed by hand is in at once, is listed, stays over another policy
// and a table that was removed, and is out after disallow.
func TestByHand(t *testing.T) {
	kernel := &plantest.Kernel{}
	f, _ := newFence(t, kernel)
	apply(t, f, firstPolicy, fence.ApplyOptions{})
	b, err := f.Allow(t.Context(), stranger, 90*time.Minute)
	labtest.Must(t, err)
	if b.Address != stranger || b.Left != 90*time.Minute || b.Why != "by somebody" {
		t.Errorf("allowed: %+v", b)
	}
	in := func(step string, want int) {
		t.Helper()
		there, err := kernel.Allowances(t.Context())
		labtest.Must(t, err)
		listed, err := f.View().AllowedByHand()
		labtest.Must(t, err)
		status, err := f.View().Status(t.Context())
		labtest.Must(t, err)
		if len(there) != want || len(listed) != want || len(status.ByHand) != want {
			t.Errorf("%s: %d in the kernel, %d listed, %d in the status, want %d", step, len(there), len(listed), len(status.ByHand), want)
		}
		for _, l := range listed {
			if l.Address != stranger || l.Left <= 80*time.Minute || l.Left > 90*time.Minute || l.Why != "by somebody" {
				t.Errorf("%s: listed is %+v", step, l)
			}
		}
	}
	in("at once", 1)
	apply(t, f, secondPolicy, fence.ApplyOptions{})
	in("after another policy", 1)
	kernel.Change(func(s *ruleset.State) { *s = ruleset.State{GenID: s.GenID} })
	_, err = f.Refresh(t.Context(), fence.RefreshOptions{})
	labtest.Must(t, err)
	in("after the table was removed", 1)
	was, err := f.Disallow(t.Context(), stranger)
	labtest.Must(t, err)
	if !was {
		t.Error("it was not allowed")
	}
	in("after disallow", 0)
	if was, err := f.Disallow(t.Context(), stranger); was || err != nil {
		t.Errorf("disallow again: %t, %v", was, err)
	}
}

// TestBannedForGood: what the policy bans permanently can neither be allowed nor unbanned
// by hand, and bans lists it with its reason.
func TestBannedForGood(t *testing.T) {
	kernel := &plantest.Kernel{}
	f, heard := newFence(t, kernel)
	apply(t, f, firstPolicy+"trusted: {addresses: [192.0.2.9]}\nbans: {addresses: [198.51.100.0/24]}\n", fence.ApplyOptions{})
	_, err := f.Allow(t.Context(), stranger, time.Hour)
	const why = "198.51.100.7 is permanently banned by the policy"
	if err == nil || err.Error() != why || notice.Hint(err) != "remove it from bans.addresses there, and apply" {
		t.Errorf("allow: %v (%s)", err, notice.Hint(err))
	}
	if _, err := f.Unban(t.Context(), stranger); err == nil || err.Error() != why {
		t.Errorf("unban: %v", err)
	}
	_, err = f.Ban(t.Context(), provider, time.Hour, false)
	refusal, ok := errors.AsType[*plan.Refusal](err)
	if !ok || !strings.Contains(refusal.Why, "203.0.113.5") || !strings.Contains(refusal.Why, "acme") {
		t.Errorf("a ban of the provider: %v", err)
	}
	_, err = f.Ban(t.Context(), provider, time.Hour, true)
	labtest.Must(t, err)
	_, err = f.Ban(t.Context(), netip.MustParseAddr("192.0.2.7"), time.Hour, false)
	labtest.Must(t, err)
	_, err = f.Allow(t.Context(), netip.MustParseAddr("192.0.2.7"), time.Hour)
	labtest.Must(t, err)
	labtest.Must(t, kernel.Ban(t.Context(), banned("192.0.2.8")))
	bans, err := f.View().Bans(t.Context())
	labtest.Must(t, err)
	got := map[string]string{}
	for _, b := range bans {
		got[ruleset.PrefixText(b.Prefix)] = b.Why
	}
	for address, want := range map[string]string{
		"198.51.100.0/24": "the policy: bans.addresses",
		"203.0.113.5":     "by somebody; allowed all the same, by acme",
		"192.0.2.7":       "by somebody; no effect while it is allowed by hand",
		"192.0.2.8":       "it sent what a scanner sends",
	} {
		if got[address] != want {
			t.Errorf("%s is banned: %q, want %q", address, got[address], want)
		}
	}
	if len(*heard) > 0 {
		t.Errorf("notices: %+v", *heard)
	}
}

// TestByHandInMonitorMode: in monitor mode nothing keeps a banned address out, and ban and
// bans say so.
func TestByHandInMonitorMode(t *testing.T) {
	kernel := &plantest.Kernel{}
	f, heard := newFence(t, kernel)
	apply(t, f, firstPolicy+"mode: monitor\nbans: {addresses: [192.0.2.0/24]}\n", fence.ApplyOptions{})
	_, err := f.Ban(t.Context(), stranger, time.Hour, false)
	labtest.Must(t, err)
	if len(*heard) != 1 || (*heard)[0].Code != notice.Monitoring || !strings.HasPrefix((*heard)[0].Text, "198.51.100.7 is not kept out") {
		t.Errorf("notices: %+v", *heard)
	}
	bans, err := f.View().Bans(t.Context())
	labtest.Must(t, err)
	if len(bans) != 2 {
		t.Errorf("bans: %+v", bans)
	}
	for _, b := range bans {
		if !strings.Contains(b.Why, "monitor") {
			t.Errorf("%s is banned %q", b.Prefix, b.Why)
		}
	}
}

// TestByHandWithoutFence: without a table nobody can be banned or allowed, and nothing is
// kept of it.
func TestByHandWithoutFence(t *testing.T) {
	f, _ := newFence(t, &plantest.Kernel{})
	if _, err := f.Ban(t.Context(), stranger, time.Hour, false); err == nil {
		t.Error("an address was banned")
	}
	if _, err := f.Allow(t.Context(), stranger, time.Hour); err == nil {
		t.Error("an address was allowed")
	}
	if listed, err := f.View().AllowedByHand(); len(listed) > 0 || err != nil {
		t.Errorf("allowed: %+v, %v", listed, err)
	}
	if bans, err := f.View().Bans(t.Context()); len(bans) > 0 || err != nil {
		t.Errorf("banned: %+v, %v", bans, err)
	}
}

// TestDamagedAllowances: a damaged list of who is allowed by hand is set aside with a
// warning, and the next allow makes another one.
func TestDamagedAllowances(t *testing.T) {
	kernel := &plantest.Kernel{}
	f, heard := newFence(t, kernel)
	apply(t, f, firstPolicy, fence.ApplyOptions{})
	_, err := f.Allow(t.Context(), stranger, time.Hour)
	labtest.Must(t, err)
	damage(t, f, string(journal.AllowedFile))
	if _, err := f.Allow(t.Context(), netip.MustParseAddr("198.51.100.8"), time.Hour); err != nil {
		t.Error(err)
	}
	listed, err := f.View().AllowedByHand()
	labtest.Must(t, err)
	if len(listed) != 1 || listed[0].Address.String() != "198.51.100.8" {
		t.Errorf("listed: %+v", listed)
	}
	if len(*heard) != 1 || (*heard)[0].Code != notice.StateDamaged || !strings.Contains((*heard)[0].Text, "allowed.json") {
		t.Errorf("notices: %+v", *heard)
	}
}
