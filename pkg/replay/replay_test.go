package replay_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/capture"
	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/replay"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/signature"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
	"github.com/ringfence/ringfence/pkg/site"
)

const pbx = "192.0.2.10"

// rules judge by a policy, on a host whose only interface is eth0.
type rules struct {
	site *site.Site
	live site.Live
}

func newRules(t *testing.T, text string) rules {
	t.Helper()
	p, err := policy.Parse("policy.yaml", strings.NewReader("version: 1\n"+text), policy.Available{Engines: []policy.Engine{policy.EngineBPF}})
	if err != nil {
		t.Fatal(err)
	}
	host := ruleset.Host{Engine: "bpf", Classified: []string{"eth0"}, Interfaces: []ruleset.Interface{{Name: "eth0"}}, Outside: []string{"eth0"}}
	s := &site.Site{Policy: p, Host: host}
	s.Classifier.Desired = ruleset.Classifier{"eth0": "replay"}
	table, origins := compile.State(p, nil, host)
	table.Classifier = s.Classifier.Desired
	return rules{s, site.Live{Table: table, Origins: &origins}}
}

// replay tells what the rules would do.
func (r rules) replay(t *testing.T, own []netip.Addr, packets ...capture.Packet) replay.Result {
	t.Helper()
	automaton, err := signature.Compile(signaturetest.Few(), r.site.Policy.Unknown.RequireUserAgent)
	if err != nil {
		t.Fatal(err)
	}
	ports := r.site.Policy.Ports
	classifier := capture.NewJudge(automaton, ports.UDP, ports.TCP)
	classifier.Registers = r.site.Policy.Unknown.Registers()
	tally := replay.NewTally(classifier, ports.UDP, ports.TCP, replay.Reads(r.live.Table))
	tally.Roaming = replay.Roaming{ByPort: r.site.Policy.Roaming.Match == policy.MatchAddressPort, Life: r.site.Policy.Roaming.Life}
	for i, p := range packets {
		p.Time = time.Unix(int64(1_700_000_000+i), 0)
		tally.Add(p)
	}
	result, err := tally.Result(func(q site.Question) (site.Answer, error) { return r.site.Why(r.live, q) }, own)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func packet(from, to, message string) capture.Packet {
	port := func(a string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(a), 5060) }
	return capture.Packet{Protocol: "udp", Source: port(from), Destination: port(to), Payload: []byte(message)}
}

func request(method, user string) string {
	return fmt.Sprintf("%s sip:%s@pbx SIP/2.0\r\nUser-Agent: snom\r\nCSeq: 1 %s\r\n\r\n", method, user, method)
}

func answer(status int, method string) string {
	return fmt.Sprintf("SIP/2.0 %d X\r\nCSeq: 1 %s\r\nServer: edge\r\n\r\n", status, method)
}

// lines are the sources, each with what became of its packets.
func lines(r replay.Result) string {
	var b strings.Builder
	for _, s := range r.Sources {
		fmt.Fprintf(&b, "%s %d/%d %s silenced %t\n", s.Address, s.Dropped, s.Packets, s.Answer.Counter, s.Silenced())
	}
	return b.String()
}

