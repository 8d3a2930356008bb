// Package report has the objects that commands print as JSON. rules/schema describes each
// of them, and they change only by growing: programs rely on them.
package report

import (
	"strings"

	"github.com/ringfence/ringfence/pkg/plan"
)

// Plan is the object that diff prints, and every command that changes the fence.
type Plan struct {
	Changed bool `json:"changed"`
	// Generation is the one in force when the command ends.
	Generation int           `json:"generation"`
	Changes    []plan.Change `json:"changes"`
}

// PlanOf makes the object of a plan.
func PlanOf(p *plan.Plan, generation int) Plan {
	return Plan{!p.Empty(), generation, append([]plan.Change{}, p.Changes...)}
}

// Checked is the object that check prints for a valid policy.
type Checked struct {
	OK        bool `json:"ok"`
	Providers int  `json:"providers"`
	Names     int  `json:"names"`
	Addresses int  `json:"addresses"`
}

// Confirmed is the object that confirm prints.
type Confirmed struct {
	Generation int `json:"generation"`
}

// Error is the object that a command prints if it fails before it has printed another.
type Error struct {
	Error string `json:"error"`
	// Hint says what to do, "" if nothing is known.
	Hint string `json:"hint"`
	// Mistakes are all those of a policy file, each with its place.
	Mistakes []string `json:"mistakes"`
}

// ErrorOf makes the object of an error, without mistakes.
func ErrorOf(err error, hint string) Error {
	return Error{Error: strings.ReplaceAll(err.Error(), "\n", "; "), Hint: hint, Mistakes: []string{}}
}

// Version is the object that version prints.
type Version struct {
	Version string `json:"version"`
	Go      string `json:"go"` // the version of Go that it was built with
}

// Files is the object that man prints: what it has written.
type Files struct {
	Files []string `json:"files"`
}
