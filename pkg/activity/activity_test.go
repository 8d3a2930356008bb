package activity_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/activity"
	"github.com/ringfence/ringfence/pkg/events"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// record is one of an hour before noon.
func record(hours int, source string, packets uint64, change func(*events.Record)) events.Record {
	r := events.Record{Hour: noon.Add(-time.Duration(hours) * time.Hour), Reason: "unknown", Protocol: "udp", Port: 5060, Packets: packets}
	r.First, r.Last = r.Hour.Add(10*time.Minute), r.Hour.Add(50*time.Minute)
	if source != "" {
		r.Source = netip.MustParseAddr(source)
	}
	if change != nil {
		change(&r)
	}
	return r
}

func sent(method, called, agent, signature string) func(*events.Record) {
	return func(r *events.Record) {
		r.Method, r.Called, r.UserAgent, r.Signature = method, called, agent, signature
	}
}

func TestSum(t *testing.T) {
	s := activity.New(noon.Add(-6*time.Hour), noon)
	for _, r := range []events.Record{
		record(5, "192.0.2.1", 3, nil),
		record(5, "192.0.2.1", 2, sent("REGISTER", "201", "Yealink", "")),
		record(2, "192.0.2.1", 4, sent("REGISTER", "202", "Yealink", "")),
		record(2, "192.0.2.2", 1, sent("OPTIONS", "100", "friendly-scanner", "friendly")),
		record(1, "", 1000, nil),
	} {
		s.Add(r)
	}
	got := s.Activity()
	want := []activity.Source{
		{Packets: 9, Reason: "unknown", Method: "REGISTER", UserAgent: "Yealink", Called: "202", Users: 2, Hours: 2},
		{Packets: 1, Reason: "unknown", Method: "OPTIONS", UserAgent: "friendly-scanner", Called: "100", Signature: "friendly", Users: 1, Hours: 1},
	}
	for i, w := range want {
		g := got.Sources[i]
		if w = (activity.Source{
			Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), Packets: w.Packets, First: g.First, Last: g.Last, Reason: w.Reason, Protocol: "udp", Port: 5060,
			Method: w.Method, UserAgent: w.UserAgent, Called: w.Called, Signature: w.Signature, Users: w.Users, Hours: w.Hours,
		}); fmt.Sprintf("%+v", exported(g)) != fmt.Sprintf("%+v", w) {
			t.Errorf("source %d is\n%+v, want\n%+v", i, exported(g), w)
		}
	}
	if first := got.Sources[0]; !first.First.Equal(noon.Add(-5*time.Hour+10*time.Minute)) || !first.Last.Equal(noon.Add(-2*time.Hour+50*time.Minute)) {
		t.Errorf("it came from %v to %v", first.First, first.Last)
	}
	if got.Unnamed != 1000 || got.Others != 0 || got.Uncounted || got.Counted || got.Dropped["unknown"] != 1010 {
		t.Errorf("the sum is %+v", got)
	}
	if d := cmp.Diff([]activity.Tool{{UserAgent: "Yealink", Packets: 6}, {Signature: "friendly", Packets: 1}}, got.Tools); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]activity.Ranked{{"REGISTER", 6}, {"OPTIONS", 1}}, got.Methods); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]activity.Ranked{{"202", 4}, {"201", 2}, {"100", 1}}, got.Called); d != "" {
		t.Error(d)
	}
	var bars []uint64
	for _, b := range got.Bars {
		bars = append(bars, b.Dropped["unknown"])
	}
	if d := cmp.Diff([]uint64{0, 5, 0, 0, 5, 1000}, bars); d != "" || got.Step != time.Hour {
		t.Errorf("bars of %v: %s", got.Step, d)
	}
}

// exported leaves out what is only for adding up.
func exported(s activity.Source) activity.Source {
	return activity.Source{
		Address: s.Address, Packets: s.Packets, First: s.First, Last: s.Last, Reason: s.Reason, Protocol: s.Protocol, Port: s.Port, Method: s.Method,
		UserAgent: s.UserAgent, Called: s.Called, Signature: s.Signature, Users: s.Users, Hours: s.Hours, Around: s.Around,
	}
}

