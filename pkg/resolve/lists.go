package resolve

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"
)

// ListType stands for the type of record where a failure or an alarm is about a published
// list. Its name is then the list's URL.
const ListType Type = "list"

// List is a published list of the policy.
type List struct {
	URL, Format string
	// Owners are the providers that have it, and Known their addresses in the policy and
	// in presets, which a first answer is compared with.
	Owners []string
	Known  []netip.Prefix
}

// ListTag is what the server of a list calls the present version of it.
type ListTag struct {
	ETag     string `json:"etag,omitempty"`
	Modified string `json:"modified,omitempty"`
}

// ListResult is the answer of the server of a list.
type ListResult struct {
	URL string
	// Err is why there is no usable answer. Otherwise Unchanged says that the list is as
	// it was when it had the tag, and Prefixes are the whole list if it is not.
	Err       error
	Unchanged bool
	Prefixes  []netip.Prefix
	Tag       ListTag
	// Accept says that somebody has accepted a large list.
	Accept bool
}

// KnownList is what is remembered about a published list.
type KnownList struct {
	URL    string   `json:"url"`
	Format string   `json:"format"`
	Owners []string `json:"owners,omitempty"`
	// Looked, Next and Failures are as in Known.
	Looked   Moment        `json:"looked,omitzero"`
	Next     Span          `json:"next,omitempty"`
	Failures int           `json:"failures,omitempty"`
	Prefixes []KnownPrefix `json:"prefixes"`
	// Tag is that of the last list that was used.
	Tag ListTag `json:"tag,omitzero"`
	// UnheardFor is how long there has been no good answer. Error says why there is none
	// now, Kind what kind of failure it is, and Since when that began.
	UnheardFor Span      `json:"unheard_for,omitempty"`
	Error      string    `json:"error,omitempty"`
	Kind       Kind      `json:"kind,omitempty"`
	Since      time.Time `json:"since,omitzero"`
	// Accepted is how many prefixes the user has accepted, although they are more than
	// usual.
	Accepted int `json:"accepted,omitempty"`
}

// KnownPrefix is an address or network of a list.
type KnownPrefix struct {
	Prefix    netip.Prefix `json:"prefix"`
	FirstSeen time.Time    `json:"first_seen"`
	LastSeen  time.Time    `json:"last_seen"`
	// MissingSince is the time of the first good answer without it, and MissingFor the
	// time that good answers have covered since.
	MissingSince time.Time `json:"missing_since,omitzero"`
	MissingFor   Span      `json:"missing_for,omitempty"`
}

// Origin is what a prefix of the list has as its origin.
func (k KnownList) Origin() string { return string(ListType) + " " + k.URL }

func (k KnownList) check() error {
	for _, p := range k.Prefixes {
		if !p.Prefix.IsValid() || p.Prefix != p.Prefix.Masked() || p.Prefix.Addr().Is4In6() {
			return fmt.Errorf("%q of %s is not a prefix", p.Prefix, k.URL)
		}
	}
	return nil
}

// KnownLists are all lists that are known.
type KnownLists []KnownList

// Of returns what is known about the list of a URL.
func (l KnownLists) Of(url string) KnownList {
	for _, k := range l {
		if k.URL == url {
			return k
		}
	}
	return KnownList{URL: url}
}

// Find returns what is known about a prefix of a list, by its origin.
func (l KnownLists) Find(origin string, prefix netip.Prefix) (KnownPrefix, bool) {
	for _, k := range l {
		if k.Origin() != origin {
			continue
		}
		if i := slices.IndexFunc(k.Prefixes, func(p KnownPrefix) bool { return p.Prefix == prefix }); i >= 0 {
			return k.Prefixes[i], true
		}
	}
	return KnownPrefix{}, false
}

// But returns what is known about other lists than these that were read since then.
func (l KnownLists) But(lists []List, then time.Time) KnownLists {
	return slices.DeleteFunc(slices.Clone(l), func(k KnownList) bool {
		listed := slices.ContainsFunc(lists, func(l List) bool { return l.URL == k.URL })
		return listed || k.Looked.Time.Before(then)
	})
}

// Tag returns the tag to ask for a list with. There is none if it has to be read whole.
func (l KnownLists) Tag(of List) ListTag {
	if k := l.Of(of.URL); k.Format == of.Format && len(k.Prefixes) > 0 {
		return k.Tag
	}
	return ListTag{}
}

