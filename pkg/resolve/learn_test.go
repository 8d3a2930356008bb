package resolve_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

func TestMissingAddressesAreHeld(t *testing.T) {
	l := newLearner(t)
	const one = "sip.example A 192.0.2.1\nsip.example A 192.0.2.3"
	l.ask(0, two)
	l.want("192.0.2.1 192.0.2.2")
	l.ask(time.Hour, one)
	l.want("192.0.2.1 192.0.2.2 192.0.2.3")
	if a := l.memory.Addresses(registrar)[1]; !a.MissingSince.Equal(start.Add(time.Hour)) || !a.LastSeen.Equal(start) || !a.FirstSeen.Equal(start) {
		t.Errorf("the missing address is %+v", a)
	}
	l.hours(23, one)
	l.want("192.0.2.1 192.0.2.2 192.0.2.3")
	l.ask(time.Hour, one)
	l.want("192.0.2.1 192.0.2.3")
	l.alarms()
}

func TestAnAddressThatComesBackIsHeldAnew(t *testing.T) {
	l := newLearner(t)
	l.ask(0, two)
	l.hours(20, "sip.example A 192.0.2.1")
	l.ask(time.Hour, two)
	l.hours(20, "sip.example A 192.0.2.1")
	l.want("192.0.2.1 192.0.2.2")
}

// TestTypesAreJudgedApart: what fails keeps its addresses, what answers lets its
// own age.
func TestTypesAreJudgedApart(t *testing.T) {
	const all = two + "sip.example AAAA 2001:db8::1\nsip.example AAAA 2001:db8::2\n"
	for _, test := range []struct{ name, zone, want, problem string }{
		{
			"A fails", "sip.example A !servfail\nsip.example AAAA 2001:db8::1",
			"192.0.2.1 192.0.2.2 2001:db8::1", "sip.example A: the server is ill",
		},
		{
			"AAAA fails", "sip.example AAAA !timeout\nsip.example A 192.0.2.1",
			"192.0.2.1 2001:db8::1 2001:db8::2", "sip.example AAAA: the server is ill",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLearner(t)
			l.ask(0, all)
			l.hours(30*24, test.zone)
			l.want(test.want, test.problem)
		})
	}
}

// TestFailuresRemoveNothing: failures for ten months remove no address.
func TestFailuresRemoveNothing(t *testing.T) {
	for _, test := range []struct {
		name, zone string
		problems   []string
		alarms     []string
	}{
		{"A fails", "sip.example A !servfail", []string{"sip.example A: the server is ill"}, []string{
			"stale: sip.example A: no good answer for 7200 h; its addresses are kept",
		}},
		{"A is empty", "sip.example TXT x", []string{"sip.example A: it has no A record any more"}, []string{
			"gone: sip.example A: it has no A record any more, in 10 answers in a row; its addresses are kept",
		}},
		{"the name is gone", "", []string{"sip.example A: the name does not exist any more"}, []string{
			"gone: sip.example A: the name does not exist any more, in 10 answers in a row; its addresses are kept",
		}},
		{"a circle", "sip.example CNAME sip.example", []string{
			"sip.example NAPTR: more than 8 aliases, the last to sip.example",
			"sip.example A: more than 8 aliases, the last to sip.example", "sip.example AAAA: more than 8 aliases, the last to sip.example",
		}, []string{"stale: sip.example A: no good answer for 7200 h; its addresses are kept"}},
		{"5,000 addresses", pool(5000), []string{"sip.example A: the answer has 5000 records, more than 64"}, []string{
			"large: sip.example A: the answer has 5000 records, more than 64, so it is not used",
		}},
		{"only what is not believed", "sip.example A 127.0.0.1\nsip.example A 10.0.0.1", []string{
			"sip.example A: it has only rejected addresses now",
			"sip.example: all its addresses were rejected: 10.0.0.1 is a private address; to allow it, add it to addresses in the policy; 127.0.0.1 is a loopback address",
		}, []string{"rejected: sip.example A: it has only rejected addresses now"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLearner(t)
			l.ask(0, two)
			for range 10 {
				l.ask(30*day, test.zone)
				l.want("192.0.2.1 192.0.2.2", test.problems...)
			}
			l.alarms(test.alarms...)
			l.ask(time.Hour, two)
			l.want("192.0.2.1 192.0.2.2")
			l.alarms()
		})
	}
}

