package ruleset_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// TestDelta: what is gone and what has come turn one set into the other, and nothing is in
// both.
func TestDelta(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	some := func() []ruleset.Element {
		var list []netip.Prefix
		for range random.IntN(12) {
			list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(random.IntN(16))}), 32))
		}
		return ruleset.Addresses(list)
	}
	for range 500 {
		have, want := some(), some()
		gone, come := ruleset.Delta(have, want)
		if slices.ContainsFunc(gone, func(e ruleset.Element) bool { return slices.Contains(want, e) }) {
			t.Fatalf("%v to %v: of %v some is still wanted", have, want, gone)
		}
		left := map[string]bool{}
		for _, e := range have {
			left[e.String()] = true
		}
		for _, e := range gone {
			if !left[e.String()] {
				t.Fatalf("%v to %v: %s is gone and was not there", have, want, e)
			}
			delete(left, e.String())
		}
		for _, e := range come {
			if left[e.String()] {
				t.Fatalf("%v to %v: %s has come and was there", have, want, e)
			}
			left[e.String()] = true
		}
		if len(left) != len(want) {
			t.Fatalf("%v to %v: %v is gone and %v has come", have, want, gone, come)
		}
		for _, e := range want {
			if !left[e.String()] {
				t.Fatalf("%v to %v: %s is missing", have, want, e)
			}
		}
	}
}

// TestPrefixes: an element is written by the prefixes that cover it exactly, and a port by
// none. An address may stand for a prefix.
func TestPrefixes(t *testing.T) {
	addr := netip.MustParseAddr
	for _, test := range []struct {
		e     ruleset.Element
		want  string
		plain bool
	}{
		{ruleset.Element{From: addr("192.0.2.0"), To: addr("192.0.2.255")}, "[192.0.2.0/24]", true},
		{ruleset.Element{From: addr("192.0.2.1"), To: addr("192.0.2.4")}, "[192.0.2.1/32 192.0.2.2/31 192.0.2.4/32]", true},
		{ruleset.Element{From: addr("192.0.2.1"), To: addr("192.0.2.1"), Timeout: time.Second}, "[192.0.2.1/32]", false},
		{ruleset.Element{From: addr("2001:db8::"), To: addr("2001:db8::1"), Foreign: "comment"}, "[2001:db8::/127]", false},
		{ruleset.Element{Protocol: ruleset.UDP, Port: 5060}, "[]", false},
	} {
		if got := fmt.Sprint(test.e.Prefixes()); got != test.want || test.e.Plain() != test.plain {
			t.Errorf("%s is %s, plain: %t; want %s and %t", test.e, got, test.e.Plain(), test.want, test.plain)
		}
	}
	for text, want := range map[string]string{"192.0.2.1": "192.0.2.1/32", "10.0.0.0/8": "10.0.0.0/8", "2001:db8::1": "2001:db8::1/128", "fe80::1%eth0": "", "x": "", "": ""} {
		p, err := ruleset.ParsePrefix(text)
		if (err == nil) != (want != "") || err == nil && p.String() != want {
			t.Errorf("%q is %s (%v), want %q", text, p, err, want)
		}
	}
}

// TestSets: a set knows which addresses it has, how much room it gets, and which other set
// the kernel could turn it into.
func TestSets(t *testing.T) {
	s := ruleset.Set{Key: ruleset.IPv4, Interval: true, Elements: ruleset.Addresses(prefixes("192.0.2.0/24", "198.51.100.7/32"))}
	for address, want := range map[string]bool{"192.0.2.0": true, "192.0.2.255": true, "192.0.3.0": false, "198.51.100.7": true, "198.51.100.8": false, "2001:db8::1": false} {
		if got := s.Contains(netip.MustParseAddr(address)); got != want {
			t.Errorf("it has %s: %t", address, got)
		}
	}
	if (ruleset.Set{Elements: []ruleset.Element{{Foreign: "*"}}}).Contains(netip.MustParseAddr("0.0.0.1")) {
		t.Error("an element that is no address has one")
	}
	for elements, want := range map[int]uint32{0: 1024, 683: 1024, 684: 4096, 2732: 16384, 100_000: 262144} {
		if got := (ruleset.Set{Key: ruleset.IPv4, Elements: make([]ruleset.Element, elements)}).Room(); got != want || int(got) < elements {
			t.Errorf("%d addresses get room for %d, want %d", elements, got, want)
		}
	}
	for name, other := range map[string]ruleset.Set{"ranges": {Key: ruleset.IPv4, Interval: true}, "IPv6": {Key: ruleset.IPv6}, "ports": {Key: ruleset.Service}} {
		if got := other.Room(); got != 0 {
			t.Errorf("a set of %s gets room for %d", name, got)
		}
	}
	same := s
	same.Elements = nil
	if !s.SameFrame(same) {
		t.Error("sets with other elements are no longer the same")
	}
	for name, change := range map[string]func(*ruleset.Set){
		"key": func(s *ruleset.Set) { s.Key = ruleset.IPv6 }, "interval": func(s *ruleset.Set) { s.Interval = false }, "timeout": func(s *ruleset.Set) { s.Timeout = true },
		"dynamic": func(s *ruleset.Set) { s.Dynamic = true }, "size": func(s *ruleset.Set) { s.Size = 9 }, "foreign": func(s *ruleset.Set) { s.Foreign = "map" },
	} {
		other := s
		change(&other)
		if s.SameFrame(other) {
			t.Errorf("a set with another %s is the same", name)
		}
	}
	observed := ruleset.Set{Size: 100, SizeFrom: 98}
	for size, want := range map[uint32]bool{97: false, 98: true, 99: true, 100: true, 101: false} {
		wanted := ruleset.Set{Size: size}
		if observed.SameFrame(wanted) != want || wanted.SameFrame(observed) != want {
			t.Errorf("a set that was made for 98 to 100 is the same as one for %d: %t", size, !want)
		}
	}
}

