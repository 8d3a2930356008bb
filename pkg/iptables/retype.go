package iptables

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// retyped are the sets that are wanted with another type than they have, as when phones
// are told apart by their addresses alone from now on. The kernel swaps only sets of one
// type, and what such a set holds is of no use in the other one.
func (c *change) retyped() []string {
	var names []string
	for _, name := range addressSets(c) {
		h, err := headerOf(name, c.want.Sets[name])
		have, there := c.have.headers[setName(name)]
		if err == nil && there && (have.typeName != h.typeName || have.family != h.family) {
			names = append(names, name)
		}
	}
	return names
}

// retype makes room for sets of another type: first come the rules that are wanted but for
// those that name such a set, then the set goes, and the rest of the change makes it again.
func (c *change) retype(ctx context.Context) error {
	names := c.retyped()
	if len(names) == 0 {
		return nil
	}
	first := c.from(c.have, without(c.want, names))
	if err := first.inOwnConnection(ctx, first.commit); err != nil {
		return err
	}
	now, err := c.kernel.look(ctx)
	if err != nil {
		return err
	}
	c.have = now
	return nil
}

// without is a state without sets and the rules that name them.
func without(s *ruleset.State, sets []string) *ruleset.State {
	rest := *s
	rest.Sets, rest.Chains = maps.Clone(s.Sets), map[string]ruleset.Chain{}
	for _, name := range sets {
		delete(rest.Sets, name)
	}
	for name, c := range s.Chains {
		c.Rules = slices.DeleteFunc(slices.Clone(c.Rules), func(r ruleset.Rule) bool {
			return slices.ContainsFunc(sets, func(set string) bool { return asksFor(r, set) })
		})
		rest.Chains[name] = c
	}
	return &rest
}

// asksFor reports whether a rule names a set.
func asksFor(r ruleset.Rule, set string) bool { return strings.Contains(r.String()+" ", "@"+set+" ") }
