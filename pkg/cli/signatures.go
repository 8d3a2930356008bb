package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/signature"
)

func signaturesCommand(a *app) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "signatures",
		Short: "Show what scanners are recognised by, and how often they were",
		Long: `signatures lists what the kernel recognises scanners by: the signatures of the
lists that the policy names, without those that it leaves out, and its own. Each
has its header, its text and its class: with unknown.action
accept, the source of one of class ban is banned; one of class label is only
counted. As root it also shows how many packets have matched.`,
		Example: `  ringfence signatures
  ringfence signatures --all              also those that are off
  ringfence signatures test message.txt   what would this message match?`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runSignatures(c.Context(), a, all) },
	}
	c.Flags().BoolVar(&all, "all", false, "also those that are off or left out")
	c.AddCommand(&cobra.Command{
		Use:   "test FILE|-",
		Short: "Show which signatures a SIP message matches, and where",
		Long: `test reads a SIP message from a file, or from standard input (-), and says which
signatures it matches, in which line and column, and how the kernel would treat
it. It changes nothing and needs no root.

Exit status: 0 it was read, whatever it matches; 1 error.`,
		Example: `  ringfence signatures test message.txt
  tshark -r scan.pcap -T fields -e udp.payload | xxd -r -p | ringfence signatures test -`,
		RunE: func(c *cobra.Command, args []string) error { return runTestMessage(c.Context(), a, args) },
	})
	return c
}

// listedSignature is the object that signatures prints for one signature.
type listedSignature struct {
	Name   string          `json:"name"`
	Header string          `json:"header"`
	Match  signature.Match `json:"match"`
	Value  string          `json:"value"`
	Class  signature.Class `json:"class"`
	On     bool            `json:"on"`
	List   string          `json:"list,omitempty"`
	Source string          `json:"source"`
	Note   string          `json:"note,omitempty"`
	// Packets is how many packets matched, null if that is not known.
	Packets *uint64 `json:"packets"`
}

func runSignatures(ctx context.Context, a *app, all bool) error {
	p, err := policyOrNone(ctx, a)
	if err != nil {
		return err
	}
	wanted, err := catalog.SignaturesOf(p)
	if err != nil {
		return err
	}
	hits, err := a.fence().Hits()
	if err != nil {
		a.log.Info("read how often signatures were matched", "error", err)
	}
	list := []listedSignature{}
	add := func(k catalog.Signature, on bool) {
		s := listedSignature{k.Name, k.Header, k.Match, k.Value, k.Class, on, k.List, k.Source, k.Note, nil}
		if n, ok := hits[k.Name]; ok && on {
			s.Packets = &n
		}
		list = append(list, s)
	}
	for _, k := range wanted {
		add(k, true)
	}
	if all {
		others, err := catalog.Signatures()
		if err != nil {
			return err
		}
		for _, k := range others {
			if !slices.ContainsFunc(wanted, func(w catalog.Signature) bool { return w.Name == k.Name }) {
				add(k, false)
			}
		}
	}
	if a.json() {
		return a.writeJSON(list)
	}
	output.Table(a.stdout, func(w io.Writer) {
		output.Println(w, "NAME\tCLASS\tHEADER\tMATCH\tPACKETS")
		for _, s := range list {
			packets := "-"
			switch {
			case !s.On:
				packets = "off"
			case s.Packets != nil:
				packets = fmt.Sprint(*s.Packets)
			}
			output.Printf(w, "%s\t%s\t%s\t%s %q\t%s\n", s.Name, s.Class, s.Header, s.Match, s.Value, packets)
		}
	})
	return nil
}

// policyOrNone returns the policy, or if there is none, one with the defaults.
func policyOrNone(ctx context.Context, a *app) (*policy.Policy, error) {
	p, err := readPolicy(ctx, a.policyPath)
	if errors.Is(err, fs.ErrNotExist) {
		return catalog.Parse("default", []byte("version: 1\n"))
	}
	return p.Policy, err
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

func runTestMessage(ctx context.Context, a *app, args []string) error {
	if len(args) != 1 {
		return notice.WithHint(errors.New("signatures test needs one file, or - for standard input"), "for example: ringfence signatures test message.txt")
	}
	message, err := readMessage(a, args[0])
	if err != nil {
		return err
	}
	p, err := policyOrNone(ctx, a)
	if err != nil {
		return err
	}
	automaton, err := catalog.AutomatonOf(p)
	if err != nil {
		return err
	}
	e := automaton.Explain(message)
	t := testedMessage{Request: e.Request, Named: e.Result.Signature, Verdict: verdictText(e, automaton, len(message)), Findings: []messageFinding{}}
	for _, f := range e.Findings {
		header := f.Header
		if header == "" {
			header = signature.RequestLine
		}
		t.Findings = append(t.Findings, messageFinding{
			f.Signature.Name, f.Signature.Class, header, f.Line, f.Column, strings.TrimRight(string(message[f.From:f.To]), "\r\n"),
		})
	}
	slices.SortStableFunc(t.Findings, func(a, b messageFinding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
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

// maxMessage is how much of a message is read: no UDP datagram is larger.
const maxMessage = 65535

func readMessage(a *app, path string) ([]byte, error) {
	from := a.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("read message: %w", err)
		}
		defer f.Close()
		from = f
	}
	message, err := io.ReadAll(io.LimitReader(from, maxMessage))
	if err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	return message, nil
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
