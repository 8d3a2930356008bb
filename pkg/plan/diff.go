package plan

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Diff plans the way from have to want. It is pure. If the states are equal, the plan
// is empty. How to get from one to the other is left to the back end.
func Diff(have, want *ruleset.State) *Plan {
	p := diffTable(have, want)
	for _, place := range have.Others {
		p.Changes = append(p.Changes, Change{Action: Delete, Kind: KindTable, Name: place, Reason: "the policy's back end is another one"})
	}
	p.Changes = append(p.Changes, diffClassifier(have.Classifier, want.Classifier)...)
	return p
}

// diffClassifier compares what is attached to each interface.
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
			c.Action, c.Value, c.Reason = Delete, was, "no signatures are looked for there"
		case !had:
			c.Action, c.Reason = Add, "it recognises scanners"
		default:
			c.Action, c.Reason = Modify, "the signatures or ports have changed"
		}
		changes = append(changes, c)
	}
	return changes
}

func diffTable(have, want *ruleset.State) *Plan {
	p := &Plan{GenID: have.GenID, Have: have, Want: want}
	switch {
	case !want.Exists && !have.Exists:
		return p
	case !want.Exists:
		p.Changes = []Change{{Action: Delete, Kind: KindTable, Name: ruleset.Table, Reason: "taken down"}}
		return p
	}
	d := differ{have: have, want: want}
	d.table()
	d.counters()
	d.sets()
	d.chains()
	p.Changes = d.changes
	return p
}

// differ collects the differences between two tables. Either may be absent.
type differ struct {
	have, want *ruleset.State
	changes    []Change
}

func (d *differ) change(action Action, kind Kind, name, value, reason string) {
	d.changes = append(d.changes, Change{Action: action, Kind: kind, Name: name, Value: value, Reason: reason})
}

// Reasons that need no knowledge of where a thing comes from.
const (
	unasked     = "nothing in the policy asks for it"
	missing     = "it is missing"
	rulesDiffer = "its rules differ"
)

// missing returns the reason why something is added.
func (d *differ) missing() string {
	if d.have.Exists {
		return missing
	}
	if d.have.Place != "" {
		return "the fence is new"
	}
	return "the table is new"
}

func (d *differ) table() {
	switch {
	case !d.have.Exists:
		d.change(Add, KindTable, ruleset.Table, "", "it is missing")
	case d.have.Flags != d.want.Flags:
		d.change(Modify, KindTable, ruleset.Table, d.want.Flags,
			fmt.Sprintf("its flags were %q", d.have.Flags))
	}
}

func (d *differ) counters() {
	for _, name := range d.have.Counters {
		if !slices.Contains(d.want.Counters, name) {
			d.change(Delete, KindCounter, name, "", unasked)
		}
	}
	for _, o := range d.have.ForeignObjects {
		d.change(Delete, KindCounter, o.Name, o.Kind, unasked)
	}
	for _, name := range d.want.Counters {
		if !slices.Contains(d.have.Counters, name) {
			d.change(Add, KindCounter, name, "", d.missing())
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
		case !had:
			d.change(Add, KindSet, name, string(want.Key), d.missing())
			d.elementChanges(name, nil, want.Elements)
		case !sameForUsers(have, want):
			d.change(Modify, KindSet, name, frameText(want), frameReason(have, want))
			gone, come := ruleset.Delta(have.Elements, want.Elements)
			d.elementChanges(name, gone, come)
		case !want.Dynamic:
			d.elements(name, have, want)
		}
	}
}

// sameForUsers reports whether two sets differ at most in their elements. Whether a set
// is kept as single addresses or as ranges is the back end's business.
func sameForUsers(have, want ruleset.Set) bool {
	have.Interval = want.Interval
	return have.SameFrame(want)
}

func (d *differ) elements(name string, have, want ruleset.Set) {
	gone, come := ruleset.Delta(have.Elements, want.Elements)
	if len(gone)+len(come) == 0 && have.Interval == want.Interval {
		return
	}
	before := len(d.changes)
	d.elementChanges(name, gone, come)
	if len(d.changes) == before {
		d.change(Modify, KindSet, name, "", "it has the same addresses in another form")
	}
}

