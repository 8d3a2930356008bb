package daemon

import (
	"cmp"
	"context"
	"time"
)

// Event says why the kernel should be checked.
type Event struct {
	// Full asks to read everything, even what seems unchanged.
	Full bool
	// Who made the change, "" if not known. Generation is that of the kernel after the
	// change, 0 if not known.
	Who        string
	Generation uint64
	// What says in a few words each what has changed on the host.
	What []string
	// Ask says that name servers may answer otherwise now.
	Ask bool
	// At is when the change was reported, zero if the event is not a change.
	At time.Time
}

// Reconciler does the work of a Runner. Its methods are called one at a time.
type Reconciler interface {
	// Reconcile brings the kernel to what it should hold.
	Reconcile(ctx context.Context, e Event) error
	// Due returns the time until name servers must be asked.
	Due() time.Duration
	// Ask returns a function that asks name servers. It runs concurrently with the
	// methods. The function that it returns puts the answers into force and is called
	// as a method is.
	Ask() (ask func(ctx context.Context) (learn func(ctx context.Context) error))
}

// Runner keeps a kernel as it should be for as long as it runs: after every event, when
// answers are due, and at regular intervals.
type Runner struct {
	Reconciler Reconciler
	// Events arrive when something may have changed.
	Events <-chan Event
	// Check is the interval at which everything is checked without an event; 0 means
	// one minute.
	Check time.Duration
	// Alive is called every Beat as long as the runner is not stuck, and never if Beat
	// is 0.
	Alive func()
	Beat  time.Duration
}

const (
	checkEvery = time.Minute
	// firstRetry and longestRetry limit the time between tries after a failure.
	firstRetry   = time.Second
	longestRetry = time.Minute
)

// Run runs until the context ends, which is not an error. The kernel keeps what it
// holds.
func (r Runner) Run(ctx context.Context) {
	l := loop{Runner: r, retry: stopped(), due: stopped(), answered: make(chan func(context.Context) error)}
	beat := stopped()
	if r.Beat > 0 {
		beat.Reset(0)
	}
	check := time.NewTicker(cmp.Or(r.Check, checkEvery))
	defer check.Stop()
	l.due.Reset(l.Reconciler.Due())
	for {
		select {
		case <-ctx.Done():
			if l.asking {
				<-l.answered
			}
			return
		case e := <-r.Events:
			l.reconcile(ctx, e)
		case <-check.C:
			l.reconcile(ctx, Event{Full: true})
		case <-l.retry.C:
			l.reconcile(ctx, Event{Full: true})
		case learn := <-l.answered:
			l.asking = false
			l.after(learn(ctx))
		case <-l.due.C:
			l.ask(ctx)
		case <-beat.C:
			r.Alive()
			beat.Reset(r.Beat)
		}
	}
}

// loop is the state of a run.
type loop struct {
	Runner
	// retry is the timer for what failed; wait is its time.
	retry, due *time.Timer
	wait       time.Duration

	asking   bool
	answered chan func(context.Context) error
}

// stopped returns a timer that is not running.
func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

func (l *loop) reconcile(ctx context.Context, e Event) {
	err := l.Reconciler.Reconcile(ctx, e)
	l.after(err)
	if err != nil {
		l.retry.Reset(l.wait)
	} else {
		l.retry.Stop()
	}
}

// after sets the time of the next question, after a success or a failure. If answers
// could not be put into force, they are asked for again.
func (l *loop) after(err error) {
	if err != nil {
		l.wait = min(max(2*l.wait, firstRetry), longestRetry)
	} else {
		l.wait = 0
	}
	if !l.asking {
		l.due.Reset(max(l.Reconciler.Due(), l.wait))
	}
}

func (l *loop) ask(ctx context.Context) {
	l.asking = true
	ask := l.Reconciler.Ask()
	go func() { l.answered <- ask(ctx) }()
}
