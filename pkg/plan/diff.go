package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Diff plans the way from have to want. It is pure: equal states give an empty
// plan, and doing the plan's steps to have gives want.
//
// What exists in both and differs is changed as little as the kernel allows:
//
//	elements of a set           deleted and added one by one
//	rules of a chain            the chain is flushed and filled
//	type, flags, size of a set  deleted and added; its rules must go first, so
//	frame of a chain            every chain is flushed and filled
//	flags of the table          the whole table is deleted and added: the kernel
//	                            refuses a new base chain beside a change of flags
func Diff(have, want *ruleset.State) *Plan {
	p := diffTable(have, want)
	p.Changes = append(p.Changes, diffClassifier(have.Classifier, want.Classifier)...)
	return p
}

// diffClassifier compares what stands on each interface.
func diffClassifier(have, want ruleset.Classifier) []Change {
	var changes []Change
	for _, link := range bothNames(have, want) {
		was, had := have[link]
		will, wanted := want[link]
		c := Change{Kind: KindClassifier, Name: link, Value: will}
		switch {
		case was == will:
			continue
		case !wanted:
			c.Action, c.Value, c.Reason = Delete, was, "nothing is to be recognised there"
		case !had:
			c.Action, c.Reason = Add, "it recognises scanners"
		default:
			c.Action, c.Reason = Modify, "it looks for something else than before"
		}
		changes = append(changes, c)
	}
	return changes
}

func diffTable(have, want *ruleset.State) *Plan {
	p := &Plan{Base: have.Generation, Have: have, Want: want}
	switch {
	case !want.Exists && !have.Exists:
		return p
	case !want.Exists:
		p.Changes = []Change{{Action: Delete, Kind: KindTable, Name: ruleset.Table, Reason: "taken down"}}
		p.Steps = []Step{DeleteTable{}}
		return p
	}

	d := differ{have: have, want: want}
	d.table()
	d.counters()
	d.sets()
	d.chains()
	p.Changes = d.changes
	if len(d.changes) == 0 {
		return p
	}
	if have.Exists && have.Flags != want.Flags {
		fresh := differ{have: &ruleset.State{}, want: want}
		fresh.table()
		fresh.counters()
		fresh.sets()
		fresh.chains()
		p.Steps = append([]Step{DeleteTable{}}, fresh.steps()...)
		for i, step := range p.Steps {
			if add, ok := step.(AddSet); ok {
				add.Carry = carries(have.Sets[add.Name], add.Set)
				p.Steps[i] = add
			}
		}
		return p
	}
	p.Steps = d.steps()
	return p
}

// differ gathers the steps by phase, because a kernel accepts them in one
// order only: rules go before what they use, and come after it.
type differ struct {
	have, want *ruleset.State
	changes    []Change

	tableSteps, counterSteps, setSteps, elementSteps, chainSteps []Step
	dropChains, dropSets, dropObjects                            []Step
	refill                                                       []string // chains whose rules differ
}

func (d *differ) steps() []Step {
	refill := d.refill
	var flush []Step
	if len(d.dropChains)+len(d.dropSets)+len(d.dropObjects) > 0 {
		// Something that a rule may use goes away: take all rules out first.
		for _, name := range slices.Sorted(maps.Keys(d.have.Chains)) {
			if !d.have.Chains[name].Bound {
				flush = append(flush, FlushChain{name})
			}
		}
		refill = slices.Sorted(maps.Keys(d.want.Chains))
	} else {
		for _, name := range refill {
			if _, ok := d.have.Chains[name]; ok {
				flush = append(flush, FlushChain{name})
			}
		}
	}
	var rules []Step
	for _, name := range refill {
		if r := d.want.Chains[name].Rules; len(r) > 0 {
			rules = append(rules, AddRules{Chain: name, Rules: r})
		}
	}
	return slices.Concat(d.tableSteps, flush, d.dropSets, d.dropChains, d.dropObjects,
		d.counterSteps, d.setSteps, d.elementSteps, d.chainSteps, rules)
}

func (d *differ) change(action Action, kind Kind, name, value, reason string) {
	d.changes = append(d.changes, Change{Action: action, Kind: kind, Name: name, Value: value, Reason: reason})
}

// What there is to say of a thing that is there, or not, without more knowledge.
const (
	unasked     = "nothing in the policy asks for it"
	missing     = "it is missing"
	rulesDiffer = "its rules differ"
)

