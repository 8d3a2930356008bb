package nft

import "github.com/ringfence/ringfence/pkg/ruleset"

// step is one thing that the kernel does.
type step interface{ step() }

// The steps. The kernel refuses a step whose object is absent or still in use.
type (
	// addTable makes the table.
	addTable struct{}
	// deleteTable removes the table with all that is in it.
	deleteTable struct{}
	// flushChain removes all rules of a chain.
	flushChain struct{ chain string }
	// deleteChain removes an empty chain that nothing jumps to.
	deleteChain struct{ chain string }
	// addChain makes a chain without rules.
	addChain struct {
		name  string
		chain ruleset.Chain
	}
	// addRules appends rules to a chain.
	addRules struct {
		chain string
		rules []ruleset.Rule
	}
	// deleteSet removes a set that no rule uses.
	deleteSet struct{ set string }
	// addSet makes a set with its elements. carry asks to take over the elements,
	// with what is left of their lifetime, of the dynamic set of this name that an
	// earlier step removes.
	addSet struct {
		name  string
		set   ruleset.Set
		carry bool
	}
	// elementList is elements of a set, which may be one of ranges.
	elementList struct {
		set      string
		interval bool
		elements []ruleset.Element
	}
	// deleteElements removes elements that are there exactly so.
	deleteElements struct{ elementList }
	// addElements adds elements that overlap none that is there.
	addElements struct{ elementList }
	// addCounter makes a named counter at 0.
	addCounter struct{ name string }
	// deleteCounter removes a named counter that no rule uses.
	deleteCounter struct{ name string }
	// deleteForeignObject removes an object of a kind that ringfence never makes.
	deleteForeignObject struct{ ruleset.ForeignObject }
)

func (addTable) step()            {}
func (deleteTable) step()         {}
func (flushChain) step()          {}
func (deleteChain) step()         {}
func (addChain) step()            {}
func (addRules) step()            {}
func (deleteSet) step()           {}
func (addSet) step()              {}
func (deleteElements) step()      {}
func (addElements) step()         {}
func (addCounter) step()          {}
func (deleteCounter) step()       {}
func (deleteForeignObject) step() {}