// TestCounted: where counters were recorded, these are the packets.
func TestCounted(t *testing.T) {
	s := activity.New(noon.Add(-2*time.Hour), noon)
	s.Add(record(1, "192.0.2.1", 3, nil))
	for name, n := range map[string]uint64{"dropped_unknown": 70, "dropped_user_agent": 5, "allowed_provider": 20, "allowed_scanner": 20, "unseen": 9} {
		s.Count(events.Count{Hour: noon.Add(-time.Hour), Name: name, Packets: n})
	}
	got := s.Activity()
	if d := cmp.Diff(map[string]uint64{"unknown": 70, "user_agent": 5}, got.Dropped); d != "" || !got.Counted {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]uint64{"provider": 20}, got.Allowed); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(got.Dropped, got.Bars[1].Dropped); d != "" {
		t.Error(d)
	}
}

// TestSteps: there are never more bars than fit into a picture, they hold everything, and
// those of days begin at midnight.
func TestSteps(t *testing.T) {
	zone := time.FixedZone("here", 5*3600+1800)
	for _, span := range []time.Duration{time.Minute, time.Hour, 25 * time.Hour, 7 * 24 * time.Hour, 30 * 24 * time.Hour, 366 * 24 * time.Hour, 20 * 366 * 24 * time.Hour} {
		s := activity.New(noon.Add(-span).In(zone), noon.In(zone))
		hours := uint64(0)
		for at := noon.Add(-span).Truncate(time.Hour); at.Before(noon); at = at.Add(max(time.Hour, span/1000/time.Hour*time.Hour)) {
			s.Count(events.Count{Hour: at, Name: "dropped_unknown", Packets: 1})
			hours++
		}
		got := s.Activity()
		sum := uint64(0)
		for _, b := range got.Bars {
			sum += b.Dropped["unknown"]
		}
		if len(got.Bars) == 0 || len(got.Bars) > 98 || sum != hours || got.Dropped["unknown"] != hours {
			t.Errorf("%v: %d bars of %v with %d packets, want %d", span, len(got.Bars), got.Step, sum, hours)
		}
		if first := got.Bars[0].Time; got.Step >= 24*time.Hour && first.Hour()+first.Minute() != 0 {
			t.Errorf("%v: the first day begins at %v", span, first)
		}
	}
}

// TestBounded: a flood of sources and names neither grows without end nor hides who comes
// again and again.
func TestBounded(t *testing.T) {
	s := activity.New(noon.Add(-24*time.Hour), noon)
	for i := range 100000 {
		s.Add(record(i/5000, fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), 1, sent("INVITE", fmt.Sprint(i), fmt.Sprint("agent ", i), "")))
		if i%5000 == 0 {
			s.Add(record(i/5000, "192.0.2.1", 50, sent("REGISTER", "201", "Yealink", "")))
		}
	}
	got := s.Activity()
	if first := got.Sources[0]; first.Address.String() != "192.0.2.1" || first.Packets != 1000 || first.Hours != 20 {
		t.Errorf("the first source is %+v", first)
	}
	packets := got.Unnamed
	for _, k := range got.Sources {
		packets += k.Packets
	}
	if !got.Uncounted || got.Others == 0 || len(got.Sources) > 200 || len(got.Tools) > 50 || len(got.Called) > 50 || packets+uint64(got.Others) != 101000 {
		t.Errorf("%d sources listed, %d others, %d tools, %d called, %d packets", len(got.Sources), got.Others, len(got.Tools), len(got.Called), packets)
	}
	if got.Tools[0].UserAgent != "Yealink" || got.Called[0].Name != "201" || got.Methods[0].Name != "INVITE" || got.Methods[0].Packets != 100000 {
		t.Errorf("%v, %v, %v", got.Tools[0], got.Called[0], got.Methods[0])
	}
}

