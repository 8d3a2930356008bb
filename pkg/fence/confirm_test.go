package fence_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringfence/ringfence/pkg/daemon"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan/plantest"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// clock is a clock whose wall time can be moved, and whose boot can end.
type clock struct {
	mu    sync.Mutex
	start time.Time
	wall  time.Duration
	boot  string
}

func (c *clock) now() resolve.Moment {
	c.mu.Lock()
	defer c.mu.Unlock()
	return resolve.Moment{Time: time.Now().Add(c.wall), Boot: c.boot, Up: resolve.Span(time.Since(c.start))}
}

// TestConfirmInTime: the deadline holds to the millisecond, whatever the wall clock says.
func TestConfirmInTime(t *testing.T) {
	for _, test := range []struct {
		name string
		wait time.Duration
		wall time.Duration
		boot string
		kept bool
	}{
		{"at once", 0, 0, "first", true},
		{"in the last millisecond", 60*time.Second - time.Millisecond, 0, "first", true},
		{"at the deadline", 60 * time.Second, 0, "first", false},
		{"the wall clock jumps forward", 59 * time.Second, time.Hour, "first", true},
		{"the wall clock jumps back", 61 * time.Second, -time.Hour, "first", false},
		{"after a reboot", time.Second, 0, "second", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			folder := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				kernel, c := &plantest.Kernel{}, &clock{start: time.Now(), boot: "first"}
				newFence := func() *fence.Fence { return clocked(folder, kernel, c) }
				apply(t, newFence(), firstPolicy, fence.ApplyOptions{})
				applied := apply(t, newFence(), secondPolicy, fence.ApplyOptions{Confirm: time.Minute})
				if applied.Pending == nil || applied.Generation != 2 || applied.Pending.Left != time.Minute {
					t.Fatalf("pending is %+v of generation %d", applied.Pending, applied.Generation)
				}
				time.Sleep(test.wait)
				c.mu.Lock()
				c.wall, c.boot = test.wall, test.boot
				c.mu.Unlock()
				_, err := newFence().Confirm(t.Context(), 0)
				if (err == nil) != test.kept {
					t.Errorf("confirm: %v", err)
				}
				if err != nil && !strings.Contains(err.Error(), "generation 2 was not confirmed in time and was undone") {
					t.Errorf("confirm: %v", err)
				}
				wantPorts(t, kernel, 0)
				restored, err := newFence().Up(t.Context())
				labtest.Must(t, err)
				if want := map[bool]int{true: 2, false: 1}[test.kept]; restored.Generation != want || !restored.Plan.Empty() {
					t.Errorf("in force is generation %d with %+v, want %d", restored.Generation, restored.Plan.Changes, want)
				}
			})
		})
	}
}

// TestUndoneByTheBootClock: however often the wall clock jumps, a watchdog undoes the change
// at the deadline, not before and not after.
func TestUndoneByTheBootClock(t *testing.T) {
	times := labtest.Count(10, 1000)
	defer func() {
		labtest.Report(t, "P1", "the wall clock jumps by an hour, forward and back, in the window", times, "0 undone before or after the deadline")
	}()
	for range times {
		folder := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			kernel, c := &plantest.Kernel{}, &clock{start: time.Now(), boot: "first"}
			world := testWorld(kernel)
			world.Now = c.now
			var watching sync.WaitGroup
			newFence := func() *fence.Fence {
				config := fence.Config{
					StateDir: folder + "/state", RunDir: folder + "/run", User: "somebody", Log: slog.New(slog.DiscardHandler),
					Notice: func(notice.Notice) {},
				}
				watcher := fence.New(config, world)
				config.Watchdog = func(_ context.Context, w fence.Watch) error {
					watching.Go(func() { labtest.Must(t, watcher.WatchUnconfirmed(t.Context(), w)) })
					return nil
				}
				return fence.New(config, world)
			}
			apply(t, newFence(), firstPolicy, fence.ApplyOptions{})
			apply(t, newFence(), secondPolicy, fence.ApplyOptions{Confirm: time.Minute})
			for left := 60 * time.Second; left > time.Millisecond; {
				step := min(time.Duration(rand.Int64N(int64(20*time.Second))), left-time.Millisecond)
				time.Sleep(step)
				left -= step
				c.mu.Lock()
				c.wall += time.Duration(rand.IntN(3)-1) * time.Hour
				c.mu.Unlock()
				synctest.Wait()
				wantPorts(t, kernel, 62*time.Second)
			}
			time.Sleep(time.Millisecond)
			watching.Wait()
			wantPorts(t, kernel, 0)
			if _, err := newFence().Confirm(t.Context(), 0); err == nil {
				t.Error("it was confirmed after the deadline")
			}
		})
	}
}

