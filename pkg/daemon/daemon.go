// Package daemon decides when a fence is reconciled: when names are due, when the
// network of the host or a file that it goes by has changed, when another program or
// another run has changed something, and from time to time whatever happens. It tells systemd how it goes, and logs each notice once, and
// again only when it changes.
//
// What is done then is decided in pkg/fence.
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
	// Notify tells systemd something, if it wants to know.
	Notify func(state string) error
	// Check is how often everything is looked at although no event came; 0 is once a
	// minute.
	Check time.Duration
	// Poll is how often the state folder is looked at, and tried to be watched again,
	// while changes are not reported; 0 is once a second.
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
	events := make(chan Event)
	var feeding sync.WaitGroup
	feeding.Go(func() { d.feed(watching, events, w) })
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

// Reconcile brings the kernel to what it should hold.
func (d *Daemon) Reconcile(ctx context.Context, e Event) error {
	if e.Generation != 0 && len(e.What) == 0 && !e.Full && d.reconciler.Wrote(e.Generation) {
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
	switch {
	case o.Plan.Empty():
		d.log.Debug("nothing to do", "because", e.because(), "by", e.Who)
	case o.New:
		d.log.Info("the table is as it should be now", "changed", plan.Summary(o.Plan))
	case o.HostChanged:
		d.log.Info("the host is not as it was", "changed", plan.Summary(o.Plan), "because", e.because(), "after", since(e))
	case len(e.What) > 0:
		d.log.Warn("the fence was not as it should be; it is now", "changed", plan.Summary(o.Plan), "because", e.because(), "after", since(e))
	default:
		d.restored(o.Plan, e)
	}
	return nil
}

// since is how long ago an event began, 0 if that is not known.
func since(e Event) time.Duration {
	if e.At.IsZero() {
		return 0
	}
	return time.Since(e.At).Round(100 * time.Microsecond)
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