// TestWithSets: a rule that names a set can be had with another one; all else of it stays,
// and a rule of another program is not touched.
func TestWithSets(t *testing.T) {
	other := map[string]string{"providers4": "providers4_2", "own6": "own6_2"}
	for _, test := range []struct{ rule, want ruleset.Rule }{
		{
			ruleset.NewRule(ruleset.InInterface{Name: "wan"}, ruleset.Source{Not: true, Set: "providers4"}, ruleset.Verdict{Kind: ruleset.Drop}),
			ruleset.NewRule(ruleset.InInterface{Name: "wan"}, ruleset.Source{Not: true, Set: "providers4_2"}, ruleset.Verdict{Kind: ruleset.Drop}),
		},
		{ruleset.NewRule(ruleset.Source{V6: true, Set: "trusted6"}, ruleset.Verdict{Kind: ruleset.Accept}), ruleset.NewRule(ruleset.Source{V6: true, Set: "trusted6"}, ruleset.Verdict{Kind: ruleset.Accept})},
		{ruleset.ForeignRule("ip saddr @providers4"), ruleset.ForeignRule("ip saddr @providers4")},
		{ruleset.NewRule(ruleset.Destination{Set: "own6"}), ruleset.NewRule(ruleset.Destination{Set: "own6_2"})},
	} {
		if got := test.rule.WithSets(other); got.String() != test.want.String() {
			t.Errorf("%s becomes %s, want %s", test.rule, got, test.want)
		}
	}
}

// TestManyOrigins: a prefix with thousands of names is explained by the first of them, and
// the number of the others; addresses are counted by provider.
func TestManyOrigins(t *testing.T) {
	o := ruleset.Origins{Sets: map[string][]ruleset.Origin{}}
	for i := range 20 {
		o.Sets["providers4"] = append(o.Sets["providers4"], ruleset.Origin{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Owner: "acme", Name: fmt.Sprintf("%02d.example", i), Via: "A"})
	}
	o.Sets["providers6"] = []ruleset.Origin{{Prefix: netip.MustParsePrefix("2001:db8::1/128"), Owner: "acme"}, {Prefix: netip.MustParsePrefix("2001:db8::2/128"), Owner: "beta"}}
	o.Sets["trusted4"] = []ruleset.Origin{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Owner: "acme"}}
	got := o.Why("providers4", netip.MustParsePrefix("192.0.2.1/32"))
	if !strings.HasPrefix(got, "acme: 00.example A; acme: 01.example A; ") || !strings.HasSuffix(got, "; acme: 15.example A; and 4 more") {
		t.Errorf("the reason is %s", got)
	}
	if got := o.Why("providers6", netip.MustParsePrefix("2001:db8::1/128")); got != "acme" {
		t.Errorf("the reason of an owner alone is %q", got)
	}
	if a, b, c := o.Addresses("acme"), o.Addresses("beta"), o.Addresses("gamma"); a != 21 || b != 1 || c != 0 {
		t.Errorf("acme has %d addresses, beta %d, gamma %d", a, b, c)
	}
}

// TestForeignText: what other programs have put into the table is marked in its text, and
// so is where the classifier is.
func TestForeignText(t *testing.T) {
	s := ruleset.State{
		Exists: true, Classifier: ruleset.Classifier{"eth0": "ringfence:1"},
		Sets:   map[string]ruleset.Set{"m": {Key: "type 9", Foreign: "map"}},
		Chains: map[string]ruleset.Chain{"c": {Foreign: "device eth0", Rules: []ruleset.Rule{ruleset.ForeignRule("meta 1=0x1").ShownAs("tcp dport 22 accept")}}},
	}
	for _, want := range []string{"# classifier \"eth0\" ringfence:1\n", "\t\t[map]\n", "\t\t[device eth0]\n", "\t\t[meta 1=0x1]\n"} {
		if !strings.Contains(s.String(), want) {
			t.Errorf("%q is missing in\n%s", want, s.String())
		}
	}
	if got := s.Chains["c"].Rules[0].Shown(); got != "tcp dport 22 accept" {
		t.Errorf("people read %q", got)
	}
}