func TestSuggest(t *testing.T) {
	s := activity.New(noon.Add(-6*time.Hour), noon)
	for _, r := range []events.Record{
		record(2, "203.0.113.9", 9, sent("INVITE", "200", "SBC", "")),            // beside acme
		record(2, "203.0.113.10", 9, sent("OPTIONS", "100", "x", "sipvicious")),  // beside acme, but a scanner
		record(2, "203.0.113.11", 8, sent("REGISTER", "202", "Yealink T46", "")), // beside acme, but a phone
		record(2, "198.51.100.1", 5, sent("REGISTER", "201", "Yealink T46", "")), // a phone
		record(2, "198.51.100.2", 2, sent("REGISTER", "201", "Yealink T46", "")), // too few
		record(2, "198.51.100.3", 5, sent("REGISTER", "201", "eyeBeam", "")),     // no phone
		record(2, "198.51.100.4", 5, sent("INVITE", "201", "x", "")),             // gets answers
		record(2, "198.51.100.5", 5, sent("REGISTER", "201", "Yealink T46", "")), // let in by now
		record(2, "2001:db8:1:ffff::1", 5, nil),                                  // beside other
	} {
		s.Add(r)
	}
	for user := range 5 { // guesses numbers
		s.Add(record(2, "198.51.100.6", 2, sent("REGISTER", fmt.Sprint(user), "Yealink T46", "")))
	}
	banned := record(2, "198.51.100.7", 5, sent("REGISTER", "201", "Yealink T46", ""))
	banned.Reason = "blocked"
	s.Add(banned)
	got := []string{}
	for _, g := range activity.Suggest(s.Activity(), activity.Known{
		Allowed: map[string][]netip.Prefix{"acme": {netip.MustParsePrefix("203.0.113.5/32")}, "other": {netip.MustParsePrefix("2001:db8:1::/64")}},
		Phones:  []string{"yealink"}, Live: []netip.Addr{netip.MustParseAddr("198.51.100.4")},
		Passes: func(a netip.Addr) bool { return a.String() == "198.51.100.5" },
	}) {
		if !strings.HasPrefix(g.WayOut, "ringfence allow "+g.Address.String()+" --for 2h ") {
			t.Errorf("%s: the way out is %q", g.Address, g.WayOut)
		}
		got = append(got, g.Address.String()+" "+g.Text)
	}
	if d := cmp.Diff([]string{
		"203.0.113.9 INVITE of 200 by SBC: is it another server of acme? It is in one network with 203.0.113.5.",
		"203.0.113.11 REGISTER of 202 by Yealink T46: is it a remote phone?",
		"198.51.100.1 REGISTER of 201 by Yealink T46: is it a remote phone?",
		"198.51.100.4 INVITE of 201 by x: it gets answers from here now. Is it a provider's server, or a phone?",
		"2001:db8:1:ffff::1 5 packets: is it another server of other? It is in one network with 2001:db8:1::/64.",
	}, got); d != "" {
		t.Error(d)
	}
}

