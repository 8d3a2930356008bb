package compile_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// packet is a packet to a fenced port, as the rules see it.
type packet struct {
	source netip.Addr
	// noWayBack says that answers would not leave by the interface it came in by.
	noWayBack bool
	class     ruleset.Class
	// register says that it is a REGISTER; it is another request else.
	register bool
}

// TestJudgement compares the rules' result for a packet with a plain statement of the
// policy, over random policies and packets.
func TestJudgement(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 3000 {
		text := randomPolicy(r)
		p := parse(t, text)
		engine := []string{"", "bpf"}[r.IntN(2)]
		host := ruleset.Host{Engine: engine, ByHand: r.IntN(2) == 0}
		s, _ := compile.State(p, nil, host)
		var byHand netip.Addr
		if host.ByHand {
			byHand = randomAddress(r)
			allowByHand(s, byHand)
		}
		for range 50 {
			packet := packet{source: randomAddress(r), noWayBack: r.IntN(2) == 0, register: r.IntN(2) == 0}
			if engine == "bpf" {
				packet.class = []ruleset.Class{ruleset.Unclassified, ruleset.Scanner, ruleset.KnownAgent, ruleset.OtherAgent, ruleset.Seen, ruleset.Unregister, ruleset.Followed}[r.IntN(7)]
			}
			got, rule := judge(t, s, "sip", packet)
			if want := passes(p, byHand, engine == "bpf", packet); got != want {
				t.Fatalf("policy %d:\n%s\n%+v passes: %t, want %t, by %q of\n%s", i, text, packet, got, want, rule, s)
			}
		}
	}
}

// allowByHand puts an address where ringfence allow puts it.
func allowByHand(s *ruleset.State, a netip.Addr) {
	name := "allowed4"
	if a.Is6() {
		name = "allowed6"
	}
	set := s.Sets[name]
	set.Elements = []ruleset.Element{{From: a, To: a}}
	s.Sets[name] = set
}

// passes is what the policy says.
func passes(p *policy.Policy, byHand netip.Addr, classifies bool, packet packet) bool {
	in := func(prefixes []netip.Prefix) bool {
		return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(packet.source) })
	}
	var providers []netip.Prefix
	for _, provider := range p.Providers {
		for _, a := range provider.Addresses {
			providers = append(providers, a.Prefix)
		}
	}
	private := packet.source.IsPrivate() || packet.source.IsLinkLocalUnicast()
	switch {
	case p.Monitor:
		return true
	case private && packet.noWayBack:
		return false
	case in(providers) || in(p.Trusted.Addresses) || packet.source == byHand:
		return true
	case in(p.Bans.Addresses) || !p.Unknown.Admits() || packet.class == ruleset.Scanner:
		return false
	case p.Unknown.Registers() && (!packet.register || packet.class == ruleset.Followed):
		return false
	case len(p.Unknown.RequireUserAgent) > 0:
		return classifies && packet.class != ruleset.OtherAgent && packet.class != ruleset.Unclassified
	}
	return true
}

var pool = strings.Fields("192.168.1.1 192.168.1.2 10.0.0.1 198.51.100.1 198.51.100.2 203.0.113.1 fd00::1 fd00::2 fe80::1 2001:db8::1 2001:db8::2 2001:db8:1::1")

func randomAddress(r *rand.Rand) netip.Addr { return netip.MustParseAddr(pool[r.IntN(len(pool))]) }

func randomPolicy(r *rand.Rand) string {
	left := slices.Clone(pool)
	r.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
	take := func() string {
		n := r.IntN(4)
		list := left[:n]
		left = left[n:]
		return strings.Join(strings.Split(fmt.Sprintf("%q", list), " "), ", ")
	}
	var lines []string
	if addresses := take(); addresses != "[]" {
		lines = append(lines, "providers: [{name: a, addresses: "+addresses+"}]")
	}
	lines = append(lines, "trusted: {addresses: "+take()+"}", "bans: {addresses: "+take()+"}")
	lines = append(lines, []string{"", "mode: monitor"}[r.IntN(4)/3])
	lines = append(lines, []string{
		"", "unknown: {action: accept}", "unknown: {action: accept, require_user_agent: [Yealink]}",
		"unknown: {action: register}", "unknown: {action: register, require_user_agent: [Yealink]}",
	}[r.IntN(5)])
	return strings.Join(lines, "\n")
}

