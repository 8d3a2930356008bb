package cli

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

func statusCommand(a *app) *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show who is allowed, since when, and who was dropped",
		Long: `status shows the fence as it is: mode, generation, who is allowed and by which
name, when each address was last seen in an answer, how many packets were let
through and dropped since the table was made, how the last refresh went, and
whether the kernel differs from the newest generation (drift). Alarms come first:
what makes the fence less than the policy says, each with its way out. It asks no
name server and changes nothing.

With --check it writes one line, for monitoring.

Exit status: 0 done, 1 error; with --check also 4 if an alarm stands or nothing is
fenced.`,
		Example: `  ringfence status
  ringfence status -o json
  ringfence status --check`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runStatus(c.Context(), a, check) },
	}
	c.Flags().BoolVar(&check, "check", false, "write one line; exit status 4 if an alarm stands or nothing is fenced")
	return c
}

// statusReport is the object that status prints.
type statusReport struct {
	Alarms    []site.Alarm `json:"alarms"`
	Fence     bool         `json:"fence"` // there is a table in the kernel
	Mode      string       `json:"mode"`
	Backend   string       `json:"backend"`
	Engine    string       `json:"engine"`
	EngineWhy string       `json:"engine_reason,omitempty"`
	// Signatures are the packets that each signature has matched, null if that is
	// not known.
	Signatures map[string]uint64 `json:"signatures"`
	Generation int               `json:"generation"`
	Made       *time.Time        `json:"made"`
	MadeBy     string            `json:"made_by,omitempty"`
	Pending    *time.Time        `json:"pending"`
	Down       *time.Time        `json:"down"`
	Drift      bool              `json:"drift"`
	// PolicyChanged says that the policy file differs from the generation.
	PolicyChanged bool            `json:"policy_changed"`
	Providers     []allowedReport `json:"providers"`
	Trusted       []addressReport `json:"trusted"`
	// Allowed are the addresses that are allowed by hand.
	Allowed  []ban             `json:"allowed"`
	Counters map[string]uint64 `json:"counters"`
	Refresh  refreshReport     `json:"refresh"`
	LeftOut  []leftOut         `json:"left_out"`
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

// leftOut is an address that is not allowed, or not yet.
type leftOut struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Why     string `json:"why"`
}

func runStatus(ctx context.Context, a *app, check bool) error {
	s, err := a.fence().Status(ctx)
	if err != nil {
		return err
	}
	r := reportStatus(s)
	switch {
	case a.json():
		a.printAll(s.Notices)
		if err := a.writeJSON(r); err != nil || !check {
			return err
		}
	case check:
		output.Println(a.stdout, checkText(s))
	default:
		a.printAll(s.Notices)
		a.writeStatus(s, r)
	}
	return partly(check && !isWell(s))
}

// isWell reports whether something is fenced, and no alarm stands.
func isWell(s *fence.Status) bool { return s.Fenced && len(s.Alarms) == 0 }

// checkText is the status in one line.
func checkText(s *fence.Status) string {
	var wrong []string
	for _, alarm := range s.Alarms {
		wrong = append(wrong, alarm.Notice().Text)
	}
	switch {
	case s.Generation == 0 && len(wrong) == 0:
		wrong = append(wrong, "nothing is fenced: there is no generation yet")
	case s.Down != nil:
		wrong = append(wrong, "nothing is fenced: it was taken down "+notice.Ago(*s.Down))
	case !s.Fenced && s.Table:
		wrong = append(wrong, "nothing is fenced: none of the policy's interfaces is there")
	}
	if len(wrong) > 0 {
		return plainLine(fmt.Sprintf("ALARM (%d): %s", len(wrong), strings.Join(wrong, "; ")))
	}
	mode := "enforced"
	if s.Monitor {
		mode = "in monitor mode: what would be dropped passes"
	}
	text := fmt.Sprintf("OK: generation %d, %s", s.Generation, mode)
	if s.Names > 0 && !s.Refresh.Time.IsZero() {
		text += ", names asked for " + notice.Ago(s.Refresh.Time)
	}
	return text
}

func reportStatus(s *fence.Status) *statusReport {
	r := &statusReport{
		Alarms: append([]site.Alarm{}, s.Alarms...), Fence: s.Table, Mode: "none", Backend: s.Backend.Name,
		Engine: string(s.Engine), EngineWhy: s.EngineWhy, Signatures: s.Hits,
		Generation: s.Generation, Down: s.Down, Drift: s.Differences > 0, PolicyChanged: s.PolicyChanged,
		Providers: []allowedReport{}, Trusted: reportAddresses(s.Trusted), Allowed: reportByHand(s.ByHand), Counters: map[string]uint64{},
		Refresh: refreshReport{OK: true, Failures: []resolve.Problem{}}, LeftOut: []leftOut{},
	}
	maps.Copy(r.Counters, s.Counters)
	if s.Pending != nil {
		r.Pending = &s.Pending.Deadline
	}
	if s.Generation == 0 {
		return r
	}
	r.Made, r.MadeBy, r.Mode = &s.Made, s.MadeBy, "enforce"
	if s.Monitor {
		r.Mode = "monitor"
	}
	for _, p := range s.Providers {
		r.Providers = append(r.Providers, allowedReport{p.Name, reportAddresses(p.Addresses)})
	}
	if !s.Refresh.Time.IsZero() {
		r.Refresh = refreshReport{&s.Refresh.Time, s.Refresh.OK, s.Refresh.Failures}
	}
	for _, l := range s.LeftOut {
		r.LeftOut = append(r.LeftOut, leftOut(l))
	}
	return r
}

func reportAddresses(list []fence.Address) []addressReport {
	reports := []addressReport{}
	for _, a := range list {
		r := addressReport{Address: ruleset.PrefixText(a.Prefix), From: a.From, Via: a.Via, LastSeen: a.LastSeen, Missing: a.Missing, Family: "ipv4"}
		if a.Prefix.Addr().Is6() {
			r.Family = "ipv6"
		}
		reports = append(reports, r)
	}
	return reports
}
