package report

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// Status is the object that status prints.
type Status struct {
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
	PolicyChanged bool       `json:"policy_changed"`
	Providers     []Provider `json:"providers"`
	Trusted       []Address  `json:"trusted"`
	// Allowed are the addresses that are allowed by hand.
	Allowed []Banned `json:"allowed"`
	// Phones is how many are let in because they have registered, null if none can be.
	Phones   *int              `json:"phones"`
	Counters map[string]uint64 `json:"counters"`
	Dropped  Latest            `json:"dropped"`
	Refresh  Refresh           `json:"refresh"`
	LeftOut  []LeftOut         `json:"left_out"`
}

// Latest are the sources that were dropped last, and how many there are in all.
type Latest struct {
	Sources int       `json:"sources"`
	Latest  []Dropped `json:"latest"`
}

// Provider is a provider with its addresses.
type Provider struct {
	Name      string    `json:"name"`
	Addresses []Address `json:"addresses"`
}

// Address is an allowed address or network, and where it comes from.
type Address struct {
	Address  string     `json:"address"`
	From     string     `json:"from"`
	Via      string     `json:"via,omitempty"`
	LastSeen *time.Time `json:"last_seen"`
	Missing  *time.Time `json:"missing_since,omitempty"`
	Family   string     `json:"family"`
}

// Refresh is how the last refresh went.
type Refresh struct {
	Time     *time.Time        `json:"time"`
	OK       bool              `json:"ok"`
	Failures []resolve.Problem `json:"failures"`
}

// LeftOut is an address that is not allowed, or not yet.
type LeftOut struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Why     string `json:"why"`
}

// Well reports whether something is fenced, and no alarm stands.
func Well(s *fence.Status) bool { return s.Fenced && len(s.Alarms) == 0 }

// Line is the status in one line.
func Line(s *fence.Status) string {
	var wrong []string
	for _, alarm := range s.Alarms {
		wrong = append(wrong, alarm.Notice().Text)
	}
	switch {
	case s.Generation == 0 && len(wrong) == 0:
		wrong = append(wrong, "nothing is fenced: there is no generation yet")
	case s.Down != nil:
		wrong = append(wrong, "nothing is fenced: it was taken down "+notice.Ago(*s.Down))
	case !s.Fenced && s.Table && s.Generation != 0:
		wrong = append(wrong, "nothing is fenced: none of the policy's interfaces is there")
	}
	if len(wrong) > 0 {
		return fmt.Sprintf("ALARM (%d): %s", len(wrong), strings.ReplaceAll(strings.Join(wrong, "; "), "\n", "; "))
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

// StatusOf makes the object of what was found.
func StatusOf(s *fence.Status) *Status {
	r := &Status{
		Alarms: append([]site.Alarm{}, s.Alarms...), Fence: s.Table, Mode: "none", Backend: s.Backend.Name,
		Engine: string(s.Engine), EngineWhy: s.EngineWhy, Signatures: s.Hits, Phones: s.Phones,
		Generation: s.Generation, Down: s.Down, Drift: s.Differences > 0, PolicyChanged: s.PolicyChanged,
		Providers: []Provider{}, Trusted: addresses(s.Trusted), Allowed: ByHand(s.ByHand), Counters: map[string]uint64{},
		Refresh: Refresh{OK: true, Failures: []resolve.Problem{}}, LeftOut: []LeftOut{},
	}
	maps.Copy(r.Counters, s.Counters)
	r.Dropped = Latest{s.Dropped, DroppedOf(s.Latest)}
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
		r.Providers = append(r.Providers, Provider{p.Name, addresses(p.Addresses)})
	}
	if !s.Refresh.Time.IsZero() {
		r.Refresh = Refresh{&s.Refresh.Time, s.Refresh.OK, s.Refresh.Failures}
	}
	for _, l := range s.LeftOut {
		r.LeftOut = append(r.LeftOut, LeftOut(l))
	}
	return r
}

func addresses(list []fence.Address) []Address {
	reports := []Address{}
	for _, a := range list {
		r := Address{Address: ruleset.PrefixText(a.Prefix), From: a.From, Via: a.Via, LastSeen: a.LastSeen, Missing: a.Missing, Family: "ipv4"}
		if a.Prefix.Addr().Is6() {
			r.Family = "ipv6"
		}
		reports = append(reports, r)
	}
	return reports
}
