package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/daemon"
)

func runCommand(a *app) *cobra.Command {
	var address string
	c := &cobra.Command{
		Use:   "run",
		Short: "Keep the fence up and its addresses fresh, as a service",
		Long: `run keeps the newest generation in force until it is stopped. It asks for
each name when its answers run out, puts the table back at once when another
program removes or changes it, and looks at everything once a minute whatever
happens. It puts nothing of the policy file into force: apply does, and run goes on
with the generation that apply makes. While the fence is taken down it waits.

It also keeps who was dropped and what each has sent, for as long as events.keep of
the policy says, in events.db in the state folder. dropped, why and report show it.
Of each source and reason the kernel reports one packet a minute, and of a flood not
all of them: the counters have the number.

When it ends, the fence stays as it is. It reports to systemd that it is ready,
its status, and that it is alive.

With --metrics it also serves the metrics of ringfence metrics by HTTP, at /metrics:
of the address that is given, or of this host alone for a port without one. If it
cannot listen there, that is an error.`,
		Example: `  ringfence run
  ringfence run --metrics 127.0.0.1:9960`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return runRun(c.Context(), a, address, c.Flag("metrics").Changed)
		},
	}
	c.Flags().StringVar(&address, "metrics", "", "serve metrics of Prometheus at this `address` with its port")
	return c
}

// lookEvery is the interval at which run looks at everything; 0 is the usual one. Tests
// have another.
var lookEvery time.Duration

func runRun(ctx context.Context, a *app, address string, served bool) error {
	if served {
		stop, err := serveMetrics(ctx, a, address)
		if err != nil {
			return err
		}
		defer stop()
	}
	daemon.Frugal()
	d := daemon.New(a.log)
	d.Check = lookEvery
	return d.Run(ctx, a.fenceFor(d.Notice).Reconciler())
}
