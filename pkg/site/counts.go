package site

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/notice"
)

// Count is what a counter held when it was looked at.
type Count struct {
	Packets uint64    `json:"packets"` // since the table was made
	Grew    time.Time `json:"grew"`    // when it was first seen to hold so many
}

// Counts are the counters that must not grow, by name, as an earlier look found them. It
// is pure; nil is none.
type Counts map[string]Count

// alarming are the counters that must not grow.
var alarming = []string{"unseen", "allowed_scanner"}

// Next are the counts after a look that has found these counters. A counter that holds
// less is one of a new table.
func (c Counts) Next(counters map[string]uint64, now time.Time) Counts {
	next := Counts{}
	for _, name := range alarming {
		packets, old := counters[name], c[name]
		if packets > 0 && packets != old.Packets {
			old.Grew = now
		}
		if old.Packets = packets; packets > 0 {
			next[name] = old
		}
	}
	return next
}

// Raise reports whether counters raise an alarm that these counts do not raise yet.
func (c Counts) Raise(counters map[string]uint64, now time.Time) bool {
	next := c.Next(counters, now)
	return slices.ContainsFunc(alarming, func(name string) bool { return next[name].raises(now) && !c[name].raises(now) })
}

// raises reports whether the count is an alarm.
func (c Count) raises(now time.Time) bool { return c.Packets > 0 && now.Sub(c.Grew) < countedFor }

// countedFor is how long an alarm stands after a counter has grown for the last time.
const countedFor = time.Hour

// countAlarms are about packets that the table has counted and that should not be.
func countAlarms(s *Site, l Look) []Alarm {
	var alarms []Alarm
	counts := l.Counts.Next(l.Counters, l.Now.Time)
	grown := func(counter string) (string, bool) {
		c := counts[counter]
		return notice.Count(int(min(c.Packets, 1<<53)), "packet"), c.raises(l.Now.Time)
	}
	if packets, ok := grown("unseen"); ok {
		about, why := strings.Join(s.Classifier.Desired.Interfaces(), ", "), "another program takes them first, or they came while it was being attached again"
		if names := slices.Sorted(maps.Keys(l.Before)); len(names) > 0 {
			about = strings.Join(names, ", ")
			var programs []string
			for _, name := range names {
				programs = append(programs, strings.Join(l.Before[name], ", ")+" on "+name)
			}
			why = strings.Join(programs, "; ") + " sees packets first"
		}
		alarms = append(alarms, Alarm{
			Kind: AlarmUnseen, Name: about,
			Text: fmt.Sprintf("%s to a fenced port were not seen by the classifier, so scanners are not recognised: %s", packets, why),
			WayOut: "tc filter show dev INTERFACE ingress and bpftool net show what is there: give it a preference above 6, or remove it; " +
				"chains before priority -310 must leave the mark alone (nft list ruleset)",
		})
	}
	if packets, ok := grown("allowed_scanner"); ok {
		alarms = append(alarms, Alarm{
			Kind: AlarmAllowedScanner, Name: "allowed addresses",
			Text: packets + " from allowed addresses were sent by scanners, and passed: " +
				"a router there hides scanners behind its own address, or a phone is in other hands",
			WayOut: "tcpdump shows from where; let that router keep the sources' addresses (no masquerading of what comes in), or allow less",
		})
	}
	return alarms
}
