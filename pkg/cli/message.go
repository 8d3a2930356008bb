package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/capture"
	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
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

// testedMessage is the object that signatures test prints.
type testedMessage struct {
	Request  bool             `json:"request"`
	Verdict  string           `json:"verdict"`
	Named    string           `json:"named,omitempty"` // the signature that decides
	Findings []messageFinding `json:"findings"`
}

type messageFinding struct {
	Signature string          `json:"signature"`
	Class     signature.Class `json:"class"`
	Header    string          `json:"header"`
	Line      int             `json:"line"`
	Column    int             `json:"column"`
	Text      string          `json:"text"`
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
	e := automaton.Explain(message)
	t := testedMessage{e.Request, verdictText(e, automaton, len(message)), e.Result.Signature, findingsIn(message, e)}
	if a.json() {
		return a.writeJSON(t)
	}
	output.Println(a.stdout, t.Verdict)
	output.Table(a.stdout, func(w io.Writer) {
		for _, f := range t.Findings {
			output.Printf(w, "  %d:%d\t%s\t%s\t%s: %q\n", f.Line, f.Column, f.Signature, f.Class, f.Header, f.Text)
		}
	})
	return nil
}

// findingsIn are the places in a message where signatures match, in their order.
func findingsIn(message []byte, e signature.Explanation) []messageFinding {
	findings := []messageFinding{}
	for _, f := range e.Findings {
		findings = append(findings, messageFinding{
			f.Signature.Name, f.Signature.Class, cmp.Or(f.Header, signature.RequestLine), f.Line, f.Column,
			strings.TrimRight(string(message[f.From:f.To]), "\r\n"),
		})
	}
	slices.SortStableFunc(findings, func(a, b messageFinding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return findings
}

// verdictText says how the kernel would treat a message.
func verdictText(e signature.Explanation, automaton *signature.Automaton, length int) string {
	switch {
	case e.Result.Mark == signature.Scanner:
		return fmt.Sprintf("It comes from a scanner: %s.", e.Result.Signature)
	case !e.Request:
		return "It is not a SIP request, so it is not checked."
	case e.Result.Mark == signature.NotAllowed:
		return "Its User-Agent is not one of those that the policy requires."
	case e.Result.Mark == signature.Allowed:
		return fmt.Sprintf("Its User-Agent is one of those that the policy requires: %s.", e.Allowed)
	case e.Result.Signature != "":
		return fmt.Sprintf("It is only counted: %s.", e.Result.Signature)
	}
	verdict := fmt.Sprintf("It matches none of %s.", notice.Count(len(automaton.Signatures()), "signature"))
	if length > signature.MaxLength {
		verdict += fmt.Sprintf(" Only the first %d bytes are read.", signature.MaxLength)
	}
	return verdict
}