// TestSilenced: a source is silenced that got a good answer, or gave one that was asked
// for. An answer to nothing, a refusal and a request alone say nothing good of a source.
func TestSilenced(t *testing.T) {
	r := newRules(t, "providers: [{name: acme, addresses: [203.0.113.5]}]\n").replay(t, nil,
		packet("198.51.100.1", pbx, request("REGISTER", "201")), packet(pbx, "198.51.100.1", answer(200, "REGISTER")),
		packet("198.51.100.2", pbx, request("REGISTER", "202")), packet(pbx, "198.51.100.2", answer(401, "REGISTER")),
		packet("198.51.100.3", pbx, answer(200, "INVITE")),
		packet("198.51.100.4", pbx, request("OPTIONS", "1")), packet(pbx, "198.51.100.4", answer(200, "OPTIONS")),
		packet(pbx, "203.0.113.5", request("INVITE", "1")), packet("203.0.113.5", pbx, answer(200, "INVITE")),
		packet(pbx, "203.0.113.6", request("INVITE", "1")), packet("203.0.113.6", pbx, answer(200, "INVITE")),
		packet(pbx, "198.18.0.9", request("REGISTER", "1")), packet("198.18.0.9", pbx, answer(200, "REGISTER")),
	)
	want := `198.18.0.9 1/1 dropped_unknown silenced true
198.51.100.1 1/1 dropped_unknown silenced true
203.0.113.6 1/1 dropped_unknown silenced true
198.51.100.2 1/1 dropped_unknown silenced false
198.51.100.3 1/1 dropped_unknown silenced false
198.51.100.4 1/1 dropped_unknown silenced false
203.0.113.5 0/1 allowed_provider silenced false
`
	if got := lines(r); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	p := fmt.Sprint(r.Propose())
	if p != "{[198.51.100.1] [{ false [198.18.0.9]} {acme false [203.0.113.6]}]}" {
		t.Errorf("proposed is %s", p)
	}
}

// TestOwn: this side is what is known to be, else what all others send to.
func TestOwn(t *testing.T) {
	packets := []capture.Packet{
		packet("198.51.100.1", pbx, request("REGISTER", "201")), packet("198.51.100.2", pbx, request("REGISTER", "201")),
		packet(pbx, "198.51.100.2", request("OPTIONS", "201")), packet("2001:db8::1", "2001:db8::5", request("REGISTER", "201")),
		packet("198.51.100.2", "198.51.100.1", request("REGISTER", "201")),
	}
	rules := newRules(t, "")
	for _, test := range []struct {
		known, want string
	}{{"", "[192.0.2.10 2001:db8::5]"}, {"10.0.0.1", "[192.0.2.10 2001:db8::5]"}, {"198.51.100.2", "[198.51.100.2]"}} {
		var own []netip.Addr
		if test.known != "" {
			own = []netip.Addr{netip.MustParseAddr(test.known)}
		}
		if r := rules.replay(t, own, packets...); fmt.Sprint(r.Own) != test.want {
			t.Errorf("known is %q: own are %v, want %s", test.known, r.Own, test.want)
		}
	}
}

// TestFlood: a flood of forged sources does not hide a phone that comes in the middle of
// it, and what is not listed is counted.
func TestFlood(t *testing.T) {
	rules := newRules(t, "")
	automaton, err := signature.Compile(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	tally := replay.NewTally(capture.NewJudge(automaton, []uint16{5060}, nil), []uint16{5060}, nil, false)
	message := request("OPTIONS", "100")
	const flood = 80_000
	for i := range flood {
		tally.Add(packet(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 0x0b000000+uint32(i)))).String(), pbx, message))
		if i == 75_000 {
			tally.Add(packet("198.51.100.1", pbx, request("REGISTER", "201")))
			tally.Add(packet(pbx, "198.51.100.1", answer(200, "REGISTER")))
		}
	}
	r, err := tally.Result(func(q site.Question) (site.Answer, error) { return rules.site.Why(rules.live, q) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Sources) == 0 || r.Sources[0].Address.String() != "198.51.100.1" || !r.Sources[0].Silenced() {
		t.Errorf("the first of %d sources is %+v", len(r.Sources), r.Sources[:min(1, len(r.Sources))])
	}
	if listed := len(r.Sources); r.Untold == 0 || listed+r.Untold < flood || listed > 70_000 {
		t.Errorf("%d sources are listed, and %d packets are not", listed, r.Untold)
	}
}

