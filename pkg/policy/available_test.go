package policy_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/policy"
)

// brokenPresets can be named, and cannot be read.
type brokenPresets struct{}

func (brokenPresets) Names() []string { return []string{"acme"} }

func (brokenPresets) Preset(string) (policy.Preset, error) {
	return policy.Preset{}, errors.New("the file is damaged")
}

// full is a ringfence with all that a policy can ask for.
func full() policy.Available {
	return policy.Available{
		Presets: brokenPresets{}, SignatureLists: []string{"scanners"}, Signatures: []string{"sipvicious", "sipsak"},
		Backends: []policy.Backend{policy.BackendNFTables, policy.BackendIPTables}, Engines: []policy.Engine{policy.EngineBPF, policy.EngineString},
	}
}

// TestMistakesOfTheWhole: what a policy asks for must be there, and its parts must agree.
func TestMistakesOfTheWhole(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"a preset that cannot be read", "providers: [{preset: acme}]\n", `2:22: preset "acme" cannot be read: the file is damaged`},
		{
			"signatures that are in no list", "signatures: {except: [sipsak, friendly]}\n",
			`2:31: there is no signature "friendly" in any list`,
		},
		{
			"a name that is in a list", "signatures: {deny: [{name: sipsak, header: user-agent, contains: BadDialer}]}\n",
			`2:28: signature "sipsak" is already in a list: give it another name, or leave the other one out under except`,
		},
		{"a name that is left out of a list", "signatures: {except: [sipsak], deny: [{name: sipsak, header: user-agent, contains: BadDialer}]}\n", ""},
		{
			"values that no header has", "signatures: {deny: [{name: a, header: user-agent, contains: \"Bad\\nDialer\"}, {name: b, header: user-agent, contains: \" BadDialer\"}]}\n",
			"2:61: a header's value has no line break: remove it\n2:117: white space at the ends of a header's value does not count: remove it",
		},
		{
			"string without iptables", "signatures: {engine: string}\n",
			"2:22: signatures.engine: string needs iptables, and nftables has no such match: write backend: iptables, or engine: auto",
		},
		{"string with iptables", "backend: iptables\nsignatures: {engine: string}\n", ""},
		{
			"times that ipset cuts short", "backend: iptables\nunknown: {action: register}\nbans: {duration: 25d}\nroaming: {life: 30d}\n",
			"4:18: bans.duration is 25d, and over iptables it is at most 24d: that is as long as ipset keeps an address\n" +
				"5:17: roaming.life is 30d, and over iptables it is at most 24d: that is as long as ipset keeps an address",
		},
		{"times that ipset keeps", "backend: iptables\nunknown: {action: register}\nbans: {duration: 24d}\nroaming: {life: 24d}\n", ""},
		{"long times over nftables", "unknown: {action: register}\nbans: {duration: 30d}\nroaming: {life: 30d}\n", ""},
		{
			"User-Agents without a classifier", "unknown: {action: accept, require_user_agent: [Yealink]}\nsignatures: {engine: \"off\"}\n",
			"2:48: require_user_agent needs the classifier: do not set signatures.engine to off",
		},
		{
			"an engine that there is not", "signatures: {engine: xdp}\n",
			`2:22: signatures.engine is "xdp": write auto or off or bpf or string`,
		},
		{
			"one name at two name servers", "providers:\n- {name: a, registrars: [sip.acme.example], dns: [192.0.2.53]}\n- {name: b, registrars: [SIP.acme.example], dns: [192.0.2.54]}\n",
			`4:26: registrar "sip.acme.example" is asked for at other name servers than in line 3: give both providers the same dns`,
		},
		{"one name at the same name servers", "providers:\n- {name: a, registrars: [sip.acme.example], dns: [192.0.2.53]}\n- {name: b, registrars: [sip.acme.example], dns: [192.0.2.53]}\n", ""},
		{
			"a shortest time alone", "dns: {refresh: {min: 2h}}\n", "2:22: dns.refresh.min (2h) is longer than dns.refresh.max (1h): swap them, or set both",
		},
		{
			"a longest time alone", "dns: {refresh: {max: 10s}}\n", "2:22: dns.refresh.min (1m) is longer than dns.refresh.max (10s): swap them, or set both",
		},
		{"an alias that has no anchor", "mode: *mine\n", "2:7: not YAML: unknown anchor 'mine' referenced"},
		{"a list by an alias", "interfaces: &all [eth0]\nmode: *all\n", "2:13: want a single value here, not a list or keys"},
		{"a network that may answer by another way", "trusted: {asymmetric: [10.0.0.0/8, no]}\n", `2:36: "no" is not an IP address or prefix: write one like 203.0.113.5, 203.0.113.0/24 or 2001:db8::/48; names belong under registrars or hosts`},
		{"an address of an element that is empty", "dns: {servers: [192.0.2.53, ~]}\n", "2:29: an empty list entry: remove it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := policy.Parse("p", strings.NewReader("version: 1\n"+test.text), full())
			got := ""
			if err != nil {
				got = strings.ReplaceAll(err.Error(), "p:", "")
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestUnreadable: a file that cannot be read is no mistake of the policy, and one that is
// no text is reported in ten lines at most.
func TestUnreadable(t *testing.T) {
	broken := errors.New("input/output error")
	_, err := policy.Parse("p", iotest.ErrReader(broken), full())
	if _, mistakes := errors.AsType[policy.Mistakes](err); mistakes || !errors.Is(err, broken) || err.Error() != "read policy: input/output error" {
		t.Errorf("a file that cannot be read: %v", err)
	}
	_, err = policy.Parse("p", strings.NewReader(strings.Repeat("\x01", 100)), full())
	if mistakes, _ := errors.AsType[policy.Mistakes](err); len(mistakes) != 10 {
		t.Errorf("a file that is no text has %d mistakes", len(mistakes))
	}
}

// TestAliases: what is written once in YAML, with an anchor, may be used again, also for
// the values of a preset.
func TestAliases(t *testing.T) {
	p, err := parse(`version: 1
providers:
- name: acme
  registrars: [&host sip.acme.example, &trunk other]
- name: beta
  registrars: [*host]
  addresses: &networks [192.0.2.0/24]
- name: gamma
  addresses: *networks
- preset: twilio
  with: &values {trunk: mycompany}
- name: other
  preset: twilio
  with: *values
- name: last
  preset: twilio
  with: {trunk: *trunk}
`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, provider := range p.Providers {
		got = append(got, fmt.Sprint(provider.Name, " ", len(provider.Registrars), " ", len(provider.Addresses)))
	}
	if diff := cmp.Diff([]string{"acme 2 0", "beta 1 1", "gamma 0 1", "twilio 1 1", "other 1 1", "last 1 1"}, got); diff != "" {
		t.Error(diff)
	}
	for i, want := range map[int]string{4: "mycompany.pstn.twilio.com", 5: "other.pstn.twilio.com"} {
		if host := p.Providers[i].Registrars[0].Host; host != want {
			t.Errorf("the preset has %s, want %s", host, want)
		}
	}
}

// TestTrusts: an interface is trusted by its name, or by the beginning of its name.
func TestTrusts(t *testing.T) {
	p, err := parse("version: 1\ntrusted: {interfaces: [lan0, wg*], asymmetric: [10.0.0.0/8, 192.168.0.7]}\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(p.Trusted.Asymmetric); got != "[10.0.0.0/8 192.168.0.7/32]" {
		t.Errorf("these may answer by another way: %s", got)
	}
	for link, want := range map[string]bool{"lan0": true, "wg0": true, "wg": true, "lan01": false, "lan": false, "xwg0": false, "": false} {
		if got := p.Trusts(link); got != want {
			t.Errorf("%q is trusted: %t", link, got)
		}
	}
}

// TestOrderOfLists: a long list in another order is said to be just that, single addresses
// are written as such, and a signature with its conditions.
func TestOrderOfLists(t *testing.T) {
	list := func(order ...int) (prefixes []netip.Prefix) {
		for _, i := range order {
			prefixes = append(prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 32))
		}
		return prefixes
	}
	then, now := &policy.Policy{}, &policy.Policy{}
	then.Trusted.Addresses, now.Trusted.Addresses = list(1, 2, 3, 4, 5), list(5, 4, 3, 2, 1)
	then.Bans.Addresses, now.Bans.Addresses = list(1), list(2)
	now.Signatures.Deny = []policy.Signature{{Name: "own", Conditions: []policy.Condition{
		{Header: "user-agent", Match: "contains", Value: "Bad"}, {Header: "via", Match: "prefix", Value: "SIP"},
	}}}
	now.Unknown.RequireUserAgent = []string{"Yealink SIP", "snom"}
	for _, want := range []string{
		"trusted.addresses: in another order", "bans.addresses: [10.0.0.1] -> [10.0.0.2]",
		`signatures.deny: [] -> [own (user-agent contains "Bad" and via prefix "SIP")]`, `unknown.require_user_agent: [] -> ["Yealink SIP", "snom"]`,
	} {
		if got := policy.Changes(then, now); !strings.Contains("\n"+strings.Join(got, "\n")+"\n", "\n"+want+"\n") {
			t.Errorf("%q is missing in %q", want, got)
		}
	}
}

// TestManyDoubts: of what is doubtful only the first are written out.
func TestManyDoubts(t *testing.T) {
	var b strings.Builder
	b.WriteString("version: 1\ntrusted:\n  addresses:\n")
	for i := range 30 {
		fmt.Fprintf(&b, "  - 192.168.%d.1/24\n", i)
	}
	p, err := parse(b.String())
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Doubts) != 11 || !strings.Contains(p.Doubts[10].Text, "there are more of this kind from here on") {
		t.Errorf("there are %d doubts: %v", len(p.Doubts), p.Doubts)
	}
}
