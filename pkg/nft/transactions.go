package nft

import (
	"maps"
	"slices"

	"go4.org/netipx"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// transactions are the steps from one table to another, divided into those that the
// kernel is given at once. Doing them all to have gives want, and a packet is judged as
// have says, or as want says, at every moment in between.
//
// What exists in both and differs is changed as little as the kernel allows:
//
//	elements of a set           deleted and added one by one, or the set is replaced
//	rules of a chain            the chain is flushed and filled
//	type, flags, size of a set  the set is replaced
//	the same of a dynamic set   deleted and added; its rules must go first, so
//	frame of a chain            every chain is flushed and filled
//	flags of the table          the whole table is deleted and added: the kernel
//	                            refuses a new base chain beside a change of flags
//
// One transaction is not enough where rules begin to use a new set: the kernel changes
// the rules first and makes elements active at its end (nf_tables_commit), so for a
// moment the set would be empty. New sets go first, with what no packet reaches yet.
//
// Nor is one enough for a set of ranges. Its elements are two nodes of a tree, start and
// end, which change one after the other under packets that are being looked up: before
// Linux 6.18 a packet can be missed that an element allows which is written again, and
// one can pass that is behind an element whose end is not there yet (nft_rbtree_lookup;
// b2f742c846ca and a60f7bf4a152 mend parts of it). So such a set is replaced:
//
//	another set is made that holds what is wanted
//	rules use that one
//	the set itself is deleted and made again
//	rules use the set again
//	the other one is deleted
func transactions(have, want *ruleset.State) [][]step {
	switch {
	case !want.Exists && !have.Exists:
		return nil
	case !want.Exists:
		return [][]step{{deleteTable{}}}
	case have.Exists && have.Flags != want.Flags:
		return remade(have, want)
	}
	t := transition{have: have, want: want, standIns: map[string]string{}}
	t.counters()
	t.sets()
	t.chains()
	return t.transactions()
}

// remade deletes the table and makes it again.
func remade(have, want *ruleset.State) [][]step {
	fresh := transactions(&ruleset.State{}, want)
	for i, s := range fresh[0] {
		if add, ok := s.(addSet); ok {
			add.carry = carries(have.Sets[add.name], add.set)
			fresh[0][i] = add
		}
	}
	fresh[0] = slices.Insert(fresh[0], 0, step(deleteTable{}))
	return fresh
}

// carries reports whether what a set holds now can be taken over.
func carries(have, want ruleset.Set) bool {
	return have.Dynamic && want.Dynamic && have.Key == want.Key && !want.Limited
}

// transition gathers the steps by phase, because the kernel accepts them in one
// order only: rules go before what they use, and come after it.
type transition struct {
	have, want *ruleset.State

	newSets, changedSets, elements, addCounters []step
	newChains                                   []step
	dropChains, dropSets, dropObjects           []step
	refill                                      []string          // chains whose rules differ
	standIns                                    map[string]string // the sets to replace, and what stands in for them
}

func (t *transition) counters() {
	for _, name := range t.have.Counters {
		if !slices.Contains(t.want.Counters, name) {
			t.dropObjects = append(t.dropObjects, deleteCounter{name})
		}
	}
	for _, o := range t.have.ForeignObjects {
		t.dropObjects = append(t.dropObjects, deleteForeignObject{o})
	}
	for _, name := range t.want.Counters {
		if !slices.Contains(t.have.Counters, name) {
			t.addCounters = append(t.addCounters, addCounter{name})
		}
	}
}

func (t *transition) sets() {
	for _, name := range bothNames(t.have.Sets, t.want.Sets) {
		have, had := t.have.Sets[name]
		want, wanted := t.want.Sets[name]
		switch {
		case !wanted:
			t.dropSets = append(t.dropSets, deleteSet{name})
		case !had:
			t.newSets = append(t.newSets, addSet{name: name, set: want})
		case have.SameFrame(want):
			if !want.Dynamic {
				t.change(name, have, want)
			}
		case have.Dynamic || want.Dynamic || have.Foreign != "":
			// What a map of another program holds may keep chains and objects from being
			// deleted: it goes before them.
			t.dropSets = append(t.dropSets, deleteSet{name})
			t.changedSets = append(t.changedSets, addSet{name: name, set: want, carry: carries(have, want)})
		default:
			t.replace(name)
		}
	}
}

// mostReplaced is how many elements a set of ranges may have to be replaced for every
// change. In a larger one, elements that overlap none that stays are deleted and added
// one by one: writing it twice would cost more than it is worth.
const mostReplaced = 1000

// change changes the elements of a set.
func (t *transition) change(name string, have, want ruleset.Set) {
	gone, come := ruleset.Delta(have.Elements, want.Elements)
	switch {
	case len(gone)+len(come) == 0:
		return
	case slices.ContainsFunc(slices.Concat(gone, come), func(e ruleset.Element) bool { return e.Timeout != 0 || e.Foreign != "" }):
		// An element with a lifetime may be gone when the transaction arrives, and one
		// that another program made may need attributes to be named: both would void it.
		// To give an element a lifetime is to delete it and add it again.
		t.replace(name)
		return
	case want.Interval && (len(want.Elements) <= mostReplaced || overlap(gone, come)):
		t.replace(name)
		return
	}
	if len(gone) > 0 {
		t.elements = append(t.elements, deleteElements{elementList{name, want.Interval, gone}})
	}
	if len(come) > 0 {
		t.elements = append(t.elements, addElements{elementList{name, want.Interval, come}})
	}
}

// overlap reports whether an address is in both lists, or beside an element of the
// other: then a node of the tree is written again.
func overlap(gone, come []ruleset.Element) bool {
	for len(gone) > 0 && len(come) > 0 {
		a, b := netipx.IPRangeFrom(gone[0].From, gone[0].To), netipx.IPRangeFrom(come[0].From, come[0].To)
		switch {
		case a.Overlaps(b) || a.To().Next() == b.From() || b.To().Next() == a.From():
			return true
		case a.From().Less(b.From()):
			gone = gone[1:]
		default:
			come = come[1:]
		}
	}
	return false
}

// replace has a set replaced. The name of what stands in for it is not one of a set
// that a killed run has left.
func (t *transition) replace(name string) {
	other := name + "_next"
	for {
		if _, ok := t.have.Sets[other]; !ok {
			break
		}
		other += "_"
	}
	t.standIns[name] = other
}

func (t *transition) chains() {
	for _, name := range bothNames(t.have.Chains, t.want.Chains) {
		have, had := t.have.Chains[name]
		want, wanted := t.want.Chains[name]
		switch {
		case !wanted:
			if !have.Bound { // else it goes with the rule that it is part of
				t.dropChains = append(t.dropChains, deleteChain{name})
			}
		case !had:
			t.newChains = append(t.newChains, addChain{name, want})
			t.refill = append(t.refill, name)
		default:
			if !have.SameFrame(want) {
				t.dropChains = append(t.dropChains, deleteChain{name})
				t.newChains = append(t.newChains, addChain{name, want})
			}
			if !have.SameRules(want) || t.uses(want) {
				t.refill = append(t.refill, name)
			}
		}
	}
}

// uses reports whether a rule of the chain uses a set that is replaced.
func (t *transition) uses(c ruleset.Chain) bool {
	return slices.ContainsFunc(c.Rules, func(r ruleset.Rule) bool { return r.String() != r.WithSets(t.standIns).String() })
}

func (t *transition) transactions() [][]step {
	var first, second []step
	if !t.have.Exists {
		first = append(first, addTable{})
		first = append(first, t.addCounters...)
		t.addCounters = nil
	}
	first = append(first, t.newSets...)
	for _, name := range t.replaced() {
		first = append(first, addSet{name: t.standIns[name], set: t.want.Sets[name]})
	}
	refill, flush := t.refill, t.refill
	if len(t.dropChains)+len(t.dropSets)+len(t.dropObjects) > 0 {
		// Something that a rule may use goes away: take all rules out first.
		flush = slices.Sorted(maps.Keys(t.have.Chains))
		refill = slices.Sorted(maps.Keys(t.want.Chains))
	}
	second = slices.Concat(t.flushed(flush), t.dropSets, t.dropChains, t.dropObjects, t.addCounters, t.changedSets, t.elements)
	rules := t.filled(refill, t.standIns)
	if !t.have.Exists {
		// What no chain at a hook leads to yet can come before these.
		first = slices.Concat(first, t.ofHooks(t.newChains, false), t.ofHooks(rules, false))
		second = append(second, slices.Concat(t.ofHooks(t.newChains, true), t.ofHooks(rules, true))...)
	} else {
		second = slices.Concat(second, t.newChains, rules)
	}
	all := slices.Concat([][]step{first, second}, t.replacements())
	return slices.DeleteFunc(all, func(steps []step) bool { return len(steps) == 0 })
}

// replacements come after the rules use what stands in for sets.
func (t *transition) replacements() [][]step {
	var remake, drop []step
	var using []string
	for _, name := range t.replaced() {
		remake = append(remake, deleteSet{name}, addSet{name: name, set: t.want.Sets[name]})
		drop = append(drop, deleteSet{t.standIns[name]})
	}
	for _, name := range slices.Sorted(maps.Keys(t.want.Chains)) {
		if t.uses(t.want.Chains[name]) {
			using = append(using, name)
		}
	}
	var flush []step
	for _, name := range using {
		flush = append(flush, flushChain{name})
	}
	return [][]step{remake, append(flush, t.filled(using, nil)...), drop}
}

func (t *transition) replaced() []string { return slices.Sorted(maps.Keys(t.standIns)) }

// flushed flushes those of the chains that are there and can be flushed.
func (t *transition) flushed(chains []string) []step {
	var steps []step
	for _, name := range chains {
		if c, ok := t.have.Chains[name]; ok && !c.Bound {
			steps = append(steps, flushChain{name})
		}
	}
	return steps
}

// filled adds the rules of chains, with other names of sets.
func (t *transition) filled(chains []string, sets map[string]string) []step {
	var steps []step
	for _, name := range chains {
		var rules []ruleset.Rule
		for _, r := range t.want.Chains[name].Rules {
			rules = append(rules, r.WithSets(sets))
		}
		if len(rules) > 0 {
			steps = append(steps, addRules{name, rules})
		}
	}
	return steps
}

// ofHooks are those of the steps that are about chains at hooks, or about others.
func (t *transition) ofHooks(steps []step, hooks bool) []step {
	var some []step
	for _, s := range steps {
		var name string
		switch s := s.(type) {
		case addChain:
			name = s.name
		case addRules:
			name = s.chain
		}
		if (t.want.Chains[name].Stage != "") == hooks {
			some = append(some, s)
		}
	}
	return some
}

func bothNames[V any](a, b map[string]V) []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(names)
	return slices.Compact(names)
}
