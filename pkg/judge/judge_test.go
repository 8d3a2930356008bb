package judge_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/judge"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

var (
	v4   = netip.MustParseAddr("192.0.2.1")
	v6   = netip.MustParseAddr("2001:db8::1")
	pass = ruleset.Verdict{Kind: ruleset.Accept}
)

func element(text string) ruleset.Element {
	p, err := ruleset.ParsePrefix(text)
	if err != nil {
		panic(err)
	}
	return ruleset.Addresses([]netip.Prefix{p})[0]
}

// table is one whose only rules, behind those given, count a packet as unknown and drop it.
func table(rules ...ruleset.Rule) *ruleset.State {
	rules = append(rules, ruleset.NewRule(ruleset.Count("dropped_unknown"), ruleset.Verdict{Kind: ruleset.Drop}))
	return &ruleset.State{
		Exists: true,
		Sets: map[string]ruleset.Set{
			"ports":      {Key: ruleset.Service, Elements: ruleset.Services([]uint16{5060}, []uint16{5061})},
			"providers4": {Key: ruleset.IPv4, Elements: []ruleset.Element{element("192.0.2.1"), element("198.51.100.0/24")}},
			"banned4":    {Key: ruleset.IPv4, Dynamic: true},
			"phones4":    {Key: ruleset.IPv4Peer, Dynamic: true, Elements: []ruleset.Element{{From: v4, To: v4, Port: 40000}}},
		},
		Chains: map[string]ruleset.Chain{
			"prerouting": {Stage: ruleset.BeforeTracking, Rules: rules},
			"pass":       {Rules: []ruleset.Rule{ruleset.NewRule(pass)}},
			"back":       {Rules: []ruleset.Rule{ruleset.NewRule(ruleset.Verdict{Kind: ruleset.Return}), ruleset.NewRule(pass)}},
		},
	}
}

// meaning has a packet that matches a statement, and one that does not.
type meaning struct {
	statement ruleset.Statement
	is, not   judge.Packet
}

var (
	from4 = judge.Packet{Source: v4, Protocol: ruleset.UDP, Port: 5060, Interface: "eth0"}
	from6 = judge.Packet{Source: v6, Protocol: ruleset.UDP, Port: 5060, Interface: "eth0"}
)

func packet(p judge.Packet, change func(*judge.Packet)) judge.Packet {
	change(&p)
	return p
}

