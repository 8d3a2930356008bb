package iptables

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// observation puts a state together from a view.
type observation struct {
	*view
	state *ruleset.State
	learned
	// chains are the rules of the fence's chains, by name, where they were found.
	chains map[string]map[where][]ruleset.Rule
	lines  layout
	notes  map[string][]string // by chain: what is foreign about it
	bad    map[string]bool     // counters that lack a chain, or have another rule
}

// state is the fence as it is. What judges no packet is as good as not there.
func (v *view) state() *ruleset.State {
	if !v.exists() {
		return &ruleset.State{GenID: v.stamp()}
	}
	o := observation{
		view: v, chains: map[string]map[where][]ruleset.Rule{}, lines: layout{},
		notes: map[string][]string{}, bad: map[string]bool{},
		state: &ruleset.State{GenID: v.stamp(), Exists: true, Sets: map[string]ruleset.Set{}, Chains: map[string]ruleset.Chain{}},
	}
	for _, w := range allPlaces() {
		o.table(w)
	}
	o.merge()
	o.sets()
	o.otherPorts()
	o.counters()
	o.pass()
	o.compare()
	slices.SortFunc(o.state.ForeignObjects, func(a, b ruleset.ForeignObject) int {
		return strings.Compare(a.Kind+a.Name, b.Kind+b.Name)
	})
	return o.state
}

func (o *observation) foreign(kind, name string) {
	o.state.ForeignObjects = append(o.state.ForeignObjects, ruleset.ForeignObject{Kind: kind, Name: name})
}

// table reads the chains of one table.
func (o *observation) table(w where) {
	letter := o.letter(w)
	stages := o.stages(w, letter)
	d := decoder{v6: w.v6, learned: &o.learned}
	for _, name := range slices.Sorted(maps.Keys(o.tables[w])) {
		l, chain, isFence := letterOf(name)
		_, isCounter := counterOf(name)
		switch {
		case !strings.HasPrefix(name, chainPrefix):
		case isFence && letter != 0 && l == letter:
			lines := slices.Clone(o.tables[w][name].lines)
			for i, line := range lines {
				lines[i] = unlettered(line, letter)
			}
			if o.lines[w] == nil {
				o.lines[w] = map[string][]string{}
			}
			if isAllowed(chain) {
				o.lines[w][chain] = lines // it leads to the chain of allowed sources
				continue
			}
			if o.chains[chain] == nil {
				o.chains[chain] = map[where][]ruleset.Rule{}
			}
			d.stage = stages[chain]
			o.lines[w][chain] = lines
			if d.stage {
				lines = withoutClearing(lines)
			}
			o.chains[chain][w] = d.rules(lines)
		case isCounter && letter != 0:
		default:
			o.foreign("chain", name+" ("+w.String()+")")
		}
	}
}

// stages reads the jumps of a table, and returns the chains that packets come back to.
func (o *observation) stages(w where, letter byte) map[string]bool {
	chains := map[ruleset.Stage]string{}
	inUse := map[ruleset.Stage]bool{}
	for _, family := range []where{w, {w.table, !w.v6}} {
		for _, h := range o.hooks(family) {
			stage := stageAt(w.table, h.name)
			inUse[stage] = inUse[stage] || h.chain != ""
		}
	}
	for _, h := range o.hooks(w) {
		l, name, _ := letterOf(h.chain)
		stage := stageAt(w.table, h.name)
		switch {
		case h.chain == "" && !inUse[stage]:
		case h.chain == "":
			o.foreign("rule", fmt.Sprintf("no jump to the fence in %s (%s)", h.name, w))
		case l != letter || chains[stage] != "" && name != chains[stage]:
			o.foreign("rule", fmt.Sprintf("-A %s -j %s (%s)", h.name, h.chain, w))
		default:
			chains[stage] = name
		}
		if h.chain != "" && h.behind != "" {
			o.notes[name] = append(o.notes[name], fmt.Sprintf("a rule before it lets packets in: -A %s %s (%s)", h.name, h.behind, w))
		}
		for _, line := range h.others {
			o.foreign("rule", fmt.Sprintf("-A %s %s (%s)", h.name, line, w))
		}
	}
	names := map[string]bool{}
	for stage, name := range chains {
		o.stage(stage, name)
		names[name] = comesBack(stage)
	}
	return names
}

// stage notes that packets come to a chain at a stage.
func (o *observation) stage(stage ruleset.Stage, name string) {
	c := o.state.Chains[name]
	if c.Stage != "" && c.Stage != stage {
		o.notes[name] = append(o.notes[name], "also "+string(stage))
	}
	c.Stage = stage
	o.state.Chains[name] = c
}

