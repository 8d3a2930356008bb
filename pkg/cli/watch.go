package cli

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/cli/flag"
	"github.com/ringfence/ringfence/pkg/cli/screen"
	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/report"
)

func watchCommand(a *app) *cobra.Command {
	var since time.Duration
	c := &cobra.Command{
		Use:   "watch",
		Short: "Watch who is dropped, live",
		Long: `watch shows what dropped does, and looks again every second. Keys sort the
table, and ban or allow the selected source, after a question: for one hour, and for
two hours. Into a pipe or a file, or with -o json, it writes a line for each source
when packets of it have come, and nothing of what came before.

It needs no daemon; while that runs, watch also shows what the sources have sent,
some seconds later.`,
		Example: `  ringfence watch
  ringfence watch --since 24h
  ringfence watch | grep INVITE`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runWatch(c.Context(), a, since) },
	}
	c.Flags().Var(flag.NewDuration(&since, time.Hour), "since", "leave out who came last before that, such as 30m or 24h")
	return c
}

// explained is how many sources get their reason: more are on no screen.
const explained = 500

func runWatch(ctx context.Context, a *app, since time.Duration) error {
	if since < fence.ShortestSince {
		return fmt.Errorf("--since %s: write a time of at least %s", since, fence.ShortestSince)
	}
	w := a.fenceFor(nil).View().Watcher(since)
	if a.json() || !a.stdout.Terminal || !isTerminal(a.stdin) || os.Getenv("TERM") == "dumb" {
		return watchLines(ctx, a, w)
	}
	f := a.fenceFor(nil)
	return screen.Show(ctx, a.stdin.(*os.File), a.screen.(*os.File), screen.Actions{ // terminals are files
		Since: policy.DurationText(since),
		Read: func(ctx context.Context, order func(a, b fence.Dropped) int) (fence.Drops, error) {
			return w.Read(ctx, order, explained)
		},
		Ban: func(ctx context.Context, addr netip.Addr) (string, error) {
			b, err := f.Ban(ctx, addr, defaultBan, false)
			return fmt.Sprintf("%s is banned for %s.", addr, policy.DurationText(b.Left)), err
		},
		Allow: func(ctx context.Context, addr netip.Addr) (string, error) {
			b, err := f.Allow(ctx, addr, defaultAllowance)
			return fmt.Sprintf("%s is allowed for %s.", addr, policy.DurationText(b.Left)), err
		},
	})
}

// watchLines writes a line for each source of which packets have come, until the context
// ends.
func watchLines(ctx context.Context, a *app, w *fence.Watcher) error {
	var growth fence.Growth
	for {
		start := time.Now()
		d, err := w.Read(ctx, fence.Latest, explained)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		for _, m := range report.WatchedOf(growth.Next(d.Sources)) {
			if !a.json() {
				view.Watched(a.stdout, m)
			} else if err := output.JSONLine(a.stdout, m); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(time.Second, 10*time.Since(start))):
		}
	}
}
