package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/cli/flag"
	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/report"
)

// defaultSince is how long the kernel keeps who was dropped.
const defaultSince = 24 * time.Hour

func droppedCommand(a *app) *cobra.Command {
	var since time.Duration
	c := &cobra.Command{
		Use:   "dropped",
		Short: "Show who was dropped, how often, when, and why",
		Long: `dropped lists the sources whose packets were dropped, or would be dropped in
monitor mode: how many packets, when the last one came, and why. The one that
came last is first.

It needs no daemon: the kernel counts each source, and keeps it for a day, of each
family the first 65,535. When a source came last is exact to a minute. While the
daemon runs (ringfence run), dropped also shows what each source has sent last:
the method, the User-Agent, who was called, and the signature that matched.

The packets are those that the kernel has counted. Sources can be forged.`,
		Example: `  ringfence dropped
  ringfence dropped --since 1h
  ringfence dropped -o json`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runDropped(c.Context(), a, since) },
	}
	c.Flags().Var(flag.NewDuration(&since, defaultSince), "since", "leave out who came last before that, such as 30m, 1h or 7d")
	return c
}

func runDropped(ctx context.Context, a *app, since time.Duration) error {
	if since < fence.ShortestSince {
		return fmt.Errorf("--since %s: write a time of at least %s", policy.DurationText(since), policy.DurationText(fence.ShortestSince))
	}
	d, err := a.fence().View().Dropped(ctx, since)
	if err != nil {
		return err
	}
	list := report.DroppedOf(d.Sources)
	if a.json() {
		return a.writeJSON(list)
	}
	view.Dropped(a.stdout, list, since, d.Monitor)
	return nil
}