// merge brings together what families and tables have of each chain.
func (o *observation) merge() {
	for name, found := range o.chains {
		c := o.state.Chains[name]
		first := true
		for _, table := range tables {
			v4, has4 := found[where{table, false}]
			v6, has6 := found[where{table, true}]
			if !has4 && !has6 {
				continue
			}
			rules := merged(v4, v6, has4, has6)
			expected := ruleset.Chain{Rules: c.Rules}
			if table == lateTable {
				expected.Rules = slices.DeleteFunc(slices.Clone(c.Rules), asksForWayBack)
			}
			if first {
				c.Rules, first = rules, false
			} else if !expected.SameRules(ruleset.Chain{Rules: rules}) {
				o.notes[name] = append(o.notes[name], "other rules in table "+table)
			}
		}
		o.state.Chains[name] = c
	}
	for name, notes := range o.notes {
		c := o.state.Chains[name]
		c.Foreign = strings.Join(notes, "; ")
		o.state.Chains[name] = c
	}
}

// merged brings together the rules of a chain for both families: those that are about
// one family only, and those that must be in both. A chain that only one of them has is
// led to there only.
func merged(v4, v6 []ruleset.Rule, has4, has6 bool) []ruleset.Rule {
	var rules []ruleset.Rule
	left := false // no IPv6 packet comes further
	for len(v4)+len(v6) > 0 {
		toV6 := len(v6) > 0 && slices.Contains(v6[0].Statements(), ruleset.Statement(ruleset.IPv6Packet{}))
		switch {
		case len(v4) > 0 && len(v6) > 0 && v4[0].String() == v6[0].String():
			rules, v4, v6 = append(rules, v4[0]), v4[1:], v6[1:]
		case len(v4) > 0 && (!has6 || about(v4[0].Statements(), false) && (!toV6 || allows(v4[0])) || left && len(v6) == 0):
			rules, v4 = append(rules, v4[0]), v4[1:]
		case len(v6) > 0 && (!has4 || about(v6[0].Statements(), true)):
			left = toV6
			rules, v6 = append(rules, v6[0]), v6[1:]
		case len(v4) > 0:
			rules, v4 = append(rules, ruleset.ForeignRule("IPv4 only: "+v4[0].String())), v4[1:]
		default:
			rules, v6 = append(rules, ruleset.ForeignRule("IPv6 only: "+v6[0].String())), v6[1:]
		}
	}
	return rules
}

// allows reports whether a rule lets in, or leads to where it is asked whether a source is
// forged: such rules are before the one that leads IPv6 packets away, but for those of
// addresses that are allowed by hand and of phones that have registered.
func allows(r ruleset.Rule) bool {
	for _, s := range r.Statements() {
		switch s := s.(type) {
		case ruleset.Count:
			return strings.HasPrefix(string(s), "allowed_")
		case ruleset.Verdict:
			return s.Kind == ruleset.Goto && strings.HasPrefix(s.Chain, "from_") && !strings.HasPrefix(s.Chain, "from_allowed") && !strings.HasPrefix(s.Chain, "from_phones")
		}
	}
	return false
}

// sets takes over the sets of addresses, and makes those of ports from the rules.
func (o *observation) sets() {
	for name, h := range o.headers {
		if o.armed && isArmedSet(name) {
			continue // it is what is left of the lifetime of ports
		}
		name = strings.TrimPrefix(name, setPrefix)
		o.state.Sets[name] = observedSet(h, o.elements[h.name], o.limits(name))
	}
	withoutLatest(o.state.Sets)
	if len(o.ports) > 0 {
		set := ruleset.Set{Key: ruleset.Service, Timeout: true}
		if left := min(o.armedLeft(false), o.armedLeft(true)); !o.armed || left > 0 {
			set.Elements = o.portsFor(left)
		}
		o.state.Sets[portSet] = set
	}
}

// otherPorts puts back the rules that iptables has no line for.
func (o *observation) otherPorts() {
	for name, c := range o.state.Chains {
		early := c.Stage == ruleset.BeforeTracking || c.Stage == ruleset.AfterTracking
		translates := slices.ContainsFunc(c.Rules, func(r ruleset.Rule) bool {
			return slices.Contains(r.Statements(), ruleset.Statement(ruleset.Translated))
		})
		other, ok := ruleset.OtherPorts(o.ports, c.Stage == ruleset.Leaving)
		if ok && (early || c.Stage == ruleset.Leaving && !translates) {
			rule := ruleset.NewRule(other, ruleset.Verdict{Kind: ruleset.Return})
			c.Rules = slices.Insert(c.Rules, 0, rule)
			o.state.Chains[name] = c
		}
	}
}

