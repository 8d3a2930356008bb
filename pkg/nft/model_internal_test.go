package nft

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/plan/plantest"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// do does one step, or says why a kernel would refuse it.
func do(s *ruleset.State, next step) error {
	if _, isTable := next.(addTable); !isTable && !s.Exists {
		return fmt.Errorf("no such table")
	}
	switch step := next.(type) {
	case addTable:
		s.Exists = true
	case deleteTable:
		*s = *plantest.Copy(&ruleset.State{GenID: s.GenID})
	case flushChain, deleteChain, addChain, addRules:
		return doChain(s, next)
	case deleteSet, addSet, deleteElements, addElements:
		return doSet(s, next)
	case addCounter:
		s.Counters = append(s.Counters, step.name)
		slices.Sort(s.Counters)
	case deleteCounter:
		if used(s, fmt.Sprintf("counter name %q", step.name)) {
			return fmt.Errorf("counter %s is in use", step.name)
		}
		s.Counters = slices.DeleteFunc(s.Counters, func(name string) bool { return name == step.name })
	case deleteForeignObject:
		s.ForeignObjects = slices.DeleteFunc(s.ForeignObjects, func(o ruleset.ForeignObject) bool { return o == step.ForeignObject })
	default:
		return fmt.Errorf("unknown step %T", next)
	}
	return nil
}

// used reports whether a rule holds the words.
func used(s *ruleset.State, words string) bool {
	for _, c := range s.Chains {
		for _, r := range c.Rules {
			if strings.Contains(" "+r.String()+" ", " "+words+" ") {
				return true
			}
		}
	}
	return false
}

func doChain(s *ruleset.State, next step) error {
	switch step := next.(type) {
	case flushChain:
		c, ok := s.Chains[step.chain]
		if !ok || c.Bound {
			return fmt.Errorf("chain %s is absent or bound to a rule", step.chain)
		}
		c.Rules = nil
		s.Chains[step.chain] = c
		maps.DeleteFunc(s.Chains, func(name string, c ruleset.Chain) bool { return c.Bound && !used(s, name) })
	case deleteChain:
		c, ok := s.Chains[step.chain]
		if !ok || c.Bound || len(c.Rules) > 0 || used(s, "jump "+step.chain) || used(s, "goto "+step.chain) {
			return fmt.Errorf("chain %s is absent or in use", step.chain)
		}
		delete(s.Chains, step.chain)
	case addChain:
		if _, ok := s.Chains[step.name]; ok {
			return fmt.Errorf("chain %s is there already", step.name)
		}
		c := step.chain
		c.Rules = nil
		s.Chains[step.name] = c
	case addRules:
		c, ok := s.Chains[step.chain]
		if !ok {
			return fmt.Errorf("no such chain %s", step.chain)
		}
		for _, r := range step.rules {
			if r.Statements() == nil {
				return fmt.Errorf("rule %q is foreign", r)
			}
			if err := refers(s, r); err != nil {
				return err
			}
		}
		c.Rules = append(c.Rules, step.rules...)
		s.Chains[step.chain] = c
	}
	return nil
}

// refers checks that all a rule names is there.
func refers(s *ruleset.State, r ruleset.Rule) error {
	for _, statement := range r.Statements() {
		var set, chain string
		switch statement := statement.(type) {
		case ruleset.Source:
			set = statement.Set
		case ruleset.Ban:
			set = statement.Set
		case ruleset.Record:
			set = statement.Set
		case ruleset.Note:
			set = statement.Set
		case ruleset.Destination:
			set = statement.Set
		case ruleset.SourcePort:
			set = statement.Set
		case ruleset.PeerIn:
			set = statement.Set
		case ruleset.Learn:
			set = statement.Set
		case ruleset.Forget:
			set = statement.Set
		case ruleset.Verdict:
			chain = statement.Chain
		case ruleset.Count:
			if !slices.Contains(s.Counters, string(statement)) {
				return fmt.Errorf("no such counter %s", statement)
			}
		}
		if _, ok := s.Sets[set]; set != "" && !ok {
			return fmt.Errorf("no such set %s", set)
		}
		if _, ok := s.Chains[chain]; chain != "" && !ok {
			return fmt.Errorf("no such chain %s", chain)
		}
	}
	return nil
}

func doSet(s *ruleset.State, next step) error {
	if add, ok := next.(addSet); ok {
		if _, ok := s.Sets[add.name]; ok {
			return fmt.Errorf("set %s is there already", add.name)
		}
		set := add.set
		set.Elements = slices.Clone(set.Elements)
		s.Sets[add.name] = set
		return nil
	}
	var name string
	switch step := next.(type) {
	case deleteSet:
		name = step.set
	case deleteElements:
		name = step.set
	case addElements:
		name = step.set
	}
	set, ok := s.Sets[name]
	if !ok {
		return fmt.Errorf("no such set %s", name)
	}
	switch step := next.(type) {
	case deleteSet:
		if used(s, "@"+step.set) {
			return fmt.Errorf("set %s is in use", step.set)
		}
		delete(s.Sets, step.set)
		return nil
	case deleteElements:
		for _, e := range step.elements {
			i := slices.Index(set.Elements, e)
			if i < 0 {
				return fmt.Errorf("no such element %s", e)
			}
			set.Elements = slices.Delete(set.Elements, i, i+1)
		}
	case addElements:
		for _, e := range step.elements {
			if slices.ContainsFunc(set.Elements, func(o ruleset.Element) bool { return overlapping(e, o) }) {
				return fmt.Errorf("element %s overlaps another", e)
			}
			set.Elements = append(set.Elements, e)
		}
		slices.SortFunc(set.Elements, ruleset.Element.Compare)
	}
	s.Sets[name] = set
	return nil
}

func overlapping(a, b ruleset.Element) bool {
	if !a.From.IsValid() || !b.From.IsValid() {
		return a.Protocol == b.Protocol && a.Port == b.Port && a.From == b.From
	}
	return a.From.Compare(b.To) <= 0 && b.From.Compare(a.To) <= 0
}
