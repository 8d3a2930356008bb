package cli

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/nft"
)

func (a *app) runCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Keep the fence up and its addresses fresh, as a service",
		Long: `run keeps the newest generation in force until it is told to end. It asks for
each name when its answers run out, puts the table back at once when another
program removes or changes it, and looks at everything once a minute whatever
happens. It never reads the policy file: apply does, and run goes on with the
generation that apply makes. While the fence is taken down it waits.

When it ends, the fence stands as it is. It tells systemd when it is ready, how
it goes, and that it is alive.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return a.run(c.Context()) },
	}
}

func (a *app) run(ctx context.Context) error {
	if err := a.kernel(true).Probe(ctx); err != nil {
		return err
	}
	// A service mostly sleeps, and runs on small machines: memory is dearer than
	// time.
	debug.SetGCPercent(50)
	k := a.newKeeper()
	k.tell = func(status string) { a.notify("STATUS=" + status) }
	touched, err := nft.Watch(ctx) // before the first look, so that nothing is missed
	if err != nil {
		return err
	}
	mark := markOf(a.journalFolder())
	if err := k.Keep(ctx, control.Event{}); err != nil && ctx.Err() == nil && !errors.Is(err, journal.ErrLocked) {
		return err
	}
	a.notify(daemon.SdNotifyReady)
	events := make(chan control.Event)
	go a.feed(ctx, events, touched, mark)
	beat, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		a.log.Warn("read how often systemd wants to hear of this", "error", err)
	}
	control.Runner{
		Keeper: k, Events: events,
		Beat: beat / 3, Alive: func() { a.notify(daemon.SdNotifyWatchdog) },
	}.Run(ctx)
	a.notify(daemon.SdNotifyStopping)
	k.end(ctx)
	return nil
}

// notify tells systemd something, if it wants to know.
func (a *app) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		a.log.Warn("tell systemd", "state", state, "error", err)
	}
}

// pollEvery is how often the journal's folder is looked at.
const pollEvery = time.Second

// feed turns what happens in the kernel and on disk into events: another
// program has changed the table, another run has made a generation or has taken
// the fence down. mark is the journal's folder as it was when it was last read.
func (a *app) feed(ctx context.Context, events chan<- control.Event, touched <-chan nft.Touched, mark fileMark) {
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	send := func(e control.Event) {
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
			e := control.Event{Full: t.Lost, Generation: t.Generation}
			if t.Program != "" {
				e.Who = fmt.Sprintf("%s (pid %d)", t.Program, t.PID)
			}
			send(e)
		case <-poll.C:
			if now := markOf(a.journalFolder()); !now.same(mark) {
				mark = now
				send(control.Event{})
			}
			if touched == nil {
				// The kernel tells nothing any more: what it has told since is lost.
				var err error
				if touched, err = nft.Watch(ctx); err == nil {
					send(control.Event{Full: true})
				}
			}
		}
	}
}
