package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/fatih/color"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/classifier"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/notice"
)

func demoCommand(a *app) *cobra.Command {
	without := false
	command := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole product on a private network, in seconds",
		Long: `demo builds a small internet of network namespaces: a provider whose registrar
only NAPTR and SRV records name, a scanner, a PBX, and a phone behind a router
that translates. It sends calls and scans by UDP and TCP, IPv4 and IPv6, without
a fence and with one, moves the registrar to another address, makes a mistake,
and goes back. It needs root. The network of this machine, its firewall and the
policy of this host are not touched, and nothing is left behind.

Exit status: 0 everything was as it should be, 1 otherwise; also 1 where the
classifier is not a part of it, unless --without-classifier is given.`,
		Example: `  sudo ringfence demo
  sudo go run ./cmd/ringfence demo     from the source, on a bare machine`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runDemo(c.Context(), a, without) },
	}
	command.Flags().BoolVar(&without, "without-classifier", false, "show the fence alone, without what recognises scanners (eBPF)")
	return command
}

// probe is one message of the demo.
type probe struct {
	who, method, userAgent string
	sender                 *lab.Namespace
	from                   string
	to                     netip.AddrPort
	target                 string // whom it is for
	protocol               string // udp or tcp
	ear                    *lab.Ear
	fence                  *lab.Namespace // the host whose fence is in the way
	allowed                bool
}

// by says how the message goes.
func (p probe) by() string {
	by := strings.ToUpper(p.protocol)
	if p.to.Addr().Is6() {
		by += ", IPv6"
	}
	if p.to.Port() != 5060 {
		by += fmt.Sprintf(", port %d", p.to.Port())
	}
	return by
}

// probes are all messages of the first act.
func (d *demoLab) probes() []probe {
	type target struct {
		name   string
		v4, v6 netip.AddrPort
		ear    *lab.Ear
		fence  *lab.Namespace
	}
	at := func(address string, port uint16) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr(address), port)
	}
	var probes []probe
	for _, t := range []target{
		{"PBX", at(demoPBX4, 5060), at(demoPBX6, 5060), d.atPBX, d.pbx},
		{"phone", at(demoRouter4, demoForwardedPort), at(demoPhone6, 5060), d.atPhone, d.router},
	} {
		for _, p := range []probe{
			{who: "provider", method: "INVITE", userAgent: "acme-edge", sender: d.provider, allowed: true},
			{who: "scanner", method: "OPTIONS", userAgent: "friendly-scanner", sender: d.scanner},
			{who: "scanner", method: "INVITE", userAgent: "friendly-scanner", sender: d.scanner},
		} {
			p.target, p.ear, p.fence = t.name, t.ear, t.fence
			for _, p.to = range []netip.AddrPort{t.v4, t.v6} {
				p.from = demoScanner4
				switch {
				case p.allowed && p.to.Addr().Is6():
					p.from = demoRegistrar6
				case p.allowed:
					p.from = demoRegistrar4
				case p.to.Addr().Is6():
					p.from = demoScanner6
				}
				for _, p.protocol = range []string{"udp", "tcp"} {
					probes = append(probes, p)
				}
			}
		}
	}
	return probes
}

// demoReport is the object that demo prints.
type demoReport struct {
	OK     bool         `json:"ok"`
	Probes []demoProbe  `json:"probes"`
	Steps  []demoAction `json:"steps"`
}

type demoProbe struct {
	To      string `json:"to"`
	From    string `json:"from"`
	Message string `json:"message"`
	By      string `json:"by"`
	Without string `json:"without_fence"`
	With    string `json:"with_fence"`
	OK      bool   `json:"ok"`
}

// demoAction is a step after which one message shows the effect.
type demoAction struct {
	Step string `json:"step"`
	From string `json:"from"`
	Is   string `json:"is"`
	OK   bool   `json:"ok"`
}