// limits reports whether a rule keeps a limit in a set.
func (o *observation) limits(set string) bool {
	for _, c := range o.state.Chains {
		for _, r := range c.Rules {
			for _, s := range r.Statements() {
				if l, ok := s.(ruleset.Learn); ok && l.Set == set && l.Over != (ruleset.Limit{}) {
					return true
				}
			}
		}
	}
	return false
}

// portsFor are the ports, with what is left of their lifetime if they have one.
func (o *observation) portsFor(left time.Duration) []ruleset.Element {
	ports := slices.Clone(o.ports)
	for i := range ports {
		if o.armed {
			ports[i].Timeout = left
		}
	}
	return ports
}

// counters are those that have their chain wherever there is a fence.
func (o *observation) counters() {
	seen := map[string]bool{}
	for w := range o.lines {
		for chain := range o.tables[w] {
			if name, ok := counterOf(chain); ok {
				seen[name] = true
			}
		}
	}
	for w := range o.lines {
		for name := range seen {
			if !o.counts(w, chainPrefix+name, counterRule(name)) {
				o.bad[name] = true
			}
		}
		for chain := range o.tables[w] {
			if name, ok := counterOf(chain); ok && !o.counts(w, chain, ruleOfChain(chain)) {
				o.bad[name] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		if !o.bad[name] {
			o.state.Counters = append(o.state.Counters, name)
		}
	}
}

func (o *observation) counts(w where, chain, rule string) bool {
	c := o.tables[w][chain]
	return c != nil && len(c.lines) == 1 && c.lines[0] == rule
}

// ruleOfChain is the rule of a chain that counts.
func ruleOfChain(chain string) string { return counterRule(strings.TrimPrefix(chain, chainPrefix)) }

// pass adds the chain that takes off what the classifier has noted, which iptables has
// no need of, or lets pass in place of going there if there is no classifier.
func (o *observation) pass() {
	accept, toPass := ruleset.Verdict{Kind: ruleset.Accept}, ruleset.Verdict{Kind: ruleset.Goto, Chain: passChain}
	for _, c := range o.state.Chains {
		for _, r := range c.Rules {
			if taken, ok := clearedBy(r); ok {
				o.state.Chains[passChain] = ruleset.Chain{Rules: []ruleset.Rule{ruleset.NewRule(taken, accept)}}
				return
			}
		}
	}
	for _, c := range o.state.Chains {
		for i, r := range c.Rules {
			statements := slices.Clone(r.Statements())
			if n := len(statements); n > 0 && statements[n-1] == ruleset.Statement(toPass) {
				statements[n-1] = accept
				c.Rules[i] = ruleset.NewRule(statements...)
			}
		}
	}
}

// clearedBy returns what takes the class out of the mark, if a rule does.
func clearedBy(r ruleset.Rule) (ruleset.SetMark, bool) {
	for _, s := range r.Statements() {
		if m, ok := s.(ruleset.SetMark); ok && m.Class == ruleset.Unclassified {
			return m, true
		}
	}
	return ruleset.SetMark{}, false
}

// compare writes the state again: what differs from what was read is foreign, however
// it was understood.
func (o *observation) compare() {
	whole := *o.state
	if ports, ok := whole.Sets[portSet]; ok {
		ports.Elements = o.portsFor(anyLifetime) // also if they have run out
		whole.Sets = maps.Clone(whole.Sets)
		whole.Sets[portSet] = ports
	}
	written, err := layoutOf(&whole)
	if err != nil {
		return // a rule is foreign
	}
	for _, w := range allPlaces() {
		for _, name := range slices.Sorted(maps.Keys(o.lines[w])) {
			o.same(name, w, written[w][name], o.lines[w][name])
		}
		for _, name := range slices.Sorted(maps.Keys(written[w])) {
			if _, ok := o.lines[w][name]; !ok {
				o.same(name, w, written[w][name], []string{"none"})
			}
		}
	}
}

func (o *observation) same(name string, w where, written, read []string) {
	if slices.Equal(written, read) {
		return
	}
	c := o.state.Chains[name]
	c.Foreign = strings.TrimPrefix(c.Foreign+"; other lines in "+w.String(), "; ")
	o.state.Chains[name] = c
}
