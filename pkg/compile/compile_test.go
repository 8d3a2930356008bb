package compile_test

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

func parse(t *testing.T, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse("policy.yaml", strings.NewReader("version: 1\n"+text), policy.Available{Engines: []policy.Engine{policy.EngineBPF}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func rules(c ruleset.Chain) string {
	var lines []string
	for _, r := range c.Rules {
		lines = append(lines, r.String())
	}
	return strings.Join(lines, "\n")
}

// drops are the rules that end what is dropped for a reason.
func drops(reason, verdict string) string {
	scanner := ""
	if reason == "signature" {
		scanner = "add @scanners4 { ip saddr timeout 1d }\n"
	}
	return strings.NewReplacer("REASON", reason, "VERDICT", verdict, "SCANNER", scanner).Replace(`ip saddr @log_REASON4 ip saddr @dropped4 counter name "dropped_REASON" VERDICT
update @dropped4 { ip saddr timeout 1d counter }
ip saddr @log_REASON4 counter name "dropped_REASON" VERDICT
add @log_REASON4 { ip saddr timeout 1m }
SCANNERip saddr @log_REASON4 log prefix "REASON" group 5060 snaplen 1024
counter name "dropped_REASON" VERDICT`)
}

// TestOrderOfJudgement lists the rules for IPv4. Those for IPv6 are the same with other
// names.
func TestOrderOfJudgement(t *testing.T) {
	const (
		forged = `ip saddr { 10.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16 } fib saddr . iif oif missing goto drop_spoofed4
`
		allowed = `ip saddr @providers4 counter name "allowed_provider" ALLOWED
ip saddr @trusted4 goto from_trusted4
ip saddr @allowed4 goto from_allowed4
`
		blocked = `ip saddr @blocked4 goto drop_blocked4
`
		banned = `ip saddr @banned4 jump from_banned4
`
		bans = `meta mark & 0x0f000000 == 0x01000000 fib saddr type unicast ip saddr != @protected4 update @banned4 { ip saddr timeout 1h }
`
		scanner    = "meta mark & 0x0f000000 == 0x01000000 goto drop_signature4\n"
		otherAgent = "meta mark & 0x0f000000 == 0x03000000 goto drop_user_agent4\n"
		notSeen    = "meta mark & 0x0f000000 == 0x00000000 goto drop_user_agent4\n"
		unread     = "meta mark & 0x0f000000 == 0x05000000 counter name \"unread\"\n"
		heard      = "jump heard4\n"
		unknown    = `counter name "allowed_unknown" PASS`
		phones     = "ip saddr . th sport @phones4 goto from_phones4\n"
		strangers  = "meta l4proto udp goto strangers_udp4\nmeta l4proto tcp goto strangers_tcp4\n"
		trusted    = forged + `counter name "allowed_trusted" ALLOWED`
		all        = `
providers: [{name: a, addresses: [203.0.113.1, "2001:db8::1"]}]
trusted: {addresses: [192.168.1.0/24, "fd00::/64"]}
`
		blocks = `bans: {addresses: [198.51.100.1, "2001:db8::2"]DURATION}
`
	)
	dropped := drops("unknown", "VERDICT")
	for _, test := range []struct {
		name, policy, duration, engine, want string
		monitor                              bool
	}{
		{name: "drop", want: allowed + blocked + dropped},
		{name: "accept", policy: "unknown: {action: accept}", want: allowed + forged + blocked + banned + heard + unknown},
		{name: "accept without a look at answers", policy: "unknown: {action: accept}\nguessing: {failures: 0}", want: allowed + forged + blocked + banned + unknown},
		{name: "register", policy: "unknown: {action: register}", want: allowed + forged + blocked + phones + banned + strangers + dropped},
		{name: "register with a classifier", engine: "bpf", policy: "unknown: {action: register}", want: allowed + forged + blocked + phones + banned + bans + scanner + strangers + dropped},
		{
			name: "replies pass first", policy: "unknown: {allow_replies: true}",
			want: `ct direction reply counter name "allowed_reply" PASS` + "\n" + allowed + blocked + dropped,
		},
		{name: "monitor drops nothing", policy: "unknown: {action: accept}", monitor: true, want: allowed + forged + blocked + banned + unknown},
		{name: "a classifier says who scans", engine: "bpf", want: allowed + blocked + scanner + unread + dropped},
		{name: "a classifier bans", engine: "bpf", policy: "unknown: {action: accept}", want: allowed + forged + blocked + banned + bans + scanner + heard + unknown},
		{name: "a classifier that is off", engine: "bpf", policy: "unknown: {action: accept}\nsignatures: {engine: off}", want: allowed + forged + blocked + banned + heard + unknown},
		{name: "a classifier that never bans", engine: "bpf", policy: "unknown: {action: accept}", duration: ", duration: 0s", want: allowed + forged + blocked + banned + scanner + unknown},
		{name: "monitor never bans", engine: "bpf", policy: "unknown: {action: accept}", monitor: true, want: allowed + forged + blocked + banned + scanner + unknown},
		{
			name: "only some User-Agents", engine: "bpf", policy: "unknown: {action: accept, require_user_agent: [Yealink]}",
			want: allowed + forged + blocked + banned + bans + scanner + otherAgent + notSeen + heard + unknown,
		},
		{
			name: "only some User-Agents, and nobody who reads them", policy: "unknown: {action: accept, require_user_agent: [Yealink]}",
			want: allowed + forged + blocked + banned + drops("user_agent", "VERDICT"),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			text, verdict := all+strings.Replace(blocks, "DURATION", test.duration, 1)+test.policy, "drop"
			pass, friend := "accept", "accept"
			if test.engine != "" && !strings.Contains(test.policy, "engine: off") {
				pass, friend = "goto pass", "goto allowed"
			}
			if test.monitor {
				text, verdict = text+"\nmode: monitor", pass
			}
			as := strings.NewReplacer("VERDICT", verdict, "PASS", pass, "ALLOWED", friend)
			s, _ := compile.State(parse(t, text), nil, ruleset.Host{Engine: test.engine, ByHand: true})
			got := strings.Replace(rules(s.Chains["sip"]), "meta nfproto ipv6 goto sip6\n", "", 1)
			if diff := cmp.Diff(as.Replace(test.want), got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(as.Replace(trusted), rules(s.Chains["from_trusted4"])); diff != "" {
				t.Error(diff)
			}
			if c, ok := s.Chains["from_banned4"]; ok {
				if diff := cmp.Diff(`ip saddr != @protected4 goto drop_banned4`, rules(c)); diff != "" {
					t.Error(diff)
				}
			}
			for name, c := range s.Chains {
				if reason, ok := strings.CutPrefix(name, "drop_"); ok && strings.HasSuffix(name, "4") {
					if diff := cmp.Diff(drops(reason[:len(reason)-1], verdict), rules(c)); diff != "" {
						t.Errorf("chain %s: %s", name, diff)
					}
				}
			}
			byHand := forged + `counter name "allowed_by_hand" ALLOWED`
			if diff := cmp.Diff(as.Replace(byHand), rules(s.Chains["from_allowed4"])); diff != "" {
				t.Error(diff)
			}
			// The same for IPv6.
			got = strings.ReplaceAll(got, `ct direction reply counter name "allowed_reply" accept`+"\n", "")
			got = regexp.MustCompile(`ip saddr \{[^}]*\}`).ReplaceAllString(got, "ip saddr { fc00::/7, fe80::/10 }")
			got = strings.NewReplacer("ip saddr", "ip6 saddr", "snaplen 1024", "snaplen 1024", "4 ", "6 ", "4\n", "6\n").Replace(got)
			if diff := cmp.Diff(got, rules(s.Chains["sip6"])); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestEmptySets: no rule looks into a set that is always empty, and each set that may be
// filled at run time has one; that of what is allowed by hand from the first time on.
func TestEmptySets(t *testing.T) {
	const (
		provider = `ip saddr @providers4 counter name "allowed_provider" accept` + "\n"
		v6       = "meta nfproto ipv6 goto sip6\n"
		byHand   = "ip saddr @allowed4 goto from_allowed4\n"
	)
	unknown := drops("unknown", "drop")
	for _, test := range []struct{ policy, never, once string }{
		{"", v6 + unknown, v6 + byHand + unknown},
		{"providers: [{name: a, addresses: [192.0.2.1]}]", provider + v6 + unknown, provider + v6 + byHand + unknown},
		{`providers: [{name: a, addresses: ["2001:db8::1"]}]`, v6 + unknown, v6 + byHand + unknown},
		{
			policy: "providers: [{name: a, registrars: [sip.a.example]}]\ntrusted: {hosts: [office.example]}",
			never:  provider + "ip saddr @trusted4 counter name \"allowed_trusted\" accept\n" + v6 + unknown,
			once:   provider + "ip saddr @trusted4 counter name \"allowed_trusted\" accept\n" + v6 + byHand + unknown,
		},
		{"bans: {addresses: [\"2001:db8::1\"]}", v6 + unknown, v6 + byHand + unknown},
		{
			policy: "unknown: {action: accept}\nbans: {addresses: [\"2001:db8::1\"]}",
			never:  v6 + accepts,
			once:   v6 + byHand + accepts,
		},
	} {
		for byHand, want := range map[bool]string{false: test.never, true: test.once} {
			s, _ := compile.State(parse(t, test.policy), nil, ruleset.Host{ByHand: byHand})
			if diff := cmp.Diff(want, rules(s.Chains["sip"])); diff != "" {
				t.Errorf("%s, somebody was allowed by hand: %t: %s", test.policy, byHand, diff)
			}
			if _, ok := s.Chains["from_allowed4"]; ok != byHand {
				t.Errorf("%s: there is a chain that no rule leads to, or none that one leads to", test.policy)
			}
		}
	}
}

// accepts is the end of the rules for IPv4 of a policy that accepts strangers.
const accepts = `ip saddr { 10.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16 } fib saddr . iif oif missing goto drop_spoofed4
ip saddr @banned4 jump from_banned4
jump heard4
counter name "allowed_unknown" accept`

// TestForgedSources: which sources must come in by the interface by which answers
// leave, and which need not.
func TestForgedSources(t *testing.T) {
	lan := ruleset.Interface{Name: "lan", Addresses: []netip.Prefix{
		netip.MustParsePrefix("192.168.1.1/24"), netip.MustParsePrefix("2001:db8:1::1/64"), netip.MustParsePrefix("fe80::1/64"),
	}}
	wan := ruleset.Interface{Name: "wan", Addresses: []netip.Prefix{netip.MustParsePrefix("203.0.113.2/24"), netip.MustParsePrefix("fe80::2/64")}}
	wlan := ruleset.Interface{Name: "wlan", Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.2/24")}}
	for _, test := range []struct {
		name, policy string
		host         ruleset.Host
		want, chain  string
	}{
		{
			name: "the trusted network of the LAN, also a public one", policy: `trusted: {addresses: [192.168.1.0/24, "2001:db8:1::/64", "2001:db8:2::/64", 198.51.100.0/24]}`,
			host: ruleset.Host{Interfaces: []ruleset.Interface{lan, wan}},
			want: `ip saddr { 10.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16 } fib saddr . iif oif missing goto drop_spoofed4
ip6 saddr { 2001:db8:1::/64, fc00::/7, fe80::/10 } fib saddr . iif oif missing goto drop_spoofed6`,
		},
		{
			name: "an overlay", policy: `trusted: {addresses: [100.64.0.0/10, "fd00::/64"]}`,
			want: `ip saddr { 10.0.0.0/8, 100.64.0.0/10, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16 } fib saddr . iif oif missing goto drop_spoofed4
ip6 saddr { fc00::/7, fe80::/10 } fib saddr . iif oif missing goto drop_spoofed6`,
		},
		{
			name: "two interfaces in one network", policy: `trusted: {addresses: [192.168.1.0/24, "fd00::/64"]}`,
			host: ruleset.Host{Interfaces: []ruleset.Interface{lan, wan, wlan}},
			want: `ip saddr { 10.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16 } fib saddr . iif oif missing goto spoof_trusted4
ip6 saddr { fc00::/7, fe80::/10 } fib saddr . iif oif missing goto drop_spoofed6`,
			chain: `iifname "lan" ip saddr 192.168.1.0/24 goto past_trusted4
iifname "wlan" ip saddr 192.168.1.0/24 goto past_trusted4
` + drops("spoofed", "drop"),
		},
		{
			name: "networks that come in another way", policy: `trusted: {addresses: [192.168.1.0/24, "fd00::/64"], asymmetric: [10.200.0.0/16, "fd00:2::/48"]}`,
			host: ruleset.Host{Interfaces: []ruleset.Interface{lan, wan}},
			want: `ip saddr { 10.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16 } fib saddr . iif oif missing goto spoof_trusted4
ip6 saddr { fc00::/7, fe80::/10 } fib saddr . iif oif missing goto spoof_trusted6`,
			chain: `ip saddr @asymmetric4 goto past_trusted4
` + drops("spoofed", "drop"),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, _ := compile.State(parse(t, test.policy), nil, test.host)
			v4, v6 := s.Chains["from_trusted4"].Rules, s.Chains["from_trusted6"].Rules
			got := v4[0].String()
			if len(v6) > 0 {
				got += "\n" + v6[0].String()
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.chain, rules(s.Chains["spoof_trusted4"])); diff != "" {
				t.Error(diff)
			}
			// Who is not forged is let in, by whichever way his packet comes there.
			rest := rules(s.Chains["from_trusted4"])
			if test.chain != "" {
				rest = rules(s.Chains["past_trusted4"])
			}
			if !strings.HasSuffix(rest, `counter name "allowed_trusted" accept`) {
				t.Errorf("the others go to\n%s", rest)
			}
		})
	}
}

// TestMarkNeverLeaves: the classifier's mark is removed on every way out, and without a
// classifier no mark is changed.
func TestMarkNeverLeaves(t *testing.T) {
	const cleared = "meta mark set meta mark & 0xf0ffffff"
	const goes = "@th,0,32 & 0xffff != 0x13c4 return\nmeta l4proto . th dport @ports iifname \"eth0\" goto sip"
	p := parse(t, "interfaces: [eth0]\nports: {udp: [5060], tcp: []}")
	with, _ := compile.State(p, nil, ruleset.Host{Engine: "bpf", ByHand: true})
	if got, want := rules(with.Chains["pass"]), cleared+" accept"; got != want {
		t.Errorf("pass is %q, want %q", got, want)
	}
	if got, want := rules(with.Chains["allowed"]), "meta mark & 0x0f000000 == 0x01000000 counter name \"allowed_scanner\"\nmeta mark & 0x0f000000 == 0x05000000 counter name \"unread\"\n"+cleared+" accept"; got != want {
		t.Errorf("allowed is %q, want %q", got, want)
	}
	if got, want := rules(with.Chains["prerouting"]), goes+noL4Header+"\nmeta mark & 0x0f000000 != 0x00000000 meta l4proto . th dport { udp . 5060 } "+cleared; got != want {
		t.Errorf("prerouting is %q, want %q", got, want)
	}
	without, _ := compile.State(p, nil, ruleset.Host{})
	if strings.Contains(without.String(), "mark") {
		t.Errorf("without a classifier the mark is touched:\n%s", without)
	}
}

// TestUnseen counts what the classifier has not seen, where it should have.
func TestUnseen(t *testing.T) {
	const jump = "meta mark & 0x00f00000 == 0x00000000 jump unseen"
	p := parse(t, "interfaces: [eth0, ppp0]\nsignatures: {mark: 0x00f00000}")
	s, _ := compile.State(p, nil, ruleset.Host{Engine: "bpf", Classified: []string{"eth0", "ppp0"}, Forwards: true})
	if got, want := rules(s.Chains["unseen"]), "iifname \"eth0\" counter name \"unseen\"\niifname \"ppp0\" counter name \"unseen\""; got != want {
		t.Errorf("unseen is %q, want %q", got, want)
	}
	if got := rules(s.Chains["sip"]); !strings.HasPrefix(got, jump) {
		t.Errorf("sip does not begin with %q:\n%s", jump, got)
	}
	// What was to a port that is not read is not unseen.
	const translated = `ct status dnat ct direction original meta l4proto . th dport @ports iifname "eth0" meta mark set meta mark & 0xff4fffff | 0x00400000`
	if got := rules(s.Chains["after_dnat"]); !strings.HasPrefix(got, translated) {
		t.Errorf("after_dnat does not begin with %q:\n%s", translated, got)
	}
	s, _ = compile.State(p, nil, ruleset.Host{Engine: "bpf"})
	if strings.Contains(s.String(), "jump unseen") {
		t.Errorf("without an interface of the classifier something is unseen:\n%s", s)
	}
}

// otherPorts lets packets to other ports than 5060 and 5061 pass.
const otherPorts = "@th,0,32 & 0xfffe != 0x13c4 return\n"

// noL4Header is the way of first fragments without a transport header.
const noL4Header = "\nfrag frag-off 0 jump no_l4_header"
