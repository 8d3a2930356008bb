// Package plantest has a kernel for tests: a table in memory that takes plans
// as the real kernel does, all steps or none, and refuses what that refuses.
package plantest

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Kernel is a fake kernel. The zero Kernel has no table, at generation 1.
type Kernel struct {
	// FailAt makes the next commit fail before its step of this number,
	// counted from 1, with Err.
	FailAt int
	Err    error
	// AfterCommit makes the next commit fail with Err although it has taken
	// effect.
	AfterCommit bool
	// Between runs between an observation and the commit that follows, once: it
	// is another program.
	Between func(s *ruleset.State)
	// Commits counts those that took effect.
	Commits int

	mu       sync.Mutex
	state    ruleset.State
	bans     map[netip.Addr]backend.Banned
	watchers []chan backend.Touched
	noted    uint32
	changed  bool // noted is news for the next run
}

// Observe returns a copy of the table.
func (k *Kernel) Observe(context.Context) (*ruleset.State, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state.Generation = max(k.state.Generation, 1)
	s := Copy(&k.state)
	if between := k.Between; between != nil {
		k.Between = nil
		between(&k.state)
		k.state.Generation++
	}
	return s, nil
}

// Commit does the plan on a copy, and takes the copy if every step succeeds.
func (k *Kernel) Commit(_ context.Context, p *plan.Plan) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p.Base != k.state.Generation {
		return plan.ErrStale
	}
	next := Copy(&k.state)
	for i, step := range slices.Concat(p.Transactions()...) {
		if i+1 == k.FailAt {
			k.FailAt = 0
			return k.Err
		}
		if err := Do(next, step); err != nil {
			return fmt.Errorf("step %d, %T: %w", i+1, step, err)
		}
	}
	next.Classifier = maps.Clone(p.Want.Classifier)
	next.Generation++
	k.state = *next
	k.Commits++
	k.report("ringfence")
	if k.AfterCommit {
		k.AfterCommit = false
		return k.Err
	}
	return nil
}

// Change lets another program change the table.
func (k *Kernel) Change(f func(s *ruleset.State)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(&k.state)
	k.state.Generation = max(k.state.Generation, 1) + 1
	k.report("another")
}

// Copy returns a deep copy.
func Copy(s *ruleset.State) *ruleset.State {
	c := *s
	c.Sets, c.Chains = map[string]ruleset.Set{}, map[string]ruleset.Chain{}
	maps.Copy(c.Sets, s.Sets)
	maps.Copy(c.Chains, s.Chains)
	for name, set := range c.Sets {
		set.Elements = slices.Clone(set.Elements)
		c.Sets[name] = set
	}
	for name, chain := range c.Chains {
		chain.Rules = slices.Clone(chain.Rules)
		c.Chains[name] = chain
	}
	c.Classifier = maps.Clone(s.Classifier)
	c.Counters, c.Strangers = slices.Clone(s.Counters), slices.Clone(s.Strangers)
	return &c
}