func meanings() []meaning {
	other := packet(from4, func(p *judge.Packet) { p.Source = netip.MustParseAddr("203.0.113.1") })
	on := func(name string) judge.Packet { return packet(from4, func(p *judge.Packet) { p.Interface = name }) }
	shaped := func(of judge.Packet, s judge.Shape) judge.Packet {
		return packet(of, func(p *judge.Packet) { p.Shape = s })
	}
	seen := func(c ruleset.Class) judge.Packet { return packet(from4, func(p *judge.Packet) { p.Class = c }) }
	to := func(protocol ruleset.Protocol, port uint16) judge.Packet {
		return packet(from4, func(p *judge.Packet) { p.Protocol, p.Port = protocol, port })
	}
	saying := func(text string) judge.Packet {
		return packet(from4, func(p *judge.Packet) { p.Message = []byte(text) })
	}
	by := func(port uint16) judge.Packet {
		return packet(from4, func(p *judge.Packet) { p.SourcePort = port })
	}
	often := packet(from4, func(p *judge.Packet) { p.Often = true })
	noWay := packet(from4, func(p *judge.Packet) { p.NoWayBack = true })
	broadcast := packet(from4, func(p *judge.Packet) { p.NotUnicast = true })
	reply := packet(from4, func(p *judge.Packet) { p.Reply = true })
	translated := packet(from4, func(p *judge.Packet) { p.Translated = 5070 })
	return []meaning{
		{ruleset.InInterface{Name: "eth0"}, from4, on("eth01")},
		{ruleset.InInterface{Name: "eth*"}, on("eth01"), on("et")},
		{ruleset.InInterface{Name: "lo", Not: true}, from4, on("lo")},
		{ruleset.Source{Set: "providers4"}, from4, other},
		{ruleset.Source{Set: "providers4"}, packet(from4, func(p *judge.Packet) { p.Source = netip.MustParseAddr("::ffff:198.51.100.255") }), from6},
		{ruleset.Source{Set: "providers4", Not: true}, other, from4},
		{ruleset.Source{Set: "nothing4", Not: true}, from4, from6},
		{ruleset.Source{V6: true, In: []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}}, from6, from4},
		{ruleset.SourceNetwork{Prefix: netip.MustParsePrefix("192.0.2.0/24")}, from4, other},
		{ruleset.IPv6Packet{}, from6, from4},
		{ruleset.FirstFragment{}, shaped(from6, judge.First), from6},
		{ruleset.FirstFragment{}, shaped(from6, judge.Headless), shaped(from4, judge.First)},
		{ruleset.HasTransport{}, from6, shaped(from6, judge.Headless)},
		{ruleset.Destination{Set: "ports"}, from4, to(ruleset.UDP, 5061)},
		{ruleset.Destination{Set: "ports"}, to(ruleset.SCTP, 5061), to("", 0)},
		{ruleset.Destination{Set: "ports"}, shaped(from4, judge.First), shaped(from4, judge.Later)},
		{ruleset.Destination{In: ruleset.Services([]uint16{5070}, nil)}, to(ruleset.UDP, 5070), to(ruleset.TCP, 5070)},
		{ruleset.OtherPort{Port: 5060, Bits: 15}, to(ruleset.UDP, 5062), to(ruleset.TCP, 5061)},
		{ruleset.OtherPort{Port: 5060, Bits: 16}, shaped(to(ruleset.UDP, 5061), judge.First), shaped(to(ruleset.UDP, 5061), judge.Later)},
		{ruleset.Mark{Class: ruleset.Scanner}, seen(ruleset.Scanner), seen(ruleset.Seen)},
		{ruleset.Mark{Class: ruleset.Unclassified, Not: true}, seen(ruleset.Seen), from4},
		{ruleset.Payload("friendly-scanner"), saying("User-Agent: Friendly-Scanner"), saying("friendly")},
		{ruleset.PeerIn{Peer: ruleset.Peer{Port: true}, Set: "phones4"}, by(40000), by(40001)},
		{ruleset.PeerIn{Peer: ruleset.Peer{Port: true}, Set: "phones4", Not: true}, by(40001), by(40000)},
		{ruleset.Learn{Set: "rate4", For: time.Minute, Over: ruleset.NewLimit(2, time.Minute)}, often, from4},
		{ruleset.Learn{Peer: ruleset.Peer{Port: true}, Set: "asking4", For: time.Minute}, from4, from6},
		{ruleset.Transport{Protocol: ruleset.TCP}, to(ruleset.TCP, 5061), from4},
		{ruleset.TCPHeader{Words: 5}, to(ruleset.TCP, 5061), from4},
		{ruleset.Opening{}, to(ruleset.TCP, 5061), from4},
		{ruleset.Fragment{}, shaped(from4, judge.First), shaped(from6, judge.First)},
		{ruleset.Fragment{}, shaped(from4, judge.Later), from4},
		{ruleset.Text{Offset: 8, Text: "REGISTER "}, saying("REGISTER sip:"), saying("register sip:")},
		{ruleset.Text{Offset: 8, Text: "REGISTER "}, saying("REGISTER "), saying("REGISTER")},
		{ruleset.Reaches{Offset: 16}, saying("REGISTER "), saying("REGISTER")},
		{ruleset.ReversePathMissing{}, noWay, from4},
		{ruleset.Unicast{}, from4, broadcast},
		{ruleset.Reply, reply, from4},
		{ruleset.Original, from4, reply},
		{ruleset.Translated, translated, from4},
	}
}

