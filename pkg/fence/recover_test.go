package fence_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/host"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan/plantest"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// begun leaves what a run leaves that was killed while it made a generation: the entry of
// another fence's apply, without its number.
func begun(t *testing.T, f *fence.Fence, text string) *plantest.Kernel {
	t.Helper()
	kernel := &plantest.Kernel{}
	other, _ := newFence(t, kernel)
	apply(t, other, text, fence.ApplyOptions{})
	entry, err := other.Reconciler().Journal().Newest()
	labtest.Must(t, err)
	_, err = f.Reconciler().Journal().Begin(entry)
	labtest.Must(t, err)
	return kernel
}

// TestKilledWhileItApplied: a generation whose rules are in the kernel gets its number from
// the next run; one whose rules are not is discarded. Both are said.
func TestKilledWhileItApplied(t *testing.T) {
	for _, inKernel := range []bool{true, false} {
		kernel := &plantest.Kernel{}
		f, heard := newFence(t, kernel)
		apply(t, f, firstPolicy, fence.ApplyOptions{})
		other := begun(t, f, secondPolicy)
		if inKernel {
			state, err := other.Observe(t.Context())
			labtest.Must(t, err)
			kernel.Change(func(s *ruleset.State) { id := s.GenID; *s = *plantest.Copy(state); s.GenID = id })
		}
		r, err := f.Refresh(t.Context(), fence.RefreshOptions{})
		labtest.Must(t, err)
		want, said := 1, "they are discarded"
		if inKernel {
			want, said = 2, "they are generation 2"
		}
		if r.Generation != want || !r.Plan.Empty() {
			t.Errorf("in the kernel: %t: generation %d, %d changes", inKernel, r.Generation, len(r.Plan.Changes))
		}
		if !slices.ContainsFunc(append(*heard, r.Notices...), func(n notice.Notice) bool {
			return n.Code == notice.RunInterrupted && strings.Contains(n.Text, said)
		}) {
			t.Errorf("in the kernel: %t: notices %+v", inKernel, *heard)
		}
		if f.Reconciler().Journal().Begun() {
			t.Error("it is still begun")
		}
	}
}

// TestKilledWhileItWentDown: what a run had begun in the kernel decides whether the fence
// is down or up.
func TestKilledWhileItWentDown(t *testing.T) {
	for _, test := range []struct {
		phase  journal.Phase
		table  bool
		fenced bool
		said   string
	}{
		{journal.Going, true, false, "killed before it was finished: taking the fence down now"},
		{journal.Going, false, false, ""},
		{journal.Coming, true, true, "killed after it had put the fence up"},
		{journal.Coming, false, false, ""},
	} {
		kernel := &plantest.Kernel{}
		f, heard := newFence(t, kernel)
		apply(t, f, firstPolicy, fence.ApplyOptions{})
		if !test.table {
			kernel.Change(func(s *ruleset.State) { *s = ruleset.State{GenID: s.GenID} })
		}
		labtest.Must(t, f.Reconciler().Journal().SetDown(journal.Down{Time: time.Now(), User: "somebody", Phase: test.phase}))
		r, err := f.Refresh(t.Context(), fence.RefreshOptions{})
		labtest.Must(t, err)
		state, err := kernel.Observe(t.Context())
		labtest.Must(t, err)
		if state.Exists != test.fenced || (r.Idle == "") != test.fenced {
			t.Errorf("%s, with a table: %t: there is a fence: %t, refresh says %q", test.phase, test.table, state.Exists, r.Idle)
		}
		said := ""
		for _, n := range append(*heard, r.Notices...) {
			said += n.Text + "\n"
		}
		if test.said == "" && said != "" || !strings.Contains(said, test.said) {
			t.Errorf("%s, with a table: %t: it says %q", test.phase, test.table, said)
		}
	}
}