// judge evaluates the rules of a chain as the kernel does. It reports whether the
// packet passes, and by which rule.
func judge(t *testing.T, s *ruleset.State, chain string, p packet) (pass bool, rule string) {
	t.Helper()
	pass, rule = walk(t, s, chain, p)
	if rule == "" {
		t.Fatalf("chain %s ends without a verdict for %+v", chain, p)
	}
	return pass, rule
}

// walk does the same in a chain that may end without a verdict: then there is no rule.
func walk(t *testing.T, s *ruleset.State, chain string, p packet) (pass bool, rule string) {
	t.Helper()
	c, ok := s.Chains[chain]
	if !ok {
		t.Fatalf("there is no chain %s", chain)
	}
	for _, r := range c.Rules {
		statements := r.Statements()
		verdict, ends := statements[len(statements)-1].(ruleset.Verdict)
		switch {
		case !ends || slices.ContainsFunc(statements, func(st ruleset.Statement) bool { return !matches(t, s, st, p) }):
			continue
		case verdict.Kind == ruleset.Accept:
			return true, r.String()
		case verdict.Kind == ruleset.Drop:
			return false, r.String()
		case verdict.Kind == ruleset.Return:
			return false, ""
		}
		pass, rule = walk(t, s, verdict.Chain, p)
		if rule != "" || verdict.Kind == ruleset.Goto {
			return pass, rule
		}
	}
	return false, ""
}

// matches reports whether a packet matches a statement. A statement that only acts
// matches all packets.
func matches(t *testing.T, s *ruleset.State, statement ruleset.Statement, p packet) bool {
	t.Helper()
	switch st := statement.(type) {
	case ruleset.IPv6Packet:
		return p.source.Is6()
	case ruleset.Source:
		elements := ruleset.Merged(st.In)
		if st.Set != "" {
			elements = s.Sets[st.Set].Elements
		}
		in := slices.ContainsFunc(elements, func(e ruleset.Element) bool {
			return e.From.Compare(p.source) <= 0 && p.source.Compare(e.To) <= 0
		})
		return p.source.Is6() == st.V6 && in != st.Not
	case ruleset.ReversePathMissing:
		return p.noWayBack
	case ruleset.Mark:
		return (p.class == st.Class) != st.Not
	case ruleset.Transport:
		return st.Protocol == ruleset.UDP
	case ruleset.Text:
		return p.register && st.Text == "REGISTER "
	case ruleset.PeerIn:
		return st.Not // nobody has registered, and nobody was answered
	case ruleset.Learn:
		return st.Over == ruleset.Limit{}
	case ruleset.Count, ruleset.Verdict, ruleset.SetMark, ruleset.Ban, ruleset.Unicast, ruleset.Reaches, ruleset.Forget:
		return true
	}
	if _, ok := statement.(ruleset.Passive); ok {
		return true
	}
	t.Fatalf("the test does not know %q", statement)
	return false
}

// TestTexts: a packet that holds a scanner's text ends where one ends that the classifier
// has recognised, behind all that lets its source in.
func TestTexts(t *testing.T) {
	for text, want := range map[string]string{
		"unknown: {action: accept}": "fib saddr type unicast ip saddr != @protected4 update @banned4 { ip saddr timeout 1h }\n" +
			drops("signature", "drop"),
		"unknown: {action: accept}\nbans: {duration: 0s}": drops("signature", "drop"),
		"unknown: {action: accept}\nmode: monitor":        drops("signature", "accept"),
		"": drops("signature", "drop"),
	} {
		p := parse(t, "providers: [{name: a, addresses: [192.0.2.1]}]\n"+text)
		p.Signatures.Engine, p.Signatures.Texts = policy.EngineString, []string{"friendly-scanner"}
		s, _ := compile.State(p, nil, ruleset.Host{Engine: "bpf"})
		if got := rules(s.Chains["scanner4"]); got != want {
			t.Errorf("policy %q: a scanner's packet meets\n%s\nwant\n%s", text, got, want)
		}
		lines := rules(s.Chains["sip"])
		if look := strings.Index(lines, `payload contains "friendly-scanner" goto scanner4`); look < strings.Index(lines, "@providers4") {
			t.Errorf("policy %q: in chain sip are\n%s", text, lines)
		}
	}
}
