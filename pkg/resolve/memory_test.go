package resolve_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// learner asks one name again and again and remembers.
type learner struct {
	t      *testing.T
	memory resolve.Memory
	now    time.Time
	screen resolve.Screen
}

const hold = 24 * time.Hour

func (l *learner) ask(after time.Duration, zone string) {
	l.t.Helper()
	l.now = l.now.Add(after)
	results := resolve.Resolve(l.t.Context(), newZone(l.t, zone).lookup, []resolve.Target{{Name: "sip.example", Registrar: true}})
	l.memory = l.memory.Learn(results, l.screen, hold, l.now)
}

func (l *learner) want(addresses string, problems ...string) {
	l.t.Helper()
	var got []string
	for _, a := range l.memory.Addresses(resolve.Target{Name: "sip.example", Registrar: true}) {
		got = append(got, a.Address.String())
	}
	if strings.Join(got, " ") != addresses {
		l.t.Errorf("after %s: addresses %q, want %q", l.now.Sub(start), got, addresses)
	}
	var texts []string
	for _, p := range l.memory.Refresh.Failures {
		texts = append(texts, strings.TrimSpace(p.Name+" "+string(p.Type))+": "+p.Error)
	}
	if diff := cmp.Diff(problems, texts); diff != "" {
		l.t.Errorf("after %s: %s", l.now.Sub(start), diff)
	}
	if l.memory.Refresh.OK != (len(problems) == 0) {
		l.t.Errorf("after %s: ok is %t", l.now.Sub(start), l.memory.Refresh.OK)
	}
}

const two = "sip.example A 192.0.2.1\nsip.example A 192.0.2.2\n"

func TestMissingAddressesAreHeld(t *testing.T) {
	l := &learner{t: t, now: start}
	l.ask(0, two)
	l.want("192.0.2.1 192.0.2.2")
	l.ask(time.Hour, "sip.example A 192.0.2.1\nsip.example A 192.0.2.3")
	l.want("192.0.2.1 192.0.2.2 192.0.2.3")
	l.ask(23*time.Hour, "sip.example A 192.0.2.1\nsip.example A 192.0.2.3")
	l.want("192.0.2.1 192.0.2.2 192.0.2.3")
	l.ask(time.Hour, "sip.example A 192.0.2.1\nsip.example A 192.0.2.3")
	l.want("192.0.2.1 192.0.2.3")
}

func TestAnAddressThatComesBackIsHeldAnew(t *testing.T) {
	l := &learner{t: t, now: start}
	l.ask(0, two)
	l.ask(time.Hour, "sip.example A 192.0.2.1")
	l.ask(20*time.Hour, two)
	l.ask(20*time.Hour, "sip.example A 192.0.2.1")
	l.want("192.0.2.1 192.0.2.2")
}

func TestFailuresRemoveNothing(t *testing.T) {
	for _, test := range []struct {
		name, zone string
		problems   []string
	}{
		{"A fails", "sip.example A !servfail", []string{"sip.example A: the server is ill"}},
		{"A is empty", "sip.example TXT x", []string{"sip.example A: no A record any more, where there was one"}},
		{"the name is gone", "", []string{"sip.example A: the name does not exist any more"}},
		{"another type fails", "sip.example A 192.0.2.1\nsip.example AAAA !timeout", []string{"sip.example AAAA: the server is ill"}},
		{"a circle", "sip.example CNAME sip.example", []string{
			"sip.example NAPTR: more than 8 aliases, the last to sip.example",
			"sip.example A: more than 8 aliases, the last to sip.example", "sip.example AAAA: more than 8 aliases, the last to sip.example",
		}},
		{"only what is not believed", "sip.example A 127.0.0.1\nsip.example A 10.0.0.1", []string{
			"sip.example A: only addresses that cannot be believed, where there were others",
			"sip.example: no address that can be believed: 10.0.0.1 is a private address; to allow it, add it to addresses in the policy; 127.0.0.1 is a loopback address",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := &learner{t: t, now: start}
			l.ask(0, two)
			for range 10 {
				l.ask(30*24*time.Hour, test.zone)
				l.want("192.0.2.1 192.0.2.2", test.problems...)
			}
			l.ask(time.Hour, two)
			l.want("192.0.2.1 192.0.2.2")
		})
	}
}

// TestHalfAnAnswerRemovesNothing: as long as any question of a name that once
// had a good answer has none, nothing of that name ages.
func TestHalfAnAnswerRemovesNothing(t *testing.T) {
	const both = "sip.example A 192.0.2.1\nsip.example AAAA 2001:db8::1\n_sip._udp.sip.example SRV 10 a.net.\na.net A 192.0.2.7\n"
	for _, test := range []struct {
		name     string
		zones    []string // one a month
		problems []string
	}{
		{"A is a sinkhole's", []string{"sip.example A 127.0.0.1\nsip.example AAAA 2001:db8::1\n_sip._udp.sip.example SRV 10 a.net.\na.net A 192.0.2.7\n"}, []string{
			"sip.example A: only addresses that cannot be believed, where there were others",
		}},
		{"SRV leads to a name without addresses", []string{"sip.example A 192.0.2.1\nsip.example AAAA 2001:db8::1\n_sip._udp.sip.example SRV 10 b.net.\n"}, []string{
			"b.net: no address: _sip._udp.sip.example SRV leads to it, and it has no A or AAAA record",
		}},
		{"SRV fails, then its target is empty", []string{
			"sip.example A 192.0.2.1\nsip.example AAAA 2001:db8::1\n_sip._udp.sip.example SRV !servfail\n",
			"sip.example A 192.0.2.1\nsip.example AAAA 2001:db8::1\n_sip._udp.sip.example SRV 10 a.net.\na.net TXT x\n",
		}, []string{
			"a.net: no address: _sip._udp.sip.example SRV leads to it, and it has no A or AAAA record",
			"a.net A: no A record any more, where there was one",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := &learner{t: t, now: start}
			l.ask(0, both)
			l.want("192.0.2.1 192.0.2.7 2001:db8::1")
			for range 5 {
				for _, zone := range test.zones {
					l.ask(30*24*time.Hour, zone)
				}
				l.want("192.0.2.1 192.0.2.7 2001:db8::1", test.problems...)
			}
		})
	}
}