// Due returns the time until a list should be asked for; 0 means now.
func (l KnownLists) Due(url string, now Moment) time.Duration {
	k := l.Of(url)
	passed, measured := now.since(k.Looked)
	if !measured {
		return 0
	}
	return max(time.Duration(k.Next)-passed, 0)
}

// LearnLists returns the memory after the answers of the servers of lists. Lists without
// an answer stay as they were, those that the policy does not have any more are
// forgotten.
//
//	a prefix of the list               comes in at once, or stays
//	a prefix that it does not have     leaves when good answers have lacked it for hold
//	no answer, or none that can be     nothing changes
//	right, or an empty list
//	a list that is much larger than    is not used until somebody accepts it
//	what is known
//
// LearnLists is pure.
func (m Memory) LearnLists(results []ListResult, settings Settings, now Moment) Memory {
	next := m
	next.Lists = nil
	next.Refresh.Failures = slices.DeleteFunc(slices.Clone(m.Refresh.Failures), Problem.ofList)
	for _, l := range settings.Lists {
		k := m.Lists.Of(l.URL)
		k.Owners = l.Owners
		i := slices.IndexFunc(results, func(r ListResult) bool { return r.URL == l.URL })
		if i >= 0 {
			k = k.learn(results[i], l, settings, now)
			next.Refresh.Time = now.Time
		}
		next.Lists = append(next.Lists, k)
		if k.Error != "" {
			next.Refresh.Failures = append(next.Refresh.Failures, Problem{Name: k.URL, Type: ListType, Error: k.Error, Target: Target{Name: k.URL}})
		}
	}
	if !next.Refresh.Time.IsZero() {
		next.Refresh.OK = len(next.Refresh.Failures) == 0
	}
	return next
}

func (p Problem) ofList() bool { return p.Type == ListType }

// ofLists are the failures of lists.
func (r Refreshed) ofLists() []Problem {
	return slices.DeleteFunc(slices.Clone(r.Failures), func(p Problem) bool { return !p.ofList() })
}

func (k KnownList) learn(r ListResult, l List, settings Settings, now Moment) KnownList {
	passed, measured := now.since(k.Looked)
	if k.Looked.Time.IsZero() {
		passed = 0
	}
	failedBefore := k.Error != ""
	k.Looked = now
	text, kind := "", Malformed
	switch {
	case r.Err != nil:
		text = r.Err.Error()
	case !r.Unchanged && !r.Accept:
		text, kind = k.tooLarge(r.Prefixes, l), TooLarge
	}
	if text != "" {
		if !failedBefore {
			k.Since = now.Time
		}
		k.Error, k.Kind = text, kind
		k.Failures++
		k.UnheardFor += Span(passed)
		k.Next = Span(retryAfter(k.Failures))
		return k
	}
	if r.Accept {
		k.Accepted = max(k.Accepted, len(r.Prefixes))
	}
	if failedBefore {
		passed = 0 // only good answers say that something is missing
	}
	k.Prefixes = k.merge(r, func(missed time.Duration) time.Duration {
		return settings.missed(missed, passed, measured, settings.Hold)
	}, settings.Hold, now)
	if !r.Unchanged {
		k.Tag, k.Format = r.Tag, l.Format
	}
	k.Error, k.Kind, k.Since, k.Failures, k.UnheardFor = "", "", time.Time{}, 0, 0
	k.Next = Span(settings.Max + jitter(k.URL, now, settings.Max/10))
	return k
}

// merge returns the prefixes after a good answer. missed says for how long one has been
// missing that was missing for some time before.
func (k KnownList) merge(r ListResult, missed func(time.Duration) time.Duration, hold time.Duration, now Moment) []KnownPrefix {
	there := map[netip.Prefix]bool{}
	for _, p := range r.Prefixes {
		there[p] = true
	}
	var list []KnownPrefix
	for _, p := range k.Prefixes {
		switch {
		case there[p.Prefix] || r.Unchanged && p.MissingSince.IsZero():
			p.LastSeen, p.MissingSince, p.MissingFor = now.Time, time.Time{}, 0
		case p.MissingSince.IsZero():
			p.MissingSince = now.Time
		default:
			p.MissingFor = Span(missed(time.Duration(p.MissingFor)))
		}
		delete(there, p.Prefix)
		if p.MissingSince.IsZero() || time.Duration(p.MissingFor) < hold {
			list = append(list, p)
		}
	}
	for _, p := range r.Prefixes {
		if there[p] {
			list = append(list, KnownPrefix{Prefix: p, FirstSeen: now.Time, LastSeen: now.Time})
		}
	}
	slices.SortFunc(list, func(a, b KnownPrefix) int { return a.Prefix.Compare(b.Prefix) })
	return list
}

