package fence_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/plan/plantest"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

const (
	firstPolicy  = "version: 1\nproviders: [{name: acme, addresses: [203.0.113.5]}]\n"
	secondPolicy = "version: 1\nproviders: [{name: acme, addresses: [203.0.113.6]}]\n"
)

// newFence is a fence with files of its own; its notices are kept.
func newFence(t *testing.T, kernel *plantest.Kernel) (*fence.Fence, *[]notice.Notice) {
	t.Helper()
	var heard []notice.Notice
	folder := t.TempDir()
	return fence.New(fence.Config{
		StateDir: folder + "/state", RunDir: folder + "/run", User: "somebody", Log: slog.New(slog.DiscardHandler),
		Notice: func(n notice.Notice) { heard = append(heard, n) },
	}, testWorld(kernel)), &heard
}

func apply(t *testing.T, f *fence.Fence, text string, o fence.ApplyOptions) *fence.Applied {
	t.Helper()
	applied, err := f.Apply(t.Context(), policyOf(t, text), o)
	if err != nil {
		t.Fatal(err)
	}
	return applied
}

// TestLife is a fence from its first apply to its end.
func TestLife(t *testing.T) {
	kernel := &plantest.Kernel{}
	f, heard := newFence(t, kernel)
	if a := apply(t, f, firstPolicy, fence.ApplyOptions{}); a.Generation != 1 || !a.New || a.Plan.Empty() || !f.InForce() {
		t.Errorf("the first apply: %+v", a)
	}
	if a := apply(t, f, firstPolicy, fence.ApplyOptions{}); a.Generation != 1 || a.New || !a.Plan.Empty() {
		t.Errorf("the same again: %+v", a)
	}
	d, err := f.Diff(t.Context(), policyOf(t, secondPolicy), fence.DiffOptions{})
	if err != nil || len(d.Plan.Changes) != 2 || d.Generation != 1 || d.Refusal != nil {
		t.Errorf("diff: %+v, %v", d, err)
	}
	if a := apply(t, f, secondPolicy, fence.ApplyOptions{}); a.Generation != 2 {
		t.Errorf("the second policy: %+v", a)
	}
	r, err := f.Rollback(t.Context(), 0, nil, 0)
	if err != nil || r.Generation != 3 || r.Target != 1 {
		t.Errorf("rollback: %+v, %v", r, err)
	}
	if _, err := f.Ban(t.Context(), netip.MustParseAddr("198.51.100.7"), time.Hour, false); err != nil {
		t.Error(err)
	}
	_, err = f.Ban(t.Context(), netip.MustParseAddr("203.0.113.5"), time.Hour, false)
	if refusal, ok := errors.AsType[*plan.Refusal](err); !ok || refusal.Guard != "protected" {
		t.Errorf("a ban of the provider: %v", err)
	}
	bans, err := f.View().Bans(t.Context())
	if err != nil || len(bans) != 1 || bans[0].Why != "by somebody" {
		t.Errorf("bans: %+v, %v", bans, err)
	}
	if was, err := f.Unban(t.Context(), netip.MustParseAddr("198.51.100.7")); !was || err != nil {
		t.Errorf("unban: %t, %v", was, err)
	}
	kernel.Change(func(s *ruleset.State) { s.Counters = nil })
	if s, err := f.View().Status(t.Context()); err != nil || s.Differences == 0 || s.Generation != 3 || len(s.Providers) != 1 {
		t.Errorf("status: %+v, %v", s, err)
	}
	if r, err := f.Refresh(t.Context(), fence.RefreshOptions{}); err != nil || r.Plan.Empty() || r.Idle != "" {
		t.Errorf("refresh: %+v, %v", r, err)
	}
	if _, err := f.Down(t.Context(), false); err != nil {
		t.Error(err)
	}
	if r, err := f.Refresh(t.Context(), fence.RefreshOptions{}); err != nil || !strings.HasPrefix(r.Idle, "The fence was taken down by somebody") {
		t.Errorf("refresh after down: %+v, %v", r, err)
	}
	if _, err := f.Up(t.Context()); err != nil {
		t.Error(err)
	}
	all, err := f.View().History()
	if err != nil || len(all) != 3 || !all[2].InForce || all[2].Entry.Command != "rollback 1" {
		t.Errorf("history: %+v, %v", all, err)
	}
	if len(*heard) > 0 {
		t.Errorf("notices: %+v", *heard)
	}
}

// TestAgree: an apply that is asked about changes what was shown or nothing, and
// each policy is parsed once, however often it is compiled.
func TestAgree(t *testing.T) {
	kernel := &plantest.Kernel{}
	f, _ := newFence(t, kernel)
	apply(t, f, firstPolicy, fence.ApplyOptions{})
	no := errors.New("not confirmed")
	_, err := f.Apply(t.Context(), policyOf(t, secondPolicy), fence.ApplyOptions{Agree: func(context.Context, *plan.Plan) error { return no }})
	if !errors.Is(err, no) || kernel.Commits != 1 {
		t.Errorf("after a no: %v, %d commits", err, kernel.Commits)
	}
	_, err = f.Apply(t.Context(), policyOf(t, secondPolicy), fence.ApplyOptions{Agree: func(context.Context, *plan.Plan) error {
		kernel.Change(func(s *ruleset.State) { s.Counters = nil })
		return nil
	}})
	if err == nil || kernel.Commits != 1 {
		t.Errorf("a change after the yes: %v, %d commits", err, kernel.Commits)
	}
	p := policyOf(t, secondPolicy)
	yes := fence.ApplyOptions{Agree: func(context.Context, *plan.Plan) error { return nil }}
	if _, err := f.Apply(t.Context(), p, yes); err != nil {
		t.Error(err)
	}
	for number, want := range map[int]*policy.Policy{1: nil, 2: p.Policy} {
		first, err := f.Site(number)
		labtest.Must(t, err)
		again, err := f.Site(number)
		labtest.Must(t, err)
		if first.Policy != again.Policy || want != nil && first.Policy != want {
			t.Errorf("the policy of generation %d is parsed again", number)
		}
	}
}