// demo builds the lab and plays in it.
func runDemo(ctx context.Context, a *app, without bool) (err error) {
	start := time.Now()
	a.progress("building a small internet …")
	d, err := newDemoLab()
	defer func() { err = errors.Join(err, d.close()) }()
	if err != nil {
		if errors.Is(err, unix.EPERM) {
			return notice.WithHint(err, "the demo makes network namespaces of its own: sudo ringfence demo")
		}
		return err
	}
	d.withoutClassifier = without
	if err := playDemo(ctx, a, d); err != nil {
		return err
	}
	if !a.json() {
		fmt.Fprintf(a.stdout, "\nAll as it should be, in %.1f s. Nothing of it is left behind.\n", time.Since(start).Seconds())
	}
	return nil
}

// play plays all acts and tells them. What differs from what should be is an
// error.
func playDemo(ctx context.Context, a *app, d *demoLab) error {
	play := &demoPlay{app: a, demoLab: d, out: a.stdout, report: demoReport{OK: true, Probes: []demoProbe{}, Steps: []demoAction{}}}
	if a.json() {
		play.out = io.Discard
	}
	for _, act := range []func(context.Context) error{play.fencing, play.recognising, play.moving, play.mistake} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	if a.json() {
		if err := a.writeJSON(play.report); err != nil {
			return err
		}
	}
	if play.unrecognised != nil {
		return play.unrecognised
	}
	if !play.report.OK {
		return errors.New("the demo did not go as it should")
	}
	return nil
}

// demoPlay plays the acts of the demo, tells them, and keeps the report.
type demoPlay struct {
	*app
	*demoLab
	out    io.Writer
	report demoReport
	// unrecognised says why the classifier is no part of the demo, if it should be.
	unrecognised error
}

// demoWidth is how wide the demo writes: as wide as the narrowest terminal.
const demoWidth = 80

// tell writes a line.
func (p *demoPlay) tell(format string, args ...any) { fmt.Fprintf(p.out, format+"\n", args...) }

// command runs a command on a host and shows it with its output.
func (p *demoPlay) command(ctx context.Context, h *lab.Namespace, args ...string) error {
	output, err := p.onHost(ctx, h, args...)
	if err != nil {
		return err
	}
	p.tell("\n%s# ringfence %s", h.Name, strings.Join(args, " "))
	for line := range strings.Lines(output) {
		p.tell("%s", fold("  "+strings.TrimSuffix(line, "\n"), demoWidth, "        "))
	}
	return nil
}

// policy is the policy of the demo.
func (p *demoPlay) policy(registrar, more string) string {
	if p.withoutClassifier {
		more += "signatures: {engine: \"off\"}\n"
	}
	return "version: 1\n" + more + "providers:\n  - name: acme\n    registrars: [" + registrar + "]\ndns:\n  servers: [" + demoNameServer + "]\n"
}

// fencing sends everything without a fence, puts up both fences, and sends it
// again.
func (p *demoPlay) fencing(ctx context.Context) error {
	p.tell("A PBX, and a phone behind a router whose port %d leads to it. Their", demoForwardedPort)
	p.tell("provider's registrar is sip.acme.example. A scanner is about, too.")
	probes := p.probes()
	p.progress("sending %d messages, without a fence and with it …", len(probes))
	without := make([]string, len(probes))
	for i, probe := range probes {
		var err error
		if without[i], err = p.fate(ctx, probe); err != nil {
			return err
		}
	}
	outside := "interfaces: [eth0]   # on a router: what leads outside\n"
	if err := errors.Join(p.writePolicy(p.pbx, p.policy("sip.acme.example", "")), p.writePolicy(p.router, p.policy("sip.acme.example", outside))); err != nil {
		return err
	}
	if err := p.command(ctx, p.pbx, "apply"); err != nil {
		return err
	}
	if _, err := p.onHost(ctx, p.router, "apply"); err != nil {
		return err
	}
	p.tell("\nrouter# ringfence apply\n  the same, for interface eth0 only\n")
	for i, probe := range probes {
		with, err := p.fate(ctx, probe)
		if err != nil {
			return err
		}
		p.report.add(demoProbe{probe.target, probe.who, probe.method, probe.by(), without[i], with, without[i] == arrives && with == wanted(probe.allowed)})
	}
	table(p.out, func(w io.Writer) {
		fmt.Fprintf(w, "to\tfrom\tmessage\tby\twithout fence\twith fence\n")
		for _, row := range p.report.Probes {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s%s\n", row.To, row.From, row.Message, row.By, row.Without, p.shade(row.With), p.wrong(row.OK))
		}
	})
	return nil
}

