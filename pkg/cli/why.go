package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/report"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

func whyCommand(a *app) *cobra.Command {
	var q site.Question
	var protocol string
	c := &cobra.Command{
		Use:   "why ADDR",
		Short: "Show what happens to packets of an address, and why",
		Long: `why says whether the rules that are in the kernel now let a packet of an address
pass, and which part of the policy, which name and chain of records, or which ban
decides. Of a dropped one it also says how often and when it was dropped lately,
what it sent, and what would let it in. It sends nothing and changes nothing.

Without flags the packet is one to the first fenced port, and comes in by the
interface that answers to the address leave by.

Exit status: 0 allowed or dropped, 1 error.`,
		Example: `  ringfence why 203.0.113.5
  ringfence why 198.51.100.7 --port 5061 --proto tcp
  ringfence why 192.168.1.20 --in eth0
  ringfence why 198.51.100.7 --user-agent 'Yealink SIP-T46S'`,
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			if q.Address, err = oneAddress(c, args); err != nil {
				return err
			}
			q.Protocol = ruleset.Protocol(strings.ToLower(protocol))
			return runWhy(c.Context(), a, q)
		},
	}
	c.Flags().Uint16Var(&q.Port, "port", 0, "the `port` that it is sent to (the first fenced one)")
	c.Flags().StringVar(&protocol, "proto", "", "udp, tcp, sctp, dccp or udplite (udp)")
	c.Flags().StringVar(&q.Interface, "in", "", "the `interface` by which it comes in")
	c.Flags().StringVar(&q.UserAgent, "user-agent", "", "the `text` of the header User-Agent")
	return c
}

func runWhy(ctx context.Context, a *app, q site.Question) error {
	switch q.Protocol {
	case "", ruleset.UDP, ruleset.TCP, ruleset.SCTP, ruleset.DCCP, ruleset.UDPLite:
	default:
		return fmt.Errorf("--proto %s: write udp, tcp, sctp, dccp or udplite", q.Protocol)
	}
	answer, err := a.fence().View().Why(ctx, q)
	if err != nil {
		return err
	}
	why := report.WhyOf(answer, time.Now())
	if a.json() {
		return a.writeJSON(why)
	}
	output.Println(a.stdout, why.Text)
	return nil
}
