package resolve_test

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/resolve"
)

// TestGoneIsThreeTimesOverAnHour: not sooner, and a failure of another kind or a
// good answer starts again.
func TestGoneIsThreeTimesOverAnHour(t *testing.T) {
	const alarm = "gone: sip.example A: the name does not exist any more, in "
	l := newLearner(t)
	l.ask(0, two)
	for range 3 {
		l.ask(29*time.Minute, "")
	}
	l.alarms() // three times, and 58 minutes
	l.ask(time.Minute, "sip.example A !servfail")
	for range 2 {
		l.ask(time.Hour, "")
	}
	l.alarms() // an hour, and twice
	l.ask(time.Minute, "")
	l.alarms(alarm + "3 answers in a row; its addresses are kept")
	l.ask(time.Minute, "sip.example A !servfail")
	l.alarms()
	for range 3 {
		l.ask(30*time.Minute, "")
	}
	l.alarms(alarm + "3 answers in a row; its addresses are kept")
	l.ask(time.Minute, two)
	l.alarms()
	l.want("192.0.2.1 192.0.2.2")
}

// TestStale: by the clock of the policy, and it ends with a good answer.
func TestStale(t *testing.T) {
	l := newLearner(t)
	l.ask(0, two+"sip.example AAAA 2001:db8::1")
	const ill = "sip.example A !timeout\nsip.example AAAA 2001:db8::1"
	l.hours(167, ill)
	l.alarms()
	l.ask(time.Hour, ill)
	l.alarms("stale: sip.example A: no good answer for 168 h; its addresses are kept")
	l.want("192.0.2.1 192.0.2.2 2001:db8::1", "sip.example A: the server is ill")
	l.ask(time.Hour, two+"sip.example AAAA 2001:db8::1")
	l.alarms()
	// Nothing asks any more, as when the service has died.
	l.pass(8 * day)
	l.alarms("stale: sip.example: it was not asked for during 192 h; its addresses are kept")
	l.ask(0, two+"sip.example AAAA 2001:db8::1")
	l.alarms()
	l.want("192.0.2.1 192.0.2.2 2001:db8::1")
}

// TestTheLastAddressStays: that the host itself has got a registrar's address
// does not leave the provider without any; somebody has to look at it.
func TestTheLastAddressStays(t *testing.T) {
	l := newLearner(t)
	l.ask(0, "sip.example A 192.0.2.1")
	l.settings.Filter = resolve.AddressFilter{Own: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	l.hours(100, "sip.example A 192.0.2.1")
	if got := l.addresses(); got != "192.0.2.1" {
		t.Errorf("addresses %q", got)
	}
	l.alarms(
		"kept: sip.example: without 192.0.2.1 it would have no address, so that is kept",
		"rejected: sip.example A: it has only rejected addresses now",
	)
	// Another address comes: the old one goes.
	l.ask(time.Hour, "sip.example A 192.0.2.1\nsip.example A 192.0.2.2")
	l.ask(time.Hour, "sip.example A 192.0.2.1\nsip.example A 192.0.2.2")
	l.want("192.0.2.2")
	l.alarms()
}

func TestNothingBehindAName(t *testing.T) {
	l := newLearner(t)
	l.ask(0, "sip.example TXT x")
	l.want("", "sip.example: no address: it has no NAPTR, SRV, A or AAAA record that leads to one")
	l.ask(time.Hour, "sip.example A 192.168.1.1")
	l.want("", "sip.example: all its addresses were rejected: 192.168.1.1 is a private address; to allow it, add it to addresses in the policy")
	l.alarms("rejected: sip.example: all its addresses were rejected")
	want := resolve.WayOut{Kind: resolve.ListAddresses, Name: "sip.example", Owner: "acme", Addresses: []netip.Addr{netip.MustParseAddr("192.168.1.1")}}
	if got := l.memory.Alarms(l.settings, l.now)[0].WayOut; !reflect.DeepEqual(got, want) {
		t.Errorf("the way out is %v, want %v", got, want)
	}
}

// TestAcceptedSize: who has accepted a large answer once is not asked again
// until one is larger.
func TestAcceptedSize(t *testing.T) {
	l := newLearner(t)
	l.ask(0, two)
	take := func(n int, accepted ...string) {
		t.Helper()
		l.pass(time.Hour)
		r := resolve.Resolver{Lookup: newZone(t, two+pool(n)).lookup, Limit: l.memory.Limit(accepted)}
		l.memory = l.memory.Learn(r.Resolve(t.Context(), []resolve.Target{registrar}), l.settings, l.now)
	}
	for _, test := range []struct {
		records  int // besides two
		accepted string
		want     int
		alarms   int
	}{
		{70, "", 2, 1},
		{70, "other.example", 2, 1},
		{70, "sip.example", 72, 0},
		{68, "", 72, 0},
		{71, "", 72, 1},
		{60, "", 72, 0},
	} {
		take(test.records, test.accepted)
		if n := len(l.memory.Addresses(registrar)); n != test.want {
			t.Errorf("%d records, accepting %q: %d addresses, want %d", test.records, test.accepted, n, test.want)
		}
		if n := len(l.memory.Alarms(l.settings, l.now)); n != test.alarms {
			t.Errorf("%d records, accepting %q: %d alarms, want %d", test.records, test.accepted, n, test.alarms)
		}
	}
}