// TestUndoAtOnce: a user who says no at the terminal gets what was in force before; what
// somebody else has confirmed meanwhile stays.
func TestUndoAtOnce(t *testing.T) {
	for _, confirmed := range []bool{false, true} {
		kernel := &plantest.Kernel{}
		f, heard := newFence(t, kernel)
		apply(t, f, firstPolicy, fence.ApplyOptions{})
		pending := apply(t, f, secondPolicy, fence.ApplyOptions{Confirm: time.Minute}).Pending
		if _, err := f.Rollback(t.Context(), 1, nil, 0); err == nil || !strings.Contains(err.Error(), "generation 2 by somebody waits for a confirmation") {
			t.Errorf("rollback meanwhile: %v", err)
		}
		if confirmed {
			n, err := f.Confirm(t.Context(), 2)
			if n != 2 || err != nil {
				t.Errorf("confirmed is %d, %v", n, err)
			}
		}
		kept, err := f.Undo(t.Context(), *pending)
		labtest.Must(t, err)
		state, err := kernel.Observe(t.Context())
		labtest.Must(t, err)
		if kept != confirmed || state.Sets["providers4"].Contains(provider) == confirmed {
			t.Errorf("confirmed: %t: kept is %t, in force %v", confirmed, kept, state.Sets["providers4"].Elements)
		}
		if confirmed {
			continue
		}
		if len(*heard) != 1 || (*heard)[0].Text != "generation 2 was undone: generation 1 is in force again" {
			t.Errorf("notices: %+v", *heard)
		}
		if _, err := f.Rollback(t.Context(), 2, nil, 0); err == nil || !strings.Contains(err.Error(), "generation 2 was not confirmed in time and was undone") {
			t.Errorf("rollback to it: %v", err)
		}
		all, err := f.View().History()
		labtest.Must(t, err)
		if len(all) != 2 || !all[1].Undone || all[1].InForce || all[1].Entry.Policy != secondPolicy {
			t.Errorf("history: %+v", all)
		}
	}
}

// TestConfirmWhich: a confirmation is of the generation that is meant, and of one's own if
// none is named.
func TestConfirmWhich(t *testing.T) {
	f, _ := newFence(t, &plantest.Kernel{})
	if _, err := f.Confirm(t.Context(), 0); err == nil || err.Error() != "no generation waits for a confirmation" {
		t.Errorf("of none: %v", err)
	}
	apply(t, f, firstPolicy, fence.ApplyOptions{})
	apply(t, f, secondPolicy, fence.ApplyOptions{Confirm: time.Minute})
	if _, err := f.Confirm(t.Context(), 1); err == nil || err.Error() != "generation 1 does not wait for a confirmation: generation 2 does" {
		t.Errorf("of another: %v", err)
	}
	u, err := f.Reconciler().Journal().Unconfirmed()
	labtest.Must(t, err)
	u.User = "alice"
	labtest.Must(t, f.Reconciler().Journal().SetUnconfirmed(*u))
	if _, err := f.Confirm(t.Context(), 0); err == nil || notice.Hint(err) != "to confirm it all the same: ringfence confirm 2" {
		t.Errorf("of somebody else's: %v", err)
	}
	if n, err := f.Confirm(t.Context(), 2); n != 2 || err != nil {
		t.Errorf("of somebody else's, by its number: %d, %v", n, err)
	}
}

// TestWatchdog: the watchdog is started before the kernel is changed, gets its orders
// with the start, and is ended by a confirmation; if it does not start, nothing is changed.
func TestWatchdog(t *testing.T) {
	kernel := &plantest.Kernel{}
	folder := t.TempDir()
	var started, ended []fence.Watch
	var refused error
	var commits int
	f := fence.New(fence.Config{
		StateDir: folder + "/state", RunDir: folder + "/run", User: "somebody", Log: slog.New(slog.DiscardHandler), Notice: func(notice.Notice) {},
		Watchdog: func(_ context.Context, w fence.Watch) error {
			started, commits = append(started, w), kernel.Commits
			return refused
		},
		Unwatch: func(_ context.Context, w fence.Watch) error {
			ended = append(ended, w)
			return errors.New("there is none")
		},
	}, testWorld(kernel))
	apply(t, f, firstPolicy, fence.ApplyOptions{})
	apply(t, f, secondPolicy, fence.ApplyOptions{Confirm: time.Minute})
	if len(started) != 1 || commits != 1 || started[0].Generation != 2 || started[0].Window != time.Minute {
		t.Errorf("started %+v after %d commits", started, commits)
	}
	_, err := f.Confirm(t.Context(), 0)
	labtest.Must(t, err)
	if len(ended) != 1 || ended[0] != started[0] {
		t.Errorf("ended %+v, started %+v", ended, started)
	}
	refused = errors.New("no such file or directory")
	if _, err := f.Apply(t.Context(), policyOf(t, firstPolicy), fence.ApplyOptions{Confirm: time.Minute}); !errors.Is(err, refused) {
		t.Errorf("without a watchdog: %v", err)
	}
	if p, err := f.Pending(); p != nil || err != nil || kernel.Commits > 3 {
		t.Errorf("it waits for a confirmation: %+v, %v; %d commits", p, err, kernel.Commits)
	}
}