// elementChanges reports elements as users count them: each address or prefix that one
// set has and the other lacks, as its set has it, even if other elements cover parts of
// it. The elements that stay overlap neither the removed nor the added ones, so the
// difference of those two is the difference of the sets.
func (d *differ) elementChanges(name string, gone, come []ruleset.Element) {
	d.eachWithout(Delete, name, gone, come)
	d.eachWithout(Add, name, come, gone)
}

// eachWithout reports what elements have and others lack.
func (d *differ) eachWithout(action Action, name string, elements, others []ruleset.Element) {
	if len(elements) == 0 {
		return // there may be very many others
	}
	other := ruleset.Union(plainPrefixes(others))
	d.changes = slices.Grow(d.changes, len(elements))
	for _, e := range elements {
		if len(others) == 0 && e.Plain() && e.From == e.To {
			d.change(action, KindElement, name, e.From.String(), "")
			continue
		}
		if !e.Plain() {
			d.change(action, KindElement, name, e.String(), "")
			continue
		}
		prefixes := e.Prefixes()
		if other.OverlapsRange(netipx.IPRangeFrom(e.From, e.To)) {
			prefixes = minus(ruleset.Union(prefixes), other)
		}
		for _, p := range prefixes {
			d.change(action, KindElement, name, ruleset.PrefixText(p), "")
		}
	}
}

// plainPrefixes returns the prefixes of the elements that consist of an address or
// prefix alone.
func plainPrefixes(elements []ruleset.Element) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, e := range elements {
		if e.Plain() {
			prefixes = append(prefixes, e.Prefixes()...)
		}
	}
	return prefixes
}

func (d *differ) chains() {
	for _, name := range bothNames(d.have.Chains, d.want.Chains) {
		have, had := d.have.Chains[name]
		want, wanted := d.want.Chains[name]
		switch {
		case !wanted:
			d.change(Delete, KindChain, name, "", unasked)
			continue
		case !had:
			d.change(Add, KindChain, name, chainText(want), d.missing())
			continue
		}
		if !have.SameFrame(want) {
			d.change(Modify, KindChain, name, chainText(want), "it was "+chainText(have))
		}
		if !have.SameRules(want) {
			lines := ruleDelta(have.Rules, want.Rules)
			d.change(Modify, KindChain, name, "", rulesDiffer)
			d.changes[len(d.changes)-1].Rules = lines
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

// frameReason says what differs between two sets beside their elements. That a flag or a
// limit comes or goes, as after an upgrade, is said in plain words.
func frameReason(have, want ruleset.Set) string {
	var parts []string
	was, is := strings.Split(have.Flags(), ","), strings.Split(want.Flags(), ",")
	for _, flag := range is {
		if flag != "" && !slices.Contains(was, flag) {
			parts = append(parts, "it gains the flag "+flag)
		}
	}
	for _, flag := range was {
		if flag != "" && !slices.Contains(is, flag) {
			parts = append(parts, "it loses the flag "+flag)
		}
	}
	switch {
	case have.Key != want.Key, have.Foreign != want.Foreign, !have.SameSize(want) && have.Size != 0 && want.Size != 0:
		return "it was " + frameText(have)
	case have.Size == 0 && want.Size != 0:
		parts = append(parts, fmt.Sprintf("it holds at most %d now", want.Size))
	case have.Size != 0 && want.Size == 0:
		parts = append(parts, "it is not limited any more")
	}
	return strings.Join(parts, ", ")
}

func chainText(c ruleset.Chain) string {
	words := cmp.Or(string(c.Stage), "without hook")
	if c.Foreign != "" {
		words += " [" + c.Foreign + "]"
	}
	return words
}

// ruleDelta returns the shortest list of removed and added lines, by a longest common
// subsequence. Chains have tens of rules.
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
			lines, i = append(lines, "- "+have[i].Shown()), i+1
		default:
			lines, j = append(lines, "+ "+want[j].Shown()), j+1
		}
	}
	return lines
}
