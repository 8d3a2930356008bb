package events_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringfence/ringfence/pkg/events"
)

// source hands out what is sent to it.
type source struct {
	drops chan events.Drop
	mu    sync.Mutex
	lost  uint64
}

func (s *source) Read(ctx context.Context, take func(events.Drop)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case d, ok := <-s.drops:
			if !ok {
				return errors.New("the socket is gone")
			}
			take(d)
		}
	}
}

func (s *source) Lost() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.lost
	s.lost = 0
	return n
}

func (*source) Close() {}

// recording runs a recorder as the daemon does, in a world in which minutes pass at once,
// while live lets time pass.
func recording(t *testing.T, path string, live func(r *events.Recorder, s *source)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := events.NewRecorder(path)
		s := &source{drops: make(chan events.Drop)}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { r.Listen(ctx, func() (events.Source, error) { return s, nil }) })
		r.Keep(24 * time.Hour)
		live(r, s)
		stop()
		running.Wait()
		r.Write(true)
	})
}

func texts(r *events.Recorder) string {
	var lines []string
	for _, n := range r.Notices() {
		lines = append(lines, n.Text)
	}
	return strings.Join(lines, "\n")
}

// TestRecorderWrites: what a source hands out is in the file after a write.
func TestRecorderWrites(t *testing.T) {
	s := newStore(t)
	recording(t, s.Path, func(r *events.Recorder, from *source) {
		from.drops <- scanner(time.Now())
		from.drops <- scanner(time.Now())
		synctest.Wait()
		if r.Write(false) || texts(r) != "" {
			t.Errorf("there is something to say: %s", texts(r))
		}
		if got := read(t, s); len(got) != 1 || got[0].Packets != 2 {
			t.Errorf("got %v", got)
		}
		from.drops <- scanner(time.Now())
		synctest.Wait()
	})
	if got := read(t, s); len(got) != 1 || got[0].Packets != 3 {
		t.Errorf("got %v at the end", got)
	}
}

// TestRecorderCounts: counters are kept by the hour, by how much they have grown, and a
// table that was made again begins at 0.
func TestRecorderCounts(t *testing.T) {
	s := newStore(t)
	recording(t, s.Path, func(r *events.Recorder, _ *source) {
		for _, n := range []uint64{1000, 1005, 1005, 1025, 7, 9} {
			r.Count(map[string]uint64{"dropped_unknown": n, "allowed_provider": 3})
			r.Count(nil) // no table for a moment
			r.Write(false)
			time.Sleep(time.Second)
		}
	})
	got, err := events.Counts(s.Path, time.Time{}, time.Time{})
	must(t, err)
	if len(got) != 1 || got[0].Name != "dropped_unknown" || got[0].Packets != 5+20+7+2 {
		t.Errorf("got %v", got)
	}
}

// TestRecorderSaysWhatFails, as long as it does, and loses nothing of it: no source, a
// folder that cannot be written, packets that were left out.
func TestRecorderSaysWhatFails(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "state")
	path := filepath.Join(folder, "events.db")
	recording(t, path, func(r *events.Recorder, from *source) {
		from.drops <- scanner(time.Now())
		synctest.Wait()
		if !r.Write(false) || !strings.HasPrefix(texts(r), "who was dropped is not kept: write events: open "+path) {
			t.Errorf("got %q", texts(r))
		}
		if r.Write(false) {
			t.Error("the same is news again")
		}
		must(t, os.Mkdir(folder, 0o750))
		if !r.Write(false) || texts(r) != "" {
			t.Errorf("it is not over: %q", texts(r))
		}
		if got := read(t, &events.Store{Path: path}); len(got) != 1 {
			t.Errorf("got %v", got)
		}

		from.mu.Lock()
		from.lost = 12
		from.mu.Unlock()
		time.Sleep(2 * time.Second)
		if !strings.HasPrefix(texts(r), "more packets are dropped") {
			t.Errorf("got %q", texts(r))
		}
		time.Sleep(2 * time.Minute)
		if texts(r) != "" {
			t.Errorf("it is not over: %q", texts(r))
		}

		close(from.drops)
		time.Sleep(time.Second)
		if texts(r) != "what dropped packets contain is not known: the socket is gone" {
			t.Errorf("got %q", texts(r))
		}
	})
	counts, err := events.Counts(path, time.Time{}, time.Time{})
	if err != nil || len(counts) != 1 || counts[0].Name != events.LostCount || counts[0].Packets != 12 {
		t.Errorf("got %v, %v", counts, err)
	}
}

// TestRecorderOfDamage: that a file was set aside is said once.
func TestRecorderOfDamage(t *testing.T) {
	s := newStore(t)
	must(t, os.WriteFile(s.Path, make([]byte, 8192), 0o640))
	recording(t, s.Path, func(r *events.Recorder, _ *source) {
		if !r.Write(false) {
			t.Error("no news")
		}
		aside := r.TakeAside()
		if len(aside) != 1 || !strings.Contains(aside[0].Text, "events.db is damaged and was set aside as events.db.damaged-") {
			t.Errorf("got %v", aside)
		}
		if r.Write(false) || len(r.TakeAside()) != 0 {
			t.Error("said again")
		}
	})
}

// TestRecorderKeepsNothing: with events.keep 0 nothing new is kept, and what was is removed.
func TestRecorderKeepsNothing(t *testing.T) {
	s := newStore(t)
	recording(t, s.Path, func(r *events.Recorder, from *source) {
		from.drops <- scanner(time.Now())
		synctest.Wait()
		r.Write(false)
		if got := read(t, s); len(got) != 1 {
			t.Errorf("got %v", got)
		}
		r.Keep(0)
		from.drops <- scanner(time.Now())
		r.Count(map[string]uint64{"dropped_unknown": 1})
		r.Count(map[string]uint64{"dropped_unknown": 2})
		synctest.Wait()
		r.Write(false)
		if got := read(t, s); len(got) != 0 {
			t.Errorf("got %v", got)
		}
	})
	counts, err := events.Counts(s.Path, time.Time{}, time.Time{})
	if err != nil || len(counts) != 0 {
		t.Errorf("got %v, %v", counts, err)
	}
}

// TestRecorderIsBounded: while nothing can be written, a flood of forged sources takes no
// more memory than there is for one write.
func TestRecorderIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "events.db")
	recording(t, path, func(r *events.Recorder, from *source) {
		for i := range 40_000 {
			from.drops <- flood(time.Now(), i)
			r.Count(map[string]uint64{fmt.Sprint("counter", i%5000): uint64(i)})
			if i%4000 == 0 {
				time.Sleep(time.Hour)
				r.Write(false)
			}
		}
		synctest.Wait()
		if n := r.Held(); n > 20_000 {
			t.Errorf("%d records and counts are held", n)
		}
	})
}
