package resolve_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/resolve"
)

const listURL = "https://acme.example/list"

// reader learns one list after the other.
type reader struct {
	t        *testing.T
	memory   resolve.Memory
	settings resolve.Settings
	now      resolve.Moment
}

func newReader(t *testing.T, known ...string) *reader {
	t.Helper()
	r := &reader{t: t, memory: resolve.NewMemory(), now: resolve.Moment{Time: time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC), Boot: "one"}}
	r.settings = resolve.Settings{
		Lists: []resolve.List{{URL: listURL, Format: "lines", Owners: []string{"acme"}, Known: prefixes(known...)}},
		Hold:  day, Min: time.Minute, Max: time.Hour, StaleAlarm: 7 * day,
	}
	return r
}

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// learn lets time pass and then has an answer. It goes over the file each time.
func (r *reader) learn(after time.Duration, answer resolve.ListResult) {
	r.t.Helper()
	r.pass(after)
	answer.URL = listURL
	r.memory = r.memory.LearnLists([]resolve.ListResult{answer}, r.settings, r.now)
	text, err := json.Marshal(r.memory)
	if err != nil {
		r.t.Fatal(err)
	}
	r.memory = resolve.Memory{}
	if err := json.Unmarshal(text, &r.memory); err != nil {
		r.t.Fatal(err)
	}
	if err := r.memory.Check(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *reader) pass(d time.Duration) {
	r.now.Time, r.now.Up = r.now.Time.Add(d), r.now.Up+resolve.Span(d)
}

func good(texts ...string) resolve.ListResult {
	return resolve.ListResult{Prefixes: prefixes(texts...)}
}

func bad(text string) resolve.ListResult { return resolve.ListResult{Err: errors.New(text)} }

// want compares what the list allows, what has failed, and the alarms.
func (r *reader) want(list string, more ...string) {
	r.t.Helper()
	var got, texts []string
	for _, p := range r.memory.Lists.Of(listURL).Prefixes {
		got = append(got, p.Prefix.String())
	}
	for _, p := range r.memory.Refresh.Failures {
		texts = append(texts, fmt.Sprintf("%s %s: %s", p.Name, p.Type, p.Error))
	}
	for _, a := range r.memory.Alarms(r.settings, r.now) {
		texts = append(texts, fmt.Sprintf("%s: %s %s: %s; %s", a.Kind, a.Name, a.Type, a.Text, a.WayOut.Kind))
	}
	if strings.Join(got, " ") != list || strings.Join(texts, "\n") != strings.Join(more, "\n") {
		r.t.Errorf("got %q\n%s\nwant %q\n%s", got, strings.Join(texts, "\n"), list, strings.Join(more, "\n"))
	}
	if r.memory.Refresh.OK != (len(r.memory.Refresh.Failures) == 0) {
		r.t.Errorf("ok is %t with %d failures", r.memory.Refresh.OK, len(r.memory.Refresh.Failures))
	}
}

func TestListHold(t *testing.T) {
	r := newReader(t)
	r.learn(0, good("203.0.113.0/28", "203.0.113.64/32"))
	r.want("203.0.113.0/28 203.0.113.64/32")
	// What is new comes in at once, what is missing stays for a day of good answers.
	for range 24 {
		r.learn(time.Hour, good("203.0.113.0/28", "203.0.113.128/32"))
		r.want("203.0.113.0/28 203.0.113.64/32 203.0.113.128/32")
	}
	r.learn(time.Hour, good("203.0.113.0/28", "203.0.113.128/32"))
	r.want("203.0.113.0/28 203.0.113.128/32")
}

func TestListComesBack(t *testing.T) {
	r := newReader(t)
	r.learn(0, good("203.0.113.1/32", "203.0.113.2/32"))
	for range 20 {
		r.learn(time.Hour, good("203.0.113.1/32"))
	}
	r.learn(time.Hour, good("203.0.113.1/32", "203.0.113.2/32"))
	for range 20 {
		r.learn(time.Hour, good("203.0.113.1/32"))
	}
	r.want("203.0.113.1/32 203.0.113.2/32")
}

// TestListFailure: a failure takes nothing away, and the time of failures is not time in
// which something was missing.
func TestListFailure(t *testing.T) {
	r := newReader(t)
	r.learn(0, good("203.0.113.1/32", "203.0.113.2/32"))
	r.learn(time.Hour, good("203.0.113.1/32"))
	const failed = listURL + " list: the server answers 500 Internal Server Error"
	for range 100 {
		r.learn(time.Hour, bad("the server answers 500 Internal Server Error"))
		r.want("203.0.113.1/32 203.0.113.2/32", failed)
	}
	r.learn(time.Hour, good("203.0.113.1/32"))
	r.want("203.0.113.1/32 203.0.113.2/32")
	for range 67 {
		r.learn(time.Hour, bad("the server answers 500 Internal Server Error"))
	}
	r.pass(101 * time.Hour)
	r.want("203.0.113.1/32 203.0.113.2/32", failed,
		"stale: "+listURL+" list: no good answer for 168 h; what it had last is kept: the server answers 500 Internal Server Error; reach-list")
	r.learn(time.Hour, good("203.0.113.1/32", "203.0.113.2/32"))
	r.want("203.0.113.1/32 203.0.113.2/32")
	// Nobody asks for a week.
	r.pass(7 * day)
	r.want("203.0.113.1/32 203.0.113.2/32", "stale: "+listURL+" list: no good answer for 168 h; what it had last is kept; reach-list")
}

// TestListUnchanged: an answer that the list is as it was is a good answer.
func TestListUnchanged(t *testing.T) {
	r := newReader(t)
	r.learn(0, good("203.0.113.1/32", "203.0.113.2/32"))
	answer := good("203.0.113.1/32")
	answer.Tag = resolve.ListTag{ETag: `"two"`}
	r.learn(time.Hour, answer)
	if tag := r.memory.Lists.Tag(r.settings.Lists[0]); tag != answer.Tag {
		t.Errorf("the tag is %v, want %v", tag, answer.Tag)
	}
	other := r.settings.Lists[0]
	other.Format = "$.prefixes"
	if tag := r.memory.Lists.Tag(other); tag != (resolve.ListTag{}) {
		t.Errorf("a list that is read in another way has the tag %v", tag)
	}
	for range 23 {
		r.learn(time.Hour, resolve.ListResult{Unchanged: true})
		r.want("203.0.113.1/32 203.0.113.2/32")
	}
	r.learn(time.Hour, resolve.ListResult{Unchanged: true})
	r.want("203.0.113.1/32")
}

func TestListGrows(t *testing.T) {
	many := func(n int) []string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf("203.%d.%d.1/32", i/256, i%256))
		}
		return list
	}
	for _, test := range []struct {
		what            string
		known, had, now []string
		held            string
	}{
		{"a first list of any size below the limit", nil, nil, many(512), ""},
		{"a first list beyond the limit", nil, nil, many(513), "it has 513 prefixes, more than 512"},
		{"a first list that has much more than the preset", []string{"203.0.0.1/32"}, nil, many(40), "it has 40 prefixes, and 1 were known"},
		{"a few more", nil, many(1), many(18), ""},
		{"twice as many and a few more", nil, many(100), many(216), ""},
		{"one more than that", nil, many(100), many(217), "it has 217 prefixes, and 100 were known"},
		{"a network of some thousands", nil, many(1), []string{"203.0.0.1/32", "198.51.96.0/20"}, ""},
		{"a network of millions", nil, many(1), []string{"203.0.0.1/32", "198.0.0.0/8"}, "it has 16777217 IPv4 addresses, and 1 were known"},
		{"an IPv6 site", nil, []string{"2001:db8::1/128"}, []string{"2001:db8::1/128", "2001:db8:1::/48"}, ""},
		{"all of an IPv6 provider", nil, []string{"2001:db8::1/128"}, []string{"2001:db8::/32"}, "it has 4294967296 IPv6 networks of 64 bits, and 1 were known"},
	} {
		t.Run(test.what, func(t *testing.T) {
			r := newReader(t, test.known...)
			if test.had != nil {
				r.learn(0, good(test.had...))
			}
			r.learn(time.Hour, good(test.now...))
			if test.held == "" {
				if n := len(r.memory.Lists.Of(listURL).Prefixes); n < len(test.now) || len(r.memory.Refresh.Failures) > 0 {
					t.Errorf("%d of %d are allowed, failures: %v", n, len(test.now), r.memory.Refresh.Failures)
				}
				return
			}
			r.want(strings.Join(test.had, " "), listURL+" list: "+test.held, "large: "+listURL+" list: "+test.held+", so it is not used; accept-large")
			if r.memory.Lists.Tag(r.settings.Lists[0]) != (resolve.ListTag{}) {
				t.Error("a list that is not used has left its tag")
			}
			// Somebody looks at it and accepts it: then, and later.
			accepted := good(test.now...)
			accepted.Accept = true
			r.learn(time.Hour, accepted)
			r.learn(time.Hour, good(test.now...))
			if n := len(r.memory.Lists.Of(listURL).Prefixes); n < len(test.now) || len(r.memory.Refresh.Failures) > 0 {
				t.Errorf("accepted: %d of %d are allowed, failures: %v", n, len(test.now), r.memory.Refresh.Failures)
			}
		})
	}
}

