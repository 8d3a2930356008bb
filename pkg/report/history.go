package report

import (
	"slices"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
)

// Move is the object that history --addresses prints for one address.
type Move struct {
	Time       time.Time   `json:"time"`
	Action     plan.Action `json:"action"`
	Address    string      `json:"address"`
	Reason     string      `json:"reason"`
	Command    string      `json:"command"`
	Generation int         `json:"generation"`
}

// Generation is the object that history prints for one generation.
type Generation struct {
	Generation int       `json:"generation"`
	Time       time.Time `json:"time,omitzero"`
	User       string    `json:"user,omitempty"`
	Command    string    `json:"command,omitempty"`
	Version    string    `json:"version,omitempty"`
	Source     string    `json:"source,omitempty"`
	InForce    bool      `json:"in_force"`
	Undone     bool      `json:"undone,omitempty"` // it was not confirmed in time
	Summary    string    `json:"summary,omitempty"`
	// PolicyChanges are the keys of the policy that differ from the generation before.
	PolicyChanges []string `json:"policy_changes,omitempty"`
	Damaged       string   `json:"damaged,omitempty"`
}

// GenerationOf makes the object of a generation.
func GenerationOf(g fence.Generation) Generation {
	r := Generation{Generation: g.Number, InForce: g.InForce, Undone: g.Undone}
	if g.Damaged != nil {
		r.Damaged = g.Damaged.Error()
	}
	if e := g.Entry; e != nil {
		r.Time, r.User, r.Command, r.Version, r.Source = e.Time, e.User, e.Command, e.Version, e.Source
	}
	r.PolicyChanges = g.PolicyChanges
	if g.Plan != nil {
		r.Summary = plan.Changed(g.Plan)
	}
	return r
}

// mostPolicyChanges is how many changes of a policy the list writes out.
const mostPolicyChanges = 3

// Text says in one line what a generation has changed.
func (g Generation) Text() string {
	parts := g.PolicyChanges
	if more := len(parts) - mostPolicyChanges; more > 0 {
		parts = append(slices.Clone(parts[:mostPolicyChanges]), notice.Count(more, "more change")+" of the policy")
	}
	if g.Summary != "" {
		parts = append(slices.Clone(parts), g.Summary)
	}
	return strings.Join(parts, "; ")
}

// WholeGeneration is the object that history prints for one generation that is named.
type WholeGeneration struct {
	Generation
	Changes []plan.Change `json:"changes"`
	Policy  string        `json:"policy"`
}

// MovesOf makes the objects of the addresses that have come and gone, the newest first:
// those while a generation was in force, or for 0 all.
func MovesOf(all []fence.Moved, generation int) []Move {
	list := []Move{}
	for _, m := range slices.Backward(all) {
		action := plan.Add
		if m.Gone {
			action = plan.Delete
		}
		if generation == 0 || m.Generation == generation {
			list = append(list, Move{m.Time, action, m.Address, m.Reason, m.Command, m.Generation})
		}
	}
	return list
}