// Do does one step, or says why a kernel would refuse it.
func Do(s *ruleset.State, step plan.Step) error {
	if _, isTable := step.(plan.AddTable); !isTable && !s.Exists {
		return fmt.Errorf("no such table")
	}
	switch step := step.(type) {
	case plan.AddTable:
		s.Exists = true
	case plan.DeleteTable:
		*s = *Copy(&ruleset.State{Generation: s.Generation})
	case plan.FlushChain, plan.DeleteChain, plan.AddChain, plan.AddRules:
		return doChain(s, step)
	case plan.DeleteSet, plan.AddSet, plan.FlushSet, plan.DeleteElements, plan.AddElements:
		return doSet(s, step)
	case plan.AddCounter:
		s.Counters = append(s.Counters, step.Name)
		slices.Sort(s.Counters)
	case plan.DeleteCounter:
		if used(s, fmt.Sprintf("counter name %q", step.Name)) {
			return fmt.Errorf("counter %s is in use", step.Name)
		}
		s.Counters = slices.DeleteFunc(s.Counters, func(name string) bool { return name == step.Name })
	case plan.DeleteStranger:
		s.Strangers = slices.DeleteFunc(s.Strangers, func(o ruleset.Stranger) bool { return o == step.Stranger })
	default:
		return fmt.Errorf("unknown step %T", step)
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

func doChain(s *ruleset.State, step plan.Step) error {
	switch step := step.(type) {
	case plan.FlushChain:
		c, ok := s.Chains[step.Chain]
		if !ok || c.Bound {
			return fmt.Errorf("chain %s is absent or bound to a rule", step.Chain)
		}
		c.Rules = nil
		s.Chains[step.Chain] = c
		maps.DeleteFunc(s.Chains, func(name string, c ruleset.Chain) bool { return c.Bound && !used(s, name) })
	case plan.DeleteChain:
		c, ok := s.Chains[step.Chain]
		if !ok || c.Bound || len(c.Rules) > 0 || used(s, "jump "+step.Chain) || used(s, "goto "+step.Chain) {
			return fmt.Errorf("chain %s is absent or in use", step.Chain)
		}
		delete(s.Chains, step.Chain)
	case plan.AddChain:
		if _, ok := s.Chains[step.Name]; ok {
			return fmt.Errorf("chain %s is there already", step.Name)
		}
		c := step.Chain
		c.Rules = nil
		s.Chains[step.Name] = c
	case plan.AddRules:
		c, ok := s.Chains[step.Chain]
		if !ok {
			return fmt.Errorf("no such chain %s", step.Chain)
		}
		for _, r := range step.Rules {
			if r.Statements() == nil {
				return fmt.Errorf("rule %q is foreign", r)
			}
			if err := refers(s, r); err != nil {
				return err
			}
		}
		c.Rules = append(c.Rules, step.Rules...)
		s.Chains[step.Chain] = c
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
		case ruleset.DestinationPort:
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

func doSet(s *ruleset.State, step plan.Step) error {
	if add, ok := step.(plan.AddSet); ok {
		if _, ok := s.Sets[add.Name]; ok {
			return fmt.Errorf("set %s is there already", add.Name)
		}
		set := add.Set
		set.Elements = slices.Clone(set.Elements)
		s.Sets[add.Name] = set
		return nil
	}
	var name string
	switch step := step.(type) {
	case plan.DeleteSet:
		name = step.Set
	case plan.FlushSet:
		name = step.Set
	case plan.DeleteElements:
		name = step.Set
	case plan.AddElements:
		name = step.Set
	}
	set, ok := s.Sets[name]
	if !ok {
		return fmt.Errorf("no such set %s", name)
	}
	switch step := step.(type) {
	case plan.DeleteSet:
		if used(s, "@"+step.Set) {
			return fmt.Errorf("set %s is in use", step.Set)
		}
		delete(s.Sets, step.Set)
		return nil
	case plan.FlushSet:
		set.Elements = nil
	case plan.DeleteElements:
		for _, e := range step.Elements {
			i := slices.Index(set.Elements, e)
			if i < 0 {
				return fmt.Errorf("no such element %s", e)
			}
			set.Elements = slices.Delete(set.Elements, i, i+1)
		}
	case plan.AddElements:
		for _, e := range step.Elements {
			if slices.ContainsFunc(set.Elements, func(o ruleset.Element) bool { return overlap(e, o) }) {
				return fmt.Errorf("element %s overlaps another", e)
			}
			set.Elements = append(set.Elements, e)
		}
		slices.SortFunc(set.Elements, ruleset.Element.Compare)
	}
	s.Sets[name] = set
	return nil
}

func overlap(a, b ruleset.Element) bool {
	if !a.From.IsValid() || !b.From.IsValid() {
		return a.Port == b.Port && a.From == b.From
	}
	return a.From.Compare(b.To) <= 0 && b.From.Compare(a.To) <= 0
}
