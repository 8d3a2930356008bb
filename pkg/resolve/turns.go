package resolve

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// turns decide which question goes out next. No more than a number are under way
// at once. The first questions of every name come before the later ones of names
// that ask many, and a part of the places is never given to those: so a name behind
// which there is no end keeps no other name waiting.
type turns struct {
	mu      sync.Mutex
	free    int
	kept    int // places that are left to the first questions of names
	waiting turnQueue
	count   int
}

// small is how many questions most registrars need. After each so many, the next
// ones of a name rank below those of names that have asked less.
const small = 16

// fairTime is how long a question may keep its place while others wait.
const fairTime = 2 * time.Second

func newTurns(atOnce int) *turns { return &turns{free: atOnce, kept: atOnce / 4} }

// turn is a question that waits.
type turn struct {
	rank, name, number int // the lower, the sooner
	ready              chan struct{}
	index              int // in the queue, -1 once it was taken out
}

// take waits for a place for a name's question, of which it has had asked before.
// Without an error, give must be called.
func (t *turns) take(ctx context.Context, name, asked int) error {
	t.mu.Lock()
	w := &turn{rank: asked / small, name: name, number: t.count, ready: make(chan struct{})}
	t.count++
	heap.Push(&t.waiting, w)
	t.next()
	t.mu.Unlock()
	select {
	case <-w.ready:
		if ctx.Err() != nil {
			t.give()
		}
		return ctx.Err()
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.index < 0 { // it was given a place at the same moment
		t.free++
		t.next()
		return ctx.Err()
	}
	heap.Remove(&t.waiting, w.index)
	return ctx.Err()
}

// give gives a place back.
func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.free++
	t.next()
}

// contended reports whether somebody waits who would be served next.
func (t *turns) contended() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.waiting) > 0 && t.waiting[0].rank == 0
}

// untilContended returns a context that ends when a question has had its place for a
// while and others wait for one.
func (t *turns) untilContended(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	var look func()
	look = func() {
		switch {
		case ctx.Err() != nil:
		case t.contended():
			cancel()
		default:
			time.AfterFunc(fairTime/8, look)
		}
	}
	first := time.AfterFunc(fairTime, look)
	return ctx, func() {
		first.Stop()
		cancel()
	}
}

// next hands free places to those that wait.
func (t *turns) next() {
	for len(t.waiting) > 0 {
		least := 0
		if t.waiting[0].rank > 0 {
			least = t.kept
		}
		if t.free <= least {
			return
		}
		t.free--
		close(heap.Pop(&t.waiting).(*turn).ready)
	}
}

// turnQueue is a heap of turns.
type turnQueue []*turn

func (q turnQueue) Len() int { return len(q) }

func (q turnQueue) Less(i, j int) bool {
	a, b := q[i], q[j]
	if a.rank != b.rank {
		return a.rank < b.rank
	}
	if a.name != b.name {
		return a.name < b.name
	}
	return a.number < b.number
}

func (q turnQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push is of heap.Interface.
func (q *turnQueue) Push(x any) {
	w := x.(*turn)
	w.index = len(*q)
	*q = append(*q, w)
}

// Pop is of heap.Interface.
func (q *turnQueue) Pop() any {
	old := *q
	w := old[len(old)-1]
	*q = old[:len(old)-1]
	w.index = -1
	return w
}
