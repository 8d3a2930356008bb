package nft_test

import (
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// learning is a table with each kind of rule about peers and about what is in a packet.
func learning() *ruleset.State {
	from, to := ruleset.Peer{Port: true}, ruleset.Peer{Answer: true, Port: true}
	from6, to6 := ruleset.Peer{V6: true, Port: true}, ruleset.Peer{V6: true, Answer: true, Port: true}
	goTo := ruleset.Verdict{Kind: ruleset.Goto, Chain: "learn"}
	rule := ruleset.NewRule
	dynamic := func(key ruleset.Key) ruleset.Set {
		return ruleset.Set{Key: key, Timeout: true, Dynamic: true, Size: 1000}
	}
	return &ruleset.State{
		Exists: true, Counters: []string{"seen"},
		Sets: map[string]ruleset.Set{
			"ports":    {Key: ruleset.Service, Timeout: true, Elements: ruleset.Services([]uint16{5060}, []uint16{5060})},
			"asking4":  dynamic(ruleset.IPv4Peer),
			"asking6":  dynamic(ruleset.IPv6Peer),
			"failing4": dynamic(ruleset.IPv4),
			"failing6": dynamic(ruleset.IPv6),
		},
		Chains: map[string]ruleset.Chain{
			"answers": {Stage: ruleset.Leaving, Rules: []ruleset.Rule{
				rule(ruleset.SourcePort{Set: "ports"}, ruleset.PeerIn{Peer: to, Set: "asking4"}, goTo),
				rule(ruleset.SourcePort{Set: "ports"}, ruleset.PeerIn{Peer: to6, Set: "asking6"}, goTo),
				rule(ruleset.Translated, ruleset.Reply, ruleset.RepliedFrom{Protocol: ruleset.UDP, Port: 5060}, goTo),
				rule(ruleset.Translated, ruleset.Reply, ruleset.RepliedFrom{Protocol: ruleset.TCP, Port: 5061}, goTo),
			}},
			"ask": {Rules: []ruleset.Rule{
				rule(ruleset.Text{Offset: 8, Text: "REGISTER "}, ruleset.Learn{Peer: from, Set: "asking4", For: 32 * time.Second}),
				rule(ruleset.Learn{Peer: from6, Set: "asking6", For: 90 * time.Minute}),
				rule(ruleset.PeerIn{Peer: from6, Not: true, Set: "asking6"}, ruleset.Verdict{Kind: ruleset.Return}),
				rule(ruleset.Learn{Set: "failing4", For: time.Minute, Over: ruleset.NewLimit(20, time.Minute)}, ruleset.Count("seen"), ruleset.Verdict{Kind: ruleset.Drop}),
				rule(ruleset.Transport{Protocol: ruleset.TCP}, ruleset.Verdict{Kind: ruleset.Return}),
				rule(ruleset.Transport{Protocol: ruleset.UDPLite}, ruleset.Verdict{Kind: ruleset.Return}),
				rule(ruleset.TCPHeader{Words: 5}, ruleset.Text{Offset: 20, Text: "SIP/2.0 200 "}, goTo),
				rule(ruleset.TCPHeader{Words: 15}, ruleset.Reaches{Offset: 60}, goTo),
				rule(ruleset.Opening{}, ruleset.Verdict{Kind: ruleset.Accept}),
			}},
			"learn": {Rules: []ruleset.Rule{
				rule(ruleset.Forget{Peer: ruleset.Peer{Answer: true}, Set: "failing4"}),
				rule(ruleset.PeerIn{Peer: ruleset.Peer{Answer: true}, Not: true, Set: "failing4"},
					ruleset.Learn{Peer: to, Set: "asking4", For: time.Hour, Over: ruleset.NewLimit(5, time.Second)},
					ruleset.Learn{Peer: ruleset.Peer{Answer: true}, Set: "failing4", For: time.Hour}),
				rule(ruleset.PeerIn{Peer: ruleset.Peer{V6: true, Answer: true}, Set: "failing6"},
					ruleset.Forget{Peer: to6, Set: "asking6"}, ruleset.Learn{Peer: ruleset.Peer{V6: true, Answer: true}, Set: "failing6", For: time.Second}),
			}},
		},
	}
}

// TestLearningRules: rules about peers are read back as they were written, by us and by
// the other program.
func TestLearningRules(t *testing.T) {
	h := labtest.Host(t, "pbx")
	want := learning()
	apply(t, h, want)
	if p := difference(t, h, want); !p.Empty() {
		t.Fatalf("the second plan is not empty: %+v\n%s", p.Changes, list(t, h))
	}
	for name, text := range map[string]string{"nft's listing": list(t, h), "our text": want.String()} {
		labtest.Run(t, h, "nft", "delete", "table", "inet", "ringfence")
		labtest.Rules(t, h, text)
		if p := difference(t, h, want); !p.Empty() {
			t.Errorf("after loading %s the plan is not empty: %+v", name, p.Changes)
		}
	}
}

// TestEveryChangeOfALearningRuleShows does what TestEveryChangeOfARuleShows does.
func TestEveryChangeOfALearningRuleShows(t *testing.T) {
	t.Parallel()
	v := newVandalOf(t, learning())
	for i := range rules(t, v.listing) {
		v.changeRule(t, i, [][2]string{
			{"saddr . th sport", "daddr . th dport"},
			{"th dport @asking", "th dport != @asking"},
			{"limit rate over", "limit rate"},
			{"20/minute burst 20", "21/minute burst 20"},
			{"burst 20 packets", "burst 21 packets"},
			{"0x5245474953544552", "0x5245474953544553"},
			{"@th,64,72", "@th,72,72"},
			{"tcp doff 15", "tcp doff 14"},
			{"delete @failing4", "add @failing4"},
			{">= 0x0", ">= 0x1"},
			{"ct reply proto-src 5060", "ct reply proto-src 5070"},
			{"meta l4proto udp ct", "meta l4proto tcp ct"},
			{"timeout 1h", "timeout 2h"},
			{"syn / syn,ack", "syn / syn,fin"},
			{"update @asking", "add @asking"},
			{"goto learn", "jump learn"},
		})
	}
	v.report(t, "each rule about peers changed, moved, deleted, commented")
}