// The largest list that is used without a question: maxListed prefixes, and in comparison
// with what is known twice as many and a few more, for at most four times as many
// addresses and a /20 more. IPv6 is counted in networks of 64 bits, with a /48 more.
const (
	maxListed = 512
	fewMore   = 16
	room4     = 1 << 12
	room6     = 1 << 16
)

// tooLarge says that a list is much larger than what is known, "" if it is not.
func (k KnownList) tooLarge(list []netip.Prefix, l List) string {
	known := slices.Clone(l.Known)
	for _, p := range k.Prefixes {
		known = append(known, p.Prefix)
	}
	slices.SortFunc(known, netip.Prefix.Compare)
	known = slices.Compact(known)
	is4, is6 := extent(list)
	was4, was6 := extent(known)
	switch n, was := len(list), len(known); {
	case n > max(maxListed, k.Accepted):
		return fmt.Sprintf("it has %d prefixes, more than %d", n, max(maxListed, k.Accepted))
	case was == 0:
		return ""
	case n > 2*was+fewMore:
		return fmt.Sprintf("it has %d prefixes, and %d were known", n, was)
	case is4 > 4*was4+room4:
		return fmt.Sprintf("it has %d IPv4 addresses, and %d were known", is4, was4)
	case is6 > 4*was6+room6:
		return fmt.Sprintf("it has %d IPv6 networks of 64 bits, and %d were known", is6, was6)
	}
	return ""
}

// extent counts IPv4 addresses and IPv6 networks of 64 bits.
func extent(list []netip.Prefix) (v4, v6 uint64) {
	for _, p := range list {
		if p.Addr().Is4() {
			v4 += 1 << (32 - p.Bits())
		} else {
			v6 += 1 << (64 - min(p.Bits(), 64))
		}
	}
	return v4, v6
}

// listAlarms are those about lists.
func listAlarms(m Memory, settings Settings, now Moment) []Alarm {
	var alarms []Alarm
	for _, l := range settings.Lists {
		k := m.Lists.Of(l.URL)
		passed, _ := now.since(k.Looked)
		unheard := time.Duration(k.UnheardFor) + passed
		switch {
		case k.Looked.Time.IsZero():
		case k.Kind == TooLarge:
			alarms = append(alarms, Alarm{
				Kind: AlarmLarge, Name: k.URL, Type: ListType, Since: k.Since,
				Text: k.Error + ", so it is not used", WayOut: WayOut{Kind: AcceptLarge, Name: k.URL},
			})
		case unheard >= settings.StaleAlarm:
			text := fmt.Sprintf("no good answer for %d h; what it had last is kept", unheard/time.Hour)
			if k.Error != "" {
				text += ": " + k.Error
			}
			alarms = append(alarms, Alarm{
				Kind: AlarmStale, Name: k.URL, Type: ListType, Since: now.Time.Add(-unheard),
				Text: text, WayOut: WayOut{Kind: ReachList, Name: k.URL},
			})
		}
	}
	return alarms
}

// mergeLists returns the lists together with others that are not among them.
func mergeLists(lists, others []KnownList) []KnownList {
	merged := slices.Clone(lists)
	for _, k := range others {
		i := slices.IndexFunc(merged, func(known KnownList) bool { return known.URL == k.URL })
		switch {
		case i < 0:
			merged = append(merged, k)
		case len(merged[i].Prefixes) == 0 && len(k.Prefixes) > 0:
			merged[i] = k
		}
	}
	return merged
}

// writeFacts writes everything that has consequences.
func (k KnownList) writeFacts(w io.Writer) {
	fmt.Fprintln(w, k.URL, k.Format, k.Owners, k.Tag, k.Error, k.Accepted)
	for _, p := range k.Prefixes {
		fmt.Fprintln(w, p.Prefix, p.MissingSince.IsZero())
	}
}
