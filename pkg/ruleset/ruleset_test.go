package ruleset_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go4.org/netipx"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, t := range texts {
		list = append(list, netip.MustParsePrefix(t))
	}
	return list
}

func TestAddresses(t *testing.T) {
	for _, test := range []struct {
		name string
		in   []netip.Prefix
		want string
	}{
		{"none", nil, ""},
		{"neighbours", prefixes("192.0.2.2/32", "192.0.2.1/32", "192.0.2.3/32", "192.0.2.1/32"), "192.0.2.1 192.0.2.2 192.0.2.3"},
		{"two halves", prefixes("10.0.0.128/25", "10.0.0.0/25"), "10.0.0.0/25 10.0.0.128/25"},
		{"some inside another", prefixes("10.0.0.0/32", "10.0.0.0/8", "10.1.0.0/16", "10.255.255.255/32", "11.0.0.0/32"), "10.0.0.0/8 11.0.0.0"},
		{"host bits", []netip.Prefix{netip.MustParsePrefix("10.1.2.3/8")}, "10.0.0.0/8"},
		{"mapped", prefixes("::ffff:192.0.2.1/128", "192.0.2.1/32"), "192.0.2.1"},
		{"both halves of the world", prefixes("128.0.0.0/1", "0.0.0.0/1", "::/1", "8000::/1"), "0.0.0.0/0 ::/0"},
		{"both families", prefixes("2001:db8::/32", "192.0.2.0/24"), "192.0.2.0/24 2001:db8::/32"},
		{"the ends of the world", prefixes("0.0.0.0/8", "255.255.255.255/32", "ffff::/16"), "0.0.0.0/8 255.255.255.255 ffff::/16"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, e := range ruleset.Addresses(test.in) {
				got = append(got, e.String())
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("got %s, want %s", strings.Join(got, " "), test.want)
			}
		})
	}
}