// TestListLeaves: with the provider, at once; and the memory of a generation brings it
// back.
func TestListLeaves(t *testing.T) {
	r := newReader(t)
	r.learn(0, good("203.0.113.1/32"))
	before := r.memory
	without := r.settings
	without.Lists = nil
	r.memory = r.memory.LearnLists(nil, without, r.now)
	r.want("")
	r.memory = r.memory.Merge(before).LearnLists(nil, r.settings, r.now)
	r.want("203.0.113.1/32")
	if moves := r.memory.Moves(resolve.NewMemory()); len(moves) != 1 || moves[0] != (resolve.Move{Address: "203.0.113.1", Reason: "acme: list " + listURL}) {
		t.Errorf("moves are %v", moves)
	}
}

// TestListDue: after an hour, after a failure sooner and then less often, after a boot at
// once.
func TestListDue(t *testing.T) {
	r := newReader(t)
	due := func(from, to time.Duration) {
		t.Helper()
		if d := r.memory.Lists.Due(listURL, r.now); d < from || d > to {
			t.Errorf("due in %v, want %v to %v", d, from, to)
		}
	}
	due(0, 0)
	r.learn(0, good("203.0.113.1/32"))
	due(time.Hour, 66*time.Minute)
	r.learn(time.Hour, bad("ill"))
	due(30*time.Second, 30*time.Second)
	r.learn(time.Minute, bad("ill"))
	due(time.Minute, time.Minute)
	for range 10 {
		r.learn(time.Hour, bad("ill"))
	}
	due(15*time.Minute, 15*time.Minute)
	r.now.Boot, r.now.Up = "two", 0
	due(0, 0)
}
