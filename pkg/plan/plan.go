// Package plan compares the table that is with the table that should be and says
// what differs, for people and programs. Guards look at the whole plan and may
// refuse it.
//
// It never acts. pkg/compile decides what should be, a back end how to get there,
// pkg/control when.
package plan

import (
	"errors"
	"slices"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// ErrStale is what a kernel answers to a plan whose base is no longer what is
// there: nothing was changed, observe and plan again.
var ErrStale = errors.New("the ruleset has changed since it was read")

// Plan leads from one observed state to one desired state. It is a value: it
// can be printed, marshalled and thrown away, and it is valid only while the
// back end would observe the same GenID.
type Plan struct {
	// GenID is the back end's stamp of Have.
	GenID      uint64
	Have, Want *ruleset.State
	// Was and Will say where the addresses of Have and Want come from. Diff
	// leaves them empty; Explain fills them in.
	Was, Will ruleset.Origins
	// Changes are for people and programs, by kind and name.
	Changes []Change
}

// Empty reports whether there is nothing to do.
func (p *Plan) Empty() bool { return len(p.Changes) == 0 }

// KeepsRules reports whether nothing but the classifier changes.
func (p *Plan) KeepsRules() bool {
	return !slices.ContainsFunc(p.Changes, func(c Change) bool { return c.Kind != KindClassifier })
}

// KeepsClassifier reports whether the classifier stays as it is.
func (p *Plan) KeepsClassifier() bool { return p.Have.Classifier.Equal(p.Want.Classifier) }

// Action is what happens to a thing.
type Action string

// The actions.
const (
	Add    Action = "add"
	Delete Action = "delete"
	Modify Action = "change"
)

// Kind is the kind of thing that changes.
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

// Change is one thing that differs between what is and what should be.
type Change struct {
	Action Action `json:"action"`
	Kind   Kind   `json:"kind"`
	// Name is the name of the table, chain, set or counter; for an element that
	// of its set, for a classifier that of its interface.
	Name string `json:"name"`
	// Value is an element's prefix or port; for another kind what it will be,
	// or was if it goes.
	Value string `json:"value"`
	// Reason says why, as a person would.
	Reason string `json:"reason"`
	// Rules are the lines of a chain that go ("- ") and come ("+ ").
	Rules []string `json:"rules,omitempty"`
}
