package fence

import (
	"context"
	"net/netip"
	"slices"
	"time"
)

// Watcher reads who is dropped again and again. What the daemon has written is only read
// when it has changed, and not all the time: its file may be large.
type Watcher struct {
	fence   View
	since   time.Duration
	reports reports
	mark    fileMark
	next    time.Time // when the daemon's file may be read again
}

// Watcher returns a watcher of those who came in the last time of this length.
func (f View) Watcher(since time.Duration) *Watcher { return &Watcher{fence: f, since: since} }

// restAfterRead is how many times as long as a read of the daemon's file the next one waits.
const restAfterRead = 20

// Read returns all sources in an order, the first of them with their reasons.
func (w *Watcher) Read(ctx context.Context, order func(a, b Dropped) int, explained int) (Drops, error) {
	f := w.fence
	kernel := f.kernel(false)
	kept, err := kernel.Dropped(ctx, netip.Addr{})
	if err != nil {
		return Drops{}, err
	}
	since := f.Now().Time.Add(-w.since)
	if mark, now := markOf(f.EventsFile()), time.Now(); !mark.same(w.mark) && !now.Before(w.next) {
		if read, err := readReports(&f.session, netip.Addr{}, since); err == nil {
			w.reports, w.mark = read, mark
		} else {
			f.Log.Debug("read what the sources sent", "error", err)
		}
		w.next = time.Now().Add(max(time.Second, restAfterRead*time.Since(now)))
	}
	list := w.reports.with(kept, since)
	slices.SortStableFunc(list, order)
	monitor, err := explainDrops(ctx, f, kernel, list[:min(len(list), explained)])
	return Drops{monitor, list}, err
}

// More is a source with how many packets have come since it was seen before.
type More struct {
	Dropped
	Packets uint64
}

// Growth finds what has come between two reads. The zero Growth has seen nothing yet, and
// what it sees first is not new.
type Growth struct {
	begun bool
	seen  map[netip.Addr]uint64
}

// Next returns the sources of which more packets have come, the one that came first at the
// beginning.
func (g *Growth) Next(list []Dropped) (more []More) {
	seen := make(map[netip.Addr]uint64, len(list))
	for _, d := range slices.Backward(list) {
		seen[d.Address] = d.Packets
		before, known := g.seen[d.Address]
		switch {
		case !g.begun:
		case !known || d.Packets < before: // the table is a new one
			more = append(more, More{d, d.Packets})
		case d.Packets > before:
			more = append(more, More{d, d.Packets - before})
		}
	}
	g.seen, g.begun = seen, true
	return more
}
