package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/report"
)

// defaultWindow is the time for a confirmation if none is named.
const defaultWindow = "60s"

func confirmCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "confirm [N]",
		Short: "Keep a change that is undone otherwise",
		Long: `confirm keeps what ringfence apply --confirm, or ringfence rollback --confirm, has
put into force. Without it the change is undone when its time is over. It works
from any terminal. If another user has made the change, name its generation.

Exit status: 0 the change stays, 1 there is none, or it was undone.`,
		Example: `  ringfence confirm`,
		Args:    oneGeneration,
		RunE: func(c *cobra.Command, args []string) error {
			n, err := generationOf(args)
			if err != nil {
				return err
			}
			return runConfirm(c.Context(), a, n)
		},
	}
}

func runConfirm(ctx context.Context, a *app, number int) error {
	generation, err := a.fence().Confirm(ctx, number)
	if err != nil {
		return err
	}
	if a.json() {
		return a.writeJSON(report.Confirmed{Generation: generation})
	}
	output.Printf(a.stdout, "Generation %d is confirmed.\n", generation)
	return nil
}

// watchdogCommand is what --confirm starts in a session of its own.
func watchdogCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "watchdog ID", Hidden: true, Args: cobra.ExactArgs(1),
		Short: "Undo a change that nobody confirms (started by --confirm)",
		RunE: func(c *cobra.Command, args []string) error {
			// The terminal that the change was made from may hang up.
			signal.Ignore(syscall.SIGHUP, syscall.SIGINT)
			return a.fence().WatchUnconfirmed(c.Context(), args[0])
		},
	}
}

// startWatchdog starts a process in a session of its own, which no signal to this one or
// to its terminal reaches.
func (a *app) startWatchdog(id string) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	args := []string{
		"ringfence", "--policy", absolute(a.policyPath), "--state-dir", absolute(a.stateDir),
		"--run-dir", absolute(a.runDir), "watchdog", id,
	}
	process, err := os.StartProcess("/proc/self/exe", args, &os.ProcAttr{
		Dir: "/", Files: []*os.File{null, null, null}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return err
	}
	return process.Release()
}

// addConfirmFlag adds the flag that asks for a confirmation.
func addConfirmFlag(c *cobra.Command, window *string) {
	c.Flags().StringVar(window, "confirm", "",
		"undo the change after this `time` unless ringfence confirm comes first ("+defaultWindow+" if left out)")
	c.Flags().Lookup("confirm").NoOptDefVal = defaultWindow
}

// looksLikeTime matches a number with a unit, even with one that there is not.
var looksLikeTime = regexp.MustCompile(`^[0-9.]+[a-z]`)

// takeWindow reads the time for a confirmation. It may be an argument of its own behind
// the flag, and is taken out of the arguments then.
func takeWindow(flag string, args []string) (window time.Duration, rest []string, err error) {
	if flag == "" {
		return 0, args, nil
	}
	for i, arg := range args {
		// A number alone is a generation's.
		if flag == defaultWindow && looksLikeTime.MatchString(arg) {
			flag, args = arg, append(append([]string{}, args[:i]...), args[i+1:]...)
			break
		}
	}
	window, err = policy.ParseDuration(flag)
	if err != nil || window < fence.ShortestWindow || window > fence.LongestWindow || window != window.Truncate(time.Second) {
		return 0, nil, notice.WithHint(fmt.Errorf("%q is no time for a confirmation", flag),
			"write whole seconds, from 1s to 24h, as in --confirm 60s")
	}
	return window, args, nil
}

// awaitConfirmation asks at a terminal whether to keep a change, and elsewhere says how
// to keep it.
func awaitConfirmation(ctx context.Context, a *app, p *fence.Pending) error {
	if p == nil {
		return nil
	}
	if !isTerminal(a.stdin) || !a.stdout.Terminal || a.json() {
		a.say("note", fmt.Sprintf("generation %d is undone in %s unless you run: ringfence confirm", p.Generation, p.Left.Round(time.Second)))
		return nil
	}
	keep, err := askToKeep(ctx, a, p)
	if err != nil {
		return err
	}
	if keep {
		return runConfirm(ctx, a, p.Generation)
	}
	if err := a.fence().Undo(ctx, p.ID); err != nil {
		return err
	}
	return fmt.Errorf("not confirmed: generation %d was undone", p.Generation)
}

// pendingText says what happens to a generation that waits for a confirmation.
func pendingText(p *fence.Pending) string {
	if p.Left == 0 {
		return fmt.Sprintf("generation %d was not confirmed in time: ringfence refresh undoes it", p.Generation)
	}
	return fmt.Sprintf("generation %d is undone in %s unless you run ringfence confirm", p.Generation, p.Left.Round(time.Second))
}

// askToKeep counts down and shows which packets were let through, until the user has
// answered or the time is over.
func askToKeep(ctx context.Context, a *app, p *fence.Pending) (keep bool, err error) {
	answered := make(chan string, 1)
	go func() {
		line, err := bufio.NewReader(a.stdin).ReadString('\n')
		if err != nil && errors.Is(err, io.EOF) && line == "" {
			return // nobody is there: the time decides
		}
		answered <- strings.ToLower(strings.TrimSpace(line))
	}()
	f := a.work
	before, _ := f.LetThrough(ctx)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	defer output.Println(a.stderr)
	for {
		now, err := f.Pending()
		if err != nil {
			return false, err
		}
		if now == nil || now.ID != p.ID || now.Left == 0 {
			return false, nil
		}
		passed, err := f.LetThrough(ctx)
		if err != nil {
			passed = before
		}
		output.Printf(a.stderr, output.Return()+"%3d s left, %s of providers and trusted let through. Is your phone registered? Type y: ",
			int(now.Left.Round(time.Second).Seconds()), notice.Count(int(passed-min(before, passed)), "packet"))
		select {
		case <-ctx.Done():
			return false, fmt.Errorf("interrupted: generation %d is undone in %s unless you run: ringfence confirm", p.Generation, now.Left.Round(time.Second))
		case answer := <-answered:
			return answer == "y" || answer == "yes", nil
		case <-tick.C:
		}
	}
}
