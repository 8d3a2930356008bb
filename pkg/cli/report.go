package cli

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/cli/flag"
	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/report"
)

func reportCommand(a *app) *cobra.Command {
	var lasts time.Duration
	var at string
	c := &cobra.Command{
		Use:   "report",
		Short: "Show who was dropped over a time, with what, and who was let in",
		Long: `report sums up who was dropped: when, from where, with which tools, for which
users, and how many packets of providers and phones were let in meanwhile. It names
sources that do not look like scanners, with the line that lets them in: look at
these before you go from monitor mode to enforce. What came when is known as far as
ringfence run has recorded it, for the time of events.keep.

With --at it answers whether something that rang was a ghost call: what came within
two minutes before and after, dropped or let in.

With -o html it is one page with pictures, for a browser: it loads nothing from
anywhere and has no scripts.`,
		Example: `  ringfence report
  ringfence report --since 24h -o html > report.html
  ringfence report --at 14:05              did that ring by a ghost call?
  ringfence report --at "2026-11-29 14:05"`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			p := fence.Period{Since: time.Now().Add(-lasts)}
			if c.Flag("at").Changed {
				var err error
				if p.At, err = flag.Moment("at", at, time.Now()); err != nil {
					return err
				}
			}
			return runReport(c.Context(), a, p)
		},
	}
	c.Flags().Var(flag.NewDuration(&lasts, 7*24*time.Hour), "since", "for how long until now")
	c.Flags().StringVar(&at, "at", "", "a `time` of today or yesterday, such as 14:05, or with its date")
	return c
}

func runReport(ctx context.Context, a *app, p fence.Period) error {
	found, err := a.fence().View().Activity(ctx, p)
	if err != nil {
		return err
	}
	r := report.ActivityOf(found)
	switch a.output {
	case "json":
		return a.writeJSON(r)
	case "html":
		host, err := os.Hostname()
		if err != nil {
			return errors.Join(errors.New("read the name of this host"), err)
		}
		return view.Page(a.stdout, r, host)
	}
	view.Report(a.stdout, r)
	return nil
}
