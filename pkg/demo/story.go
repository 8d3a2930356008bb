package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/notice"
)

// width is the width of the output, that of the narrowest common terminal.
const width = 80

// printf writes a line.
func (d *Demo) printf(format string, args ...any) { fmt.Fprintf(d.Out, format+"\n", args...) }

// command runs a command on a host and shows it with its output.
func (d *Demo) command(ctx context.Context, h *lab.Namespace, args ...string) error {
	output, err := d.onHost(ctx, h, args...)
	if err != nil {
		return err
	}
	d.printf("\n%s# ringfence %s", h.Name, strings.Join(args, " "))
	for line := range strings.Lines(output) {
		d.printf("%s", notice.Fold("  "+strings.TrimSuffix(line, "\n"), width, "        "))
	}
	return nil
}

// policy returns the policy of the demo.
func (d *Demo) policy(registrar, more string) string {
	if d.WithoutClassifier {
		more += "signatures: {engine: \"off\"}\n"
	}
	if d.Backend != "" {
		more += "backend: " + d.Backend + "\n"
	}
	return "version: 1\n" + more + "providers:\n  - name: acme\n    registrars: [" + registrar + "]\ndns:\n  servers: [" + nameServer + "]\n"
}

// fencing sends all messages without a fence, sets up both fences, and sends them
// again.
func (d *Demo) fencing(ctx context.Context) error {
	d.printf("A PBX, and a phone behind a router whose port %d leads to it. Their", forwardedPort)
	d.printf("provider's registrar is sip.acme.example. There is also a scanner.")
	probes := d.probes()
	d.Progress("sending %d messages, without a fence and with it …", len(probes))
	without := make([]string, len(probes))
	for i, probe := range probes {
		var err error
		if without[i], err = d.fate(ctx, probe); err != nil {
			return err
		}
	}
	outside := "interfaces: [eth0]   # on a router: what leads outside\n"
	if err := errors.Join(d.writePolicy(d.pbx, d.policy("sip.acme.example", "")), d.writePolicy(d.router, d.policy("sip.acme.example", outside))); err != nil {
		return err
	}
	if err := d.command(ctx, d.pbx, "apply"); err != nil {
		return err
	}
	if _, err := d.onHost(ctx, d.router, "apply"); err != nil {
		return err
	}
	d.printf("\nrouter# ringfence apply\n  the same, for interface eth0 only\n")
	for i, probe := range probes {
		with, err := d.fate(ctx, probe)
		if err != nil {
			return err
		}
		d.report.add(Probe{probe.target, probe.who, probe.method, probe.by(), without[i], with, without[i] == arrives && with == wanted(probe.allowed)})
	}
	w := tabwriter.NewWriter(d.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "to\tfrom\tmessage\tby\twithout fence\twith fence\n")
	for _, row := range d.report.Probes {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s%s\n", row.To, row.From, row.Message, row.By, row.Without, d.shade(row.With), d.wrong(row.OK))
	}
	return w.Flush()
}

// recognising shows which scanners the classifier has recognised. If it has recognised
// none, the demo continues and fails at the end.
func (d *Demo) recognising(context.Context) error {
	if d.WithoutClassifier {
		return nil
	}
	var hits map[string]uint64
	err := d.pbx.Do(func() (err error) { hits, err = d.Classifier.Hits(); return err })
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(hits)), func(name string) bool { return hits[name] == 0 })
	if err == nil && len(names) == 0 {
		// If it could not be attached, either the probe knows why, or apply has
		// reported it.
		err = cmp.Or(d.Classifier.Probe(), errors.New("it has recognised nothing"))
	}
	if err != nil {
		d.report.OK = false
		d.unrecognised = fmt.Errorf("%w: %w", ErrWithoutClassifier, err)
		return nil
	}
	for _, name := range names {
		d.printf("\nThe PBX recognised %s by their SIP header: %s.", notice.Count(int(hits[name]), "packet"), name)
	}
	return nil
}

func wanted(allowed bool) string {
	if allowed {
		return arrives
	}
	return dropped
}

func (d *Demo) wrong(ok bool) string {
	if ok {
		return ""
	}
	return "  " + d.Wrong("WRONG")
}

// shade colours the outcome of a packet.
func (d *Demo) shade(fate string) string {
	if fate == arrives {
		return d.Good(fate)
	}
	return d.Bad(fate)
}

// check sends an INVITE from the registrar's new address and checks that the outcome is
// right.
func (d *Demo) check(ctx context.Context, step string, allowed bool) error {
	invite := d.probes()[0]
	invite.from = moved4
	is, err := d.fate(ctx, invite)
	if err != nil {
		return err
	}
	ok := is == wanted(allowed)
	d.report.Steps = append(d.report.Steps, Action{step, moved4, is, ok})
	d.report.OK = d.report.OK && ok
	d.printf("  -> the provider's INVITE from %s %s%s", moved4, d.shade(is), d.wrong(ok))
	return nil
}

// moving gives the registrar another address.
func (d *Demo) moving(ctx context.Context) error {
	d.printf("\nThe registrar moves to %s, and DNS has the new address.", moved4)
	if err := d.zone.Set(zoneText(moved4, moved6)); err != nil {
		return err
	}
	if err := d.check(ctx, "the registrar has moved", false); err != nil {
		return err
	}
	if err := d.command(ctx, d.pbx, "refresh"); err != nil {
		return err
	}
	return d.check(ctx, "refresh", true)
}

// mistake applies a policy that blocks the provider, and rolls back.
func (d *Demo) mistake(ctx context.Context) error {
	d.printf("\nA mistake: somebody replaces the registrar with an old address.")
	if err := d.writePolicy(d.pbx, d.policy("203.0.113.200", "")); err != nil {
		return err
	}
	if err := d.command(ctx, d.pbx, "apply"); err != nil {
		return err
	}
	if err := d.check(ctx, "apply with a mistake", false); err != nil {
		return err
	}
	if err := d.command(ctx, d.pbx, "rollback"); err != nil {
		return err
	}
	return d.check(ctx, "rollback", true)
}
