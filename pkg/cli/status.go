package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show who is allowed, since when, and who was dropped",
		Long: `status shows the fence as it is: mode, generation, who is allowed and by which
name, when each address was last seen in an answer, how many packets were let
through and dropped since the table was made, how the last refresh went, and
whether the kernel differs from the newest generation (drift). It asks no name
server and changes nothing.`,
		Example: `  ringfence status
  ringfence status -o json`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return a.status(c.Context()) },
	}
}

// statusReport is the object that status prints.
type statusReport struct {
	Alarms    []resolve.Alarm `json:"alarms"`
	Fence     bool            `json:"fence"` // there is a table in the kernel
	Mode      string          `json:"mode"`
	Backend   string          `json:"backend"`
	Engine    string          `json:"engine"`
	EngineWhy string          `json:"engine_reason,omitempty"`
	// Signatures are the packets that each signature has matched, null if that is
	// not known.
	Signatures map[string]uint64 `json:"signatures"`
	Generation int               `json:"generation"`
	Made       *time.Time        `json:"made"`
	MadeBy     string            `json:"made_by,omitempty"`
	Pending    *time.Time        `json:"pending"`
	Down       *time.Time        `json:"down"`
	Drift      bool              `json:"drift"`
	Providers  []allowedReport   `json:"providers"`
	Trusted    []addressReport   `json:"trusted"`
	Counters   map[string]uint64 `json:"counters"`
	Refresh    refreshReport     `json:"refresh"`
	LeftOut    []waiting         `json:"left_out"`

	differences, names int
	begun              bool // there is a table, and the first generation has no number yet
}

type allowedReport struct {
	Name      string          `json:"name"`
	Addresses []addressReport `json:"addresses"`
}

type addressReport struct {
	Address  string     `json:"address"`
	From     string     `json:"from"`
	Via      string     `json:"via,omitempty"`
	LastSeen *time.Time `json:"last_seen"`
	Missing  *time.Time `json:"missing_since,omitempty"`
	Family   string     `json:"family"`
}

type refreshReport struct {
	Time     *time.Time        `json:"time"`
	OK       bool              `json:"ok"`
	Failures []resolve.Problem `json:"failures"`
}

func (a *app) status(ctx context.Context) error {
	r, err := a.report(ctx)
	if err != nil {
		return err
	}
	if a.json() {
		return a.writeJSON(r)
	}
	a.writeStatus(r)
	return nil
}

func (a *app) report(ctx context.Context) (*statusReport, error) {
	kernel := a.kernel(false)
	have, err := kernelOf(kernel, nil).Observe(ctx)
	if err != nil {
		return nil, err
	}
	r := &statusReport{
		Fence: have.Exists, Mode: "none", Backend: "nftables", Engine: "off",
		Providers: []allowedReport{}, Trusted: []addressReport{}, Counters: map[string]uint64{},
		Refresh: refreshReport{OK: true, Failures: []resolve.Problem{}},
		Alarms:  []resolve.Alarm{}, LeftOut: []waiting{},
	}
	if have.Exists {
		if r.Counters, err = kernel.Counters(ctx); err != nil {
			return nil, err
		}
	}
	newest, err := a.newest()
	if err != nil {
		return nil, err
	}
	if newest == nil {
		r.begun = have.Exists && a.journal().Begun()
		return r, nil
	}
	down, err := a.isDown()
	if err != nil {
		return nil, err
	}
	memory, err := a.recall(false, newest)
	if err != nil {
		return nil, err
	}
	s, err := siteOf(newest, memory)
	if err != nil {
		return nil, err
	}
	if s.host, err = a.readHost(); err != nil {
		return nil, err
	}
	s.remember(memory, a.now())
	if err := s.classify(); err != nil {
		return nil, err
	}
	state, origins := s.compile()
	state.Classifier = s.eyes
	if down != nil {
		r.Down, state = &down.Time, &ruleset.State{}
	}
	r.differences = len(plan.Diff(have, state).Changes)
	r.Drift = r.differences > 0
	r.describe(s, newest, origins)
	r.Alarms = append(r.Alarms, s.memory.Alarms(s.terms(), a.now())...)
	r.LeftOut = leftOut(s.memory)
	a.describeEngine(r, s, have)
	a.warnOf(s)
	a.warnOfCut(s)
	return r, nil
}

func (r *statusReport) describe(s *site, newest *journal.Entry, origins ruleset.Origins) {
	r.Generation, r.Made, r.MadeBy = newest.Number, &newest.Time, newest.User
	r.Mode = "enforce"
	if s.policy.Monitor {
		r.Mode = "monitor"
	}
	r.names = len(targets(s.policy))
	for _, name := range origins.Providers {
		r.Providers = append(r.Providers, allowedReport{name, addressesOf(name, "providers", origins, s.memory)})
	}
	r.Trusted = addressesOf("trusted", "trusted", origins, s.memory)
	refresh := s.memory.Refresh
	if !refresh.Time.IsZero() {
		r.Refresh = refreshReport{&refresh.Time, refresh.OK, refresh.Failures}
	}
}