// TestClasses: what the rules make of a packet depends on what is in it.
func TestClasses(t *testing.T) {
	r := newRules(t, "unknown: {action: accept, require_user_agent: [snom]}\n").replay(t, []netip.Addr{netip.MustParseAddr(pbx)},
		packet("198.51.100.1", pbx, request("REGISTER", "201")),
		packet("198.51.100.2", pbx, strings.ReplaceAll(request("REGISTER", "201"), "snom", "x")),
		packet("198.51.100.3", pbx, strings.ReplaceAll(request("REGISTER", "201"), "snom", "friendly-scanner")),
	)
	var got []string
	for _, s := range r.Sources {
		got = append(got, fmt.Sprintf("%s %s %t", s.Address, s.Answer.Counter, s.Bans))
	}
	want := []string{"198.51.100.2 dropped_user_agent false", "198.51.100.3 dropped_signature true", "198.51.100.1 allowed_unknown false"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestOnlyRegister: where unknown sources may only register, a REGISTER passes that is all of
// its packet, and one that may be followed by another request does not.
func TestOnlyRegister(t *testing.T) {
	r := newRules(t, "unknown: {action: register}\n")
	for what, change := range map[string]func(p *capture.Packet){
		"":                        func(*capture.Packet) {},
		"followed by an INVITE":   func(p *capture.Packet) { p.Payload = append(p.Payload, request("INVITE", "100")...) },
		"in the first fragment":   func(p *capture.Packet) { p.Partly = true },
		"behind a request itself": func(p *capture.Packet) { p.Payload = append([]byte(request("INVITE", "100")), p.Payload...) },
	} {
		p := packet("192.0.2.77", "198.51.100.5", request("REGISTER", "201"))
		change(&p)
		got := r.replay(t, []netip.Addr{netip.MustParseAddr("198.51.100.5")}, p)
		if passes := got.Sources[0].Dropped == 0; passes != (what == "") {
			t.Errorf("a REGISTER %s passes: %t", what, passes)
		}
	}
}

// TestRegisters: a phone whose REGISTER was accepted is let in from then on, by the address
// and port that it has registered from, until it ends its registration; somebody who was
// refused is not, nor one whose REGISTER the rules would not have let pass.
func TestRegisters(t *testing.T) {
	const pbx, phone, neighbour, guesser, cut, gone = "198.51.100.5", "192.0.2.77", "192.0.2.77:4000", "192.0.2.78", "192.0.2.79", "192.0.2.80"
	partly := packet(cut, pbx, request("REGISTER", "201"))
	partly.Partly = true
	end := strings.Replace(request("REGISTER", "201"), "CSeq", "Expires: 0\r\nCSeq", 1)
	other := packet(phone, pbx, request("INVITE", "100"))
	other.Source = netip.MustParseAddrPort(neighbour)
	r := newRules(t, "unknown: {action: register}\n")
	got := r.replay(
		t, []netip.Addr{netip.MustParseAddr(pbx)},
		packet(phone, pbx, request("INVITE", "100")),
		packet(phone, pbx, request("REGISTER", "201")),
		packet(pbx, phone, answer(200, "REGISTER")),
		packet(phone, pbx, request("INVITE", "100")),
		packet(phone, pbx, request("ACK", "100")),
		other,
		packet(guesser, pbx, request("REGISTER", "201")),
		packet(pbx, guesser, answer(401, "REGISTER")),
		packet(guesser, pbx, request("INVITE", "100")),
		partly,
		packet(pbx, cut, answer(200, "REGISTER")),
		packet(cut, pbx, request("INVITE", "100")),
		packet(gone, pbx, request("REGISTER", "201")),
		packet(pbx, gone, answer(200, "REGISTER")),
		packet(gone, pbx, end),
		packet(pbx, gone, answer(200, "REGISTER")),
		packet(gone, pbx, request("INVITE", "100")),
	)
	dropped := map[string]int{}
	for _, s := range got.Sources {
		dropped[s.Address.String()] = s.Dropped
		if want := s.Address.String() == cut; s.Silenced() != want {
			t.Errorf("%s is silenced: %t", s.Address, !want)
		}
	}
	if diff := cmp.Diff(map[string]int{phone: 2, guesser: 1, cut: 2, gone: 1}, dropped); diff != "" {
		t.Error(diff)
	}
}
