package judge_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/capture"
	"github.com/ringfence/ringfence/pkg/classifier"
	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/iptables"
	"github.com/ringfence/ringfence/pkg/judge"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/nft"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/signature"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
	"github.com/ringfence/ringfence/pkg/site"
)

// iptablesBackend is what the names of the back ends begin with that are iptables.
const iptablesBackend = "iptables"

// TestKernelAgrees sends random packets through the tables of random policies: what
// passes, and what each counter counts, is what Judge says of the table.
func TestKernelAgrees(t *testing.T) {
	for _, b := range []struct {
		name             string
		kernel           func() backend.Kernel
		policies, longer int
	}{
		{"nftables", func() backend.Kernel { return &nft.Kernel{} }, 10, 1000},
		{"iptables-nft", func() backend.Kernel { return &iptables.Kernel{Flavour: iptables.NFT} }, 3, 150},
		{"iptables-legacy", func() backend.Kernel { return &iptables.Kernel{Flavour: iptables.Legacy} }, 3, 150},
	} {
		t.Run(b.name, func(t *testing.T) {
			w := newWorld(t)
			r := rand.New(rand.NewPCG(17, 3))
			policies, sent := labtest.Count(b.policies, b.longer), 0
			reasons := map[string]int{}
			for i := range policies {
				f := newFence(t, w, r, b.kernel(), b.name)
				sent += f.compare(t, r, 100, reasons)
				if t.Failed() {
					t.Fatalf("policy %d:\n%s\n%+v\n%s", i, f.text, f.host, f.state)
				}
			}
			t.Logf("%d packets through %d tables, by their reasons %v", sent, policies, reasons)
		})
	}
}

// fence is a table in the kernel, and what is needed to say what it does.
type fence struct {
	w      *world
	kernel backend.Kernel
	text   string
	host   ruleset.Host
	policy *policy.Policy
	state  *ruleset.State
	reader *capture.Judge
	sent   int
}

func newFence(t *testing.T, w *world, r *rand.Rand, kernel backend.Kernel, name string) *fence {
	t.Helper()
	f := &fence{w: w, kernel: kernel, host: w.facts}
	f.text, f.policy = randomPolicy(r, name)
	f.host.Engine = []string{"", "bpf", "bpf"}[r.IntN(3)]
	f.host.Translates = name == "nftables" && r.IntN(3) == 0
	f.host.ByHand = r.IntN(2) == 0
	if f.host.Engine != "" {
		f.host.Classified = []string{"eth0", "eth1"}
	}
	f.policy.Signatures.Texts = []string{"friendly-scanner"}
	want, _ := compile.State(f.policy, nil, f.host)
	automaton, err := signature.Compile(signaturetest.Few(), f.policy.Unknown.RequireUserAgent)
	labtest.Must(t, err)
	f.reader = capture.NewJudge(automaton, f.policy.Ports.UDP, f.policy.Ports.TCP)
	f.reader.Registers = f.policy.Unknown.Registers()
	if err := f.enforce(t, want, automaton); err != nil {
		t.Fatalf("%v\n%s\n%+v\n%s", err, f.text, f.host, want)
	}
	if f.host.ByHand {
		f.remember(t, "allowed", []netip.Addr{randomSource(r)})
	}
	f.letIn(t, r)
	return f
}

// letIn lets phones in that have registered, by the addresses and ports of packets that may
// come, where the table does so.
func (f *fence) letIn(t *testing.T, r *rand.Rand) {
	t.Helper()
	var phones []backend.Phone
	for range 40 {
		p := backend.Phone{Address: randomSource(r), Port: sourcePort(r.IntN(100)), Left: time.Hour}
		name := "phones4"
		if p.Address.Is6() {
			name = "phones6"
		}
		if f.policy.Roaming.Match == policy.MatchAddress {
			p.Port = 0
		}
		set, ok := f.state.Sets[name]
		e := ruleset.Element{From: p.Address, To: p.Address, Port: p.Port}
		if !ok || slices.Contains(set.Elements, e) || p.Port == 0 && len(phones) > 3 {
			continue
		}
		phones = append(phones, p)
		set.Elements = append(set.Elements, e)
		slices.SortFunc(set.Elements, ruleset.Element.Compare)
		f.state.Sets[name] = set
	}
	labtest.In(t, f.w.pbx, func() error { return f.kernel.PutBack(t.Context(), phones, nil) })
}

