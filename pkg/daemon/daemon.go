// Package daemon decides when a fence is reconciled: when names are due, when the
// network of the host or a file that it depends on has changed, when another program or
// another run has changed something, and at regular intervals. It reports its status to
// systemd, and logs each notice once, and again only if it changes.
//
// pkg/fence decides what is done then.
package daemon

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/plan"
)

// Daemon reconciles a fence for as long as it runs.
type Daemon struct {
	log *slog.Logger
	// touched is when another program has changed the table.
	touched moment
	// Notify sends a state to systemd, if the process is a service of it.
	Notify func(state string) error
	// Check is the interval at which everything is checked without an event; 0 means
	// one minute.
	Check time.Duration
	// Poll is the interval at which counters are read and, while changes are not
	// reported, the state folder is checked and watching is tried again; 0 means one
	// second.
	Poll time.Duration

	reconciler *fence.Reconciler
	notices    notices
	status     string // the status that systemd got last
	failure    string // the last error, "" after a success
	unheard    string // the last error of Notify that was logged
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
	watching, stop := context.WithCancel(ctx)
	defer stop()
	w, err := d.watch(watching)
	if err != nil {
		return err
	}
	if err := d.Reconcile(ctx, Event{}); err != nil && ctx.Err() == nil && !fence.IsLocked(err) {
		return err
	}
	d.notify(daemon.SdNotifyReady)
	debug.FreeOSMemory() // what was only needed to begin
	events := make(chan Event)
	var feeding sync.WaitGroup
	feeding.Go(func() { d.feed(watching, events, w) })
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
	err := d.Notify(state)
	if err != nil && d.unheard != err.Error() {
		d.unheard = err.Error() // it says that it is alive every few seconds
		d.log.Warn("notify systemd", "state", state, "error", err)
	}
}

// Reconcile brings the kernel to what it should hold.
func (d *Daemon) Reconcile(ctx context.Context, e Event) error {
	if e.Generation != 0 && len(e.What) == 0 && !e.Full && d.reconciler.Wrote(e.Generation) {
		d.touched.take()
		return nil // it was this program
	}
	o, err := d.reconciler.Reconcile(ctx, e.Full)
	if !d.report(ctx, o, err) {
		return err
	}
	if e.Ask || len(e.What) > 0 && o.Failures > 0 {
		// Others may answer now, or be within reach.
		d.reconciler.AskAgain()
	}
	if o.New {
		d.reconciler.KeepReady()
	}
	// What another program has done to the table may be mended before its own event comes.
	if e.At.IsZero() && !o.Plan.Empty() && !o.New && !o.HostChanged {
		e.add(d.touched.await(ctx, latestLook))
	} else {
		e.add(d.touched.take())
	}
	switch {
	case o.Plan.Empty():
		d.log.Debug("nothing to do", "because", e.because(), "by", e.Who)
	case o.New:
		d.log.Info("the fence is as it should be now", "changed", plan.Summary(o.Plan))
	case o.HostChanged:
		d.log.Info("the host has changed", "changed", plan.Summary(o.Plan), "because", e.because(), "after", since(e))
	case len(e.What) > 0:
		d.log.Warn("the fence was not as it should be and was corrected", "changed", plan.Summary(o.Plan), "because", e.because(), "after", since(e))
	default:
		d.restored(o.Plan, e)
	}
	d.changes(o.Plan)
	return nil
}

// since is how long ago an event began, 0 if that is not known.
func since(e Event) time.Duration {
	if e.At.IsZero() {
		return 0
	}
	return time.Since(e.At).Round(100 * time.Microsecond)
}

// Due returns the time until the next name must be asked for.
func (d *Daemon) Due() time.Duration { return d.reconciler.Due() }

// manyNames are so many that their answers take memory for which there is no use until
// they are asked for again.
const manyNames = 50

// Ask asks for the names that are due.
func (d *Daemon) Ask() func(context.Context) func(context.Context) error {
	ask := d.reconciler.Ask()
	return func(ctx context.Context) func(context.Context) error {
		if ask == nil {
			// What is not confirmed in time has to be undone.
			return func(ctx context.Context) error { return d.Reconcile(ctx, Event{}) }
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
			d.log.Debug("asked for names", "names", len(answers.Names), "lists", len(answers.Lists), "changed", plan.Summary(o.Plan))
			d.changes(o.Plan)
			if len(answers.Names) >= manyNames {
				debug.FreeOSMemory()
			}
			return nil
		}
	}
}