func TestElementText(t *testing.T) {
	addr := netip.MustParseAddr
	for want, e := range map[string]ruleset.Element{
		"5060":                           {Port: 5060},
		"udp . 5060":                     {Protocol: ruleset.UDP, Port: 5060},
		"tcp . 5061 timeout 1s [x y]":    {Protocol: ruleset.TCP, Port: 5061, Timeout: time.Second, Foreign: "x y"},
		"5060 timeout 1m0s":              {Port: 5060, Timeout: time.Minute},
		"192.0.2.1":                      {From: addr("192.0.2.1"), To: addr("192.0.2.1")},
		"192.0.2.1-192.0.2.9":            {From: addr("192.0.2.1"), To: addr("192.0.2.9")},
		"2001:db8::/64":                  {From: addr("2001:db8::"), To: addr("2001:db8::ffff:ffff:ffff:ffff")},
		`[*]`:                            {Foreign: "*"},
		`192.0.2.1 [comment "a b"]`:      {From: addr("192.0.2.1"), To: addr("192.0.2.1"), Foreign: `comment "a b"`},
		`192.0.2.1 timeout 1s [counter]`: {From: addr("192.0.2.1"), To: addr("192.0.2.1"), Timeout: time.Second, Foreign: "counter"},
	} {
		if got := e.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		text, err := e.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back ruleset.Element
		if err := back.UnmarshalText(text); err != nil || back != e {
			t.Errorf("%q became %#v (%v), want %#v", text, back, err, e)
		}
	}
	for _, bad := range []string{"", "x", "192.0.2.1-", "192.0.2.1-x", "5060 soon x", "70000"} {
		if err := new(ruleset.Element).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// TestStateSurvivesJSON: a state read back from JSON equals the one written.
func TestStateSurvivesJSON(t *testing.T) {
	s := ruleset.State{
		Exists: true, Flags: "dormant", Counters: []string{"a"}, ForeignObjects: []ruleset.ForeignObject{{Kind: "quota", Type: 2, Name: "q"}},
		Sets: map[string]ruleset.Set{"providers4": {Key: ruleset.IPv4, Interval: true, Elements: ruleset.Addresses(prefixes("192.0.2.1/32", "10.0.0.0/8"))}},
		Chains: map[string]ruleset.Chain{"sip": {Stage: "type filter hook input priority -10 policy accept", Rules: []ruleset.Rule{
			ruleset.NewRule(ruleset.InInterface{Name: "ppp*"}, ruleset.Source{V6: true, Set: "providers6"}, ruleset.Verdict{Kind: ruleset.Jump, Chain: "pass"}),
			ruleset.ForeignRule("socket"),
		}}},
	}
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back ruleset.State
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s.String(), back.String()); diff != "" {
		t.Error(diff)
	}
	if got := back.Chains["sip"].Rules[0].Statements(); len(got) != 3 {
		t.Errorf("a rule that was read back does %v", got)
	}
	if got := back.Chains["sip"].Rules[1].Statements(); got != nil {
		t.Errorf("a foreign rule that was read back does %v", got)
	}
	if !back.Chains["sip"].SameRules(s.Chains["sip"]) || !back.Chains["sip"].SameFrame(s.Chains["sip"]) {
		t.Error("a chain differs after reading it back")
	}
}

func TestOrigins(t *testing.T) {
	o := ruleset.Origins{Sets: map[string][]ruleset.Origin{"providers4": {
		{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Owner: "wide"},
		{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Owner: "narrow"},
		{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Owner: "one"},
	}}}
	for prefix, want := range map[string]string{
		"10.0.0.0/8": "wide; narrow (10.1.0.0/16)", "10.1.0.0/16": "narrow; wide", "10.1.2.0/24": "narrow; wide", "10.2.0.0/16": "wide",
		"192.0.2.0/24": "one (192.0.2.1)", "192.0.2.1/32": "one", "192.0.2.2/32": "", "9.0.0.0/8": "", "2001:db8::/32": "",
	} {
		if got := o.Why("providers4", netip.MustParsePrefix(prefix)); got != want {
			t.Errorf("%s belongs to %q, want %q", prefix, got, want)
		}
	}
}

func TestStateText(t *testing.T) {
	if got := (&ruleset.State{}).String(); got != "" {
		t.Errorf("no table is %q", got)
	}
	s := ruleset.State{
		Exists: true, Counters: []string{"dropped_unknown"},
		Sets: map[string]ruleset.Set{
			"banned4": {Key: ruleset.IPv4, Dynamic: true, Timeout: true, Size: 65535},
			"ports":   {Key: ruleset.Service, Timeout: true, Elements: ruleset.Services([]uint16{5061, 5060}, nil)},
		},
		Chains: map[string]ruleset.Chain{
			"prerouting": {Stage: ruleset.BeforeTracking, Rules: []ruleset.Rule{
				ruleset.NewRule(ruleset.InInterface{Name: "lo", Not: true}, ruleset.Count("dropped_unknown"), ruleset.Verdict{Kind: ruleset.Drop}),
			}},
			"reply": {Stage: ruleset.AfterTracking},
		},
	}
	const want = `table inet ringfence {
	counter dropped_unknown {
	}

	set banned4 {
		type ipv4_addr
		size 65535
		flags dynamic,timeout
	}

	set ports {
		type inet_proto . inet_service
		flags timeout
		elements = { udp . 5060,
			     udp . 5061 }
	}

	chain prerouting {
		type filter hook prerouting priority raw - 10; policy accept;
		iif != "lo" counter name "dropped_unknown" drop
	}

	chain reply {
		type filter hook prerouting priority -190; policy accept;
	}
}
`
	if diff := cmp.Diff(want, s.String()); diff != "" {
		t.Error(diff)
	}
}

// TestRulesFromText: every rule that ringfence writes can be read, and no other.
func TestRulesFromText(t *testing.T) {
	rules := []ruleset.Rule{
		ruleset.NewRule(ruleset.InInterface{Name: "lo", Not: true}, ruleset.Verdict{Kind: ruleset.Jump, Chain: "fence"}),
		ruleset.NewRule(ruleset.InInterface{Name: "ppp*"}, ruleset.Verdict{Kind: ruleset.Accept}),
		ruleset.NewRule(ruleset.Source{Set: "providers4"}, ruleset.Count("allowed_provider"), ruleset.Verdict{Kind: ruleset.Goto, Chain: "pass"}),
		ruleset.NewRule(ruleset.Source{V6: true, In: prefixes("fc00::/7", "fe80::/10")}, ruleset.ReversePathMissing{}, ruleset.Verdict{Kind: ruleset.Drop}),
		ruleset.NewRule(ruleset.Source{In: prefixes("192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32", "10.0.0.0/8")}),
		ruleset.NewRule(ruleset.Translated, ruleset.Original, ruleset.Destination{Set: "ports"}, ruleset.Verdict{Kind: ruleset.Goto, Chain: "sip"}),
		ruleset.NewRule(ruleset.Payload(`a "b\" c`), ruleset.Verdict{Kind: ruleset.Goto, Chain: "scanner4"}),
		ruleset.NewRule(ruleset.Mark{Class: ruleset.Scanner}, ruleset.Unicast{}, ruleset.Source{Not: true, Set: "protected4"}, ruleset.Ban{Set: "banned4", For: time.Hour}),
		ruleset.NewRule(ruleset.Mark{Class: ruleset.OtherAgent}, ruleset.Ban{V6: true, Set: "banned6", For: 25*time.Hour + 3*time.Second + 50*time.Millisecond}),
		ruleset.NewRule(ruleset.InInterface{Name: "wlan"}, ruleset.SourceNetwork{Prefix: netip.MustParsePrefix("192.168.1.0/24")}, ruleset.Verdict{Kind: ruleset.Return}),
		ruleset.NewRule(ruleset.FirstFragment{}, ruleset.HasTransport{}),
		ruleset.NewRule(ruleset.IPv6Packet{}, ruleset.Verdict{Kind: ruleset.Goto, Chain: "sip6"}),
		ruleset.NewRule(ruleset.Mark{Not: true}, ruleset.SetMark{}, ruleset.Verdict{Kind: ruleset.Accept}),
		ruleset.NewRule(ruleset.Reply, ruleset.Destination{Set: "ports"}),
		ruleset.NewRule(ruleset.SourcePort{Set: "ports"}, ruleset.PeerIn{Peer: ruleset.Peer{V6: true, Answer: true, Port: true}, Set: "asking6"}),
		ruleset.NewRule(ruleset.PeerIn{Peer: ruleset.Peer{Answer: true}, Not: true, Set: "protected4"}, ruleset.Learn{Peer: ruleset.Peer{Answer: true}, Set: "known4", For: 24 * time.Hour}),
		ruleset.NewRule(ruleset.Text{Offset: 8, Text: "REGISTER "}, ruleset.Learn{Set: "rate4", For: 2 * time.Minute, Over: ruleset.NewLimit(20, time.Minute)}, ruleset.Count("dropped_rate"), ruleset.Verdict{Kind: ruleset.Drop}),
		ruleset.NewRule(ruleset.Learn{Peer: ruleset.Peer{Port: true}, Set: "tries4", For: time.Hour, Over: ruleset.NewLimit(5, time.Hour)}),
		ruleset.NewRule(ruleset.Forget{Peer: ruleset.Peer{V6: true, Port: true}, Set: "asking6"}, ruleset.Forget{Set: "rate4"}),
		ruleset.NewRule(ruleset.Transport{Protocol: ruleset.UDPLite}, ruleset.Translated, ruleset.Reply, ruleset.RepliedFrom{Protocol: ruleset.UDP, Port: 5060}),
		ruleset.NewRule(ruleset.TCPHeader{Words: 15}, ruleset.Text{Offset: 60, Text: "SIP/2.0 200 "}, ruleset.Reaches{Offset: 60}, ruleset.Opening{}),
		ruleset.NewRule(ruleset.Record{Set: "dropped4", For: ruleset.KeptFor}),
		ruleset.NewRule(ruleset.Note{V6: true, Set: "log_unknown6", For: time.Minute}),
		ruleset.NewRule(ruleset.Source{Set: "log_unknown4"}, ruleset.Source{Set: "dropped4"}, ruleset.Count("dropped_unknown"), ruleset.Verdict{Kind: ruleset.Drop}),
		ruleset.NewRule(ruleset.Source{Set: "log_unknown4"}, ruleset.Log("unknown")),
		ruleset.NewRule(ruleset.OtherPort{Port: 5060, Bits: 15}, ruleset.OtherPort{Source: true, Port: 0x1000, Bits: 5}),
		ruleset.NewRule(ruleset.Destination{In: ruleset.Services([]uint16{5060, 5070}, []uint16{5061})}, ruleset.InInterface{Name: "lo"}, ruleset.InInterface{Name: "lo", Not: true}),
	}
	for _, want := range rules {
		var got ruleset.Rule
		if err := got.UnmarshalText([]byte(want.String())); err != nil {
			t.Fatal(err)
		}
		if len(got.Statements()) != len(want.Statements()) || ruleset.NewRule(got.Statements()...).String() != want.String() {
			t.Errorf("%q was read as %q", want, got.Statements())
		}
	}
	for _, foreign := range []string{
		"[socket]", "accept ", "ip saddr  @x drop", "dropx", "udp dport 5060 accept", "ip saddr { 10.0.0.0/9, 10.0.0.0/8 } drop", "iifname \"a\" iifname", "ip saddr { x } drop",
		"meta mark & 0x0f000000 == 0x01000001", "meta mark & 0x0f000000 = 0x01000000", "update @banned4 { ip saddr timeout 60m }", "update @banned4 { ip saddr timeout h }",
		"ip saddr . th dport @asking4", "update @rate4 { ip saddr timeout 2m limit rate over 20/fortnight burst 20 packets }", "@th,63,8 0x52", "@th,64,136 0x5245474953544552204552455245474953",
		"tcp doff 4", "tcp doff 16", "delete @rate4 { ip saddr timeout 1h }", "@th,8,8 >= 0x0", "meta l4proto udp ct reply proto-src 65536", "update @rate4 { ip saddr timeout 2m limit rate over 5/minute burst 5 packets }",
		"update @dropped4 { ip saddr timeout 24h counter }", "add @log_unknown4 { ip saddr timeout 60s }", `log prefix "unknown" group 5061 snaplen 1024`, `log prefix "unknown"`,
		"update @banned4 { ip saddr timeout 1h1d }", "@th,0,32 & 0xfffe == 0x13c4", "@th,0,32 & 0xfffe != 0x13c5", "@th,0,32 & 0xFFFE != 0x13c4", "update @banned4 { ip saddr timeout 99999999999s }",
	} {
		var got ruleset.Rule
		if err := got.UnmarshalText([]byte(foreign)); err != nil {
			t.Fatal(err)
		}
		if s := got.Statements(); s != nil {
			t.Errorf("%q was read as %q", foreign, s)
		}
	}
}

func TestNewLimit(t *testing.T) {
	for _, test := range []struct {
		times  uint32
		within time.Duration
		want   string
	}{
		{10, time.Minute, "limit rate over 10/minute burst 10 packets"},
		{5, time.Second, "limit rate over 5/second"},
		{60, time.Minute, "limit rate over 1/second burst 60 packets"},
		{3, 2 * time.Minute, "limit rate over 90/hour burst 3 packets"},
		{7, 90 * time.Second, "limit rate over 280/hour burst 7 packets"},
		{2, 24 * time.Hour, "limit rate over 2/day burst 2 packets"},
		{1, 7 * time.Second, "limit rate over 86400/week burst 1 packets"},
		{1000, 17 * time.Second, "limit rate over 35576470/week burst 1000 packets"},
	} {
		if got := ruleset.NewLimit(test.times, test.within).String(); got != test.want {
			t.Errorf("%d within %v: %s, want %s", test.times, test.within, got, test.want)
		}
	}
}

// TestWith: a list with more covers what the canonical list of both has, whatever covers
// what, and stays itself where nothing comes.
func TestWith(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	some := func(n int) []netip.Prefix {
		list := make([]netip.Prefix, random.IntN(n+1))
		for i := range list {
			a := netip.AddrFrom4([4]byte{byte(random.IntN(4)) * 64, byte(random.IntN(3)), 0, byte(random.IntN(8))})
			list[i] = netip.PrefixFrom(a, []int{1, 2, 8, 16, 29, 30, 31, 32, 32, 32}[random.IntN(10)])
		}
		return list
	}
	for range 5000 {
		a, b := some(12), some(4)
		listed := ruleset.Addresses(a)
		want := ruleset.Addresses(slices.Concat(a, b))
		got := ruleset.With(listed, ruleset.Addresses(b))
		if !slices.Equal(got, want) {
			t.Fatalf("%v with %v is %v, want %v", a, b, got, want)
		}
		if len(listed) > 0 && slices.Equal(listed, want) && &got[0] != &listed[0] {
			t.Fatalf("%v with %v is copied although nothing comes", a, b)
		}
		for _, p := range b {
			r := netipx.RangeOfPrefix(p.Masked())
			want := slices.DeleteFunc(slices.Clone(listed), func(e ruleset.Element) bool { return !netipx.IPRangeFrom(e.From, e.To).Overlaps(r) })
			if got := ruleset.Overlapping(listed, r); !slices.Equal(got, want) {
				t.Fatalf("of %v, %v overlap %v, want %v", listed, got, p, want)
			}
		}
	}
}

// listedOrigins are origins of one set that are made when they are needed.
type listedOrigins []ruleset.Origin

func (l listedOrigins) Of(set string) []ruleset.Origin {
	if set != "providers4" {
		return nil
	}
	return l
}

func (l listedOrigins) Touches(_ string, p netip.Prefix) bool {
	return slices.ContainsFunc(l, func(o ruleset.Origin) bool { return o.Prefix.Overlaps(p) })
}

// TestListedOrigins: it does not matter which origins are made only when they are needed.
func TestListedOrigins(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	prefix := func() netip.Prefix {
		a := netip.AddrFrom4([4]byte{10, 0, byte(random.IntN(2)), byte(random.IntN(4))})
		return netip.PrefixFrom(a, 8+random.IntN(25)).Masked()
	}
	for range 3000 {
		var names, listed []ruleset.Origin
		for range random.IntN(10) {
			names = append(names, ruleset.Origin{Prefix: prefix(), Owner: "acme", Name: fmt.Sprint(random.IntN(3))})
			listed = append(listed, ruleset.Origin{Prefix: prefix(), Owner: "acme", Via: fmt.Sprint("list ", random.IntN(3))})
		}
		all := slices.Concat(names, listed)
		for _, list := range [][]ruleset.Origin{names, listed, all} {
			slices.SortFunc(list, ruleset.Origin.Compare)
		}
		one := ruleset.Origins{Sets: map[string][]ruleset.Origin{"providers4": slices.Compact(all)}}
		two := ruleset.Origins{Sets: map[string][]ruleset.Origin{"providers4": slices.Compact(names)}, Listed: listedOrigins(slices.Compact(listed))}
		p := prefix()
		if diff := cmp.Diff(one.Of("providers4", p), two.Of("providers4", p), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Fatalf("%v: %s", p, diff)
		}
		if want, got := one.Why("providers4", p), two.Index().Why("providers4", p); got != want {
			t.Fatalf("%v: the index says %q, want %q", p, got, want)
		}
		if !slices.Equal(one.All("providers4"), two.All("providers4")) || one.Addresses("acme") != two.Addresses("acme") {
			t.Fatalf("all of them are %v and %v", one.All("providers4"), two.All("providers4"))
		}
	}
}