// enforce puts the table and the classifier into the kernel, and reads the table.
func (f *fence) enforce(t *testing.T, want *ruleset.State, automaton *signature.Automaton) error {
	t.Helper()
	f.w.nft.Do(t, "table inet translation { }\ndelete table inet translation")
	if f.host.Translates {
		f.w.nft.Do(t, "table inet translation { chain c { type nat hook prerouting priority dstnat; meta l4proto { tcp, udp } th dport 6060 redirect to :5060; }; }")
	}
	return f.w.pbx.Do(func() error {
		nothing := func(*plan.Plan) error { return nil }
		if _, err := (control.Controller{Kernel: f.kernel}).Sync(t.Context(), control.Desired{State: &ruleset.State{}}, nothing); err != nil {
			return err
		}
		if _, err := (control.Controller{Kernel: f.kernel}).Sync(t.Context(), control.Desired{State: want}, nothing); err != nil {
			return err
		}
		var loaded *classifier.Loaded
		if len(f.host.Classified) > 0 {
			var err error
			if loaded, err = classifier.New(automaton, (&site.Site{Policy: f.policy}).Reading()).Load(); err != nil {
				return err
			}
			defer loaded.Close()
		}
		change, err := classifier.Begin(loaded, f.host.Classified)
		if err != nil {
			return err
		}
		if err := change.Finish(); err != nil {
			return err
		}
		f.state, err = f.kernel.Observe(t.Context())
		return err
	})
}

// remember puts addresses into a set of run-time state, in the kernel if it is that of
// what is allowed by hand, and in the state that is judged by.
func (f *fence) remember(t *testing.T, kind string, addresses []netip.Addr) {
	t.Helper()
	for _, a := range addresses {
		name := kind + "4"
		if a.Is6() {
			name = kind + "6"
		}
		set := f.state.Sets[name]
		if set.Contains(a) {
			continue
		}
		if kind == "allowed" {
			labtest.In(t, f.w.pbx, func() error { return f.kernel.Allow(t.Context(), backend.Allowed{Address: a, Left: time.Hour}) })
		}
		set.Elements = append(set.Elements, ruleset.Element{From: a, To: a})
		slices.SortFunc(set.Elements, ruleset.Element.Compare)
		f.state.Sets[name] = set
	}
}

