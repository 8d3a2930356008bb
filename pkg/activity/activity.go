// Package activity sums up who was dropped, and how many packets were let in, over a time:
// what came when, the sources, what they sent and with what. It is pure.
//
// Anybody can send packets, so what it keeps is bounded, however long the time is. Where
// there are too many sources or names, those with the fewest packets are counted together.
package activity

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/events"
)

// How many are kept while records are added, and how many are listed at the end.
const (
	mostSources   = 16384
	mostNames     = 4096
	listedSources = 200
	listedNames   = 50
)

// Source is who was dropped, with what most of the packets were.
type Source struct {
	Address                              netip.Addr
	Packets                              uint64
	First, Last                          time.Time
	Reason, Protocol                     string
	Port                                 uint16
	Method, UserAgent, Called, Signature string
	// Users is how many users were called, Several or more of them counted as that.
	Users int
	// Hours is in how many different hours packets came.
	Hours int
	// Around says that packets came before and after the time, and perhaps not in it.
	Around bool

	most   uint64 // packets of the record that the texts come from
	hour   time.Time
	called []string
}

// Several is how many called users of one source are told apart.
const Several = 4

// Ranked is a name with the packets of it.
type Ranked struct {
	Name    string
	Packets uint64
}

// Tool is what sources have sent packets with.
type Tool struct {
	// Signature is that of a scanner; without one UserAgent is what the packets say.
	Signature, UserAgent string
	Packets              uint64
}

// Bar is what came in a part of the time: packets by reason.
type Bar struct {
	Time             time.Time
	Dropped, Allowed map[string]uint64
}

// Activity is what came in a time.
type Activity struct {
	Since, Until time.Time
	// Step is how long each of the Bars is. There are none if nothing was recorded.
	Step time.Duration
	Bars []Bar
	// Counted says that the packets of Bars, Dropped and Allowed are all that came. Else
	// there were at least so many.
	Counted          bool
	Dropped, Allowed map[string]uint64
	// Sources are the ones with the most packets, and Others is how many others there are;
	// Uncounted says that there were more than could be counted. Unnamed is how many
	// packets came from those whose addresses were not kept.
	Sources   []Source
	Others    int
	Uncounted bool
	Unnamed   uint64
	Tools     []Tool
	Called    []Ranked
	Methods   []Ranked
}

// Sum adds up records. New makes one.
type Sum struct {
	since, until time.Time
	step         time.Duration
	sources      map[netip.Addr]*Source
	uncounted    bool
	unnamed      uint64
	tools        names[Tool]
	called       names[string]
	methods      names[string]
	seen         map[string]uint64 // packets of records by reason
	seenBars     map[int64]map[string]uint64
	counts       map[int64]map[string]uint64 // packets of counters
	recorded     bool
}

// New begins a sum over a time.
func New(since, until time.Time) *Sum {
	return &Sum{
		since: since, until: until, step: stepOf(until.Sub(since)),
		sources: map[netip.Addr]*Source{}, tools: names[Tool]{}, called: names[string]{}, methods: names[string]{},
		seen: map[string]uint64{}, seenBars: map[int64]map[string]uint64{}, counts: map[int64]map[string]uint64{},
	}
}

// mostBars is how many fit into a picture.
const mostBars = 96

// stepOf is how long a bar is.
func stepOf(span time.Duration) time.Duration {
	for _, hours := range []time.Duration{1, 2, 3, 4, 6, 12, 24, 48, 7 * 24} {
		if step := hours * time.Hour; span <= mostBars*step {
			return step
		}
	}
	return span / mostBars / time.Hour * time.Hour
}

// bar is the number of the bar that an hour is in.
func (s *Sum) bar(hour time.Time) int64 { return int64(max(hour.Sub(s.start()), 0) / s.step) }

// start is when the first bar begins. Those of a day or more begin at midnight, the others
// at a multiple of their hours.
func (s *Sum) start() time.Time {
	t := s.since
	midnight := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, t.Location())
	return midnight.Add(t.Sub(midnight) / min(s.step, 24*time.Hour) * min(s.step, 24*time.Hour))
}

// Count adds what a counter has counted in an hour.
func (s *Sum) Count(c events.Count) {
	at := s.bar(c.Hour)
	if s.counts[at] == nil {
		s.counts[at] = map[string]uint64{}
	}
	s.counts[at][c.Name] += c.Packets
}

// Add adds what was recorded.
func (s *Sum) Add(r events.Record) {
	s.recorded = true
	s.seen[r.Reason] += r.Packets
	at := s.bar(r.Hour)
	if s.seenBars[at] == nil {
		s.seenBars[at] = map[string]uint64{}
	}
	s.seenBars[at][r.Reason] += r.Packets
	s.tools.add(Tool{Signature: r.Signature, UserAgent: agentOf(r)}, r.Packets)
	s.called.add(r.Called, r.Packets)
	s.methods.add(r.Method, r.Packets)
	s.addSource(r)
}

// agentOf is the User-Agent of packets that no signature names.
func agentOf(r events.Record) string {
	if r.Signature != "" {
		return ""
	}
	return r.UserAgent
}

