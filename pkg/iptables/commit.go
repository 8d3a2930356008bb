package iptables

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/conntrack"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Commit brings the fence to what the plan wants. It returns plan.ErrStale, and changes
// nothing, if the fence is no longer as the plan has it. It goes in three phases:
//
//	prepare  makes sets and chains that no packet comes to yet
//	flip     adds elements, leads packets to the new chains, deletes elements
//	clean    deletes what is no longer used
//
// If one of the first two fails, the rest is done from what is there, and if that fails
// too, what was there before is put back. What the third leaves is seen by the next
// observation.
func (k *Kernel) Commit(ctx context.Context, p *plan.Plan) error {
	t, err := k.tool()
	if err != nil {
		return err
	}
	have, err := k.look(ctx)
	if err != nil {
		return err
	}
	if have.stamp() != p.GenID {
		return plan.ErrStale
	}
	conn, err := openSets()
	if err != nil {
		return err
	}
	defer conn.close()
	c := change{kernel: k, tool: t, sets: conn, have: have, want: p.Want}
	if err := ctx.Err(); err != nil {
		return err
	}
	changing(k)
	// What has been begun is not cancelled.
	if err := c.commit(context.WithoutCancel(ctx)); err != nil {
		if errors.Is(err, errInterrupted) {
			return err
		}
		if err := c.mend(context.WithoutCancel(ctx), p.Have, err); err != nil {
			return err
		}
	}
	if err := conntrack.Forget(p); err != nil && k.Log != nil {
		k.Log.Warn("forget removed addresses", "error", err)
	}
	return nil
}

// Tidy removes what an interrupted change has left that judges no packet.
func (k *Kernel) Tidy(ctx context.Context) error {
	t, err := k.tool()
	if err != nil {
		return err
	}
	have, err := k.look(ctx)
	if err != nil || have.exists() || have.isEmpty() {
		return err
	}
	conn, err := openSets()
	if err != nil {
		return err
	}
	defer conn.close()
	c := change{kernel: k, tool: t, sets: conn, have: have, want: &ruleset.State{}}
	return c.commit(context.WithoutCancel(ctx))
}

// change is one way from what is to what should be.
type change struct {
	kernel *Kernel
	tool   *tool
	sets   setConn
	have   *view
	want   *ruleset.State

	layout layout
	// next has the letters of the chains that are to be in force, where these change.
	next map[where]byte
	made []string // sets that were not there before
	// again is a change that goes on from what another has left: of that which it lists
	// otherwise than it was written, it takes the program's word.
	again bool
}

// step runs one call that changes something.
func (c *change) step(name string, call func() error) error {
	if c.kernel.around != nil {
		return c.kernel.around(name, call)
	}
	return call()
}

func (c *change) commit(ctx context.Context) error {
	if err := c.retype(ctx); err != nil {
		return err
	}
	c.next, c.layout, c.want = map[where]byte{}, layout{}, withLatest(c.want)
	if c.want.Exists {
		var err error
		if c.layout, err = layoutOf(c.want); err != nil {
			return err
		}
	}
	if err := c.prepare(ctx); err != nil {
		return err
	}
	if err := c.flip(ctx); err != nil {
		return err
	}
	err := c.clean(ctx)
	switch {
	case errors.Is(err, errBuiltOtherwise):
		return err
	case err != nil && !errors.Is(err, errInterrupted):
		c.cleanAgain(ctx, err)
	}
	return nil
}

// errInterrupted is what a test interrupts a change with: nothing is mended then, as if
// the process had been killed.
var errInterrupted = errors.New("interrupted")

// prepare makes sets with all that they will hold, those to be swapped in too, and the
// chains of the other letter.
func (c *change) prepare(ctx context.Context) error {
	for _, name := range addressSets(c) {
		set := c.want.Sets[name]
		header, err := headerOf(name, set)
		if err != nil {
			return err
		}
		have, ok := c.have.headers[header.name]
		if ok && sameHeader(have, header) {
			continue
		}
		if ok {
			header.name += freshSuffix
			if err := c.step("destroy", func() error { return c.sets.destroy(ctx, header.name) }); err != nil {
				return err
			}
		}
		c.made = append(c.made, header.name)
		if err := c.step("create", func() error { return c.sets.create(ctx, header) }); err != nil {
			return err
		}
		entries, err := c.filling(ctx, name, set, header)
		if err != nil {
			return err
		}
		if err := c.step("fill", func() error { return c.sets.add(ctx, header.name, entries) }); err != nil {
			return err
		}
	}
	if err := c.arm(ctx); err != nil {
		return err
	}
	for _, w := range allPlaces() {
		if _, wanted := c.layout[w]; !wanted || c.isInForce(w) {
			continue
		}
		c.next[w] = letters[0]
		if c.have.letter(w) == letters[0] {
			c.next[w] = letters[1]
		}
		commands := c.build(w)
		if err := c.step("build", func() error { return c.tool.restore(ctx, w, commands) }); err != nil {
			return err
		}
	}
	return nil
}

