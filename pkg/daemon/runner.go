package daemon

import (
	"cmp"
	"context"
	"time"
)

// Event says why the kernel should be looked at.
type Event struct {
	// Full asks to read everything, and to trust no note.
	Full bool
	// Who has changed something, "" if nobody knows, and Generation is the
	// kernel's since, 0 if nobody knows.
	Who        string
	Generation uint64
	// What says in a few words each what has changed on the host.
	What []string
	// Ask says that name servers may answer otherwise now.
	Ask bool
	// At is when the change was reported; zero if no change was.
	At time.Time
}

// Reconciler is what a Runner calls. Its methods are called one at a time.
type Reconciler interface {
	// Reconcile brings the kernel to what it should hold.
	Reconcile(ctx context.Context, e Event) error
	// Due is how long it is until name servers should be asked what that is.
	Due() time.Duration
	// Ask returns what asks. That runs beside the methods, and what it returns
	// puts the answers into force, as a method does.
	Ask() (ask func(ctx context.Context) (learn func(ctx context.Context) error))
}

// Runner keeps a kernel as it should be for as long as it runs: on every event,
// on answers that are due, and from time to time whatever happens.
type Runner struct {
	Reconciler Reconciler
	// Events come when something may have changed.
	Events <-chan Event
	// Check is how often everything is looked at although no event came; 0 is
	// once a minute.
	Check time.Duration
	// Alive is called every Beat, for as long as the runner is not stuck; a Beat
	// of 0 never calls it.
	Alive func()
	Beat  time.Duration
}

const (
	checkEvery = time.Minute
	// firstRetry and longestRetry are between tries after a failure.
	firstRetry   = time.Second
	longestRetry = time.Minute
)

// Run runs until the context ends, which is no error. The kernel keeps what it
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
	// retry is for what failed, wait the time until then.
	retry, due *time.Timer
	wait       time.Duration

	asking   bool
	answered chan func(context.Context) error
}

// stopped is a timer that does not run yet.
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

// after sets when to ask next, after something has succeeded or failed. Answers
// that could not be put into force are asked for again.
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