// compare sends packets, and compares what becomes of them.
func (f *fence) compare(t *testing.T, r *rand.Rand, count int, reasons map[string]int) int {
	t.Helper()
	var packets []judge.Packet
	var frames [][]byte
	var verdicts []judge.Verdict
	want := map[string]uint64{}
	for range count {
		p := f.random(r)
		n := f.sent
		p.SourcePort = sourcePort(n)
		f.sent++
		p.Class = f.class(p, n)
		packets, frames = append(packets, p), append(frames, f.w.frame(t, p, n))
		v, err := judge.Judge(f.state, p)
		labtest.Must(t, err)
		verdicts = append(verdicts, v)
		for _, c := range v.Counters {
			want[c]++
		}
		reasons[v.Counter]++
		if len(v.Bans) > 0 {
			f.remember(t, "banned", []netip.Addr{p.Source})
		}
	}
	before := f.counters(t)
	f.w.nft.Do(t, "flush set inet watch passed")
	f.w.send(t, append(packets, f.marker()), append(frames, f.w.frame(t, f.marker(), f.sent)))
	var passed map[string]bool
	labtest.Until(t, "the last packet has come", func() bool {
		passed = f.w.passed(t)
		return passed[sender(f.sent).String()]
	})
	got := f.counters(t)
	for c := range got {
		if got[c] -= before[c]; got[c] == 0 {
			delete(got, c)
		}
	}
	for i, v := range verdicts {
		if n := f.sent - count + i; passed[sender(n).String()] != v.Allowed {
			t.Errorf("packet %d passes %t, want %t by %+v:\n%+v", n, passed[sender(n).String()], v.Allowed, v, packets[i])
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counters: %s", diff)
	}
	return count
}

func (f *fence) counters(t *testing.T) (counters map[string]uint64) {
	t.Helper()
	labtest.In(t, f.w.pbx, func() (err error) {
		counters, err = f.kernel.Counters(t.Context())
		return err
	})
	return counters
}

// marker is a packet that every table lets pass.
func (f *fence) marker() judge.Packet {
	return judge.Packet{Source: netip.MustParseAddr("198.18.0.2"), Protocol: ruleset.UDP, Port: 9, Interface: "eth0"}
}

// class is what the classifier says of a packet.
func (f *fence) class(p judge.Packet, n int) ruleset.Class {
	if !slices.Contains(f.host.Classified, p.Interface) || p.Shape == judge.Later || p.Shape == judge.Headless {
		return ruleset.Unclassified
	}
	protocol := string(p.Protocol)
	switch p.Protocol {
	case ruleset.SCTP, ruleset.DCCP, ruleset.UDPLite:
		if !slices.Contains(f.policy.Ports.TCP, p.Port) {
			return ruleset.Unclassified
		}
		if len(f.policy.Unknown.RequireUserAgent) > 0 {
			return ruleset.OtherAgent
		}
		return ruleset.Seen
	}
	return ruleset.Class(f.reader.Judge(capture.Packet{
		Protocol: protocol, Source: netip.AddrPortFrom(p.Source, sourcePort(n)), Destination: netip.AddrPortFrom(p.Source, p.Port),
		Partly: p.Shape == judge.First, Payload: p.Message,
	}).Explanation.Result.Mark)
}

// tracked reports whether the table, or another one, makes the kernel track connections.
func (f *fence) tracked() bool { return f.host.Translates || f.policy.Unknown.AllowReplies }

var messages = []string{
	"OPTIONS sip:100@192.0.2.5 SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n",
	"OPTIONS sip:100@192.0.2.5 SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n",
	"REGISTER sip:192.0.2.5 SIP/2.0\r\nUser-Agent: Yealink SIP-T46S\r\n\r\n",
	"INVITE sip:201@192.0.2.5 SIP/2.0\r\nUser-Agent: Something\r\n\r\n",
	"SIP/2.0 200 OK\r\nUser-Agent: Yealink SIP-T46S\r\n\r\n",
	"SIP/2.0 200 OK\r\nUser-Agent: friendly-scanner\r\n\r\n",
	"\r\n\r\n", "", "Content-Type: application/sdp\r\n\r\nv=0\r\no=- 1 1 IN IP4 192.0.2.1\r\n", "\x00\x01\x00\x00!\x12\xa4B123456789012",
}

// random is a packet of any kind, to a fenced port more often than not.
func (f *fence) random(r *rand.Rand) judge.Packet {
	p := judge.Packet{
		Source: randomSource(r), Interface: []string{"eth0", "eth0", "eth1", "lan0"}[r.IntN(4)],
		Protocol: []ruleset.Protocol{ruleset.UDP, ruleset.UDP, ruleset.UDP, ruleset.UDP, ruleset.TCP, ruleset.TCP, ruleset.SCTP, ruleset.DCCP, ruleset.UDPLite, ""}[r.IntN(10)],
		Port:     []uint16{5060, 5060, 5060, 5060, 5060, 5061, 5062, 6060, 80}[r.IntN(9)],
		Message:  []byte(messages[r.IntN(len(messages))]),
	}
	if p.Protocol != ruleset.UDP && p.Protocol != ruleset.TCP {
		p.Message = nil
	}
	if !f.tracked() {
		p.Shape = []judge.Shape{judge.First, judge.Later, judge.Headless, judge.Whole}[min(3, r.IntN(12))]
		if p.Shape == judge.Headless && (p.Source.Is4() || f.policy.Backend == policy.BackendIPTablesLegacy) {
			// ip6_tables drops it when any rule asks for its protocol (ip6_packet_match, hotdrop).
			p.Shape = judge.Whole
		}
		if (p.Shape == judge.First || p.Shape == judge.Later) && len(p.Message)%8 != 0 {
			p.Message = append(p.Message, "        "[len(p.Message)%8:]...)
		}
	}
	// To xt_rpfilter there is never a way back to a broadcast address.
	p.NoWayBack = noWayBack(p.Source, p.Interface) || p.Source == broadcast && strings.HasPrefix(string(f.policy.Backend), iptablesBackend)
	p.NotUnicast = p.Source.IsMulticast() || p.Source == broadcast
	if f.host.Translates && p.Port == 6060 && (p.Protocol == ruleset.UDP || p.Protocol == ruleset.TCP) {
		p.Translated = 5060
	}
	return p
}

// broadcast is that of the link eth0.
var broadcast = netip.MustParseAddr("198.18.0.255")

// pool are addresses of all kinds: of the internet, of the links, and private ones
// that are nowhere.
var pool = strings.Fields(`203.0.113.1 203.0.113.2 203.0.113.77 198.51.100.1 198.51.100.2 198.18.0.9 198.18.0.255 224.0.0.9
	192.168.1.7 192.168.1.8 192.168.9.9 10.1.0.7 10.200.0.7 172.16.0.7 169.254.1.1 100.64.0.7
	2001:db8::1 2001:db8::2 2001:db8:1::1 2001:db8:2::1 fd00:1::7 fd00:2::7 fd00:9::7 fe80::7`)

func randomSource(r *rand.Rand) netip.Addr { return netip.MustParseAddr(pool[r.IntN(len(pool))]) }

// randomPolicy is a policy without mistakes, and its text.
func randomPolicy(r *rand.Rand, backend string) (string, *policy.Policy) {
	for {
		text := randomText(r, backend)
		p, err := policy.Parse("policy.yaml", strings.NewReader(text), policy.Available{
			Engines:  []policy.Engine{policy.EngineBPF, policy.EngineString},
			Backends: []policy.Backend{policy.BackendNFTables, policy.BackendIPTablesNFT, policy.BackendIPTablesLegacy},
		})
		if err == nil { // else an address is allowed and banned, or the back end lacks something
			return text, p
		}
	}
}

// randomText has every key that changes rules.
func randomText(r *rand.Rand, backend string) string {
	left := slices.DeleteFunc(slices.Clone(pool), func(a string) bool { return a == broadcast.String() || strings.HasPrefix(a, "224.") })
	r.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
	take := func(prefixes bool) string {
		var list []string
		for range r.IntN(5) {
			a := netip.MustParseAddr(left[0])
			left = left[1:]
			p := netip.PrefixFrom(a, a.BitLen())
			if prefixes && r.IntN(3) == 0 {
				p = netip.PrefixFrom(a, map[bool]int{true: 24, false: 48}[a.Is4()]).Masked()
			}
			list = append(list, fmt.Sprintf("%q", ruleset.PrefixText(p)))
		}
		return strings.Join(list, ", ")
	}
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	mode, asymmetric := pick("", "", "", "mode: monitor"), ", asymmetric: [10.200.0.0/16, 'fd00:9::/64']"
	actions := []string{
		"drop", "accept", "accept", "accept, require_user_agent: [Yealink]", "drop, allow_replies: true", "accept, allow_replies: true",
		"register", "register, require_user_agent: [Yealink]",
	}
	lines := []string{
		"version: 1", "backend: " + backend, mode,
		pick("", "", "interfaces: [eth0]", "interfaces: [eth0, 'et*']", "interfaces: [eth1, lan0]"),
		pick("", "ports: {udp: [5060], tcp: []}", "ports: {udp: [5060, 5062], tcp: [5061]}"),
	}
	if addresses := take(true); addresses != "" {
		lines = append(lines, "providers: [{name: a, addresses: ["+addresses+"]}]")
	}
	lines = append(lines,
		"trusted: {addresses: ["+take(true)+"]"+pick("", ", interfaces: [lan0]", asymmetric)+"}",
		"bans: {addresses: ["+take(false)+"]"+pick("", ", duration: 0s")+"}",
		"unknown: {action: "+pick(actions...)+"}")
	if strings.HasPrefix(backend, iptablesBackend) {
		lines = append(lines, pick("", "signatures: {engine: string}"))
	} else {
		lines = append(lines, pick("", "", "signatures: {engine: off}", "signatures: {mark: 0x000000f0}"))
	}
	lines = append(lines, pick("", "roaming: {match: address}"), pick("", "guessing: {failures: 0}", "guessing: {failures: 2}"))
	return strings.Join(slices.DeleteFunc(lines, func(l string) bool { return l == "" }), "\n") + "\n"
}