// addressSets are the sets that are wanted, in order of precedence: what lets in before
// what keeps out. Ports are in rules.
func addressSets(c *change) []string {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(c.want.Sets)), func(name string) bool {
		return c.want.Sets[name].Key == ruleset.Service
	})
	rank := func(name string) int {
		for i, prefix := range []string{"providers", "trusted", "asymmetric", "protected", "allowed", "blocked", "banned"} {
			if strings.HasPrefix(name, prefix) {
				return i
			}
		}
		return len(names)
	}
	slices.SortStableFunc(names, func(a, b string) int { return rank(a) - rank(b) })
	return names
}

// filling is what a new set holds at first: what is wanted, and of one that is replaced
// also what it holds now, for as long as the old rules stand.
func (c *change) filling(ctx context.Context, name string, set ruleset.Set, fresh setHeader) ([]entry, error) {
	old, ok := c.have.headers[setName(name)]
	if !set.Dynamic {
		return plain(union(prefixesOf(set.Elements), entryPrefixes(c.have.elements[setName(name)], set.Key == ruleset.IPv6))), nil
	}
	if !ok || !old.timeout || old.family != fresh.family || old.typeName != fresh.typeName {
		return nil, nil
	}
	bans, err := c.sets.elements(ctx, setName(name))
	if err != nil {
		return nil, err
	}
	bans = slices.DeleteFunc(bans, func(x entry) bool { return x.foreign != "" || !x.prefix.IsSingleIP() })
	return bans[:min(len(bans), int(fresh.maxElem))], nil
}

// entryPrefixes are the entries of a family that are nothing but prefixes.
func entryPrefixes(entries []entry, v6 bool) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, x := range entries {
		if x.foreign == "" && isFamily(x.prefix, v6) {
			prefixes = append(prefixes, x.prefix)
		}
	}
	return prefixes
}

func union(a, b []netip.Prefix) []netip.Prefix {
	all := slices.SortedFunc(slices.Values(slices.Concat(a, b)), netip.Prefix.Compare)
	return slices.Compact(all)
}

// isInForce reports whether a table's chains are as they are wanted, and packets are led
// to them.
func (c *change) isInForce(w where) bool {
	letter := c.have.letter(w)
	if letter == 0 {
		return false
	}
	for _, h := range c.have.hooks(w) {
		wanted := ""
		if stage, ok := stageChain(c.want, w.table, h.name); ok {
			wanted = chainPrefix + string(letter) + "-" + stage
		}
		if h.chain != wanted || wanted != "" && h.behind != "" || len(h.others) > 0 {
			return false
		}
	}
	return c.holds(w, c.have.tables[w], letter)
}

// counterChains are the chains that count in a table, with their rules.
func (c *change) counterChains(w where) map[string]string {
	chains := map[string]string{}
	for _, name := range c.want.Counters {
		chains[chainPrefix+name] = counterRule(name)
	}
	for _, lines := range c.layout[w] {
		for _, line := range lines {
			target, ok := jumpTarget(line)
			if ok && strings.HasPrefix(target, chainPrefix+counted) {
				chains[target] = ruleOfChain(target)
			}
		}
	}
	return chains
}

// build writes the commands that make the chains of the next letter. A chain that is
// there already is emptied first; those that count keep their counts.
func (c *change) build(w where) []string {
	letter := c.next[w]
	var declare, fill []string
	for _, name := range slices.Sorted(maps.Keys(c.counterChains(w))) {
		rule := c.counterChains(w)[name]
		if chain := c.have.tables[w][name]; chain != nil && slices.Equal(chain.lines, []string{rule}) {
			continue
		}
		packets, bytes := countsBefore(c, w, name)
		declare = append(declare, ":"+name+" - [0:0]")
		fill = append(fill, fmt.Sprintf("[%d:%d] -A %s %s", packets, bytes, name, rule))
	}
	for _, name := range slices.Sorted(maps.Keys(c.layout[w])) {
		chain := chainPrefix + string(letter) + "-" + name
		declare = append(declare, ":"+chain+" - [0:0]")
		for _, line := range c.layout[w][name] {
			fill = append(fill, "[0:0] -A "+chain+" "+numbered(lettered(line, letter)))
		}
	}
	return append(declare, fill...)
}

// countsBefore is what a counter has counted for the family so far in chains that go
// with this change.
func countsBefore(c *change, w where, chain string) (packets, bytes uint64) {
	counter, _ := counterOf(chain)
	for _, other := range allPlaces() {
		if other.v6 != w.v6 {
			continue
		}
		_, stays := c.layout[other]
		for name, saved := range c.have.tables[other] {
			of, ok := counterOf(name)
			if !ok || of != counter || len(saved.lines) != 1 {
				continue
			}
			if _, kept := c.counterChains(other)[name]; stays && kept && name != chain {
				continue
			}
			if other != w && stays {
				continue
			}
			packets, bytes = packets+saved.packets[0], bytes+saved.bytes[0]
		}
	}
	return packets, bytes
}