// recognising shows what the kernel has recognised of the scanner. Where it has
// recognised nothing, the demo goes on, and fails in the end.
func (p *demoPlay) recognising(context.Context) error {
	if p.withoutClassifier {
		return nil
	}
	var hits map[string]uint64
	err := p.pbx.Do(func() (err error) { hits, err = classifier.Hits(); return err })
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(hits)), func(name string) bool { return hits[name] == 0 })
	if err == nil && len(names) == 0 {
		// Where it could not be attached, the reason is the probe's, or apply has said it.
		err = cmp.Or(classifier.Probe(), errors.New("it has recognised nothing"))
	}
	if err != nil {
		p.report.OK = false
		p.unrecognised = notice.WithHint(fmt.Errorf("the demo is without the classifier: %w", err),
			"ringfence demo --without-classifier shows the fence alone")
		return nil
	}
	for _, name := range names {
		p.tell("\nThe PBX recognised %s by their SIP header: %s.", notice.Count(int(hits[name]), "packet"), name)
	}
	return nil
}

func wanted(allowed bool) string {
	if allowed {
		return arrives
	}
	return dropped
}

func (p *demoPlay) wrong(ok bool) string {
	if ok {
		return ""
	}
	return "  " + p.alarm("WRONG")
}

// shade colours what becomes of a packet.
func (p *demoPlay) shade(fate string) string {
	if fate == arrives {
		return p.coloured(color.FgGreen, fate)
	}
	return p.coloured(color.FgYellow, fate)
}

func (r *demoReport) add(row demoProbe) {
	r.Probes = append(r.Probes, row)
	r.OK = r.OK && row.OK
}

// check sends an INVITE from where the registrar has moved to, and tells whether
// it fares as it should.
func (p *demoPlay) check(ctx context.Context, step string, allowed bool) error {
	invite := p.probes()[0]
	invite.from = demoMoved4
	is, err := p.fate(ctx, invite)
	if err != nil {
		return err
	}
	ok := is == wanted(allowed)
	p.report.Steps = append(p.report.Steps, demoAction{step, demoMoved4, is, ok})
	p.report.OK = p.report.OK && ok
	p.tell("  -> the provider's INVITE from %s %s%s", demoMoved4, p.shade(is), p.wrong(ok))
	return nil
}

// moving gives the registrar another address.
func (p *demoPlay) moving(ctx context.Context) error {
	p.tell("\nThe registrar moves to %s, and DNS says so.", demoMoved4)
	if err := p.zone.Set(demoZone(demoMoved4, demoMoved6)); err != nil {
		return err
	}
	if err := p.check(ctx, "the registrar has moved", false); err != nil {
		return err
	}
	if err := p.command(ctx, p.pbx, "refresh"); err != nil {
		return err
	}
	return p.check(ctx, "refresh", true)
}

// mistake applies a policy that shuts the provider out, and goes back.
func (p *demoPlay) mistake(ctx context.Context) error {
	p.tell("\nA mistake: somebody replaces the registrar by an old address.")
	if err := p.writePolicy(p.pbx, p.policy("203.0.113.200", "")); err != nil {
		return err
	}
	if err := p.command(ctx, p.pbx, "apply"); err != nil {
		return err
	}
	if err := p.check(ctx, "apply with a mistake", false); err != nil {
		return err
	}
	if err := p.command(ctx, p.pbx, "rollback"); err != nil {
		return err
	}
	return p.check(ctx, "rollback", true)
}
