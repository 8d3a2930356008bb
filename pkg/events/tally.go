package events

import (
	"slices"
	"time"

	"github.com/ringfence/ringfence/pkg/sip"
)

// mostTallied is how many records a Tally holds.
const mostTallied = 8192

// Tally counts packets until they are written. The zero Tally is empty.
type Tally struct {
	records map[Record]Record // by kind
	counts  map[Count]uint64  // by hour and name
}

// Add counts a packet.
func (t *Tally) Add(d Drop) { t.add(d.record()) }

func (t *Tally) add(r Record) {
	if known, ok := t.records[r.kind()]; ok {
		r = known.plus(r)
	}
	if t.records == nil {
		t.records = map[Record]Record{}
	}
	t.records[r.kind()] = r
	if len(t.records) <= mostTallied {
		return
	}
	var left []Record
	hours := t.hours()
	for _, records := range hours {
		left = append(left, fold(records, mostTallied/2/len(hours))...)
	}
	t.records = map[Record]Record{}
	for _, r := range left {
		t.records[r.kind()] = r
	}
}

// mostCounts is how many values of counters a Tally holds: those of some days.
const mostCounts = 2048

// Count adds to the value of a counter in the hour of a time.
func (t *Tally) Count(at time.Time, name string, packets uint64) {
	c := Count{Hour: hourOf(at), Name: sip.Clean(name)}
	if packets == 0 || t.counts[c] == 0 && len(t.counts) >= mostCounts {
		return
	}
	if t.counts == nil {
		t.counts = map[Count]uint64{}
	}
	t.counts[c] += packets
}

// onlyCounts reports whether no packet was counted.
func (t *Tally) onlyCounts() bool { return len(t.records) == 0 }

// merge adds what another one has counted.
func (t *Tally) merge(other *Tally) {
	for _, r := range other.records {
		t.add(r)
	}
	for c, packets := range other.counts {
		t.Count(c.Hour, c.Name, packets)
	}
}

// Empty reports whether nothing was counted.
func (t *Tally) Empty() bool { return len(t.records) == 0 && len(t.counts) == 0 }

// hours are the records by their hours, in no order.
func (t *Tally) hours() map[time.Time][]Record {
	hours := map[time.Time][]Record{}
	for _, r := range t.records {
		hours[r.Hour] = append(hours[r.Hour], r)
	}
	return hours
}

// counted are the values of counters, sorted.
func (t *Tally) counted() []Count {
	var list []Count
	for c, packets := range t.counts {
		list = append(list, Count{c.Hour, c.Name, packets})
	}
	slices.SortFunc(list, compareCounts)
	return list
}