// TestHalfAnAnswerRemovesNothing: an answer that leads nowhere is no good one.
func TestHalfAnAnswerRemovesNothing(t *testing.T) {
	const both = "sip.example A 192.0.2.1\nsip.example AAAA 2001:db8::1\n_sip._udp.sip.example SRV 10 a.net.\na.net A 192.0.2.7\n"
	for _, test := range []struct {
		name     string
		zones    []string // one a month
		problems []string
	}{
		{"A is a sinkhole's", []string{"sip.example A 127.0.0.1\nsip.example AAAA 2001:db8::1\n_sip._udp.sip.example SRV 10 a.net.\na.net A 192.0.2.7\n"}, []string{
			"sip.example A: it has only rejected addresses now",
		}},
		{"SRV leads to a sinkhole", []string{"sip.example A 192.0.2.1\nsip.example AAAA 2001:db8::1\n_sip._udp.sip.example SRV 10 b.net.\nb.net A 127.0.0.1\n"}, []string{
			"_sip._udp.sip.example SRV: its records lead only to rejected addresses now",
		}},
		{"SRV leads to a name without addresses", []string{"sip.example A 192.0.2.1\nsip.example AAAA 2001:db8::1\n_sip._udp.sip.example SRV 10 b.net.\n"}, []string{
			"b.net: no address: _sip._udp.sip.example SRV leads to it, and it has no A or AAAA record",
		}},
		{"SRV fails, then its target is empty", []string{
			"sip.example A 192.0.2.1\nsip.example AAAA 2001:db8::1\n_sip._udp.sip.example SRV !servfail\n",
			"sip.example A 192.0.2.1\nsip.example AAAA 2001:db8::1\n_sip._udp.sip.example SRV 10 a.net.\na.net TXT x\n",
		}, []string{
			"a.net: no address: _sip._udp.sip.example SRV leads to it, and it has no A or AAAA record",
			"a.net A: it has no A record any more",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLearner(t)
			l.ask(0, both)
			l.want("192.0.2.1 192.0.2.7 2001:db8::1")
			for range 5 {
				for _, zone := range test.zones {
					l.ask(30*day, zone)
				}
			}
			if got := l.addresses(); got != "192.0.2.1 192.0.2.7 2001:db8::1" {
				t.Errorf("addresses %s", got)
			}
			texts := map[string]bool{}
			for _, p := range l.memory.Refresh.Failures {
				texts[trimmed(p)] = true
			}
			for _, want := range test.problems {
				if !texts[want] {
					t.Errorf("no problem %q: %v", want, l.memory.Refresh.Failures)
				}
			}
			if len(texts) != len(test.problems) {
				t.Errorf("problems %v, want %v", texts, test.problems)
			}
		})
	}
}

