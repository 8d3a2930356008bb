package events_test

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ringfence/ringfence/pkg/events"
	"github.com/ringfence/ringfence/pkg/journal"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

func scanner(at time.Time) events.Drop {
	return events.Drop{
		Time: at, Source: netip.MustParseAddr("198.51.100.7"), SourcePort: 5060, Port: 5060, Protocol: "udp", Interface: "eth0",
		Reason: "unknown", Method: "OPTIONS", UserAgent: "friendly-scanner", Called: "100", Signature: "friendly-scanner",
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newStore returns a store in a folder of its own.
func newStore(t testing.TB) *events.Store {
	t.Helper()
	return &events.Store{Path: filepath.Join(t.TempDir(), "events.db"), Keep: 30 * 24 * time.Hour}
}

// write writes packets into a store and wants no trouble.
func write(t testing.TB, s *events.Store, now time.Time, drops ...events.Drop) {
	t.Helper()
	var tally events.Tally
	for _, d := range drops {
		tally.Add(d)
	}
	aside, err := s.Write(&tally, now)
	must(t, err)
	if aside != nil {
		t.Fatal(aside)
	}
}

// read returns all records of a store.
func read(t testing.TB, s *events.Store) []events.Record {
	t.Helper()
	var list []events.Record
	must(t, events.Read(s.Path, time.Time{}, time.Time{}, func(r events.Record) error {
		list = append(list, r)
		return nil
	}))
	return list
}

var addresses = cmpopts.EquateComparable(netip.Addr{})

// TestSameKindIsOneRecord: packets of one kind in an hour are one record, over several
// writes, with the first and the last time; what differs in anything is another one.
func TestSameKindIsOneRecord(t *testing.T) {
	s := newStore(t)
	first := scanner(noon.Add(time.Minute))
	other := first
	other.Method, other.Called = "INVITE", "900442071234567"
	write(t, s, noon, first, scanner(noon.Add(3*time.Minute)), other)
	write(t, s, noon.Add(5*time.Minute), scanner(noon.Add(2*time.Minute)), scanner(noon.Add(59*time.Minute+250*time.Millisecond)))
	write(t, s, noon.Add(time.Hour), scanner(noon.Add(time.Hour)))
	record := func(hour, first, last time.Time, packets uint64) events.Record {
		return events.Record{
			Hour: hour, First: first, Last: last, Source: netip.MustParseAddr("198.51.100.7"), Port: 5060, Protocol: "udp",
			Reason: "unknown", Method: "OPTIONS", UserAgent: "friendly-scanner", Called: "100", Signature: "friendly-scanner", Packets: packets,
		}
	}
	invite := record(noon, noon.Add(time.Minute), noon.Add(time.Minute), 1)
	invite.Method, invite.Called = "INVITE", "900442071234567"
	want := []events.Record{
		invite,
		record(noon, noon.Add(time.Minute), noon.Add(59*time.Minute+250*time.Millisecond), 4),
		record(noon.Add(time.Hour), noon.Add(time.Hour), noon.Add(time.Hour), 1),
	}
	got := read(t, s)
	slices.SortFunc(got, func(a, b events.Record) int {
		return cmp.Or(a.Hour.Compare(b.Hour), strings.Compare(a.Method, b.Method))
	})
	if diff := gocmp.Diff(want, got, addresses); diff != "" {
		t.Error(diff)
	}
}

func TestReadOfATime(t *testing.T) {
	s := newStore(t)
	for i := range 10 {
		write(t, s, noon, scanner(noon.Add(time.Duration(i)*20*time.Minute)))
	}
	for _, test := range []struct {
		since, until time.Duration
		want         []uint64
	}{
		{0, 3 * time.Hour, []uint64{3, 3, 3, 1}},
		{45 * time.Minute, 61 * time.Minute, []uint64{3}},
		{30 * time.Minute, 90 * time.Minute, []uint64{3, 3}},
		{4 * time.Hour, 5 * time.Hour, nil},
	} {
		var got []uint64
		must(t, events.Read(s.Path, noon.Add(test.since), noon.Add(test.until), func(r events.Record) error {
			got = append(got, r.Packets)
			return nil
		}))
		if !slices.Equal(got, test.want) {
			t.Errorf("from %s to %s: %v, want %v", test.since, test.until, got, test.want)
		}
	}
	stop := errors.New("enough")
	if err := events.Read(s.Path, noon, time.Time{}, func(events.Record) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want the error of take", err)
	}
}

// TestReadSource: of one source is read what is read of it among all.
func TestReadSource(t *testing.T) {
	s := newStore(t)
	for hour := range 4 {
		at := noon.Add(time.Duration(hour) * time.Hour)
		var drops []events.Drop
		for _, source := range []string{"198.51.100.7", "198.51.100.70", "198.51.100.6", "::ffff:c633:6407", "c633:6407::"} {
			d := scanner(at)
			d.Source = netip.MustParseAddr(source)
			other := d
			other.Method = "INVITE"
			drops = append(drops, d, other)
		}
		write(t, s, at, drops...)
	}
	source := scanner(noon).Source
	for hour := range 5 {
		since := noon.Add(time.Duration(hour) * time.Hour)
		var want, got []events.Record
		must(t, events.Read(s.Path, since, time.Time{}, func(r events.Record) error {
			if r.Source == source {
				want = append(want, r)
			}
			return nil
		}))
		must(t, events.ReadSource(s.Path, source, since, func(r events.Record) error { got = append(got, r); return nil }))
		if len(want) != 2*(4-hour) || !slices.Equal(got, want) {
			t.Errorf("since %v: got %v, want %v", since, got, want)
		}
	}
	must(t, events.ReadSource(s.Path+".none", source, noon, func(events.Record) error { return errors.New("a record") }))
}

func TestCounts(t *testing.T) {
	s := newStore(t)
	for i := range 3 {
		var tally events.Tally
		tally.Count(noon.Add(time.Duration(i)*40*time.Minute), "dropped_unknown", 5)
		tally.Count(noon, "allowed_provider", 1)
		tally.Count(noon, "dropped_banned", 0)
		_, err := s.Write(&tally, noon)
		must(t, err)
	}
	got, err := events.Counts(s.Path, noon, noon.Add(time.Hour))
	must(t, err)
	want := []events.Count{{noon, "allowed_provider", 3}, {noon, "dropped_unknown", 10}, {noon.Add(time.Hour), "dropped_unknown", 5}}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestNoFile: a file that is not there, or has only been created, has no records, and
// reading makes none.
func TestNoFile(t *testing.T) {
	s := newStore(t)
	if got := read(t, s); got != nil {
		t.Errorf("got %v", got)
	}
	if _, err := os.Stat(s.Path); err == nil {
		t.Error("reading has made the file")
	}
	must(t, os.WriteFile(s.Path, nil, 0o600))
	if got := read(t, s); got != nil {
		t.Errorf("got %v", got)
	}
	if counts, err := events.Counts(s.Path, time.Time{}, time.Time{}); err != nil || counts != nil {
		t.Errorf("got %v, %v", counts, err)
	}
	write(t, s, noon, scanner(noon))
	if info, err := os.Stat(s.Path); err != nil || info.Mode() != 0o640 {
		t.Errorf("got %v, %v, want a file that others may not read", info.Mode(), err)
	}
}

// TestOldOnesGo, and what is of a later time than now does not: the clock may be wrong.
func TestOldOnesGo(t *testing.T) {
	s := newStore(t)
	s.Keep = 48 * time.Hour
	for day := range 10 {
		write(t, s, noon.AddDate(0, 0, day), scanner(noon.AddDate(0, 0, day)))
	}
	if got := read(t, s); len(got) != 3 || !got[0].Hour.Equal(noon.AddDate(0, 0, 7)) {
		t.Errorf("got %v, want those of 48 hours", got)
	}
	write(t, s, noon, scanner(noon))
	if got := read(t, s); len(got) != 4 {
		t.Errorf("got %v after the clock was set back", got)
	}
}

// flood returns a packet of a forged source.
func flood(at time.Time, i int) events.Drop {
	return events.Drop{
		Time: at, Source: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), Port: 5060, Protocol: "udp", Reason: "unknown",
	}
}

// TestFloodHidesNobody: a flood of forged sources adds up to a few records, no packet is
// lost of the sum, and who came before it, comes in the middle of it, or comes again and
// again is still listed.
func TestFloodHidesNobody(t *testing.T) {
	s := newStore(t)
	phone := flood(noon, 1)
	phone.Source, phone.Method, phone.UserAgent = netip.MustParseAddr("203.0.113.9"), "REGISTER", "Yealink SIP-T46S"
	write(t, s, noon, scanner(noon))
	sent := uint64(1)
	for batch := range 25 {
		at := noon.Add(time.Duration(batch) * 5 * time.Second)
		var tally events.Tally
		add := func(d events.Drop) { tally.Add(d); sent++ }
		for i := range 5000 {
			add(flood(at, batch*5000+i))
		}
		for i := range 5 { // who comes again, and whose packets are like those of the flood
			add(events.Drop{Time: at, Source: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), Port: 5060, Protocol: "udp", Reason: "unknown"})
		}
		if batch == 12 {
			add(phone)
		}
		_, err := s.Write(&tally, at)
		must(t, err)
	}
	got := read(t, s)
	if len(got) > 5000 {
		t.Errorf("%d records of one hour", len(got))
	}
	sum, again, found := uint64(0), 0, map[string]uint64{}
	for _, r := range got {
		sum += r.Packets
		found[r.Source.String()] += r.Packets
		if netip.MustParsePrefix("192.0.2.0/24").Contains(r.Source) && r.Packets > 1 {
			again++
		}
	}
	if sum != sent {
		t.Errorf("%d packets, want %d", sum, sent)
	}
	if found["198.51.100.7"] != 1 || found["203.0.113.9"] != 1 || again == 0 || found["invalid IP"] < 110_000 {
		t.Errorf("got %v of the scanner before, %v of the phone in it, %v of those who come again, %v of others",
			found["198.51.100.7"], found["203.0.113.9"], again, found["invalid IP"])
	}
}

// TestFileHasALimit: where a flood lasts, of the oldest hours the heaviest records stay.
func TestFileHasALimit(t *testing.T) {
	s := newStore(t)
	s.Limit = 4 << 20
	heavy := func(hour time.Time) (drops []events.Drop) {
		for range 3 {
			drops = append(drops, scanner(hour))
		}
		return drops
	}
	const hours = 12
	for h := range hours {
		at := noon.Add(time.Duration(h) * time.Hour)
		drops := heavy(at)
		for i := range 3000 {
			d := flood(at, h*3000+i)
			d.UserAgent = fmt.Sprintf("%0200d", i)
			drops = append(drops, d)
		}
		write(t, s, at, drops...)
	}
	info, err := os.Stat(s.Path)
	must(t, err)
	if info.Size() > 3*s.Limit {
		t.Errorf("the file has %d bytes", info.Size())
	}
	found := 0
	for _, r := range read(t, s) {
		if r.Signature != "" {
			found++
		}
	}
	if found != hours {
		t.Errorf("the scanner is listed in %d of %d hours", found, hours)
	}
}

// TestDamagedIsSetAside: a damaged file is renamed, and a new one begun with what was to be
// written.
func TestDamagedIsSetAside(t *testing.T) {
	s := newStore(t)
	must(t, os.WriteFile(s.Path, []byte(strings.Repeat("no database\n", 1000)), 0o640))
	err := events.Read(s.Path, time.Time{}, time.Time{}, func(events.Record) error { return nil })
	if damaged, ok := errors.AsType[*journal.Damaged](err); !ok || damaged.SetAside != "" {
		t.Errorf("got %v from reading", err)
	}
	var tally events.Tally
	tally.Add(scanner(noon))
	aside, err := s.Write(&tally, noon)
	must(t, err)
	if aside == nil || !strings.HasPrefix(filepath.Base(aside.SetAside), "events.db.damaged-2") {
		t.Errorf("got %v", aside)
	}
	if got := read(t, s); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	if text, err := os.ReadFile(aside.SetAside); err != nil || !strings.HasPrefix(string(text), "no database") {
		t.Errorf("got %q, %v", text, err)
	}
}

// TestBusy: a write while the file is read for long is an error, and nothing is lost.
func TestBusy(t *testing.T) {
	s := newStore(t)
	write(t, s, noon, scanner(noon))
	must(t, events.Read(s.Path, time.Time{}, time.Time{}, func(events.Record) error {
		var tally events.Tally
		tally.Add(scanner(noon))
		if _, err := s.Write(&tally, noon); !errors.Is(err, events.ErrBusy) {
			t.Errorf("got %v", err)
		}
		return nil
	}))
	write(t, s, noon, scanner(noon))
	if got := read(t, s); len(got) != 1 || got[0].Packets != 2 {
		t.Errorf("got %v", got)
	}
}