// addressesOf lists what an owner has in both families' sets.
func addressesOf(owner, set string, origins ruleset.Origins, memory resolve.Memory) []addressReport {
	list := []addressReport{}
	for _, family := range []string{"4", "6"} {
		for _, o := range origins.Sets[set+family] {
			if o.Owner != owner {
				continue
			}
			report := addressReport{Address: ruleset.PrefixText(o.Prefix), From: o.Name, Via: o.Via, Family: "ipv" + family}
			if o.Name == "" {
				report.From, report.Via = o.Via, ""
			} else if known, ok := memory.Find(o.Name, set == "providers", o.Prefix.Addr()); ok {
				report.LastSeen = &known.LastSeen
				if !known.MissingSince.IsZero() {
					report.Missing = &known.MissingSince
				}
			}
			list = append(list, report)
		}
	}
	return list
}

func (a *app) writeStatus(r *statusReport) {
	out := a.stdout
	a.writeAlarms(out, r.Alarms)
	table(out, func(w io.Writer) {
		switch {
		case r.Down != nil && r.Fence:
			fmt.Fprintf(w, "fence\t%s\n", a.alarm("taken down "+ago(*r.Down)+", but there is a table: ringfence down removes it, ringfence up makes it the fence"))
		case r.Down != nil && r.Drift:
			fmt.Fprintf(w, "fence\t%s\n", a.alarm("taken down "+ago(*r.Down)+", but what recognises scanners is still there: ringfence down removes it"))
		case r.Down != nil:
			fmt.Fprintf(w, "fence\ttaken down %s; put it up with ringfence up\n", ago(*r.Down))
		case !r.Fence && r.Generation > 0:
			fmt.Fprintf(w, "fence\t%s\n", a.alarm("not in the kernel: nothing is dropped; put it up with ringfence up"))
		case !r.Fence:
			fmt.Fprintf(w, "fence\tnone\n")
		case r.begun:
			fmt.Fprintf(w, "fence\t%s\n", a.alarm("up, but its ringfence apply has not ended: if that was killed, ringfence refresh makes it good"))
		case r.Generation == 0:
			fmt.Fprintf(w, "fence\t%s\n", a.alarm("none of ringfence's, but there is a table inet "+ruleset.Table))
		default:
			fmt.Fprintf(w, "fence\tup\n")
		}
		if r.begun {
			return
		}
		if r.Generation == 0 {
			fmt.Fprintf(w, "generation\tnone: write a policy and run ringfence apply\n")
			return
		}
		fmt.Fprintf(w, "mode\t%s\n", r.Mode)
		fmt.Fprintf(w, "back end\t%s\n", r.Backend)
		fmt.Fprintf(w, "engine\t%s: %s\n", r.Engine, r.EngineWhy)
		fmt.Fprintf(w, "generation\t%d, by %s, %s\n", r.Generation, r.MadeBy, ago(*r.Made))
		if r.Drift && r.Down == nil {
			fmt.Fprintf(w, "drift\t%s\n", a.alarm(count(r.differences, "difference")+" in the kernel; ringfence diff shows it, ringfence refresh mends it"))
		} else if !r.Drift {
			fmt.Fprintf(w, "drift\tnone\n")
		}
		switch {
		case r.names == 0:
			fmt.Fprintf(w, "addresses\tas listed; the policy has no names to ask for\n")
		case r.Refresh.Time == nil:
			fmt.Fprintf(w, "addresses\tnever asked for\n")
		case r.Refresh.OK:
			fmt.Fprintf(w, "addresses\tasked for %s, all well\n", ago(*r.Refresh.Time))
		default:
			fmt.Fprintf(w, "addresses\tasked for %s, %s\n", ago(*r.Refresh.Time), count(len(r.Refresh.Failures), "failure"))
		}
		for _, f := range r.Refresh.Failures {
			fmt.Fprintf(w, "  failed\t%s\n", problemText(f))
		}
	})
	for _, p := range r.Providers {
		writeAddresses(out, "provider "+p.Name, p.Addresses)
	}
	if len(r.Trusted) > 0 {
		writeAddresses(out, "trusted", r.Trusted)
	}
	writeLeftOut(out, r.LeftOut)
	writeHits(out, r.Signatures)
	if len(r.Counters) == 0 {
		return
	}
	fmt.Fprintf(out, "\npackets since the table was made\n")
	table(out, func(w io.Writer) {
		for _, name := range slices.Sorted(maps.Keys(r.Counters)) {
			fmt.Fprintf(w, "  %s\t%d\n", name, r.Counters[name])
		}
	})
}

func writeAddresses(out io.Writer, title string, list []addressReport) {
	fmt.Fprintf(out, "\n%s\n", title)
	if len(list) == 0 {
		fmt.Fprintln(out, "  no address is known")
		return
	}
	table(out, func(w io.Writer) {
		for _, r := range list {
			fmt.Fprintf(w, "  %s\t%s", r.Address, r.From)
			if r.LastSeen != nil {
				fmt.Fprintf(w, "\t%s\tseen %s", r.Via, ago(*r.LastSeen))
			}
			if r.Missing != nil {
				fmt.Fprintf(w, ", missing from answers since %s", r.Missing.Local().Format(time.DateTime))
			}
			fmt.Fprintln(w)
		}
	})
}