// wantPorts wants the ports in the kernel to have at most a lifetime, 0 for none.
func wantPorts(t *testing.T, kernel *plantest.Kernel, most time.Duration) {
	t.Helper()
	state, err := kernel.Observe(t.Context())
	labtest.Must(t, err)
	if len(state.Sets["ports"].Elements) == 0 {
		t.Error("no port is fenced")
	}
	for _, e := range state.Sets["ports"].Elements {
		if e.Timeout > most || (e.Timeout == 0) != (most == 0) {
			t.Errorf("%s is in the kernel, want at most %s", e, most)
		}
	}
}

// TestRepairWhilePending: what another program has removed comes back with what is left
// of the lifetime, and nothing is written while all is as it should be.
func TestRepairWhilePending(t *testing.T) {
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		kernel, c := &plantest.Kernel{}, &clock{start: time.Now(), boot: "first"}
		world := testWorld(kernel)
		world.Now = c.now
		f := fence.New(fence.Config{
			StateDir: folder + "/state", RunDir: folder + "/run", User: "somebody", Log: slog.New(slog.DiscardHandler),
			Notice: func(notice.Notice) {},
		}, world)
		apply(t, f, firstPolicy, fence.ApplyOptions{Confirm: time.Minute})
		wantPorts(t, kernel, 62*time.Second)
		time.Sleep(40 * time.Second)
		commits := kernel.Commits
		r, err := f.Refresh(t.Context(), fence.RefreshOptions{})
		labtest.Must(t, err)
		if !r.Plan.Empty() || kernel.Commits != commits {
			t.Errorf("refresh changes %+v", r.Plan.Changes)
		}
		kernel.Change(func(s *ruleset.State) { *s = ruleset.State{GenID: s.GenID} })
		if _, err := f.Refresh(t.Context(), fence.RefreshOptions{}); err != nil {
			t.Fatal(err)
		}
		wantPorts(t, kernel, 22*time.Second)
		if _, err := f.Apply(t.Context(), policyOf(t, secondPolicy), fence.ApplyOptions{}); err == nil || !strings.Contains(err.Error(), "waits for a confirmation") {
			t.Errorf("a second apply: %v", err)
		}
		time.Sleep(20 * time.Second)
		if _, err := f.Up(t.Context()); err == nil {
			t.Error("there is a generation after the first one was undone")
		}
		if state, err := kernel.Observe(t.Context()); err != nil || state.Exists {
			t.Errorf("there is a fence after the first one was undone (%v)", err)
		}
	})
}

// TestServiceUndoes: the service undoes what is not confirmed, also the first generation
// of all, and restores nothing of it later.
func TestServiceUndoes(t *testing.T) {
	for name, before := range map[string]string{"the first apply": "", "a change": firstPolicy} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				kernel, c := &plantest.Kernel{}, &clock{start: time.Now(), boot: "first"}
				world := testWorld(kernel)
				world.Now = c.now
				log := slog.New(slog.DiscardHandler)
				newFence := func() *fence.Fence {
					return fence.New(fence.Config{StateDir: folder + "/state", RunDir: folder + "/run", User: "somebody", Log: log}, world)
				}
				if before != "" {
					apply(t, newFence(), before, fence.ApplyOptions{})
				}
				d := daemon.New(log)
				d.Check, d.Poll, d.Notify = time.Hour, time.Second, func(string) error { return nil }
				ctx, cancel := context.WithCancel(t.Context())
				var running sync.WaitGroup
				running.Go(func() { labtest.Must(t, d.Run(ctx, newFence().Reconciler())) })
				time.Sleep(5 * time.Second)
				apply(t, newFence(), secondPolicy, fence.ApplyOptions{Confirm: time.Minute})
				time.Sleep(59 * time.Second)
				synctest.Wait()
				wantPorts(t, kernel, 62*time.Second)
				time.Sleep(1100 * time.Millisecond)
				synctest.Wait()
				state, err := kernel.Observe(t.Context())
				labtest.Must(t, err)
				if state.Exists != (before != "") {
					t.Errorf("there is a fence: %t", state.Exists)
				}
				if before != "" {
					wantPorts(t, kernel, 0)
				}
				cancel()
				running.Wait()
			})
		})
	}
}

// TestUndoWithoutTheGenerationBefore: if that cannot be read, the fence is taken down.
func TestUndoWithoutTheGenerationBefore(t *testing.T) {
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		kernel, c := &plantest.Kernel{}, &clock{start: time.Now(), boot: "first"}
		world := testWorld(kernel)
		world.Now = c.now
		log := slog.New(slog.DiscardHandler)
		f := fence.New(fence.Config{StateDir: folder + "/state", RunDir: folder + "/run", User: "somebody", Log: log}, world)
		apply(t, f, firstPolicy, fence.ApplyOptions{})
		apply(t, f, secondPolicy, fence.ApplyOptions{Confirm: time.Minute})
		labtest.Must(t, os.Truncate(folder+"/state/journal/00000001.json", 10))
		time.Sleep(time.Minute)
		if _, err := f.Confirm(t.Context(), 0); err == nil {
			t.Error("it was confirmed after the deadline")
		}
		if state, err := kernel.Observe(t.Context()); err != nil || state.Exists {
			t.Errorf("there is a fence (%v)", err)
		}
		apply(t, f, secondPolicy, fence.ApplyOptions{})
	})
}

