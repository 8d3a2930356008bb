package iptables

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// mend goes on from what a failed change has left. One refused or lost message is no
// reason to go back. If it fails again, what was there before is put back.
func (c *change) mend(ctx context.Context, before *ruleset.State, failure error) error {
	now, err := c.kernel.look(ctx)
	if err != nil {
		return failure
	}
	again := c.from(now, c.want)
	explained := func(ctx context.Context) error { return again.explain(ctx, failure) }
	if now.stamp() == before.GenID {
		return again.inOwnConnection(ctx, explained)
	}
	if again.inOwnConnection(ctx, again.commit) == nil {
		return nil
	}
	failure = again.inOwnConnection(ctx, explained)
	if now, err = c.kernel.look(ctx); err != nil {
		return failure
	}
	if before, err = withoutRemains(before); err != nil {
		return fmt.Errorf("%w; %w", failure, err)
	}
	back := c.from(now, before)
	if err := back.inOwnConnection(ctx, back.commit); err != nil {
		return fmt.Errorf("%w; go back to what was there before: %w", failure, err)
	}
	return failure
}

// errNotWhole says why there is no way back. A fence stands all the same: each call of a
// change leaves one.
var errNotWhole = errors.New("what was there before is not put back, because it was a change that had not ended, or another program had changed it")

// withoutRemains is what to go back to: what was there before, but for what a change that
// was killed, or failed, had left. Such are sets that no rule names: those that were to be
// swapped in, and those that only their rules would say the use of. A set that rules name is
// made as ringfence makes it.
func withoutRemains(before *ruleset.State) (*ruleset.State, error) {
	rest := *before
	rest.Sets = maps.Clone(before.Sets)
	named := map[string]bool{}
	for _, c := range before.Chains {
		for _, r := range c.Rules {
			if r.Statements() == nil {
				return nil, errNotWhole
			}
			for name := range before.Sets {
				named[name] = named[name] || asksFor(r, name)
			}
		}
	}
	for name, set := range before.Sets {
		if strings.HasSuffix(name, freshSuffix) || set.Foreign != "" && !named[name] {
			delete(rest.Sets, name)
			continue
		}
		set.Foreign = ""
		rest.Sets[name] = set
	}
	return &rest, nil
}

// from is another change, from what is there now.
func (c *change) from(now *view, want *ruleset.State) *change {
	return &change{kernel: c.kernel, tool: c.tool, have: now, want: want, again: true}
}

// inOwnConnection does something with a connection to ipset of its own: on one that has
// lost an answer, the next question gets a late one.
func (c *change) inOwnConnection(ctx context.Context, do func(context.Context) error) error {
	conn, err := openSets()
	if err != nil {
		return err
	}
	defer conn.close()
	c.sets = conn
	return do(ctx)
}

// cleanAgain tries once more to delete what is no longer used.
func (c *change) cleanAgain(ctx context.Context, first error) {
	now, err := c.kernel.look(ctx)
	if err == nil {
		rest := c.from(now, c.want)
		rest.next, rest.layout = map[where]byte{}, c.layout
		err = rest.inOwnConnection(ctx, rest.clean)
	}
	if err != nil && c.kernel.Log != nil {
		c.kernel.Log.Warn("delete what is no longer used; the next refresh tries again", "error", errors.Join(first, err))
	}
}