// TestGivingUpATypeOfRecord: a provider drops a whole type and keeps another.
// What it gave stays for three days at least, and then nothing is wrong any
// more.
func TestGivingUpATypeOfRecord(t *testing.T) {
	const (
		naptr = "sip.example NAPTR 10 s SIP+D2T - _sip._tcp.cluster.net\n_sip._tcp.cluster.net SRV 10 c.net.\nc.net A 192.0.2.3\n"
		udp   = "_sip._udp.sip.example SRV 10 a.net.\na.net A 192.0.2.1\na.net AAAA 2001:db8::1\n"
		tcp   = "_sip._tcp.sip.example SRV 10 b.net.\nb.net A 192.0.2.2\n"
		plain = "sip.example A 192.0.2.9\nsip.example AAAA 2001:db8::9\n"
		all   = naptr + udp + tcp + plain
	)
	for _, test := range []struct{ name, after, left string }{
		{"AAAA of the name", naptr + udp + tcp + "sip.example A 192.0.2.9", "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.9 2001:db8::1"},
		{"A and AAAA of the name", naptr + udp + tcp, "192.0.2.1 192.0.2.2 192.0.2.3 2001:db8::1"},
		{"AAAA of a target", naptr + "_sip._udp.sip.example SRV 10 a.net.\na.net A 192.0.2.1\n" + tcp + plain, "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.9 2001:db8::9"},
		{"_sip._tcp", naptr + udp + "b.net A 192.0.2.2\n" + plain, "192.0.2.1 192.0.2.3 192.0.2.9 2001:db8::1 2001:db8::9"},
		{"_sip._tcp, by the root as its target", naptr + udp + "_sip._tcp.sip.example SRV 0 .\n" + plain, "192.0.2.1 192.0.2.3 192.0.2.9 2001:db8::1 2001:db8::9"},
		{"NAPTR", udp + tcp + plain, "192.0.2.1 192.0.2.2 192.0.2.9 2001:db8::1 2001:db8::9"},
		{"an SRV name that only NAPTR tells", "sip.example NAPTR 10 s SIP+D2T - _sip._tcp.cluster.net\n" + udp + tcp + plain, "192.0.2.1 192.0.2.2 192.0.2.9 2001:db8::1 2001:db8::9"},
		{"all but one", tcp + "sip.example TXT x\n", "192.0.2.2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLearner(t)
			l.ask(0, all)
			const everything = "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.9 2001:db8::1 2001:db8::9"
			l.want(everything)
			l.hours(72, test.after)
			l.want(everything)
			l.alarms()
			l.ask(time.Hour, test.after)
			l.want(test.left)
			l.hours(24, test.after)
			l.want(test.left)
			l.alarms()
			// What has left is not missed when all is gone.
			l.ask(time.Hour, "sip.example TXT x")
			for _, p := range l.memory.Refresh.Failures {
				q := resolve.Question{Name: p.Name, Type: p.Type}
				if answer, err := newZone(t, test.after).lookup(t.Context(), q); err != nil || len(answer.Records) == 0 {
					t.Errorf("%s is missed", trimmed(p))
				}
			}
		})
	}
}

// TestHoldLongerThanThreeDays: a hold longer than three days also holds for types of records.
func TestHoldLongerThanThreeDays(t *testing.T) {
	l := newLearner(t)
	l.settings.Hold = 7 * day
	l.ask(0, two+"sip.example AAAA 2001:db8::1")
	l.hours(7*24, two)
	l.want("192.0.2.1 192.0.2.2 2001:db8::1")
	l.ask(time.Hour, two)
	l.want("192.0.2.1 192.0.2.2")
}

// TestDeletedNamesAreNoType: a name that does not exist any more is a
// failure, also while others of the registrar do.
func TestDeletedNamesAreNoType(t *testing.T) {
	l := newLearner(t)
	l.ask(0, "_sip._udp.sip.example SRV 10 a.net.\n_sip._udp.sip.example SRV 20 b.net.\na.net A 192.0.2.1\nb.net A 192.0.2.2")
	const after = "_sip._udp.sip.example SRV 10 a.net.\n_sip._udp.sip.example SRV 20 b.net.\na.net A 192.0.2.1"
	problems := []string{
		"b.net: no address: _sip._udp.sip.example SRV leads to it, and it has no A or AAAA record",
		"b.net A: the name does not exist any more",
	}
	l.hours(2, after)
	if got := l.addresses(); got != "192.0.2.1 192.0.2.2" {
		t.Errorf("addresses %s", got)
	}
	l.alarms()
	l.hours(200, after)
	if got := l.addresses(); got != "192.0.2.1 192.0.2.2" {
		t.Errorf("addresses %s", got)
	}
	l.alarms("gone: b.net A: the name does not exist any more, in 202 answers in a row; its addresses are kept")
	if len(l.memory.Refresh.Failures) != len(problems) {
		t.Errorf("failures %v", l.memory.Refresh.Failures)
	}
	// So is the registrar's own, although there are names below it.
	l = newLearner(t)
	const below = "_sip._udp.sip.example SRV 10 a.net.\na.net A 192.0.2.1\n"
	l.ask(0, below+"sip.example A 192.0.2.9")
	l.hours(200, below)
	l.want("192.0.2.1 192.0.2.9", "sip.example A: the name does not exist any more")
}