// missing is the reason why something is added.
func (d *differ) missing() string {
	if d.have.Exists {
		return missing
	}
	return "the table is new"
}

func (d *differ) table() {
	switch {
	case !d.have.Exists:
		d.change(Add, KindTable, ruleset.Table, "", "there is none")
		d.tableSteps = append(d.tableSteps, AddTable{})
	case d.have.Flags != d.want.Flags:
		d.change(Modify, KindTable, ruleset.Table, d.want.Flags,
			fmt.Sprintf("its flags were %q", d.have.Flags))
	}
}

func (d *differ) counters() {
	for _, name := range d.have.Counters {
		if !slices.Contains(d.want.Counters, name) {
			d.change(Delete, KindCounter, name, "", unasked)
			d.dropObjects = append(d.dropObjects, DeleteCounter{name})
		}
	}
	for _, o := range d.have.Strangers {
		d.change(Delete, KindCounter, o.Name, o.Kind, unasked)
		d.dropObjects = append(d.dropObjects, DeleteStranger{o})
	}
	for _, name := range d.want.Counters {
		if !slices.Contains(d.have.Counters, name) {
			d.change(Add, KindCounter, name, "", d.missing())
			d.counterSteps = append(d.counterSteps, AddCounter{name})
		}
	}
}

func (d *differ) sets() {
	for _, name := range bothNames(d.have.Sets, d.want.Sets) {
		have, had := d.have.Sets[name]
		want, wanted := d.want.Sets[name]
		switch {
		case !wanted:
			d.change(Delete, KindSet, name, string(have.Key), unasked)
			d.dropSets = append(d.dropSets, DeleteSet{name})
		case !had:
			d.change(Add, KindSet, name, string(want.Key), d.missing())
			d.setSteps = append(d.setSteps, AddSet{Name: name, Set: want})
			d.elementChanges(name, nil, want.Elements)
		case !have.SameFrame(want):
			d.change(Modify, KindSet, name, frameText(want), "it was "+frameText(have))
			d.dropSets = append(d.dropSets, DeleteSet{name})
			d.setSteps = append(d.setSteps, AddSet{Name: name, Set: want, Carry: carries(have, want)})
			gone, come := elementDelta(have.Elements, want.Elements)
			d.elementChanges(name, gone, come)
		case !want.Dynamic:
			d.elements(name, have, want)
		}
	}
}

// carries reports whether what a set holds now can be taken over.
func carries(have, want ruleset.Set) bool {
	return have.Dynamic && want.Dynamic && have.Key == want.Key
}

func (d *differ) elements(name string, have, want ruleset.Set) {
	gone, come := elementDelta(have.Elements, want.Elements)
	if len(gone)+len(come) == 0 {
		return
	}
	before := len(d.changes)
	d.elementChanges(name, gone, come)
	if len(d.changes) == before {
		d.change(Modify, KindSet, name, "", "its elements are split or joined in another way")
	}
	// An element with a lifetime may be gone when the batch arrives, and one
	// that another program made may need attributes to be named: both would
	// void the batch. Flushing names nothing.
	if slices.ContainsFunc(gone, func(e ruleset.Element) bool { return e.Timeout != 0 || e.Foreign != "" }) {
		d.elementSteps = append(d.elementSteps, FlushSet{name})
		gone, come = nil, want.Elements
	}
	if len(gone) > 0 {
		d.elementSteps = append(d.elementSteps, DeleteElements{name, gone})
	}
	if len(come) > 0 {
		d.elementSteps = append(d.elementSteps, AddElements{name, come})
	}
}

// elementDelta returns the elements of have that want lacks and the other way
// round. Both slices are sorted.
func elementDelta(have, want []ruleset.Element) (gone, come []ruleset.Element) {
	for len(have) > 0 && len(want) > 0 {
		switch c := have[0].Compare(want[0]); {
		case c == 0:
			have, want = have[1:], want[1:]
		case c < 0:
			gone, have = append(gone, have[0]), have[1:]
		default:
			come, want = append(come, want[0]), want[1:]
		}
	}
	return append(gone, have...), append(come, want...)
}

