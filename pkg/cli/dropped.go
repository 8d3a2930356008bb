package cli

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/cli/flag"
	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/report"
)

// mostShown is how many sources are shown at a terminal.
const mostShown = 100

// defaultSince is how long the kernel keeps who was dropped.
const defaultSince = 24 * time.Hour

func droppedCommand(a *app) *cobra.Command {
	var since time.Duration
	var all bool
	c := &cobra.Command{
		Use:   "dropped",
		Short: "Show who was dropped, how often, when, and why",
		Long: `dropped lists the sources whose packets were dropped, or would be dropped in
monitor mode: how many packets, when the last one came, and why. The one that
came last is first. At a terminal it shows the last 100, or with --all every one.

It needs no daemon: the kernel counts each source, and keeps it for a day, of each
family the first 65,535, and which of them the classifier takes for scanners. When
a source came last is exact to a minute. While the daemon runs (ringfence run),
dropped also shows what each source has sent last: the method, the User-Agent,
who was called, and the signature that matched.

The packets are those that the kernel has counted. Sources can be forged.`,
		Example: `  ringfence dropped
  ringfence dropped --since 1h
  ringfence dropped -o json`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runDropped(c.Context(), a, since, all) },
	}
	c.Flags().Var(flag.NewDuration(&since, defaultSince), "since", "leave out who came last before that, such as 30m, 1h or 7d")
	c.Flags().BoolVar(&all, "all", false, "show at a terminal more than the last 100, too")
	return c
}

func runDropped(ctx context.Context, a *app, since time.Duration, all bool) error {
	if since < fence.ShortestSince {
		return fmt.Errorf("--since %s: write a time of at least %s", policy.DurationText(since), policy.DurationText(fence.ShortestSince))
	}
	most := math.MaxInt
	if a.stdout.Terminal && !a.json() && !all {
		most = mostShown
	}
	d, err := a.fence().View().Dropped(ctx, since, most)
	if err != nil {
		return err
	}
	if a.json() {
		return output.JSONList(a.stdout, report.EachDropped(d.Sources))
	}
	view.Dropped(a.stdout, d, since, most)
	return nil
}
