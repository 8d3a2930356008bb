package iptables

import (
	"maps"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// lateTable is that of the stage behind routing.
const lateTable = "filter"

// where is one table of one family.
type where struct {
	table string
	v6    bool
}

func (w where) String() string {
	if w.v6 {
		return w.table + ", IPv6"
	}
	return w.table + ", IPv4"
}

// layout is what a state is in iptables: the chains of each table, by their names in
// ruleset, with letterMark in the names of chains that rules lead to. Chains that no
// packet of the family comes to are left out.
type layout map[where]map[string][]string

// layoutOf writes a state that exists.
func layoutOf(s *ruleset.State) (layout, error) {
	l := layout{}
	for _, name := range slices.Sorted(maps.Keys(s.Chains)) {
		p, ok := places[s.Chains[name].Stage]
		if !ok {
			continue
		}
		for _, v6 := range []bool{false, true} {
			w := where{p.table, v6}
			if l[w] == nil {
				l[w] = map[string][]string{}
			}
			if err := l.chain(w, s, name); err != nil {
				return nil, err
			}
		}
	}
	return l, nil
}

// chain writes a chain and those that it leads to.
func (l layout) chain(w where, s *ruleset.State, name string) error {
	if _, ok := l[w][name]; ok {
		return nil
	}
	l[w][name] = []string{}
	if _, ok := s.Chains[name]; !ok && isAllowed(name) {
		l[w][name] = []string{"-j " + chainPrefix + name, "-g " + letterMark + allowedChain}
		return l.chain(w, s, allowedChain)
	}
	stage := comesBack(s.Chains[name].Stage)
	e := encoder{v6: w.v6, ports: s.Sets[portSet].Elements, stage: stage, late: w.table == lateTable}
	for _, r := range s.Chains[name].Rules {
		lines, err := e.rule(r)
		if err != nil {
			return err
		}
		l[w][name] = append(l[w][name], lines...)
		for _, line := range lines {
			if next, ok := leadsTo(line); ok {
				if err := l.chain(w, s, next); err != nil {
					return err
				}
			}
		}
		if len(lines) == 1 && endsAll(lines[0]) {
			break // no packet of this family comes further
		}
	}
	if stage {
		l[w][name] = append(l[w][name], clearing(l[w][name])...)
	}
	return nil
}

// comesBack reports whether packets that a stage lets pass come back to its chain, which has
// something left to do then. Those that leave are not marked.
func comesBack(s ruleset.Stage) bool { return s != "" && s != ruleset.Leaving }

// clearing are the lines that take out of the mark again what a stage's own lines have
// set. Packets that are let pass come back to the stage.
func clearing(lines []string) []string {
	var list []string
	for _, line := range lines {
		match, value, ok := strings.Cut(line, " "+setMark)
		if value, mask, _ := strings.Cut(value, "/"); ok && value != "0x0" {
			list = append(list, match+" "+setMark+"0x0/"+mask)
		}
	}
	return list
}

// withoutClearing leaves out what clearing has added.
func withoutClearing(lines []string) []string {
	added := clearing(lines)
	if n := len(lines) - len(added); n >= 0 && slices.Equal(lines[n:], added) {
		return lines[:n]
	}
	return lines
}

// leadsTo returns the chain of the fence that a line leads to.
func leadsTo(line string) (chain string, ok bool) {
	_, chain, ok = strings.Cut(line, " "+letterMark)
	return chain, ok
}

// endsAll reports whether no packet comes behind a line.
func endsAll(line string) bool {
	return strings.HasPrefix(line, "-g ") || line == "-j DROP" || line == "-j RETURN"
}

// counterRule is the one rule of a chain that counts.
func counterRule(name string) string {
	if strings.HasPrefix(name, dropped) {
		return "-j DROP"
	}
	return "-j RETURN"
}

// counterOf returns the counter that a chain counts for.
func counterOf(chain string) (name string, ok bool) {
	name, ok = strings.CutPrefix(chain, chainPrefix)
	if !ok {
		return "", false
	}
	if rest, is := strings.CutPrefix(name, counted); is {
		return dropped + rest, true
	}
	return name, isAllowed(name) || strings.HasPrefix(name, dropped) || slices.Contains(otherCounters, name)
}

// isAllowed reports whether a counter is of packets that pass.
func isAllowed(counter string) bool { return strings.HasPrefix(counter, "allowed_") }

// otherCounters are those whose names say no verdict.
var otherCounters = []string{"unread", "unseen"}

// stageAt is the stage that a hook of a table leads to.
func stageAt(table, hook string) ruleset.Stage {
	for stage, p := range places {
		if p.table == table && slices.Contains(p.hooks, hook) {
			return stage
		}
	}
	return ""
}

// stageChain returns the chain of a state that a hook of a table leads to.
func stageChain(s *ruleset.State, table, hook string) (name string, ok bool) {
	stage := stageAt(table, hook)
	for _, name := range slices.Sorted(maps.Keys(s.Chains)) {
		if stage != "" && s.Chains[name].Stage == stage {
			return name, true
		}
	}
	return "", false
}

// hooksOf are the built-in chains of a table that may lead to the fence.
func hooksOf(table string) []string {
	var hooks []string
	for _, p := range places {
		if p.table == table {
			hooks = append(hooks, p.hooks...)
		}
	}
	slices.Sort(hooks)
	return hooks
}

// allPlaces are all tables of both families, in the order in which packets meet them.
func allPlaces() []where {
	var all []where
	for _, table := range tables {
		all = append(all, where{table, false}, where{table, true})
	}
	return all
}
