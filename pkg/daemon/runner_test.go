package daemon_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringfence/ringfence/pkg/daemon"
)

// recorder writes down what it is called for, and when.
type recorder struct {
	start time.Time
	told  []string
	due   time.Time
	every time.Duration // between two looks
	takes time.Duration // to answer
	fail  int           // this many of the next
}

func (r *recorder) note(what string) error {
	r.told = append(r.told, what+" "+time.Since(r.start).String())
	if r.fail > 0 {
		r.fail--
		return errors.New("locked")
	}
	return nil
}

func (r *recorder) Reconcile(_ context.Context, e daemon.Event) error {
	if e.Full {
		return r.note("check")
	}
	return r.note("keep " + e.Who)
}

func (r *recorder) Due() time.Duration { return time.Until(r.due) }

func (r *recorder) Ask() func(context.Context) func(context.Context) error {
	r.told = append(r.told, "ask "+time.Since(r.start).String())
	return func(ctx context.Context) func(context.Context) error {
		select {
		case <-time.After(r.takes):
		case <-ctx.Done():
		}
		return func(context.Context) error {
			err := r.note("learn")
			if err == nil {
				r.due = time.Now().Add(r.every)
			}
			return err
		}
	}
}

// run runs a recorder for a time, with events at times.
func run(t *testing.T, r *recorder, length time.Duration, events map[time.Duration]string) []string {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r.start = time.Now()
		r.due = r.start.Add(r.every)
		ctx, cancel := context.WithTimeout(t.Context(), length)
		defer cancel()
		in := make(chan daemon.Event)
		for at, who := range events {
			time.AfterFunc(at, func() {
				select {
				case in <- daemon.Event{Who: who}:
				case <-ctx.Done():
				}
			})
		}
		daemon.Runner{Reconciler: r, Events: in}.Run(ctx)
	})
	return r.told
}

func TestRunner(t *testing.T) {
	for _, test := range []struct {
		name     string
		recorder recorder
		length   time.Duration
		events   map[time.Duration]string
		want     []string
	}{
		{"nothing happens", recorder{every: time.Hour}, 150 * time.Second, nil, []string{"check 1m0s", "check 2m0s"}},
		{"names are due", recorder{every: 25 * time.Second, takes: 5 * time.Second}, 59 * time.Second, nil, []string{"ask 25s", "learn 30s", "ask 55s"}},
		{"an event while names are asked for", recorder{every: 10 * time.Second, takes: 20 * time.Second}, 55 * time.Second, map[time.Duration]string{15 * time.Second: "nft"}, []string{
			"ask 10s", "keep nft 15s", "learn 30s", "ask 40s",
		}},
		{"a failure is tried again, later and later", recorder{every: time.Hour, fail: 5}, 36 * time.Second, map[time.Duration]string{time.Second: "nft"}, []string{
			"keep nft 1s", "check 2s", "check 4s", "check 8s", "check 16s", "check 32s",
		}},
		{"answers that cannot be put into force are not asked for in a circle", recorder{every: 10 * time.Second, fail: 3}, 26 * time.Second, nil, []string{
			"ask 10s", "learn 10s", "ask 11s", "learn 11s", "ask 13s", "learn 13s", "ask 17s", "learn 17s",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := run(t, &test.recorder, test.length, test.events); !slices.Equal(got, test.want) {
				t.Errorf("got %q\nwant %q", got, test.want)
			}
		})
	}
}

// TestRunnerTellsThatItIsAlive, and does not while it is stuck.
func TestRunnerTellsThatItIsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 65*time.Second)
		defer cancel()
		var beats []time.Duration
		begin := time.Now()
		r := &recorder{start: begin, due: begin.Add(time.Hour)}
		daemon.Runner{Reconciler: r, Beat: 20 * time.Second, Alive: func() { beats = append(beats, time.Since(begin)) }}.Run(ctx)
		if want := []time.Duration{0, 20 * time.Second, 40 * time.Second, time.Minute}; !slices.Equal(beats, want) {
			t.Errorf("alive at %v, want %v", beats, want)
		}
	})
}

// TestRunnerWaitsForWhoAsks, so that nothing of it runs on behind its end.
func TestRunnerWaitsForWhoAsks(t *testing.T) {
	r := &recorder{every: time.Second, takes: time.Hour}
	if got, want := run(t, r, 10*time.Second, nil), []string{"ask 1s"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