// TestWatchUnconfirmed: the watchdog undoes the change at the deadline, ends when it was
// confirmed, and waits for a run that has the lock.
func TestWatchUnconfirmed(t *testing.T) {
	for _, test := range []struct {
		name   string
		during func(t *testing.T, f *fence.Fence, folder string)
		after  time.Duration
		undone bool
	}{
		{"nobody", func(*testing.T, *fence.Fence, string) {}, time.Minute, true},
		{"a confirmation", func(t *testing.T, f *fence.Fence, _ string) {
			time.Sleep(20 * time.Second)
			_, err := f.Confirm(t.Context(), 0)
			labtest.Must(t, err)
		}, 20 * time.Second, false},
		{"another run", func(t *testing.T, _ *fence.Fence, folder string) {
			time.Sleep(55 * time.Second)
			unlock, err := journal.Lock(t.Context(), folder+"/run", "refresh")
			labtest.Must(t, err)
			time.Sleep(30 * time.Second)
			unlock()
		}, 85 * time.Second, true},
	} {
		folder := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			kernel, c := &plantest.Kernel{}, &clock{start: time.Now(), boot: "first"}
			world := testWorld(kernel)
			world.Now = c.now
			next := func() *fence.Fence {
				return fence.New(fence.Config{StateDir: folder + "/state", RunDir: folder + "/run", User: "somebody", Log: slog.New(slog.DiscardHandler), Notice: func(notice.Notice) {}}, world)
			}
			apply(t, next(), firstPolicy, fence.ApplyOptions{})
			p := apply(t, next(), secondPolicy, fence.ApplyOptions{Confirm: time.Minute}).Pending
			start := time.Now()
			ended := make(chan error, 1)
			watched := next()
			go func() {
				ended <- watched.WatchUnconfirmed(t.Context(), fence.Watch{ID: p.ID, Generation: p.Generation, Window: time.Minute})
			}()
			test.during(t, next(), folder)
			labtest.Must(t, <-ended)
			if took := time.Since(start); took < test.after || took > test.after+15*time.Second {
				t.Errorf("%s: it ends after %s, want %s", test.name, took, test.after)
			}
			state, err := kernel.Observe(t.Context())
			labtest.Must(t, err)
			if state.Sets["providers4"].Contains(provider) != test.undone {
				t.Errorf("%s: in force is %v", test.name, state.Sets["providers4"].Elements)
			}
		})
	}
}

// TestExamine: doctor passes on what it finds: a back end that does not work, a name server
// that does not answer, a classifier that could not be attached.
func TestExamine(t *testing.T) {
	kernel := &plantest.Kernel{}
	world := testWorld(kernel)
	world.Network = func() (host.Facts, error) { return host.Facts{}, nil }
	world.Condition = func(string) host.Condition { return host.Condition{} }
	world.Others = func(context.Context) (ruleset.Others, error) { return ruleset.Others{}, nil }
	world.Servers = func() (resolve.Servers, error) {
		return resolve.Servers{Addresses: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("192.0.2.54:53")}}, nil
	}
	world.Lookup = func(s resolve.Servers) (first, again resolve.Lookup) {
		lookup := func(_ context.Context, q resolve.Question) (resolve.Answer, error) {
			if s.Addresses[0].Addr().String() == "192.0.2.53" {
				return resolve.Answer{}, &resolve.Failure{Question: q, Kind: resolve.Timeout, Text: "no answer from 192.0.2.53:53"}
			}
			return resolve.Answer{Records: []resolve.Record{{Owner: q.Name, Type: q.Type, Address: provider, TTL: time.Minute}}}, nil
		}
		return lookup, lookup
	}
	folder := t.TempDir()
	f := fence.New(fence.Config{StateDir: folder + "/state", RunDir: folder + "/run", User: "somebody", Log: slog.New(slog.DiscardHandler), Notice: func(notice.Notice) {}}, world)
	apply(t, f, "version: 1\nproviders: [{name: acme, registrars: [sip.acme.example]}]\ntrusted: {addresses: [192.168.0.0/16]}\n", fence.ApplyOptions{
		Allow: site.Allowances{Empty: []string{"acme"}},
	})
	findings, err := f.View().Examine(t.Context())
	labtest.Must(t, err)
	var text strings.Builder
	for _, found := range findings {
		text.WriteString(found.Finding + "\n")
		if found.Why == "" || found.WayOut == "" {
			t.Errorf("%q has no reason, or no way out", found.Finding)
		}
	}
	if !strings.Contains(text.String(), "192.0.2.53:53") || strings.Contains(text.String(), "192.0.2.54:53") {
		t.Errorf("it finds\n%s", text.String())
	}
	broken := errors.New("no route to host")
	world.Network = func() (host.Facts, error) { return host.Facts{}, broken }
	if _, err := fence.New(fence.Config{StateDir: folder + "/state", RunDir: folder + "/run", Log: slog.New(slog.DiscardHandler)}, world).View().Examine(t.Context()); !errors.Is(err, broken) {
		t.Errorf("facts that cannot be read: %v", err)
	}
}
