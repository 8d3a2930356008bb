package iptables

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// errBuiltOtherwise is that a program has ended well and the rules are not those that it was
// given.
var errBuiltOtherwise = errors.New("the rules are not as they were written")

// listed reads a table that a change has built. A program that was refused a part of the list
// may end as if there were no more, so all that was there before, and all that was built, has
// to be there. And it may have written rules in another form than others read them in: iptables
// does so if the kernel does not answer which revisions of a match it has.
func (c *change) listed(ctx context.Context, w where) (savedTable, error) {
	now, err := c.tool.save(ctx, w)
	if err != nil {
		return nil, err
	}
	for name := range c.have.tables[w] {
		if strings.HasPrefix(name, chainPrefix) && now[name] == nil {
			return nil, fmt.Errorf("read table %s: chain %s is not listed", w, name)
		}
	}
	letter, built := c.next[w]
	if !built {
		return now, nil
	}
	for name := range c.layout[w] {
		if name = chainPrefix + string(letter) + "-" + name; now[name] == nil {
			return nil, fmt.Errorf("read table %s: chain %s is not listed", w, name)
		}
	}
	// An interrupted change may have left more of that letter.
	wanted := maps.Clone(now)
	maps.DeleteFunc(wanted, func(name string, _ *savedChain) bool {
		l, chain, isFence := letterOf(name)
		_, ok := c.layout[w][chain]
		return isFence && l == letter && !ok
	})
	if !c.again && (!c.holds(w, wanted, letter) || leadsElsewhere(now, letter)) {
		return nil, fmt.Errorf("read table %s: %w", w, errBuiltOtherwise)
	}
	return now, nil
}

// leadsElsewhere reports whether packets are led to chains that are not of a letter: a program
// has ended well that was to delete that jump.
func leadsElsewhere(table savedTable, letter byte) bool {
	for name, chain := range table {
		if strings.HasPrefix(name, chainPrefix) {
			continue
		}
		for _, line := range chain.lines {
			to, ours := jumpTarget(line)
			if l, _, isFence := letterOf(to); ours && isFence && l != letter {
				return true
			}
		}
	}
	return false
}

// holds reports whether a table has the chains of a letter as they are wanted, no others of
// it, and what counts for them.
func (c *change) holds(w where, table savedTable, letter byte) bool {
	chains := map[string][]string{}
	for name, chain := range table {
		l, name, isFence := letterOf(name)
		if !isFence || l != letter {
			continue
		}
		lines := slices.Clone(chain.lines)
		for i, line := range lines {
			lines[i] = unlettered(line, letter)
		}
		chains[name] = lines
	}
	if !maps.EqualFunc(chains, c.layout[w], slices.Equal) {
		return false
	}
	for name, rule := range c.counterChains(w) {
		if chain := table[name]; chain == nil || !slices.Equal(chain.lines, []string{rule}) {
			return false
		}
	}
	return true
}