// TestWhatIsNotBelievedLeaves: an address that the policy or the host makes
// unbelievable does not stay for having been remembered.
func TestWhatIsNotBelievedLeaves(t *testing.T) {
	l := newLearner(t)
	l.settings.Filter = resolve.AddressFilter{Listed: ruleset.Union([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}).Contains}
	const zone = "sip.example A 192.0.2.1\nsip.example A 10.0.0.1\nsip.example A 198.51.100.10"
	l.ask(0, zone)
	l.want("10.0.0.1 192.0.2.1 198.51.100.10")
	l.settings.Filter = resolve.AddressFilter{Own: []netip.Addr{netip.MustParseAddr("198.51.100.10")}}
	for _, a := range l.memory.Filtered(l.settings.Filter).Addresses(registrar) {
		if a.Address.String() != "192.0.2.1" {
			t.Errorf("%s is still believed", a.Address)
		}
	}
	l.ask(time.Hour, zone)
	l.want("192.0.2.1")
	l.ask(time.Hour, zone)
	for _, r := range l.memory.Names[0].Rejected {
		if r.Times != 2 {
			t.Errorf("%s was counted %d times, want 2", r, r.Times)
		}
	}
}

// TestBogonsNeverEnter: no name server may open the fence for a LAN or for
// the host itself.
func TestBogonsNeverEnter(t *testing.T) {
	l := newLearner(t)
	l.settings.Filter = resolve.AddressFilter{
		Own:    []netip.Addr{netip.MustParseAddr("198.51.100.10")},
		Listed: ruleset.Union([]netip.Prefix{netip.MustParsePrefix("10.7.0.0/16")}).Contains,
	}
	bogons := []string{
		"0.0.0.0", "0.1.2.3", "127.0.0.1", "127.9.9.9", "224.0.0.1", "239.1.1.1", "169.254.1.1", "240.0.0.1", "255.255.255.255",
		"10.0.0.1", "172.16.0.1", "192.168.1.1", "198.51.100.10",
	}
	zone := "sip.example A 192.0.2.1\nsip.example A 10.7.0.1\nsip.example A 100.64.0.1\n"
	for _, b := range bogons {
		zone += "sip.example A " + b + "\n"
	}
	bogons6 := []string{"::", "::1", "ff02::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:198.51.100.10"}
	for _, b := range bogons6 {
		zone += "sip.example AAAA " + b + "\n"
	}
	l.ask(0, zone+"sip.example AAAA 2001:db8::1\n")
	l.want("10.7.0.1 100.64.0.1 192.0.2.1 2001:db8::1")
	if n := len(l.memory.Names[0].Rejected); n != len(bogons)+len(bogons6)-3 { // three are the same in both families
		t.Errorf("%d addresses are noted as rejected: %v", n, l.memory.Names[0].Rejected)
	}
}

// TestNamesThatLeaveThePolicy: their addresses leave at once.
func TestNamesThatLeaveThePolicy(t *testing.T) {
	l := newLearner(t)
	l.ask(0, two)
	office := resolve.Target{Name: "office.example"}
	l.settings.Names = []resolve.Name{{Target: office, Owners: []string{"trusted"}}}
	l.ask(0, "office.example A 192.0.2.9")
	l.want("")
	if got := l.memory.Addresses(office); len(got) != 1 {
		t.Errorf("the new name has %v", got)
	}
}

// TestNamesThatNobodyAskedFor stay as they are, with what failed of them.
func TestNamesThatNobodyAskedFor(t *testing.T) {
	l := newLearner(t)
	l.ask(0, two)
	l.ask(time.Hour, "sip.example A !servfail")
	office := resolve.Target{Name: "office.example"}
	l.settings.Names = append(l.settings.Names, resolve.Name{Target: office, Owners: []string{"trusted"}})
	results := resolve.Resolve(t.Context(), newZone(t, "office.example A 192.0.2.9").lookup, []resolve.Target{office})
	l.pass(time.Hour)
	l.memory = l.memory.Learn(results, l.settings, l.now)
	l.want("192.0.2.1 192.0.2.2", "sip.example A: the server is ill")
	if got := l.memory.Addresses(office); len(got) != 1 {
		t.Errorf("the new name has %v", got)
	}
}
