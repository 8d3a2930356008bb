package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/metrics"
	"github.com/ringfence/ringfence/pkg/notice"
)

func metricsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "metrics",
		Short: "Print the fence as metrics of Prometheus (for node_exporter)",
		Long: `metrics prints what status shows as metrics of Prometheus, in its text format:
packets by verdict and reason, alarms, providers and when they last answered, drift,
the last refresh, a change that waits for its confirmation. It asks no name server
and changes nothing.

It is for the textfile collector of node_exporter. Write to a temporary file, and
rename it only if the command has succeeded: then the collector never reads half of
a file, and an old one shows by its age. ringfence run --metrics serves the same by
HTTP. examples/grafana has alert rules and a dashboard.

Exit status: 0 done, 1 error, and nothing was printed.`,
		Example: `  ringfence metrics > F.tmp && mv F.tmp F
      where F is /var/lib/prometheus/node-exporter/ringfence.prom`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runMetrics(c.Context(), a) },
	}
}

func runMetrics(ctx context.Context, a *app) error {
	if a.json() {
		return notice.WithHint(errors.New("metrics has no JSON: it prints the text format of Prometheus"), "ringfence status -o json has the same as an object")
	}
	s, err := a.fence().View().Measure(ctx)
	if err != nil {
		return err
	}
	text, err := metrics.Text(s, version())
	if err != nil {
		return err
	}
	a.printAll(s.Notices)
	_, err = a.stdout.Write(text)
	return err
}

// serveMetrics serves metrics at an address until stop is called.
func serveMetrics(ctx context.Context, a *app, address string) (stop func(), err error) {
	s, err := metrics.Listen(ctx, address)
	if err != nil {
		return nil, err
	}
	s.Status, s.Version, s.Log = a.fenceFor(nil).View().Measure, version(), a.log
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Serve(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}, nil
}