// TestMeaning: a rule that lets pass what matches one statement lets pass exactly that.
func TestMeaning(t *testing.T) {
	for _, m := range meanings() {
		s := table(ruleset.NewRule(m.statement, pass))
		for p, want := range map[*judge.Packet]bool{&m.is: true, &m.not: false} {
			v, err := judge.Judge(s, *p)
			if err != nil || v.Allowed != want {
				t.Errorf("%s: allowed %t, want %t (%v) for %+v", m.statement, v.Allowed, want, err, *p)
			}
		}
	}
}

// TestEveryStatement: a kind of statement is passed over, or the tests have its meaning.
func TestEveryStatement(t *testing.T) {
	known := map[string]bool{"Count": true, "Verdict": true, "SetMark": true, "Ban": true, // the tests below
		"Forget": true, "SourcePort": true, "RepliedFrom": true} // only in rules about what leaves
	for _, m := range meanings() {
		known[reflect.TypeOf(m.statement).Name()] = true
	}
	noTests := func(f fs.FileInfo) bool { return !strings.HasSuffix(f.Name(), "_test.go") }
	packages, err := parser.ParseDir(token.NewFileSet(), "../ruleset", noTests, 0) //nolint:staticcheck // no need for the types
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, f := range packages["ruleset"].Files {
		for _, d := range f.Decls {
			method, ok := d.(*ast.FuncDecl)
			if !ok || method.Recv == nil {
				continue
			}
			switch name := fmt.Sprint(method.Recv.List[0].Type); method.Name.Name {
			case "statement":
				found[name] = found[name] || false
			case "passive":
				found[name] = true
			}
		}
	}
	if len(found) < len(known) {
		t.Fatalf("only %v were found", found)
	}
	for name, passive := range found {
		if !passive && !known[name] {
			t.Errorf("nothing says what the statement %s means for a packet", name)
		}
	}
}

// TestReasons: the verdict names the counter, the rule and the element that decided, also
// where a chain lies between.
func TestReasons(t *testing.T) {
	s := table(
		ruleset.NewRule(ruleset.Source{Set: "banned4"}, ruleset.Verdict{Kind: ruleset.Jump, Chain: "banned"}),
		ruleset.NewRule(ruleset.Mark{Class: ruleset.Scanner}, ruleset.Ban{Set: "banned4", For: time.Hour}),
		ruleset.NewRule(ruleset.Source{Set: "providers4"}, ruleset.Verdict{Kind: ruleset.Goto, Chain: "allowed"}),
		ruleset.NewRule(ruleset.Source{V6: true, Set: "nothing6", Not: true}, ruleset.Verdict{Kind: ruleset.Jump, Chain: "back"}),
	)
	s.Chains["banned"] = ruleset.Chain{Rules: []ruleset.Rule{
		ruleset.NewRule(ruleset.Source{Not: true, Set: "protected4"}, ruleset.Count("dropped_banned"), ruleset.Verdict{Kind: ruleset.Drop}),
	}}
	s.Chains["allowed"] = ruleset.Chain{Rules: []ruleset.Rule{
		ruleset.NewRule(ruleset.Count("allowed_provider"), ruleset.Verdict{Kind: ruleset.Goto, Chain: "marked"}),
	}}
	s.Chains["marked"] = ruleset.Chain{Rules: []ruleset.Rule{
		ruleset.NewRule(ruleset.Mark{Class: ruleset.Scanner}, ruleset.Count("allowed_scanner")),
		ruleset.NewRule(ruleset.SetMark{}, pass),
	}}
	banned := s.Sets["banned4"]
	banned.Elements = []ruleset.Element{element("203.0.113.7")}
	s.Sets["banned4"] = banned
	scanner := func(from string) judge.Packet {
		return packet(from4, func(p *judge.Packet) { p.Source, p.Class = netip.MustParseAddr(from), ruleset.Scanner })
	}
	for _, test := range []struct {
		packet judge.Packet
		want   string
	}{
		{scanner("198.51.100.9"), "true by allowed 0: allowed_provider of [allowed_provider allowed_scanner], providers4 198.51.100.0/24, bans [banned4]"},
		{scanner("203.0.113.7"), "false by banned 0: dropped_banned of [dropped_banned], banned4 203.0.113.7, bans []"},
		{scanner("203.0.113.8"), "false by prerouting 4: dropped_unknown of [dropped_unknown], no element, bans [banned4]"},
		{from6, "false by prerouting 4: dropped_unknown of [dropped_unknown], no element, bans []"},
	} {
		v, err := judge.Judge(s, test.packet)
		by := "no element"
		if v.Set != "" {
			by = v.Set + " " + v.Element.String()
		}
		got := fmt.Sprintf("%t by %s %d: %s of %v, %s, bans %v", v.Allowed, v.Rule.Chain, v.Rule.Index, v.Counter, v.Counters, by, v.Bans)
		if err != nil || got != test.want {
			t.Errorf("%s\nwant %s, %v", got, test.want, err)
		}
	}
}