// TestGuards: a provider without an address is refused, and a refused apply leaves
// nothing behind.
func TestGuards(t *testing.T) {
	kernel := &plantest.Kernel{}
	f, _ := newFence(t, kernel)
	const silent = "version: 1\nproviders: [{name: acme, registrars: [sip.acme.example]}]\ndns: {servers: [192.0.2.53]}\n"
	_, err := f.Apply(t.Context(), policyOf(t, silent), fence.ApplyOptions{})
	if refusal, ok := errors.AsType[*plan.Refusal](err); !ok || refusal.Guard != "empty-provider" || kernel.Commits != 0 {
		t.Errorf("got %v, %d commits", err, kernel.Commits)
	}
	if a := apply(t, f, silent, fence.ApplyOptions{Allow: site.Allowances{Empty: []string{"acme"}}}); !a.Partly || a.Generation != 1 {
		t.Errorf("allowed: %+v", a)
	}
}

// TestFails: if the kernel takes nothing, there is no generation.
func TestFails(t *testing.T) {
	broken := errors.New("no buffer space")
	kernel := &plantest.Kernel{Fails: true, Err: broken}
	f, _ := newFence(t, kernel)
	_, err := f.Apply(t.Context(), policyOf(t, firstPolicy), fence.ApplyOptions{})
	if !errors.Is(err, broken) || f.InForce() {
		t.Errorf("got %v, in force %t", err, f.InForce())
	}
	if all, err := f.View().History(); len(all) > 0 || err != nil {
		t.Errorf("history: %+v, %v", all, err)
	}
}

// TestStateMark: what a reconciler writes does not change the mark that wakes it;
// what other runs do, does.
func TestStateMark(t *testing.T) {
	kernel := &plantest.Kernel{}
	f, _ := newFence(t, kernel)
	apply(t, f, firstPolicy, fence.ApplyOptions{})
	r := f.Reconciler()
	mark := r.State()
	for range 3 {
		kernel.Change(func(s *ruleset.State) { s.Counters = nil })
		if o, err := r.Reconcile(t.Context(), true); err != nil || o.Plan.Empty() {
			t.Fatalf("%+v, %v", o, err)
		}
	}
	if !r.State().Same(mark) {
		t.Error("a reconciler wakes itself")
	}
	apply(t, f, secondPolicy, fence.ApplyOptions{})
	if r.State().Same(mark) {
		t.Error("a new generation is not noticed")
	}
	mark = r.State()
	if _, err := f.Down(t.Context(), false); err != nil || r.State().Same(mark) {
		t.Errorf("that the fence was taken down is not noticed (%v)", err)
	}
}

// TestAllowances outlive the table, and end also without one.
func TestAllowances(t *testing.T) {
	kernel := &plantest.Kernel{}
	f, _ := newFence(t, kernel)
	apply(t, f, firstPolicy, fence.ApplyOptions{})
	phone := netip.MustParseAddr("198.51.100.7")
	if _, err := f.Allow(t.Context(), phone, time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Ban(t.Context(), phone, time.Hour, true); err == nil {
		t.Error("what is allowed by hand was banned")
	}
	kernel.Change(func(s *ruleset.State) { *s = ruleset.State{} })
	if allowed, err := kernel.Allowances(t.Context()); err != nil || len(allowed) != 0 {
		t.Fatalf("without a table: %v, %v", allowed, err)
	}
	if _, err := f.Refresh(t.Context(), fence.RefreshOptions{}); err != nil {
		t.Fatal(err)
	}
	if s, err := f.View().Status(t.Context()); err != nil || len(s.ByHand) != 1 || s.ByHand[0].Address != phone || s.ByHand[0].Why != "by somebody" || s.ByHand[0].Left > time.Hour {
		t.Errorf("status: %+v, %v", s.ByHand, err)
	}
	kernel.Change(func(s *ruleset.State) { *s = ruleset.State{} })
	if was, err := f.Disallow(t.Context(), phone); !was || err != nil {
		t.Errorf("disallow without a table: %t, %v", was, err)
	}
	if was, err := f.Disallow(t.Context(), phone); was || err == nil {
		t.Errorf("disallow of what is not allowed, without a table: %t, %v", was, err)
	}
	if _, err := f.Refresh(t.Context(), fence.RefreshOptions{}); err != nil {
		t.Fatal(err)
	}
	if allowed, err := kernel.Allowances(t.Context()); err != nil || len(allowed) != 0 {
		t.Errorf("what was ended came back: %v, %v", allowed, err)
	}
}
