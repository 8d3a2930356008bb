// Package plan compares the table that is with the table that should be and
// says what to do about it: as steps for a kernel, in the order in which a
// kernel accepts them, and as changes for people and programs. Guards look at
// the whole plan and may refuse it.
//
// It never acts. pkg/compile decides what should be, pkg/nft does the steps,
// pkg/control decides when.
package plan

import (
	"errors"
	"slices"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// ErrStale is what a kernel answers to a plan whose base is no longer the
// kernel's generation: nothing was changed, observe and plan again.
var ErrStale = errors.New("the ruleset has changed since it was read")

// Plan leads from one observed state to one desired state. It is a value: it
// can be printed, marshalled and thrown away, and it is valid only while the
// kernel is at generation Base.
type Plan struct {
	// Base is the kernel's generation at which Have was observed.
	Base       uint32
	Have, Want *ruleset.State
	// Was and Will say where the addresses of Have and Want come from. Diff
	// leaves them empty; Explain fills them in.
	Was, Will ruleset.Origins
	// Changes are for people and programs, by kind and name.
	Changes []Change
	// Steps are for the kernel, to be done in this order, all or none.
	Steps []Step
}

// Transactions divides the steps into those that the kernel is given at once. There
// are two where a set is new: it goes first, with what no packet reaches yet. Within
// one transaction new rules judge packets before a new set answers (nf_tables_commit
// changes the rules first and makes elements active at its end), so for a moment nobody
// would be allowed.
func (p *Plan) Transactions() [][]Step {
	var first, second []Step
	for _, step := range p.Steps {
		if p.unreached(step) {
			first = append(first, step)
		} else {
			second = append(second, step)
		}
	}
	transactions := [][]Step{first, second}
	return slices.DeleteFunc(transactions, func(steps []Step) bool { return len(steps) == 0 })
}

// unreached reports whether a step makes something that packets do not reach before
// other steps are done. In a new table that is all but the chains at hooks; in one that
// is there, a set of a new name.
func (p *Plan) unreached(step Step) bool {
	made := slices.ContainsFunc(p.Steps, func(s Step) bool { return s == Step(AddTable{}) })
	switch step := step.(type) {
	case AddSet:
		_, replaced := p.Have.Sets[step.Name]
		return made || !replaced
	case AddChain:
		return made && step.Chain.Hook == ""
	case AddRules:
		return made && p.Want.Chains[step.Chain].Hook == ""
	}
	return made
}

// Empty reports whether there is nothing to do.
func (p *Plan) Empty() bool { return len(p.Steps) == 0 && p.KeepsClassifier() }

// KeepsClassifier reports whether the classifier stays as it is. It is no part
// of the steps: it goes in before them and out after them.
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

// Step is one thing that a kernel does. The steps of a plan are one
// transaction.
type Step interface{ step() }

// The steps. A kernel refuses a step whose object is absent or still in use.
type (
	// AddTable makes the table.
	AddTable struct{}
	// DeleteTable removes the table with all that is in it.
	DeleteTable struct{}
	// FlushChain removes all rules of a chain.
	FlushChain struct{ Chain string }
	// DeleteChain removes an empty chain that nothing jumps to.
	DeleteChain struct{ Chain string }
	// AddChain makes a chain without rules.
	AddChain struct {
		Name  string
		Chain ruleset.Chain
	}
	// AddRules appends rules to a chain.
	AddRules struct {
		Chain string
		Rules []ruleset.Rule
	}
	// DeleteSet removes a set that no rule uses.
	DeleteSet struct{ Set string }
	// AddSet makes a set with its elements. Carry asks to take over the
	// elements, with what is left of their lifetime, of the dynamic set of this
	// name that an earlier step removes.
	AddSet struct {
		Name  string
		Set   ruleset.Set
		Carry bool
	}
	// FlushSet removes all elements of a set.
	FlushSet struct{ Set string }
	// DeleteElements removes elements that are there exactly so.
	DeleteElements struct {
		Set      string
		Elements []ruleset.Element
	}
	// AddElements adds elements that overlap none that is there.
	AddElements struct {
		Set      string
		Elements []ruleset.Element
	}
	// AddCounter makes a named counter at 0.
	AddCounter struct{ Name string }
	// DeleteCounter removes a named counter that no rule uses.
	DeleteCounter struct{ Name string }
	// DeleteStranger removes an object of a kind that ringfence never makes.
	DeleteStranger struct{ ruleset.Stranger }
)

func (AddTable) step()       {}
func (DeleteTable) step()    {}
func (FlushChain) step()     {}
func (DeleteChain) step()    {}
func (AddChain) step()       {}
func (AddRules) step()       {}
func (DeleteSet) step()      {}
func (AddSet) step()         {}
func (FlushSet) step()       {}
func (DeleteElements) step() {}
func (AddElements) step()    {}
func (AddCounter) step()     {}
func (DeleteCounter) step()  {}
func (DeleteStranger) step() {}