// TestStages: a packet that the first chain lets pass meets the one behind the
// translation of its destination, with the port that it has then.
func TestStages(t *testing.T) {
	drop := ruleset.Verdict{Kind: ruleset.Drop}
	s := table()
	s.Chains["prerouting"] = ruleset.Chain{Stage: ruleset.BeforeTracking, Rules: []ruleset.Rule{
		ruleset.NewRule(ruleset.OtherPort{Port: 5060, Bits: 15}, ruleset.Verdict{Kind: ruleset.Return}),
		ruleset.NewRule(ruleset.Destination{Set: "ports"}, drop),
	}}
	s.Chains["after_dnat"] = ruleset.Chain{Stage: ruleset.BeforeFilter, Rules: []ruleset.Rule{ruleset.NewRule(ruleset.Translated, ruleset.Original, ruleset.Destination{Set: "ports"}, drop)}}
	for _, test := range []struct {
		port, translated uint16
		want             bool
	}{{5060, 0, false}, {5060, 7000, false}, {6000, 0, true}, {6000, 5060, false}, {6000, 7000, true}} {
		v, err := judge.Judge(s, packet(from4, func(p *judge.Packet) { p.Port, p.Translated = test.port, test.translated }))
		if err != nil || v.Allowed != test.want || v.Judged == test.want {
			t.Errorf("to %d, translated to %d: %+v, %v", test.port, test.translated, v, err)
		}
	}
}

// TestNoFence: without a table, or with a dormant one, everything passes and no rule has
// decided.
func TestNoFence(t *testing.T) {
	dormant := table()
	dormant.Flags = "dormant"
	for _, s := range []*ruleset.State{{}, dormant} {
		if v, err := judge.Judge(s, from4); err != nil || !v.Allowed || v.Judged {
			t.Errorf("%+v, %v", v, err)
		}
	}
}

// TestForeign: a table with rules of another program is not judged.
func TestForeign(t *testing.T) {
	hooked, rule, chain := table(), table(ruleset.ForeignRule("payload")), table()
	hooked.Chains["theirs"] = ruleset.Chain{Stage: "type filter hook output priority 0"}
	chain.Chains["prerouting"] = ruleset.Chain{Stage: ruleset.BeforeTracking, Foreign: "policy drop"}
	for _, s := range []*ruleset.State{hooked, rule, chain} {
		if _, err := judge.Judge(s, from4); err == nil || !strings.Contains(err.Error(), "another program") {
			t.Errorf("%v for\n%s", err, s)
		}
	}
	loop := table(ruleset.NewRule(ruleset.Verdict{Kind: ruleset.Jump, Chain: "loop"}))
	loop.Chains["loop"] = ruleset.Chain{Rules: slices.Repeat([]ruleset.Rule{ruleset.NewRule(ruleset.Verdict{Kind: ruleset.Jump, Chain: "loop"})}, 2)}
	if _, err := judge.Judge(loop, from4); err == nil {
		t.Error("a loop has an end")
	}
}
