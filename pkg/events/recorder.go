package events

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/ringfence/ringfence/pkg/notice"
)

// Source hands out copies of dropped packets.
type Source interface {
	// Read hands each packet to take until the context ends, which is not an error.
	Read(ctx context.Context, take func(Drop)) error
	// Lost is how many packets were left out since the last call, because too many came.
	Lost() uint64
	Close()
}

// LostCount is the name under which the number of packets that were left out is kept
// beside the counters.
const LostCount = "lost"

const (
	// countEvery is how often counters are written while no packets are: flash wears out.
	countEvery = time.Minute
	pruneEvery = time.Hour
	// tryAgain is the time between two attempts to listen.
	tryAgain = 10 * time.Second
	// patience is for how long the file may be busy, and after that nothing was lost the
	// loss of packets is over.
	patience = time.Minute
)

// Recorder keeps dropped packets and counters in a file, for as long as a process runs.
// Nothing that goes wrong ends it: Notices says what does. Its methods may be called
// beside each other.
type Recorder struct {
	writing sync.Mutex // held while the file is open
	store   Store

	wake chan struct{} // something is to be kept from now on

	mu       sync.Mutex
	known    bool // what should be kept
	keep     time.Duration
	tally    Tally
	counters map[string]uint64 // as of the last call of Count
	counted  time.Time         // when the counters were written
	pruned   time.Time         // when the file was last opened to remove what is old

	deaf    error // why nothing is read
	unsaved error // why nothing is written
	busy    time.Time
	lost    time.Time // when packets were left out last
	aside   []notice.Notice
}

// NewRecorder returns a recorder for a file, which keeps nothing until Keep is called.
func NewRecorder(path string) *Recorder {
	return &Recorder{store: Store{Path: path}, wake: make(chan struct{}, 1)}
}

// Keep says for how long events are kept. With 0 none is, and earlier ones are removed.
func (r *Recorder) Keep(keep time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.known || r.keep != keep {
		r.known, r.keep, r.pruned = true, keep, time.Time{}
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

func (r *Recorder) keeps() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keep > 0
}

// Listen takes what a source hands out, until the context ends. If a source cannot be
// opened, or fails, it tries again later. While nothing is to be kept, none is opened.
func (r *Recorder) Listen(ctx context.Context, open func() (Source, error)) {
	for ctx.Err() == nil {
		if r.keeps() {
			err := r.listen(ctx, open)
			r.mu.Lock()
			r.deaf = err
			r.mu.Unlock()
		}
		again := time.NewTimer(tryAgain)
		select {
		case <-ctx.Done():
		case <-again.C:
		case <-r.wake:
		}
		again.Stop()
	}
}

func (r *Recorder) listen(ctx context.Context, open func() (Source, error)) error {
	source, err := open()
	if err != nil {
		return err
	}
	defer source.Close()
	r.mu.Lock()
	r.deaf = nil
	r.mu.Unlock()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var running sync.WaitGroup
	running.Go(func() { r.countLost(ctx, source) })
	err = source.Read(ctx, func(d Drop) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.keep > 0 {
			r.tally.Add(d)
		}
	})
	stop()
	running.Wait()
	return err
}

// countLost counts what a source leaves out.
func (r *Recorder) countLost(ctx context.Context, source Source) {
	// At whole seconds, as the others who look from time to time: so the process wakes up
	// once for all of them.
	tick := time.NewTicker(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
	defer tick.Stop()
	select {
	case <-ctx.Done():
		return
	case <-tick.C:
		tick.Reset(time.Second)
	}
	for {
		if n := source.Lost(); n > 0 {
			now := time.Now()
			r.mu.Lock()
			r.lost = now
			r.tally.Count(now, LostCount, n)
			r.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Begin says what the counters are at the beginning, so that the first call of Count counts.
// Later calls do nothing.
func (r *Recorder) Begin(counters map[string]uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counters == nil && len(counters) > 0 {
		r.counters = counters
	}
}

// Count counts by how much the table's counters have grown since the last call. Without
// Begin, the first call counts nothing: nobody knows when the packets came. A counter that is smaller than
// before is one of a new table.
func (r *Recorder) Count(counters map[string]uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for name, packets := range counters {
		before, known := r.counters[name]
		if packets < before {
			before = 0
		}
		if r.keep > 0 && r.counters != nil && (known || before == 0) {
			r.tally.Count(now, name, packets-before)
		}
	}
	if len(counters) > 0 { // without a table there are none
		r.counters = counters
	}
}

// Write writes what has come since the last call, if that is worth it or if it is the last
// one, and removes what is too old. It reports whether Notices says something else now.
func (r *Recorder) Write(last bool) (changed bool) {
	r.writing.Lock()
	defer r.writing.Unlock()
	before := r.Notices()
	if tally, ok := r.take(last); ok {
		aside, err := r.store.Write(&tally, time.Now())
		r.wrote(&tally, err)
		if aside != nil {
			r.mu.Lock()
			r.aside = append(r.aside, notice.Notice{Severity: notice.Note, Code: notice.StateDamaged, Text: aside.Error()})
			r.mu.Unlock()
			return true
		}
	}
	return !slices.Equal(before, r.Notices())
}

// take returns what is to be written now.
func (r *Recorder) take(last bool) (Tally, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if !r.known || r.tally.Empty() && !r.prunes(now) {
		return Tally{}, false
	}
	if r.tally.onlyCounts() && !last && now.Sub(r.counted).Abs() < countEvery && !r.prunes(now) {
		return Tally{}, false
	}
	tally := r.tally
	r.tally, r.store.Keep = Tally{}, r.keep
	return tally, true
}

// prunes reports whether a file has to be opened because of what is old in it.
func (r *Recorder) prunes(now time.Time) bool {
	due := now.Sub(r.pruned).Abs() >= pruneEvery
	if r.keep == 0 {
		due = r.pruned.IsZero()
	}
	if !due {
		return false
	}
	info, err := os.Lstat(r.store.Path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		r.pruned = now
		return false
	}
	return true
}

// wrote notes how writing has ended. What is not in the file is kept for the next time.
func (r *Recorder) wrote(tally *Tally, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if err == nil {
		r.counted, r.pruned, r.unsaved, r.busy = now, now, nil, time.Time{}
		return
	}
	r.tally.merge(tally)
	if !errors.Is(err, ErrBusy) {
		r.unsaved = err
		return
	}
	if r.busy.IsZero() {
		r.busy = now
	}
	if now.Sub(r.busy) > patience {
		r.unsaved = err
	}
}

// Notices are what is wrong now.
func (r *Recorder) Notices() []notice.Notice {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []notice.Notice
	add := func(code notice.Code, format string, args ...any) {
		list = append(list, notice.Notice{Severity: notice.Warning, Code: code, Text: fmt.Sprintf(format, args...)})
	}
	if r.keep > 0 && r.deaf != nil {
		add(notice.EventsUnread, "what dropped packets contain is not known: %v", r.deaf)
	}
	if r.unsaved != nil {
		add(notice.StateUnsaved, "who was dropped is not kept: %v", r.unsaved)
	}
	if !r.lost.IsZero() && time.Since(r.lost).Abs() < patience {
		add(notice.EventsLost, "more packets are dropped than can be looked at: some are only counted")
	}
	return list
}

// TakeAside returns what is to be said once: files that were set aside.
func (r *Recorder) TakeAside() []notice.Notice {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.aside
	r.aside = nil
	return list
}