// clocked is a run of the program, with the folders of a test, by a clock of its own.
func clocked(folder string, kernel *plantest.Kernel, c *clock) *fence.Fence {
	world := testWorld(kernel)
	world.Now = c.now
	return fence.New(fence.Config{
		StateDir: folder + "/state", RunDir: folder + "/run", User: "somebody", Log: slog.New(slog.DiscardHandler),
		Notice: func(notice.Notice) {},
	}, world)
}

// TestUndoneToDown: what was taken down on purpose is down again, and stays it.
func TestUndoneToDown(t *testing.T) {
	for _, change := range []string{"apply", "rollback"} {
		t.Run(change, func(t *testing.T) {
			folder := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				kernel, c := &plantest.Kernel{}, &clock{start: time.Now(), boot: "first"}
				newFence := func() *fence.Fence { return clocked(folder, kernel, c) }
				apply(t, newFence(), firstPolicy, fence.ApplyOptions{})
				apply(t, newFence(), secondPolicy, fence.ApplyOptions{})
				_, err := newFence().Down(t.Context(), false)
				labtest.Must(t, err)
				if change == "apply" {
					apply(t, newFence(), firstPolicy, fence.ApplyOptions{Confirm: time.Minute})
				} else {
					_, err = newFence().Rollback(t.Context(), 1, nil, time.Minute)
					labtest.Must(t, err)
				}
				time.Sleep(time.Minute)
				for range 2 {
					refreshed, err := newFence().Refresh(t.Context(), fence.RefreshOptions{})
					labtest.Must(t, err)
					if state, err := kernel.Observe(t.Context()); err != nil || state.Exists || !strings.Contains(refreshed.Idle, "taken down by somebody") {
						t.Errorf("there is a table: %t (%v), and refresh says %q", state.Exists, err, refreshed.Idle)
					}
				}
			})
		})
	}
}

// TestDamagedMark: a change that waits for a confirmation is not confirmed by damage to the
// file that says so, but undone, also if the run that made it was killed, and after a reboot.
// If nothing waits, damage undoes nothing.
func TestDamagedMark(t *testing.T) {
	for _, test := range []struct {
		name             string
		before, confirms bool
		harm             func(t *testing.T, j journal.Journal, kernel *plantest.Kernel)
		want             int
	}{
		{"a change", true, true, nil, 1},
		{"the first apply", false, true, nil, 0},
		{"its run was killed", true, true, func(t *testing.T, j journal.Journal, _ *plantest.Kernel) {
			entry, err := j.Newest()
			labtest.Must(t, err)
			_, err = j.Begin(entry)
			labtest.Must(t, err)
			labtest.Must(t, os.Remove(j.EntryFile(2)))
		}, 1},
		{"a reboot", true, true, func(_ *testing.T, _ journal.Journal, kernel *plantest.Kernel) {
			kernel.Change(func(s *ruleset.State) { *s = ruleset.State{GenID: s.GenID} })
		}, 1},
		{"the kernel has opened the fence", true, true, func(_ *testing.T, _ journal.Journal, kernel *plantest.Kernel) {
			kernel.Change(func(s *ruleset.State) {
				ports := s.Sets["ports"]
				ports.Elements = nil
				s.Sets["ports"] = ports
			})
		}, 1},
		{"nothing waits", true, false, nil, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			kernel := &plantest.Kernel{}
			f, _ := newFence(t, kernel)
			if test.before {
				apply(t, f, firstPolicy, fence.ApplyOptions{})
			}
			window := time.Duration(0)
			if test.confirms {
				window = time.Minute
			}
			apply(t, f, secondPolicy, fence.ApplyOptions{Confirm: window})
			j := f.Reconciler().Journal()
			if test.harm != nil {
				test.harm(t, j, kernel)
			}
			labtest.Must(t, os.WriteFile(j.UnconfirmedFile(), []byte("{"), 0o600))
			if r, err := f.Up(t.Context()); test.want > 0 && (err != nil || r.Generation != test.want || !r.Plan.Empty()) {
				t.Errorf("in force is %+v, %v, want generation %d", r, err, test.want)
			}
			if state, err := kernel.Observe(t.Context()); err != nil || state.Exists != (test.want > 0) {
				t.Errorf("there is a fence: %t, %v", state.Exists, err)
			}
			if test.want > 0 {
				wantPorts(t, kernel, 0)
			}
			if u, err := j.Unconfirmed(); u != nil || err != nil {
				t.Errorf("what waits is %+v, %v", u, err)
			}
		})
	}
}
