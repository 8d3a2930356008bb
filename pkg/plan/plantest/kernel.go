// Package plantest has a back end for tests: a table in memory that takes plans as a
// real one does, each as a whole or not at all.
package plantest

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Kernel is a fake kernel. The zero Kernel has no table and is at generation 1.
type Kernel struct {
	memory
	// Fails makes the next commit fail with Err.
	Fails bool
	Err   error
	// AfterCommit makes the next commit return Err although it has taken effect.
	AfterCommit bool
	// Between runs once, between an observation and the commit that follows it, and
	// stands for another program.
	Between func(s *ruleset.State)
	// Commits counts the commits that took effect.
	Commits int

	mu       sync.Mutex
	state    ruleset.State
	bans     map[netip.Addr]backend.Banned
	allowed  map[netip.Addr]backend.Allowed
	phones   []backend.Phone
	known    []backend.Phone
	dropped  []backend.Dropped
	packets  map[string]uint64 // by counter
	watchers []chan backend.Touched
	noted    uint64
	changed  bool // the snapshot is new to the next run
}

// Observe returns a copy of the table.
func (k *Kernel) Observe(context.Context) (*ruleset.State, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state.GenID = max(k.state.GenID, 1)
	s := Copy(&k.state)
	if between := k.Between; between != nil {
		k.Between = nil
		between(&k.state)
		k.state.GenID++
	}
	return s, nil
}

// Commit puts into force what the plan wants.
func (k *Kernel) Commit(_ context.Context, p *plan.Plan) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case p.GenID != k.state.GenID:
		return plan.ErrStale
	case k.Fails:
		k.Fails = false
		return k.Err
	}
	next := Copy(&k.state)
	if !p.KeepsRules() {
		next = Copy(p.Want)
		next.GenID = k.state.GenID
	}
	next.Classifier = maps.Clone(p.Want.Classifier)
	next.GenID++
	k.state = *next
	if !next.Exists {
		k.bans, k.allowed, k.phones, k.known = nil, nil, nil, nil
	}
	k.Commits++
	report(k, "ringfence")
	if k.AfterCommit {
		k.AfterCommit = false
		return k.Err
	}
	return nil
}

// Change changes the table as another program would.
func (k *Kernel) Change(f func(s *ruleset.State)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(&k.state)
	if !k.state.Exists {
		k.bans, k.allowed, k.phones, k.known = nil, nil, nil, nil
	}
	k.state.GenID = max(k.state.GenID, 1) + 1
	report(k, "another")
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
	c.Counters, c.ForeignObjects = slices.Clone(s.Counters), slices.Clone(s.ForeignObjects)
	return &c
}
