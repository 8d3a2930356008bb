// Package daemon decides when a fence is reconciled: when names are due, when another
// program or another run has changed something, and at regular intervals. It reports
// its status to systemd, and logs each notice once, and again only if it changes.
//
// pkg/fence decides what is done then.
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
	// Notify sends a state to systemd, if the process is a service of it.
	Notify func(state string) error
	// Check is the interval at which everything is checked without an event; 0 means
	// one minute.
	Check time.Duration
	// Poll is the interval at which the state folder is checked; 0 means one second.
	Poll time.Duration

	reconciler *fence.Reconciler
	notices    notices
	status     string // the status that systemd got last
	failure    string // the last error, "" after a success
}

// New returns a daemon. Its method Notice belongs in the configuration of the fence
// that it runs.
func New(log *slog.Logger) *Daemon {
	return &Daemon{
		log: log, notices: notices{log: log, shown: map[about]string{}},
		Notify: func(state string) error { _, err := daemon.SdNotify(false, state); return err },
	}
}

// Run reconciles until the context ends, which is not an error.
func (d *Daemon) Run(ctx context.Context, r *fence.Reconciler) error {
	if err := r.Probe(ctx); err != nil {
		return err
	}
	// A service mostly sleeps and may run on a small machine, so it is better to save
	// memory than time.
	debug.SetGCPercent(50)
	d.reconciler = r
	watched, stop := context.WithCancel(ctx)
	defer stop()
	touched, err := d.reconciler.Watch(watched) // before the first reconciliation, so that no change is missed
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
		d.log.Warn("read the interval of systemd's watchdog", "error", err)
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
		d.log.Warn("notify systemd", "state", state, "error", err)
	}
}

// pollEvery is the default of Poll.
const pollEvery = time.Second

// feed turns changes in the kernel and on disk into events: another program has changed
// the table, or another run has made a generation or taken the fence down. mark is the
// state of the files when they were last read.
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
				// The kernel has stopped reporting, so changes since then may be lost.
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
		return nil // the change was made by this process
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
		d.log.Info("the host has changed", "changed", plan.Summary(o.Plan))
	default:
		attributes := []any{"changed", plan.Summary(o.Plan), "by", cmp.Or(e.Who, "an unknown program")}
		if !e.At.IsZero() {
			// This is how long packets were judged by the changed table.
			attributes = append(attributes, "after", time.Since(e.At).Round(100*time.Microsecond))
		}
		d.log.Warn("the table was not as it should be and was corrected", attributes...)
	}
	return nil
}

// Due returns the time until the next name must be asked for.
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
				return ctx.Err() // the answers are incomplete
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
