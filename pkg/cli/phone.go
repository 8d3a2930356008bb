package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/cli/hint"
	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/phone"
	"github.com/ringfence/ringfence/pkg/report"
)

// phoneFlags are the flags of phone.
type phoneFlags struct {
	phone.Options
	format, provider string
	steps            bool
}

func phoneCommand(a *app) *cobra.Command {
	var f phoneFlags
	c := &cobra.Command{
		Use:   "phone [MAKER]",
		Short: "Print the settings that make a phone refuse strangers' calls",
		Long: `phone prints the lines that make a phone itself refuse calls that do not come
from its provider. It is for phones behind a router that is not yours, where you
cannot run a fence. The output is a file, or a part of one, in the maker's format
for provisioning (cfg or XML), with comments that say what each line does, for
which firmware it is, what its source is and how reliable that is. Lines that you may
not want are written as comments.

Without MAKER it lists the makers and their models. It changes nothing and does
not use the network.

  MAKER        yealink, grandstream, polycom, snom, cisco and others
  --model      the phone's model, as on its back. If a maker's models differ,
               it must be named
  --firmware   the version that the phone runs, if you know it. Without it, lines
               for all versions are printed
  --accounts   how many accounts (lines, identities) the phone has
  --steps      also the steps on the phone's web page, if you have no
               provisioning`,
		Example: `  ringfence phone                                          which makers and models are known?
  ringfence phone yealink --model T46S --firmware 86       a Yealink T46S with firmware 86
  ringfence phone grandstream --model HT802 --accounts 2   a Grandstream HT802, both of its ports
  ringfence phone polycom --model "VVX 450" --provider telnyx   also what this provider needs
  ringfence phone snom --model D785 --port 5070            and another port than 5060
  ringfence phone mitel --steps                            by hand, on the phone's web page`,
		Args: oneMaker,
		RunE: func(_ *cobra.Command, args []string) error { return runPhone(a, args, f) },
	}
	flags := c.Flags()
	flags.StringVar(&f.Model, "model", "", "the phone's `model`, such as T46S")
	flags.StringVar(&f.Firmware, "firmware", "", "its firmware's `version`, such as 86")
	flags.IntVar(&f.Accounts, "accounts", 1, "the `number` of its accounts")
	flags.IntVar(&f.Port, "port", 0, "the SIP `port` that the phone should listen on, such as 5070 (default: no change)")
	flags.StringVar(&f.provider, "provider", "", "the `preset` of its provider: adds the settings for SRV records if needed")
	flags.StringVar(&f.format, "format", "", "the `form`: cfg or xml, whichever the maker has, or text for reading (default: the maker's)")
	flags.BoolVar(&f.steps, "steps", false, "also the steps on the phone's web page")
	c.AddCommand(phoneListCommand(a))
	return c
}

func phoneListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list [MAKER]",
		Short:   "List the makers and their models",
		Example: "  ringfence phone list\n  ringfence phone list grandstream",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("phone list takes one maker, and %q is a second argument", args[1])
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error { return runPhoneList(a, args) },
	}
}

// oneMaker refuses a second argument, which usually is the model.
func oneMaker(_ *cobra.Command, args []string) error {
	if len(args) < 2 {
		return nil
	}
	perhaps := fmt.Sprintf("ringfence phone %s --model %s", hint.Word(args[0]), hint.Word(args[1]))
	if len(args) > 2 {
		perhaps += " --firmware " + hint.Word(args[2])
	}
	return notice.WithHint(fmt.Errorf("phone takes one maker, and %q is a second argument", args[1]), "perhaps: %s", perhaps)
}

func runPhone(a *app, args []string, f phoneFlags) error {
	if len(args) == 0 && f.Model == "" {
		return runPhoneList(a, nil)
	}
	known, err := catalog.Makers()
	if err != nil {
		return err
	}
	m, err := hint.Maker(known, args, f.Model)
	if err != nil {
		return err
	}
	if f.Accounts < 1 {
		return fmt.Errorf("accounts is %d: write the number of accounts, 1 or more", f.Accounts)
	}
	if f.provider != "" {
		p, err := catalog.FindProvider(f.provider)
		if err != nil {
			return err
		}
		f.SRV = p.HasSRV()
	}
	s, err := m.Snippet(f.Options)
	if errors.Is(err, phone.ErrModel) {
		return notice.WithHint(err, "ringfence phone list %s shows the known models; name yours with --model", m.Name)
	}
	if err != nil {
		return err
	}
	switch phone.Format(f.format) {
	case "", s.Format(), phone.Text:
	default:
		return fmt.Errorf("format %q: files for this phone are %s; write --format %s or --format text", f.format, s.Format(), s.Format())
	}
	if err := writeSnippet(a, s, f); err != nil {
		return err
	}
	for _, warning := range hint.Phone(s, f.Options, f.provider) {
		a.warn(warning)
	}
	return nil
}

func writeSnippet(a *app, s phone.Snippet, f phoneFlags) error {
	text := s.Write(f.steps)
	if phone.Format(f.format) == phone.Text {
		text = s.Text(f.steps)
	}
	if !a.json() {
		_, err := io.WriteString(a.stdout, text)
		return err
	}
	steps := []string{}
	if f.steps {
		steps = s.Steps()
	}
	return a.writeJSON(report.Phone{Snippet: s, Steps: steps, Text: text, Warnings: append([]string{}, hint.Phone(s, f.Options, f.provider)...)})
}

func runPhoneList(a *app, args []string) error {
	known, err := catalog.Makers()
	if err != nil {
		return err
	}
	if len(args) > 0 {
		m, err := hint.Maker(known, args, "")
		if err != nil {
			return err
		}
		known = []phone.Maker{m}
	}
	reports := report.MakersOf(known)
	if a.json() {
		return a.writeJSON(reports)
	}
	view.Makers(a.stdout, reports)
	return nil
}
