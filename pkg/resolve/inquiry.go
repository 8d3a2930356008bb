package resolve

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// Inquiry is a list of names to ask for, with what decides whether to ask twice.
type Inquiry struct {
	Targets  []Target
	Memory   Memory
	Settings Settings
	// Large are the names whose answers may have any number of records.
	Large []string
	// Hosts are names that the host itself knows.
	Hosts Hosts
	// Unhurried says that nobody waits for the results.
	Unhurried bool
}

// Asker asks name servers: first in the usual way, again in another one.
type Asker func(servers []netip.AddrPort) (first, again Lookup)

// Ask asks for all names, first in the usual way, and at once again in another way
// for those of which nearly nothing is as it was. It returns a result for each
// target, in their order, and then those of the second time, for which a part of the
// time is kept.
func (i Inquiry) Ask(ctx context.Context, ask Asker) []Result {
	first, again := i.lookups(ask)
	limit := i.Memory.Limit(i.Large)
	asking, cancel := firstPart(ctx)
	defer cancel()
	results := i.resolve(asking, Resolver{Of: first, Limit: limit, Hosts: i.Hosts, Unhurried: i.Unhurried}, i.Targets)
	if twice := i.Memory.Suspicious(results, i.Settings); len(twice) > 0 {
		results = append(results, i.resolve(ctx, Resolver{Of: again, Limit: limit, Hosts: i.Hosts, Unhurried: i.Unhurried}, twice)...)
	}
	return results
}

// firstPart leaves a part of the time to second questions.
func firstPart(ctx context.Context) (context.Context, context.CancelFunc) {
	if end, ok := ctx.Deadline(); ok {
		return context.WithDeadline(ctx, end.Add(-time.Until(end)*3/10))
	}
	return context.WithCancel(ctx)
}

// resolve resolves with the targets first that have not failed lately, so that those
// that fail again and again take no time from the others; among equals, chance decides
// who is first. The results are in the targets' order.
func (i Inquiry) resolve(ctx context.Context, r Resolver, targets []Target) []Result {
	known := i.Memory.index()
	failures := func(t Target) int {
		if k := known[t]; k != nil {
			return k.Failures + len(k.Cut.limits())
		}
		return 0
	}
	order := make([]int, len(targets))
	for n := range order {
		order[n] = n
	}
	rand.Shuffle(len(order), func(a, b int) { order[a], order[b] = order[b], order[a] })
	slices.SortStableFunc(order, func(a, b int) int { return failures(targets[a]) - failures(targets[b]) })
	sorted := make([]Target, len(targets))
	for n, place := range order {
		sorted[n] = targets[place]
	}
	results := make([]Result, len(targets))
	for n, result := range r.Resolve(ctx, sorted) {
		results[order[n]] = result
	}
	return results
}

// lookups are what each target's questions are put to: one for all names that are
// asked at the same servers.
func (i Inquiry) lookups(ask Asker) (first, again func(Target) (Lookup, string)) {
	type pair struct{ first, again Lookup }
	pairs := map[string]pair{}
	servers := map[Target]string{}
	for _, n := range i.Settings.Names {
		text := ""
		if len(n.Servers) > 0 {
			text = fmt.Sprint(n.Servers)
		}
		servers[n.Target] = text
		if _, ok := pairs[text]; !ok {
			var p pair
			p.first, p.again = ask(n.Servers)
			pairs[text] = p
		}
	}
	if _, ok := pairs[""]; !ok {
		var p pair
		p.first, p.again = ask(nil)
		pairs[""] = p
	}
	first = func(t Target) (Lookup, string) { return pairs[servers[t]].first, servers[t] }
	again = func(t Target) (Lookup, string) { return pairs[servers[t]].again, servers[t] }
	return first, again
}
