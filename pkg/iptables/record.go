package iptables

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// A set of ipset that counts packets forgets the count of a source whose time starts
// again. So what keeps a source there has two sets: one counts, and keeps the time of
// its first packet, and one keeps the time of its last packet.
const (
	droppedSet = "dropped"
	latestSet  = "latest"
)

// latestName is the name of the set that keeps the times of the last packets for another
// one.
func latestName(set string) string { return latestSet + strings.TrimPrefix(set, droppedSet) }

// logTarget reports a packet with a word.
const logTarget = "-j NFLOG --nflog-prefix "

var logHow = fmt.Sprintf(" --nflog-group %d --nflog-size %d", ruleset.LogGroup, ruleset.LogBytes)

// record writes what keeps a source. A packet of a source that is there is counted by the
// first line, which has no target; the second one counts the first packet.
func record(s ruleset.Record) ([]string, error) {
	if !strings.HasPrefix(s.Set, droppedSet) {
		return nil, fmt.Errorf("set %s does not count", s.Set)
	}
	seconds, err := seconds(s.For)
	if err != nil {
		return nil, err
	}
	return []string{
		fmt.Sprintf("-m set --match-set %s src", setName(s.Set)),
		fmt.Sprintf(addTarget+"%s src --timeout %d", setName(s.Set), seconds),
		fmt.Sprintf(addTarget+"%s src --exist --timeout %d", setName(latestName(s.Set)), seconds),
	}, nil
}

// seconds writes how long a set keeps a source.
func seconds(d time.Duration) (int64, error) {
	n := int64(d / time.Second)
	if time.Duration(n)*time.Second != d || n > longestBan {
		return 0, fmt.Errorf("ipset bans for whole seconds, at most %d", longestBan)
	}
	return n, nil
}

// record reads the lines that record writes, if they come first.
func (d decoder) record(lines []string) (ruleset.Rule, bool) {
	const length = 3
	if len(lines) < length {
		return ruleset.Rule{}, false
	}
	w, time := words(strings.Fields(lines[0])), words(strings.Fields(lines[1]))
	w.take("-m set --match-set")
	set := strings.TrimPrefix(w.next(), setPrefix)
	for len(time) > 1 {
		time.next()
	}
	lifetime, err := lifetimeIn(&time)
	if err != nil {
		return ruleset.Rule{}, false
	}
	s := ruleset.Record{V6: d.v6, Set: set, For: lifetime}
	written, err := record(s)
	return ruleset.NewRule(s), err == nil && slices.Equal(written, lines[:length])
}

func lifetimeIn(w *words) (time.Duration, error) {
	n, err := strconv.ParseUint(w.next(), 10, 32)
	return time.Duration(n) * time.Second, err
}

// withLatest is a state with the sets that only ipset needs.
func withLatest(s *ruleset.State) *ruleset.State {
	more := *s
	more.Sets = maps.Clone(s.Sets)
	for _, suffix := range []string{"4", "6"} {
		if set, ok := s.Sets[droppedSet+suffix]; ok {
			more.Sets[latestSet+suffix] = set
		}
	}
	return &more
}

// withoutLatest takes these sets out again, where they are as they should be.
func withoutLatest(sets map[string]ruleset.Set) {
	for _, suffix := range []string{"4", "6"} {
		kept, ok := sets[droppedSet+suffix]
		latest := sets[latestSet+suffix]
		switch {
		case !ok:
		case latest.SameFrame(kept):
			delete(sets, latestSet+suffix)
		case kept.Foreign == "":
			kept.Foreign = "another set " + setName(latestSet+suffix)
			sets[droppedSet+suffix] = kept
		}
	}
}

// Dropped returns the sources whose packets were dropped, or would be in monitor mode;
// or only that of an address; none without a fence. The zero address stands for all. A
// source is kept for a day from its first packet.
func (k *Kernel) Dropped(ctx context.Context, of netip.Addr) ([]backend.Dropped, error) {
	now := time.Now()
	counted, err := timed(ctx, droppedSet)
	if err != nil {
		return nil, err
	}
	latest, err := timed(ctx, latestSet)
	if err != nil {
		return nil, err
	}
	scanners, err := timed(ctx, ruleset.Scanners)
	if err != nil {
		return nil, err
	}
	known := map[netip.Addr]bool{}
	for _, x := range scanners {
		known[x.prefix.Addr()] = true
	}
	age := func(x entry) time.Duration { return ruleset.KeptFor - left(x) }
	last := map[netip.Addr]time.Time{}
	for _, x := range latest {
		if of.IsValid() && x.prefix.Addr() != of {
			continue
		}
		last[x.prefix.Addr()] = now.Add(-age(x))
	}
	var list []backend.Dropped
	for _, x := range counted {
		if of.IsValid() && x.prefix.Addr() != of {
			continue
		}
		d := backend.Dropped{Address: x.prefix.Addr(), Packets: x.packets, First: now.Add(-age(x)), Scanner: known[x.prefix.Addr()]}
		if d.Last = last[d.Address]; d.Last.Before(d.First) {
			d.Last = d.First // times are whole seconds
		}
		list = append(list, d)
	}
	return list, nil
}
