// Package daemon decides when a fence is reconciled: when names are due, when
// another program or another run has changed something, and from time to time
// whatever happens. It tells systemd how it goes, and logs each notice once, and
// again only when it changes.
//
// What is done then is decided in pkg/fence.
package daemon

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/plan"
)

// Daemon reconciles a fence for as long as it runs.
type Daemon struct {
	log *slog.Logger
	// Notify tells systemd something, if it wants to know.
	Notify func(state string) error
	// Check is how often everything is looked at although no event came; 0 is once a
	// minute.
	Check time.Duration
	// Poll is how often the state folder is looked at; 0 is once a second.
	Poll time.Duration

	reconciler *fence.Reconciler
	notices    notices
	status     string // what systemd was told last
	failure    string // the last error, "" after a success
}

// New returns a daemon. Its Notice belongs into the configuration of the fence that
// it is to run.
func New(log *slog.Logger) *Daemon {
	return &Daemon{
		log: log, notices: notices{log: log, shown: map[about]string{}},
		Notify: func(state string) error { _, err := daemon.SdNotify(false, state); return err },
	}
}

// Run reconciles until the context ends, which is no error.
func (d *Daemon) Run(ctx context.Context, r *fence.Reconciler) error {
	if err := r.Probe(ctx); err != nil {
		return err
	}
	// A service mostly sleeps, and runs on small machines: memory is dearer than
	// time.
	debug.SetGCPercent(50)
	d.reconciler = r
	watched, stop := context.WithCancel(ctx)
	defer stop()
	touched, err := d.reconciler.Watch(watched) // before the first look, so that nothing is missed
	if err != nil {
		return err
	}
	mark := d.reconciler.State()
	if err := d.Reconcile(ctx, Event{}); err != nil && ctx.Err() == nil && !fence.IsLocked(err) {
		return err
	}
	d.notify(daemon.SdNotifyReady)
	events := make(chan Event)
	var feeding sync.WaitGroup
	feeding.Go(func() { d.feed(watched, events, touched, mark) })
	beat, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		d.log.Warn("read how often systemd wants to hear of this", "error", err)
	}
	Runner{
		Reconciler: d, Events: events, Check: d.Check,
		Beat: beat / 3, Alive: func() { d.notify(daemon.SdNotifyWatchdog) },
	}.Run(ctx)
	stop()
	feeding.Wait()
	d.notify(daemon.SdNotifyStopping)
	d.reconciler.Close(ctx)
	return nil
}

func (d *Daemon) notify(state string) {
	if err := d.Notify(state); err != nil {
		d.log.Warn("tell systemd", "state", state, "error", err)
	}
}

// pollEvery is Poll if nobody says otherwise.
const pollEvery = time.Second

// feed turns what happens in the kernel and on disk into events: another
// program has changed the table, another run has made a generation or has taken
// the fence down. mark is what was on disk when that was last read.
func (d *Daemon) feed(ctx context.Context, events chan<- Event, touched <-chan backend.Touched, mark fence.StateMark) {
	poll := time.NewTicker(cmp.Or(d.Poll, pollEvery))
	defer poll.Stop()
	send := func(e Event) {
		select {
		case events <- e:
		case <-ctx.Done():
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case t, ok := <-touched:
			if !ok {
				touched = nil
				continue
			}
			e := Event{Full: t.Lost, Generation: t.GenID, At: time.Now()}
			if t.Program != "" {
				e.Who = fmt.Sprintf("%s (pid %d)", t.Program, t.PID)
			}
			send(e)
		case <-poll.C:
			if now := d.reconciler.State(); !now.Same(mark) {
				mark = now
				send(Event{})
			}
			if touched == nil {
				// The kernel reports nothing any more: what it has reported since is lost.
				var err error
				if touched, err = d.reconciler.Watch(ctx); err == nil {
					send(Event{Full: true})
				}
			}
		}
	}
}

// Reconcile brings the kernel to what it should hold.
func (d *Daemon) Reconcile(ctx context.Context, e Event) error {
	if e.Generation != 0 && d.reconciler.Wrote(e.Generation) {
		return nil // it was this program
	}
	o, err := d.reconciler.Reconcile(ctx, e.Full)
	if !d.report(ctx, o, err) {
		return err
	}
	switch {
	case o.Plan.Empty():
	case o.New:
		d.log.Info("the table is as it should be now", "changed", plan.Summary(o.Plan))
	case o.HostChanged:
		d.log.Info("the host is not as it was", "changed", plan.Summary(o.Plan))
	default:
		attributes := []any{"changed", plan.Summary(o.Plan), "by", cmp.Or(e.Who, "an unknown program")}
		if !e.At.IsZero() {
			// For so long packets were judged by what another program has made of the table.
			attributes = append(attributes, "after", time.Since(e.At).Round(100*time.Microsecond))
		}
		d.log.Warn("the table was not as it should be; it is now", attributes...)
	}
	return nil
}

// Due is how long it is until a name should be asked for.
func (d *Daemon) Due() time.Duration { return d.reconciler.Due() }

// Ask asks for the names that are due.
func (d *Daemon) Ask() func(context.Context) func(context.Context) error {
	ask := d.reconciler.Ask()
	return func(ctx context.Context) func(context.Context) error {
		if ask == nil {
			return func(context.Context) error { return nil }
		}
		answers := ask(ctx)
		return func(ctx context.Context) error {
			if ctx.Err() != nil {
				return ctx.Err() // the answers are not whole
			}
			o, err := d.reconciler.Learn(ctx, answers)
			if !d.report(ctx, o, err) {
				return err
			}
			d.log.Debug("asked for names", "names", len(answers), "changed", plan.Summary(o.Plan))
			for _, c := range o.Plan.Changes {
				d.log.Info("change", "action", c.Action, "kind", c.Kind, "name", c.Name, "value", c.Value, "reason", c.Reason)
			}
			return nil
		}
	}
}