// TestMemoryFromAFile: a file that people may have edited is looked at before
// anything is believed.
func TestMemoryFromAFile(t *testing.T) {
	for text, want := range map[string]string{
		`{"version": 1, "names": [{"name": "a", "addresses": [{"address": "192.0.2.1"}]}]}`: "",
		`null`:           "version 0 is not 1",
		`{}`:             "version 0 is not 1",
		`{"version": 2}`: "version 2 is not 1",
		`{"version": 1, "names": [{"name": "a", "addresses": [{"address": ""}]}]}`:                 `"invalid IP" of a is no address`,
		`{"version": 1, "names": [{"name": "a", "addresses": [{}]}]}`:                              `"invalid IP" of a is no address`,
		`{"version": 1, "names": [{"name": "a", "addresses": [{"address": "fe80::1%eth0"}]}]}`:     `"fe80::1%eth0" of a is no address`,
		`{"version": 1, "names": [{"name": "a", "addresses": [{"address": "::ffff:192.0.2.1"}]}]}`: `"::ffff:192.0.2.1" of a is no address`,
		`{"version": 1, "names": [{"addresses": []}]}`:                                             "a name is empty",
	} {
		var m resolve.Memory
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := m.Check(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// TestWhatIsNotBelievedLeaves: an address that the policy or the host makes
// unbelievable does not stay for having been remembered.
func TestWhatIsNotBelievedLeaves(t *testing.T) {
	l := &learner{t: t, now: start, screen: resolve.Screen{Listed: ruleset.Union([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})}}
	l.ask(0, "sip.example A 192.0.2.1\nsip.example A 10.0.0.1\nsip.example A 198.51.100.10")
	l.want("10.0.0.1 192.0.2.1 198.51.100.10")
	l.screen = resolve.Screen{Own: []netip.Addr{netip.MustParseAddr("198.51.100.10")}}
	for _, a := range l.memory.Screened(l.screen).Addresses(resolve.Target{Name: "sip.example", Registrar: true}) {
		if a.Address.String() != "192.0.2.1" {
			t.Errorf("%s is still believed", a.Address)
		}
	}
	l.ask(time.Hour, "sip.example A 192.0.2.1\nsip.example A 10.0.0.1\nsip.example A 198.51.100.10")
	l.want("192.0.2.1")
}

// TestBogonsNeverEnter: whoever answers must not open the fence for a LAN or for
// the host itself.
func TestBogonsNeverEnter(t *testing.T) {
	l := &learner{t: t, now: start, screen: resolve.Screen{
		Own:    []netip.Addr{netip.MustParseAddr("198.51.100.10")},
		Listed: ruleset.Union([]netip.Prefix{netip.MustParsePrefix("10.7.0.0/16")}),
	}}
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

func TestNothingBehindAName(t *testing.T) {
	l := &learner{t: t, now: start}
	l.ask(0, "sip.example TXT x")
	l.want("", "sip.example: no address: it has no NAPTR, SRV, A or AAAA record that leads to one")
}

// TestNamesThatLeaveThePolicy: their addresses leave at once.
func TestNamesThatLeaveThePolicy(t *testing.T) {
	l := &learner{t: t, now: start}
	l.ask(0, two)
	z := newZone(t, "office.example A 192.0.2.9")
	l.memory = l.memory.Learn(resolve.Resolve(t.Context(), z.lookup, []resolve.Target{{Name: "office.example"}}), resolve.Screen{}, hold, start)
	l.want("")
	if got := l.memory.Addresses(resolve.Target{Name: "office.example"}); len(got) != 1 {
		t.Errorf("the new name has %v", got)
	}
}

func TestMemorySurvivesJSON(t *testing.T) {
	l := &learner{t: t, now: start}
	l.ask(0, two+"_sip._udp.sip.example SRV 10 a.net.\na.net A 192.0.2.7")
	l.ask(time.Hour, "sip.example A 192.0.2.1\nsip.example A 127.0.0.1")
	data, err := json.Marshal(l.memory)
	if err != nil {
		t.Fatal(err)
	}
	var back resolve.Memory
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	again, _ := json.Marshal(back)
	if diff := cmp.Diff(string(data), string(again)); diff != "" {
		t.Error(diff)
	}
}

func TestMerge(t *testing.T) {
	known := func(name string, addresses ...string) resolve.Known {
		k := resolve.Known{Name: name}
		for _, a := range addresses {
			k.Addresses = append(k.Addresses, resolve.KnownAddress{Address: netip.MustParseAddr(a)})
		}
		return k
	}
	now := resolve.Memory{Names: []resolve.Known{known("a", "192.0.2.1"), known("b")}}
	kept := resolve.Memory{Names: []resolve.Known{known("a", "192.0.2.9"), known("b", "192.0.2.2"), known("c", "192.0.2.3")}}
	merged := now.Merge(kept)
	for name, want := range map[string]string{"a": "192.0.2.1", "b": "192.0.2.2", "c": "192.0.2.3"} {
		got := merged.Addresses(resolve.Target{Name: name})
		if len(got) != 1 || got[0].Address.String() != want {
			t.Errorf("%s has %v, want %s", name, got, want)
		}
	}
}
