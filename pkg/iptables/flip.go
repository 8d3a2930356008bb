package iptables

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// flip puts in force what is wanted. Elements come before the rules change, and go after
// it: while both lists hold what both want, a packet meets its old verdict or its new
// one, whichever rules judge it. In the order of precedence, what lets in comes first
// and goes last.
func (c *change) flip(ctx context.Context) error {
	names := addressSets(c)
	for _, name := range names {
		if err := c.addElements(ctx, name); err != nil {
			return err
		}
	}
	if err := c.flipRules(); err != nil {
		return err
	}
	for _, name := range slices.Backward(names) {
		if err := c.deleteElements(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// addElements adds what a set lacks, or swaps in the one that has taken its place.
func (c *change) addElements(ctx context.Context, name string) error {
	full := setName(name)
	if slices.Contains(c.made, full+freshSuffix) {
		if err := c.step("swap", func() error { return c.sets.swap(ctx, full, full+freshSuffix) }); err != nil {
			return err
		}
		return nil
	}
	set := c.want.Sets[name]
	if set.Dynamic || slices.Contains(c.made, full) {
		return nil
	}
	come := minus(prefixesOf(set.Elements), entryPrefixes(c.have.elements[full], set.Key == ruleset.IPv6))
	if len(come) == 0 {
		return nil
	}
	return c.step("add", func() error { return c.sets.add(ctx, full, plain(come)) })
}

// deleteElements deletes what a set should not hold.
func (c *change) deleteElements(ctx context.Context, name string) error {
	set := c.want.Sets[name]
	if set.Dynamic {
		return nil
	}
	var there []netip.Prefix
	for _, x := range c.have.elements[setName(name)] {
		if isFamily(x.prefix, set.Key == ruleset.IPv6) {
			there = append(there, x.prefix)
		}
	}
	stay := prefixesOf(set.Elements)
	gone := minus(there, stay)
	if len(gone) == 0 {
		return nil
	}
	if losesLookups(gone, stay) {
		return c.replace(ctx, name, stay)
	}
	return c.step("delete", func() error { return c.sets.remove(ctx, setName(name), plain(gone)) })
}

// losesLookups reports whether deleting prefixes would hide others for a moment. A set
// looks for an address once for each prefix length that it holds, longest first. When the
// last prefix of a length is deleted, the kernel moves the shorter lengths up in its list
// (mtype_del_cidr), and who is looking just then misses one of them.
func losesLookups(gone, stay []netip.Prefix) bool {
	var stays [129]bool
	shortest := len(stays)
	for _, p := range stay {
		stays[p.Bits()] = true
		shortest = min(shortest, p.Bits())
	}
	return slices.ContainsFunc(gone, func(p netip.Prefix) bool { return !stays[p.Bits()] && shortest < p.Bits() })
}

// replace makes a set anew with what it should hold, and swaps it in.
func (c *change) replace(ctx context.Context, name string, stay []netip.Prefix) error {
	header, err := headerOf(name, c.want.Sets[name])
	if err != nil {
		return err
	}
	full := header.name
	header.name += freshSuffix
	if err := c.destroySet(ctx, header.name); err != nil {
		return err
	}
	if err := c.step("create", func() error { return c.sets.create(ctx, header) }); err != nil {
		return err
	}
	err = c.step("fill", func() error { return c.sets.add(ctx, header.name, plain(stay)) })
	if err == nil {
		err = c.step("swap", func() error { return c.sets.swap(ctx, full, header.name) })
	}
	if errors.Is(err, errInterrupted) {
		return err
	}
	return errors.Join(err, c.destroySet(ctx, header.name))
}

// minus returns the prefixes of a that b lacks.
func minus(a, b []netip.Prefix) []netip.Prefix {
	lacks := map[netip.Prefix]bool{}
	for _, p := range b {
		lacks[p] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(p netip.Prefix) bool { return lacks[p] })
}

// flipRules leads packets to the chains that are wanted, in each table where they
// change, and away from those that are not.
func (c *change) flipRules() error {
	// All that is new is led to before anything old goes: a fence may move from one table
	// to another.
	for _, act := range []func(where) error{c.leadTable, c.unleadTable} {
		for _, w := range allPlaces() {
			_, changes := c.next[w]
			_, wanted := c.layout[w]
			if wanted && !changes {
				continue
			}
			if err := act(w); err != nil {
				return err
			}
		}
	}
	return nil
}

// leadTable inserts the new jumps of a table.
func (c *change) leadTable(w where) error {
	letter, ok := c.next[w]
	if !ok {
		return nil
	}
	for _, h := range c.have.hooks(w) {
		stage, ok := stageChain(c.want, w.table, h.name)
		if !ok {
			continue
		}
		chain := chainPrefix + string(letter) + "-" + stage
		if err := c.step("lead", func() error { return c.tool.lead(w, h.name, chain) }); err != nil {
			return err
		}
	}
	return nil
}

// unleadTable deletes the old jumps of a table.
func (c *change) unleadTable(w where) error {
	for _, h := range c.have.hooks(w) {
		for _, line := range oldLines(h) {
			if err := c.step("unlead", func() error { return c.tool.unlead(w, h.name, line) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// oldLines are the lines of a hook that lead to the fence.
func oldLines(h hook) []string {
	if h.chain == "" {
		return h.others
	}
	return append([]string{"-j " + h.chain}, h.others...)
}

// clean deletes chains and sets that are not wanted, or are not used any more.
func (c *change) clean(ctx context.Context) error {
	var errs []error
	for _, w := range allPlaces() {
		letter := c.have.letter(w)
		if next, ok := c.next[w]; ok {
			letter = next
		}
		if _, wanted := c.layout[w]; !wanted {
			letter = 0
		}
		errs = append(errs, c.step("unbuild", func() error { return c.deleteChains(ctx, w, letter) }))
	}
	for _, name := range unneeded(ctx, c) {
		errs = append(errs, c.destroySet(ctx, name))
	}
	for _, name := range c.made {
		if strings.HasSuffix(name, freshSuffix) {
			errs = append(errs, c.destroySet(ctx, name))
		}
	}
	return errors.Join(errs...)
}

// unneeded are the sets that are not wanted. While the other flavour has a fence too, they
// are that one's.
func unneeded(ctx context.Context, c *change) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(c.have.headers)) {
		set, ok := c.want.Sets[strings.TrimPrefix(name, setPrefix)]
		if ok && set.Key != ruleset.Service || isArmedSet(name) && lifetimeOf(c.want) > 0 {
			continue
		}
		names = append(names, name)
	}
	if len(names) > 0 && otherFlavour(ctx, c.kernel) {
		return nil
	}
	return names
}

func (c *change) destroySet(ctx context.Context, name string) error {
	return c.step("destroy", func() error { return c.sets.destroy(ctx, name) })
}

// deleteChains deletes all chains of ringfence's from a table but those of a letter that
// are wanted, and what counts for them; with letter 0 all. A change that was killed may have
// left more chains of that letter, which name sets that are to go.
func (c *change) deleteChains(ctx context.Context, w where, letter byte) error {
	now, err := c.listed(ctx, w)
	if err != nil {
		return err
	}
	keep := c.counterChains(w)
	var flush, remove []string
	for _, name := range slices.Sorted(maps.Keys(now)) {
		l, chain, isFence := letterOf(name)
		_, kept := keep[name]
		_, wanted := c.layout[w][chain]
		switch {
		case !strings.HasPrefix(name, chainPrefix):
		case letter != 0 && isFence && l == letter && wanted:
		case letter != 0 && kept:
		default:
			flush, remove = append(flush, "-F "+name), append(remove, "-X "+name)
		}
	}
	return c.tool.restore(ctx, w, append(flush, remove...))
}
