package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/daemon"
	"github.com/ringfence/ringfence/pkg/fence"
)

// watchdogCommand is what --confirm starts, as a service of systemd or in a session of its
// own.
func watchdogCommand(a *app) *cobra.Command {
	var w fence.Watch
	var place string
	c := &cobra.Command{
		Use: "watchdog ID", Hidden: true, Args: cobra.ExactArgs(1),
		Short: "Undo a change that nobody confirms (started by --confirm)",
		RunE: func(c *cobra.Command, args []string) error {
			w.ID = args[0]
			return runWatchdog(c.Context(), a, w, place)
		},
	}
	c.Flags().IntVar(&w.Generation, "generation", 0, "the `number` of the generation")
	c.Flags().DurationVar(&w.Window, "window", fence.LongestWindow, "the `time` for the confirmation")
	c.Flags().StringVar(&place, "place", "", "the `place` of the command that has made it")
	return c
}

func runWatchdog(ctx context.Context, a *app, w fence.Watch, place string) error {
	// The terminal that the change was made from may hang up.
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT)
	if place != "" {
		here, err := daemon.Place(a.stateDir, a.runDir)
		if err == nil && here != place {
			err = fmt.Errorf("this is %s, and the generation was made in %s", here, place)
		}
		if err != nil {
			return err
		}
	}
	if err := daemon.Ready(); err != nil {
		a.log.Warn("notify systemd", "error", err)
	}
	err := a.fence().WatchUnconfirmed(ctx, w)
	if err == nil {
		if err := daemon.StopWatchdog(ctx, w, true); err != nil {
			a.log.Info("stop the timer", "error", err)
		}
	}
	return err
}

// startWatchdog starts a watchdog that lives on whatever happens to this process: systemd
// runs it if it can, so that the end of the unit or session that this one belongs to does
// not end it.
func (a *app) startWatchdog(ctx context.Context, w fence.Watch) error {
	args := []string{
		"--policy", absolute(a.policyPath), "--state-dir", absolute(a.stateDir), "--run-dir", absolute(a.runDir),
		"watchdog", w.ID, "--generation", strconv.Itoa(w.Generation), "--window", w.Window.String(),
	}
	place, err := daemon.Place(a.stateDir, a.runDir)
	var program string
	if err == nil {
		program, err = os.Executable()
	}
	if err == nil {
		err = daemon.Watchdog{Watch: w, Program: program, Arguments: append(args, "--place", place)}.Start(ctx)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, daemon.ErrNoSystemd):
		a.log.Debug("start the watchdog", "error", err)
	default:
		a.log.Warn("systemd cannot run the watchdog: a process of this session does", "error", err)
	}
	return startInSession(args)
}

// startInSession starts this program in a session of its own, which no signal to this one
// or to its terminal reaches.
func startInSession(args []string) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	process, err := os.StartProcess("/proc/self/exe", append([]string{"ringfence"}, args...), &os.ProcAttr{
		Dir: "/", Files: []*os.File{null, null, null}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return err
	}
	return process.Release()
}

// stopWatchdog ends the watchdog of a generation that was confirmed. One that systemd does
// not run ends by itself.
func stopWatchdog(ctx context.Context, w fence.Watch) error {
	return daemon.StopWatchdog(ctx, w, false)
}
