package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/capture"
	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/report"
	"github.com/ringfence/ringfence/pkg/signature"
)

func signaturesTestCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "test FILE|-",
		Short: "Show which signatures a SIP message matches, and where",
		Long: `test reads a SIP message from a file, or from standard input (-), and says which
signatures it matches, in which line and column, and how the kernel would treat
it. It changes nothing and needs no root.

The file may also be a capture (pcap or pcapng, of Ethernet, raw IP or Linux
cooked links). Then each packet has a line with its number, its time (UTC) and
what it is taken for, and behind them are the totals:

  scanner         it matches a signature of class ban
  not allowed     the policy requires a User-Agent, and it shows none of those
  counted         it matches a signature of class label
  allowed         its User-Agent is one of those required
  none            nothing is known against it
  other port      it is not to a SIP port of the policy; as the two below, it is
  fragment        not looked at: not the first fragment of a packet
  other protocol  neither UDP nor TCP

Of a damaged capture, what can be read is shown before the error.

Exit status: 0 it was read, whatever it matches; 1 error.`,
		Example: `  ringfence signatures test message.txt
  ringfence signatures test scan.pcap
  tcpdump -i eth0 -c 100 -w - port 5060 | ringfence signatures test -`,
		RunE: func(c *cobra.Command, args []string) error { return runSignaturesTest(c.Context(), a, args) },
	}
}

func runSignaturesTest(ctx context.Context, a *app, args []string) error {
	if len(args) != 1 {
		return notice.WithHint(errors.New("signatures test needs one file, or - for standard input"), "for example: ringfence signatures test message.txt")
	}
	p, err := policyOrNone(ctx, a)
	if err != nil {
		return err
	}
	automaton, err := catalog.AutomatonOf(p)
	if err != nil {
		return err
	}
	from := a.stdin
	if args[0] != "-" {
		f, err := os.Open(args[0])
		if err != nil {
			return fmt.Errorf("read message: %w", err)
		}
		defer f.Close()
		from = f
	}
	r := bufio.NewReader(from)
	if capture.Is(r) {
		return testCapture(ctx, a, r, automaton, p)
	}
	return testMessage(a, r, automaton)
}

// maxMessage is how much of a message is read: no UDP datagram is larger.
const maxMessage = 65535

func testMessage(a *app, from io.Reader, automaton *signature.Automaton) error {
	message, err := io.ReadAll(io.LimitReader(from, maxMessage))
	if err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	t := report.MessageOf(message, automaton)
	if a.json() {
		return a.writeJSON(t)
	}
	view.Message(a.stdout, t)
	return nil
}