// elementChanges reports elements as people count them: addresses by prefix,
// whatever intervals the kernel keeps them in. The elements that stay overlap
// neither those that go nor those that come, so the difference of these two is
// the difference of the sets.
func (d *differ) elementChanges(name string, gone, come []ruleset.Element) {
	wentSet, cameSet := ruleset.Union(plainPrefixes(gone)), ruleset.Union(plainPrefixes(come))
	for _, p := range minus(wentSet, cameSet) {
		d.change(Delete, KindElement, name, ruleset.PrefixText(p), "")
	}
	for _, e := range odd(gone) {
		d.change(Delete, KindElement, name, e.String(), "")
	}
	for _, p := range minus(cameSet, wentSet) {
		d.change(Add, KindElement, name, ruleset.PrefixText(p), "")
	}
	for _, e := range odd(come) {
		d.change(Add, KindElement, name, e.String(), "")
	}
}

// plainPrefixes are the addresses of elements that are nothing but addresses.
func plainPrefixes(elements []ruleset.Element) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, e := range elements {
		if !isOdd(e) {
			prefixes = append(prefixes, e.Prefixes()...)
		}
	}
	return prefixes
}

func isOdd(e ruleset.Element) bool {
	return !e.From.IsValid() || e.Timeout != 0 || e.Foreign != ""
}

func odd(elements []ruleset.Element) []ruleset.Element {
	var result []ruleset.Element
	for _, e := range elements {
		if isOdd(e) {
			result = append(result, e)
		}
	}
	return result
}

func (d *differ) chains() {
	for _, name := range bothNames(d.have.Chains, d.want.Chains) {
		have, had := d.have.Chains[name]
		want, wanted := d.want.Chains[name]
		switch {
		case !wanted:
			d.change(Delete, KindChain, name, "", unasked)
			if !have.Bound { // else it goes with the rule that it is part of
				d.dropChains = append(d.dropChains, DeleteChain{name})
			}
			continue
		case !had:
			d.change(Add, KindChain, name, chainText(want), d.missing())
			d.chainSteps = append(d.chainSteps, AddChain{name, want})
			d.refill = append(d.refill, name)
			continue
		}
		if !have.SameFrame(want) {
			d.change(Modify, KindChain, name, chainText(want), "it was "+chainText(have))
			d.dropChains = append(d.dropChains, DeleteChain{name})
			d.chainSteps = append(d.chainSteps, AddChain{name, want})
		}
		if !have.SameRules(want) {
			lines := ruleDelta(have.Rules, want.Rules)
			d.change(Modify, KindChain, name, "", rulesDiffer)
			d.changes[len(d.changes)-1].Rules = lines
			d.refill = append(d.refill, name)
		}
	}
}

func bothNames[V any](a, b map[string]V) []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(names)
	return slices.Compact(names)
}

func frameText(s ruleset.Set) string {
	words := []string{"type " + string(s.Key)}
	if s.Size != 0 {
		words = append(words, fmt.Sprintf("size %d", s.Size))
	}
	if f := s.Flags(); f != "" {
		words = append(words, "flags "+f)
	}
	if s.Foreign != "" {
		words = append(words, "["+s.Foreign+"]")
	}
	return strings.Join(words, " ")
}

func chainText(c ruleset.Chain) string {
	words := "without hook"
	if c.Hook != "" {
		words = fmt.Sprintf("type %s hook %s priority %d policy %s", c.Type, c.Hook, c.Priority, c.Policy)
	}
	if c.Foreign != "" {
		words += " [" + c.Foreign + "]"
	}
	return words
}

// ruleDelta writes the shortest list of lines that go and come, by a longest
// common subsequence. Chains have tens of rules.
func ruleDelta(have, want []ruleset.Rule) []string {
	common := make([][]int, len(have)+1)
	for i := range common {
		common[i] = make([]int, len(want)+1)
	}
	for i, h := range slices.Backward(have) {
		for j, w := range slices.Backward(want) {
			if h.String() == w.String() {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var lines []string
	i, j := 0, 0
	for i < len(have) || j < len(want) {
		switch {
		case i < len(have) && j < len(want) && have[i].String() == want[j].String():
			i, j = i+1, j+1
		case j == len(want) || i < len(have) && common[i+1][j] >= common[i][j+1]:
			lines, i = append(lines, "- "+have[i].String()), i+1
		default:
			lines, j = append(lines, "+ "+want[j].String()), j+1
		}
	}
	return lines
}
