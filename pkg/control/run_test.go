package control_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringfence/ringfence/pkg/control"
)

// keeper writes down what it is told to do, and when.
type keeper struct {
	start time.Time
	told  []string
	due   time.Time
	every time.Duration // between two looks
	takes time.Duration // to answer
	fail  int           // this many of the next
}

func (k *keeper) note(what string) error {
	k.told = append(k.told, what+" "+time.Since(k.start).String())
	if k.fail > 0 {
		k.fail--
		return errors.New("locked")
	}
	return nil
}

func (k *keeper) Keep(_ context.Context, e control.Event) error {
	if e.Full {
		return k.note("check")
	}
	return k.note("keep " + e.Who)
}

func (k *keeper) Due() time.Duration { return time.Until(k.due) }

func (k *keeper) Ask() func(context.Context) func(context.Context) error {
	k.told = append(k.told, "ask "+time.Since(k.start).String())
	return func(ctx context.Context) func(context.Context) error {
		select {
		case <-time.After(k.takes):
		case <-ctx.Done():
		}
		return func(context.Context) error {
			err := k.note("learn")
			if err == nil {
				k.due = time.Now().Add(k.every)
			}
			return err
		}
	}
}

// run runs a keeper for a time, with events at times.
func run(t *testing.T, k *keeper, length time.Duration, events map[time.Duration]string) []string {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		k.start = time.Now()
		k.due = k.start.Add(k.every)
		ctx, cancel := context.WithTimeout(t.Context(), length)
		defer cancel()
		in := make(chan control.Event)
		for at, who := range events {
			time.AfterFunc(at, func() {
				select {
				case in <- control.Event{Who: who}:
				case <-ctx.Done():
				}
			})
		}
		control.Runner{Keeper: k, Events: in}.Run(ctx)
	})
	return k.told
}

func TestRunner(t *testing.T) {
	for _, test := range []struct {
		name   string
		keeper keeper
		length time.Duration
		events map[time.Duration]string
		want   []string
	}{
		{"nothing happens", keeper{every: time.Hour}, 150 * time.Second, nil, []string{"check 1m0s", "check 2m0s"}},
		{"names are due", keeper{every: 25 * time.Second, takes: 5 * time.Second}, 59 * time.Second, nil, []string{"ask 25s", "learn 30s", "ask 55s"}},
		{"an event while names are asked for", keeper{every: 10 * time.Second, takes: 20 * time.Second}, 55 * time.Second, map[time.Duration]string{15 * time.Second: "nft"}, []string{
			"ask 10s", "keep nft 15s", "learn 30s", "ask 40s",
		}},
		{"a failure is tried again, later and later", keeper{every: time.Hour, fail: 5}, 36 * time.Second, map[time.Duration]string{time.Second: "nft"}, []string{
			"keep nft 1s", "check 2s", "check 4s", "check 8s", "check 16s", "check 32s",
		}},
		{"answers that cannot be put into force are not asked for in a circle", keeper{every: 10 * time.Second, fail: 3}, 26 * time.Second, nil, []string{
			"ask 10s", "learn 10s", "ask 11s", "learn 11s", "ask 13s", "learn 13s", "ask 17s", "learn 17s",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := run(t, &test.keeper, test.length, test.events); !slices.Equal(got, test.want) {
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
		k := &keeper{start: begin, due: begin.Add(time.Hour)}
		control.Runner{Keeper: k, Beat: 20 * time.Second, Alive: func() { beats = append(beats, time.Since(begin)) }}.Run(ctx)
		if want := []time.Duration{0, 20 * time.Second, 40 * time.Second, time.Minute}; !slices.Equal(beats, want) {
			t.Errorf("alive at %v, want %v", beats, want)
		}
	})
}

// TestRunnerWaitsForWhoAsks, so that nothing of it runs on behind its end.
func TestRunnerWaitsForWhoAsks(t *testing.T) {
	k := &keeper{every: time.Second, takes: time.Hour}
	if got, want := run(t, k, 10*time.Second, nil), []string{"ask 1s"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
