package cli

import (
	"context"
	"maps"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

func statusCommand(a *app) *cobra.Command {
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
		RunE: func(c *cobra.Command, _ []string) error { return runStatus(c.Context(), a) },
	}
}

// statusReport is the object that status prints.
type statusReport struct {
	Alarms    []alarmReport `json:"alarms"`
	Fence     bool          `json:"fence"` // there is a table in the kernel
	Mode      string        `json:"mode"`
	Backend   string        `json:"backend"`
	Engine    string        `json:"engine"`
	EngineWhy string        `json:"engine_reason,omitempty"`
	// Signatures is how many packets each signature has matched, null if that is not
	// known.
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
	LeftOut    []leftOut         `json:"left_out"`
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

func runStatus(ctx context.Context, a *app) error {
	s, err := a.fence().Status(ctx)
	if err != nil {
		return err
	}
	a.printAll(s.Notices)
	r := reportStatus(s)
	if a.json() {
		return a.writeJSON(r)
	}
	a.writeStatus(s, r)
	return nil
}

func reportStatus(s *fence.Status) *statusReport {
	r := &statusReport{
		Alarms: reportAlarms(s.Alarms), Fence: s.Table, Mode: "none", Backend: s.Backend.Name,
		Engine: string(s.Engine), EngineWhy: s.EngineWhy, Signatures: s.Hits,
		Generation: s.Generation, Down: s.Down, Drift: s.Differences > 0,
		Providers: []allowedReport{}, Trusted: reportAddresses(s.Trusted), Counters: map[string]uint64{},
		Refresh: refreshReport{OK: true, Failures: []resolve.Problem{}}, LeftOut: []leftOut{},
	}
	maps.Copy(r.Counters, s.Counters)
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

// alarmReport is an alarm with its way out as text.
type alarmReport struct {
	resolve.Alarm
	WayOut string `json:"way_out"`
}

func reportAlarms(alarms []resolve.Alarm) []alarmReport {
	reports := []alarmReport{}
	for _, alarm := range alarms {
		reports = append(reports, alarmReport{alarm, wayOutText(alarm.WayOut)})
	}
	return reports
}
