// Package plan compares the table in the kernel with the table that should be there and
// says what differs, for people and programs. Guards look at the whole plan and may
// refuse it.
//
// It changes nothing itself. pkg/compile decides what should be there, a back end how
// to get there, pkg/control when.
package plan

import (
	"errors"
	"slices"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// ErrStale is what a kernel returns for a plan that was made from an older state.
// Nothing was changed: observe and plan again.
var ErrStale = errors.New("the ruleset has changed since it was read")

// Plan leads from one observed state to one desired state. It is a plain value, to be
// printed or marshalled or discarded, and is valid only as long as the back end would
// observe the same GenID.
type Plan struct {
	// GenID is the back end's GenID of Have.
	GenID      uint64
	Have, Want *ruleset.State
	// Was and Will say where the addresses of Have and Want come from. Diff leaves them
	// empty; Explain sets them.
	Was, Will ruleset.Origins
	// Changes describes the plan for people and programs, sorted by kind and name.
	Changes []Change
}

// Empty reports whether there is nothing to do.
func (p *Plan) Empty() bool { return len(p.Changes) == 0 }

// KeepsRules reports whether at most the classifier changes.
func (p *Plan) KeepsRules() bool {
	return !slices.ContainsFunc(p.Changes, func(c Change) bool { return c.Kind != KindClassifier })
}

// KeepsClassifier reports whether the classifier stays as it is.
func (p *Plan) KeepsClassifier() bool { return p.Have.Classifier.Equal(p.Want.Classifier) }

// Action says what happens to a thing.
type Action string

// The actions.
const (
	Add    Action = "add"
	Delete Action = "delete"
	Modify Action = "change"
)

// Kind says what kind of thing changes.
type Kind string

// The kinds.
const (
	KindTable      Kind = "table"
	KindChain      Kind = "chain"
	KindSet        Kind = "set"
	KindElement    Kind = "element"
	KindCounter    Kind = "counter"
	KindClassifier Kind = "classifier"
)

// Change is one difference between the present and the desired state.
type Change struct {
	Action Action `json:"action"`
	Kind   Kind   `json:"kind"`
	// Name is the name of the table, chain, set or counter; for an element the name of
	// its set, for a classifier that of its interface.
	Name string `json:"name"`
	// Value is an element's prefix or port. For other kinds it describes the new state,
	// or the old one if the thing is removed.
	Value string `json:"value"`
	// Reason says why, for people.
	Reason string `json:"reason"`
	// Rules are the lines of a chain that are removed ("- ") and added ("+ ").
	Rules []string `json:"rules,omitempty"`
}