func TestAt(t *testing.T) {
	invite := record(1, "192.0.2.1", 1, sent("INVITE", "100", "x", ""))
	other := record(1, "192.0.2.2", 1, nil)
	count := events.Count{Hour: noon.Add(-time.Hour), Name: "allowed_provider", Packets: 7}
	strangers := events.Count{Hour: noon.Add(-time.Hour), Name: "allowed_unknown", Packets: 7}
	at := noon.Add(-time.Hour + 11*time.Minute)
	open := func(from, to time.Duration) activity.Then {
		return activity.Then{Open: []activity.Span{{From: at.Add(from), To: at.Add(to)}}}
	}
	enforced, monitored := activity.Then{}, open(-activity.AroundMoment, activity.AroundMoment)
	for _, test := range []struct {
		name    string
		records []events.Record
		counts  []events.Count
		then    activity.Then
		verdict activity.Verdict
		says    string
	}{
		{"dropped", []events.Record{invite}, []events.Count{count}, enforced, activity.Dropped, "and they were dropped. What is dropped makes nothing ring. Packets of allowed addresses in that hour: 7 (provider)."},
		{"monitor mode", []events.Record{invite, other}, nil, monitored, activity.GhostCall, "192.0.2.1 called"},
		{"monitor mode for a part", []events.Record{invite}, nil, open(-time.Minute, time.Minute), activity.GhostCall, "and for a part of that time nothing was dropped."},
		{"monitor mode before it came", []events.Record{invite}, nil, open(-activity.AroundMoment, -90*time.Second), activity.Dropped, "and they were dropped."},
		{"nobody knows when it came", []events.Record{{Hour: invite.Hour, Last: invite.Last, Source: invite.Source, Packets: 1}}, nil, open(-activity.AroundMoment, -90*time.Second), activity.Perhaps, "for a part of that time"},
		{"no call", []events.Record{other}, nil, monitored, activity.Perhaps, "strangers sent packets, and nothing was dropped"},
		{"strangers are let in", nil, []events.Count{strangers}, enforced, activity.Perhaps, "7 packets of strangers were let in"},
		{"quiet", nil, []events.Count{count}, enforced, activity.Nothing, "no stranger's packet was recorded within two minutes of it. Packets of allowed addresses in that hour: 7 (provider)."},
		{"not recorded", nil, nil, enforced, activity.Unknown, "Nothing was recorded then"},
	} {
		s := activity.New(at.Add(-activity.AroundMoment), at.Add(activity.AroundMoment))
		for _, r := range test.records {
			s.Add(r)
		}
		for _, c := range test.counts {
			s.Count(c)
		}
		if got := activity.At(at, s.Activity(), test.then); got.Verdict != test.verdict || !strings.Contains(got.Text, test.says) {
			t.Errorf("%s: %s: %s", test.name, got.Verdict, got.Text)
		}
	}
}

// TestAround: packets of which only the first and the last are known may not have come at
// the time that was asked for.
func TestAround(t *testing.T) {
	at := noon.Add(-30 * time.Minute)
	s := activity.New(at.Add(-activity.AroundMoment), at.Add(activity.AroundMoment))
	s.Add(record(1, "192.0.2.1", 1, nil)) // from 11:10 to 11:50
	s.Add(record(1, "192.0.2.2", 1, func(r *events.Record) { r.Last = at }))
	for _, k := range s.Activity().Sources {
		if want := k.Address.String() == "192.0.2.1"; k.Around != want {
			t.Errorf("%s: around is %t", k.Address, k.Around)
		}
	}
}

// TestSeen: what the kernel's sets list is added to what was recorded.
func TestSeen(t *testing.T) {
	s := activity.New(noon.Add(-6*time.Hour), noon)
	s.Add(record(2, "192.0.2.1", 1, sent("INVITE", "100", "x", "")))
	for i, a := range []string{"192.0.2.1", "192.0.2.2"} {
		s.Seen(activity.Source{Address: netip.MustParseAddr(a), Packets: uint64(40 + i), Last: noon, Reason: "unknown"})
	}
	s.Seen(activity.Source{Address: netip.MustParseAddr("192.0.2.3"), Packets: 1, First: noon.Add(-9 * time.Hour), Last: noon.Add(time.Hour), Reason: "unknown"})
	s.Seen(activity.Source{Address: netip.MustParseAddr("192.0.2.4"), Packets: 7, First: noon.Add(-time.Hour), Last: noon, Reason: "unknown"})
	if n := s.Activity().Dropped["unknown"]; n != 1+1+0+7 {
		t.Errorf("%d packets were dropped", n)
	}
	got := s.Activity().Sources
	if len(got) != 4 || got[0].Around || got[1].Around || got[2].Around || !got[3].Around || got[0].Packets != 41 || got[1].Packets != 40 || got[1].Method != "INVITE" || !got[1].Last.Equal(noon) {
		t.Errorf("the sources are %+v", got)
	}
}
