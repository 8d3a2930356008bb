package daemon

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// inbox keeps what has happened while the runner is busy, as one event.
type inbox struct {
	mu      sync.Mutex
	pending *Event
	ready   chan struct{} // has room for one
}

func newInbox() *inbox { return &inbox{ready: make(chan struct{}, 1)} }

// put adds an event. It never waits.
func (b *inbox) put(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pending == nil {
		b.pending = &e
	} else {
		b.pending.add(e)
	}
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// take returns all that was put since the last time, and whether anything was: what is put
// between a signal and the call is in what it returns, and signalled again.
func (b *inbox) take() (e Event, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pending == nil {
		return e, false
	}
	e, b.pending = *b.pending, nil
	return e, true
}

// mostWords is how many changes an event names.
const mostWords = 6

// add makes one event of two.
func (e *Event) add(more Event) {
	e.Full, e.Ask = e.Full || more.Full, e.Ask || more.Ask
	if more.Who != "" {
		e.Who = more.Who
	}
	if e.Generation != 0 {
		e.Generation = more.Generation // 0 is an event that asks for a look in any case
	}
	if e.At.IsZero() || !more.At.IsZero() && more.At.Before(e.At) {
		e.At = more.At
	}
	for _, what := range more.What {
		if len(e.What) < mostWords && !slices.Contains(e.What, what) {
			e.What = append(e.What, what)
		}
	}
}

// because is what the event says of the host.
func (e Event) because() string { return strings.Join(e.What, "; ") }

// A change of the host is looked at when nothing has followed it for quiet, and at the
// latest latestLook after the first one: an interface does not come alone, and a program
// that takes a qdisc away to make its own in its place must find the place free.
const (
	quiet      = 60 * time.Millisecond
	latestLook = 150 * time.Millisecond
)

// burst gathers changes that belong together.
type burst struct {
	event Event
	first time.Time
	timer *time.Timer
}

func newBurst() *burst { return &burst{timer: stopped()} }

func (b *burst) add(e Event) {
	now := time.Now()
	if b.first.IsZero() {
		b.first = now
	}
	e.At = b.first
	b.event.add(e)
	b.timer.Reset(min(quiet, b.first.Add(latestLook).Sub(now)))
}

// end returns what was gathered.
func (b *burst) end() Event {
	e := b.event
	b.event, b.first = Event{}, time.Time{}
	return e
}

// moment is a change that is not mended yet.
type moment struct {
	mu    sync.Mutex
	event Event // without a time there is none
	noted chan struct{}
}

// note keeps the first of several changes.
func (m *moment) note(e Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.event.At.IsZero() {
		m.event = e
	}
	if m.noted != nil {
		close(m.noted)
		m.noted = nil
	}
}

// take returns when it was and who made it, once.
func (m *moment) take() Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := Event{At: m.event.At, Who: m.event.Who}
	m.event = Event{}
	return e
}

// await is take, but waits for a change that is about to be noted: a look may find it before
// the kernel's report of it has been read.
func (m *moment) await(ctx context.Context, atMost time.Duration) Event {
	m.mu.Lock()
	noted := make(chan struct{})
	if m.event.At.IsZero() {
		m.noted = noted
	} else {
		close(noted)
	}
	m.mu.Unlock()
	timed, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	select {
	case <-noted:
	case <-timed.Done():
	}
	return m.take()
}
