package daemon

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/host"
	"github.com/ringfence/ringfence/pkg/plan"
)

// pollEvery is Poll if nobody says otherwise.
const pollEvery = time.Second

// feed turns what happens into events, until the context ends.
func (d *Daemon) feed(ctx context.Context, events chan<- Event, w watched) {
	box := newInbox()
	var running sync.WaitGroup
	running.Go(func() { d.feedTable(ctx, box, w.table) })
	running.Go(func() { d.feedHost(ctx, box, w.host, w.mark) })
	running.Go(func() { d.feedCounters(ctx, box) })
	running.Go(func() { d.keepEvents(ctx, box) })
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-box.ready:
			e, ok := box.take()
			if !ok {
				continue
			}
			select {
			case events <- e:
			case <-ctx.Done():
			}
		}
	}
	running.Wait()
}

// watched is what reports, and what was on disk when that was last read.
type watched struct {
	table <-chan backend.Touched
	host  <-chan host.Change
	mark  fence.StateMark
}

// watch begins before the first look, so that nothing is missed.
func (d *Daemon) watch(ctx context.Context) (w watched, err error) {
	if w.table, err = d.reconciler.Watch(ctx); err != nil {
		return w, err
	}
	w.host = d.watchHost(ctx)
	w.mark = d.reconciler.State()
	return w, nil
}

// watchHost is nil if nothing is reported: then it is looked at from time to time.
func (d *Daemon) watchHost(ctx context.Context) <-chan host.Change {
	changes, err := d.reconciler.WatchHost(ctx)
	if err != nil {
		d.log.Warn("changes of the host are not reported; looking at it once a minute", "error", err)
	}
	return changes
}

// wait waits, and reports whether the context has not ended.
func wait(ctx context.Context, length time.Duration) bool {
	timed, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	<-timed.Done()
	return ctx.Err() == nil
}

// feedTable restores the table at once when another program has changed it, and has
// everything else looked at after that.
func (d *Daemon) feedTable(ctx context.Context, box *inbox, touched <-chan backend.Touched) {
	for {
		for t := range touched {
			// Of what was lost, the generation of the kernel says whether it has changed anything.
			e := Event{Generation: t.GenID, At: time.Now()}
			if t.Program != "" {
				e.Who = fmt.Sprintf("%s (pid %d)", t.Program, t.PID)
			}
			restorer := d.reconciler.Restorer()
			if restorer.Foreign(t) {
				d.touched.note(e)
			}
			p, err := restorer.Restore(ctx, t)
			switch {
			case err != nil:
				d.log.Debug("restore the fence without waiting", "error", err)
			case p != nil:
				d.touched.take()
				d.restored(p, e)
				d.changes(p)
			}
			box.put(e)
			if t.Lost {
				// The kernel drops reports, and says so once, until those before are read.
				time.AfterFunc(latestLook, func() { box.put(Event{}) })
			}
		}
		// The kernel reports nothing any more: what it has reported since is lost.
		touched = nil
		for touched == nil {
			if !wait(ctx, cmp.Or(d.Poll, pollEvery)) {
				return
			}
			var err error
			if touched, err = d.reconciler.Watch(ctx); err != nil {
				touched = nil
			}
		}
		box.put(Event{Full: true})
	}
}

// restored logs that the table was put back.
func (d *Daemon) restored(p *plan.Plan, e Event) {
	attributes := []any{"changed", plan.Summary(p), "by", cmp.Or(e.Who, "an unknown program")}
	if !e.At.IsZero() {
		// For so long packets were judged by what another program has made of the table.
		attributes = append(attributes, "after", time.Since(e.At).Round(100*time.Microsecond))
	}
	d.log.Warn("the fence was not as it should be and was corrected", attributes...)
}

// feedCounters has everything looked at when packets are counted that must not come:
// the alarm need not wait for the look of every minute.
func (d *Daemon) feedCounters(ctx context.Context, box *inbox) {
	each(ctx, cmp.Or(d.Poll, pollEvery), func() {
		if d.reconciler.Grown(ctx) {
			box.put(Event{})
		}
	})
}

// writeEvery is how often it is written who was dropped.
const writeEvery = 5 * time.Second

// each does something at an interval until the context ends. It begins at a multiple of
// the interval, as everything that looks from time to time does, so that the process wakes
// up once for all of that.
func each(ctx context.Context, interval time.Duration, do func()) {
	if !wait(ctx, time.Until(time.Now().Truncate(interval).Add(interval))) {
		return
	}
	do()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			do()
		}
	}
}

// keepEvents keeps who is dropped. It writes that from time to time and at the end, and has
// everything looked at when there is something to say about it.
func (d *Daemon) keepEvents(ctx context.Context, box *inbox) {
	var listening sync.WaitGroup
	listening.Go(func() { d.reconciler.Listen(ctx) })
	each(ctx, writeEvery, func() {
		if d.reconciler.WriteEvents(false) {
			box.put(Event{})
		}
	})
	listening.Wait()
	d.reconciler.WriteEvents(true)
}

// feedHost turns changes of the host and of files into events: the network, what the
// host's resolver goes by, the policy file, and what other runs have done. mark is what
// was on disk when that was last read.
func (d *Daemon) feedHost(ctx context.Context, box *inbox, changes <-chan host.Change, mark fence.StateMark) {
	gathered := newBurst()
	var urgent time.Time
	poll := time.NewTicker(cmp.Or(d.Poll, pollEvery))
	defer poll.Stop()
	lookAtState := func() {
		if now := d.reconciler.State(); !now.Same(mark) {
			mark = now
			box.put(Event{})
		}
	}
	if changes != nil {
		poll.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case c, ok := <-changes:
			switch {
			case !ok:
				changes = nil
				poll.Reset(cmp.Or(d.Poll, pollEvery))
			case slices.Contains(d.reconciler.StateFiles(), c.Path):
				lookAtState()
			case c.Urgent && time.Since(urgent) > latestLook:
				urgent = time.Now()
				box.put(eventOf(c))
			default:
				e := eventOf(c)
				e.Ask = slices.Contains(d.reconciler.ResolverFiles(), c.Path)
				gathered.add(e)
			}
		case <-gathered.timer.C:
			box.put(gathered.end())
		case <-poll.C:
			lookAtState()
			if changes = d.rewatch(ctx); changes != nil {
				poll.Stop()
				lookAtState()
				box.put(Event{Full: true})
			}
		}
	}
}

// rewatch tries again what could not be watched, quietly.
func (d *Daemon) rewatch(ctx context.Context) <-chan host.Change {
	changes, err := d.reconciler.WatchHost(ctx)
	if err != nil {
		return nil
	}
	return changes
}

func eventOf(c host.Change) Event {
	return Event{Full: c.Lost, What: []string{c.What}, At: time.Now()}
}