func (s *Sum) addSource(r events.Record) {
	if !r.Source.IsValid() {
		s.unnamed += r.Packets
		return
	}
	known := s.sources[r.Source]
	if known == nil {
		known = &Source{Address: r.Source, First: r.First, Last: r.Last, Around: true}
		s.sources[r.Source] = known
	}
	known.add(r)
	for _, at := range []time.Time{r.First, r.Last} {
		known.Around = known.Around && (at.Before(s.since) || at.After(s.until))
	}
	if len(s.sources) <= mostSources {
		return
	}
	s.uncounted = true
	for _, light := range heaviest(s.sources)[mostSources/2:] {
		s.unnamed += light.Packets
		delete(s.sources, light.Address)
	}
}

func (k *Source) add(r events.Record) {
	k.Packets += r.Packets
	if r.First.Before(k.First) {
		k.First = r.First
	}
	if r.Last.After(k.Last) {
		k.Last = r.Last
	}
	if !r.Hour.Equal(k.hour) {
		k.hour, k.Hours = r.Hour, k.Hours+1
	}
	if r.Called != "" && len(k.called) < Several && !slices.Contains(k.called, r.Called) {
		k.called = append(k.called, r.Called)
		k.Users = len(k.called)
	}
	// A record that says what was sent says more than one that does not.
	if weight := r.Packets; weight > k.most && (r.Method != "" || k.Method == "") || k.Method == "" && r.Method != "" {
		k.most = weight
		k.Reason, k.Protocol, k.Port = r.Reason, r.Protocol, r.Port
		k.Method, k.UserAgent, k.Called, k.Signature = r.Method, r.UserAgent, r.Called, r.Signature
	}
}

// Seen adds a source that the kernel keeps, with all packets that came lately. Whether any
// came in the time is known by the first and the last one.
func (s *Sum) Seen(k Source) {
	in := func(t time.Time) bool { return !t.IsZero() && !t.Before(s.since) && !t.After(s.until) }
	k.Around = !in(k.First) && !in(k.Last)
	if known := s.sources[k.Address]; known != nil {
		if in(k.First) {
			s.seen[k.Reason] += max(k.Packets, known.Packets) - known.Packets
		}
		if k.Last.After(known.Last) {
			known.Last = k.Last
		}
		known.Packets, known.Around = max(known.Packets, k.Packets), known.Around && k.Around
		return
	}
	switch {
	case in(k.First):
		s.seen[k.Reason] += k.Packets
	case in(k.Last):
		s.seen[k.Reason]++ // the others may be older
	}
	if len(s.sources) < mostSources {
		s.sources[k.Address] = &k
	} else {
		s.uncounted, s.unnamed = true, s.unnamed+k.Packets
	}
}

// heaviest sorts sources by their packets, and those with the same by their addresses.
func heaviest(sources map[netip.Addr]*Source) []*Source {
	return slices.SortedFunc(maps.Values(sources), func(a, b *Source) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), cmp.Compare(b.Hours, a.Hours), a.Address.Compare(b.Address))
	})
}

// Activity is what was added.
func (s *Sum) Activity() *Activity {
	a := &Activity{
		Since: s.since, Until: s.until, Step: s.step, Counted: len(s.counts) > 0, Dropped: map[string]uint64{}, Allowed: map[string]uint64{},
		Uncounted: s.uncounted, Unnamed: s.unnamed, Sources: []Source{}, Tools: []Tool{},
		Called: ranked(s.called), Methods: ranked(s.methods),
	}
	for _, k := range heaviest(s.sources) {
		if len(a.Sources) < listedSources {
			a.Sources = append(a.Sources, *k)
		} else {
			a.Others++
		}
	}
	for _, t := range s.tools.sorted(func(a, b Tool) int {
		return cmp.Or(cmp.Compare(a.Signature, b.Signature), cmp.Compare(a.UserAgent, b.UserAgent))
	}) {
		t.what.Packets = t.packets
		a.Tools = append(a.Tools, t.what)
	}
	if !a.Counted {
		maps.Copy(a.Dropped, s.seen)
	}
	if a.Counted || s.recorded {
		s.bars(a)
	}
	return a
}

// bars fills in what came when.
func (s *Sum) bars(a *Activity) {
	at := int64(0)
	for begins := s.start(); begins.Before(s.until); begins = begins.Add(s.step) {
		b := Bar{Time: begins, Dropped: map[string]uint64{}, Allowed: map[string]uint64{}}
		if !a.Counted {
			maps.Copy(b.Dropped, s.seenBars[at])
		}
		for name, packets := range s.counts[at] {
			switch verdict, reason, _ := strings.Cut(name, "_"); {
			case name == "allowed_scanner": // counted as allowed too
			case verdict == "dropped":
				b.Dropped[reason] += packets
				a.Dropped[reason] += packets
			case verdict == "allowed":
				b.Allowed[reason] += packets
				a.Allowed[reason] += packets
			}
		}
		a.Bars = append(a.Bars, b)
		at++
	}
}
