package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/report"
)

func replayCommand(a *app) *cobra.Command {
	var own []string
	c := &cobra.Command{
		Use:   "replay FILE|-",
		Short: "Show what the rules would do with the packets of a capture",
		Long: `replay reads a capture (pcap or pcapng, - is standard input) and says for each
source what the rules that are in the kernel now would do with its packets to SIP
ports. With --policy it is the rules of that policy: nothing needs to be in force
then, and no root is needed. The names of the policy have the addresses that are
remembered; no name server is asked.

It also names the sources that would be silenced although they got good answers:
phones whose registration the SIP server has accepted, and servers whose calls it
has taken, or that have taken its own. It prints the lines that the policy lacks
for them. So a policy can be tried before it is in force.

The addresses of this side are those of this host; if the capture has none of
them, the one that most others have to do with.

Of a damaged capture, what can be read is judged before the error.

Exit status: 0 it was read, whatever the verdicts; 1 error.`,
		Example: `  ringfence replay monday.pcap
  ringfence replay monday.pcap --policy new.yaml
  tcpdump -i any -w - -G 3600 -W 1 udp port 5060 | ringfence replay -
  ringfence replay router.pcap --own 192.0.2.10`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				err := errors.New("replay needs one file, or - for standard input")
				return notice.WithHint(err, "for example: ringfence replay monday.pcap")
			}
			var addresses []netip.Addr
			for _, text := range own {
				addr, err := netip.ParseAddr(text)
				if err != nil {
					return fmt.Errorf("--own %s: it is not an address", text)
				}
				addresses = append(addresses, addr)
			}
			return runReplay(c.Context(), a, args[0], c.Flag("policy").Changed, addresses)
		},
	}
	c.Flags().StringSliceVar(&own, "own", nil, "an `address` of this side; may be repeated")
	return c
}

func runReplay(ctx context.Context, a *app, file string, given bool, own []netip.Addr) error {
	var p *fence.Policy
	if given {
		read, err := readPolicy(ctx, a.policyPath)
		if err != nil {
			return err
		}
		p = &read
	}
	from := a.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return fmt.Errorf("read capture: %w", err)
		}
		defer f.Close()
		from = f
	}
	r, err := a.fence().View().Replay(ctx, from, p, own)
	switch {
	case errors.Is(err, fence.ErrNoCapture):
		return fmt.Errorf("read %s: %w", file, err)
	case err != nil && r.Packets == 0:
		return err
	}
	object := report.ReplayOf(r, time.Now(), err)
	if a.json() {
		return errors.Join(a.writeJSON(object), err)
	}
	view.Replay(a.stdout, r.Sources, object)
	return err
}
