package iptables

import (
	"context"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// The ports of iptables are written into its rules, where they cannot run out. If they
// have a lifetime, the rules that look at them also ask for a set that holds every source
// for that time: after it they match no packet, and the fence is open.

// armedName is the set of a family that holds every source while rules judge packets.
func armedName(v6 bool) string {
	if v6 {
		return setName("armed6")
	}
	return setName("armed4")
}

// isArmedSet reports whether a set is one of those.
func isArmedSet(name string) bool { return name == armedName(false) || name == armedName(true) }

// armedMatch matches while the set holds every source.
func armedMatch(v6 bool) string { return "-m set --match-set " + armedName(v6) + " src" }

func armedHeader(v6 bool) setHeader {
	h := setHeader{name: armedName(v6), typeName: netType, revision: netRevision, family: unix.AF_INET, maxElem: maxElements, timeout: true}
	if v6 {
		h.family = unix.AF_INET6
	}
	return h
}

// lifetimeOf is that of the ports of a state, 0 if they have none.
func lifetimeOf(s *ruleset.State) time.Duration {
	for _, e := range s.Sets[portSet].Elements {
		return e.Timeout
	}
	return 0
}

// armed are the entries that hold every source for a time. ipset counts whole seconds:
// the fence opens a little earlier, but not at once, and 0 would be for ever.
func armed(v6 bool, lifetime time.Duration) []entry {
	h := halves(v6)
	entries := plain(h[:])
	for i := range entries {
		entries[i].timeout, entries[i].hasTimeout = max(uint32(lifetime/time.Second), 1), true
	}
	return entries
}

// armedLeft is how long the fence still judges packets of a family, 0 if its set does not
// hold every source, or for ever.
func (v *view) armedLeft(v6 bool) time.Duration {
	name, h := armedName(v6), halves(v6)
	header, ok := v.headers[name]
	if !ok || !sameHeader(header, armedHeader(v6)) || len(v.elements[name]) != len(h) {
		return 0
	}
	left := time.Duration(longestBan) * time.Second
	for _, x := range v.elements[name] {
		if x.foreign != "" || !slices.Contains(h[:], x.prefix) {
			return 0
		}
		left = min(left, time.Duration(x.timeout)*time.Second)
	}
	return left
}

// isArmed reports whether rules ask for a set that runs out.
func (v *view) isArmed() bool {
	for _, w := range allPlaces() {
		letter := v.letter(w)
		for name, chain := range v.tables[w] {
			l, _, isFence := letterOf(name)
			if isFence && l == letter && slices.ContainsFunc(chain.lines, func(line string) bool { return strings.Contains(line, " "+armedMatch(w.v6)+" ") }) {
				return true
			}
		}
	}
	return false
}

// arm makes the sets that the rules of a state with a lifetime ask for. The time of a
// fence that is in force is never made longer.
func (c *change) arm(ctx context.Context) error {
	lifetime := lifetimeOf(c.want)
	if lifetime == 0 {
		return nil
	}
	inForce := c.have.isArmed()
	for _, v6 := range []bool{false, true} {
		if left := c.have.armedLeft(v6); inForce && left > 0 && left <= lifetime {
			continue
		}
		if err := c.armFamily(ctx, v6, lifetime); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) armFamily(ctx context.Context, v6 bool, lifetime time.Duration) error {
	h, entries := armedHeader(v6), armed(v6, lifetime)
	have, ok := c.have.headers[h.name]
	if ok && sameHeader(have, h) {
		others := slices.DeleteFunc(slices.Clone(c.have.elements[h.name]), func(x entry) bool {
			return x.foreign == "" && slices.ContainsFunc(entries, func(e entry) bool { return e.prefix == x.prefix })
		})
		if err := c.step("delete", func() error { return c.sets.remove(ctx, h.name, others) }); err != nil {
			return err
		}
		return c.step("arm", func() error { return c.sets.add(ctx, h.name, entries) })
	}
	full := h.name
	if ok {
		h.name += freshSuffix
		if err := c.destroySet(ctx, h.name); err != nil {
			return err
		}
	}
	c.made = append(c.made, h.name)
	if err := c.step("create", func() error { return c.sets.create(ctx, h) }); err != nil {
		return err
	}
	if err := c.step("arm", func() error { return c.sets.add(ctx, h.name, entries) }); err != nil || !ok {
		return err
	}
	return c.step("swap", func() error { return c.sets.swap(ctx, full, h.name) })
}
