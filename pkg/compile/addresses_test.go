package compile_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

func TestEntries(t *testing.T) {
	for _, test := range []struct {
		name, policy string
		forwards     bool
		want         map[string]string
		stage        ruleset.Stage
	}{
		{"every interface", "", false, map[string]string{"prerouting": otherPorts + `meta l4proto . th dport @ports iif != "lo" goto sip` + noL4Header}, ruleset.BeforeTracking},
		{"some interfaces", "interfaces: [eth0, 'ppp*']", false, map[string]string{
			"prerouting": otherPorts + "meta l4proto . th dport @ports jump fence" + noL4Header, "fence": "iifname \"eth0\" goto sip\niifname \"ppp*\" goto sip",
		}, ruleset.BeforeTracking},
		{"replies need connection tracking first", "unknown: {allow_replies: true}", false, map[string]string{
			"prerouting": otherPorts + `meta l4proto . th dport @ports iif != "lo" goto sip` + noL4Header,
		}, ruleset.AfterTracking},
		{"a host that forwards", "interfaces: [wan]", true, map[string]string{
			"prerouting": otherPorts + `meta l4proto . th dport @ports iifname "wan" goto sip` + noL4Header,
			"after_dnat": `ct status dnat ct direction original meta l4proto . th dport @ports iifname "wan" goto sip`,
		}, ruleset.BeforeTracking},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, _ := compile.State(parse(t, test.policy), nil, ruleset.Host{Forwards: test.forwards})
			got := map[string]string{}
			for _, name := range []string{"prerouting", "after_dnat", "fence"} {
				if c, ok := s.Chains[name]; ok {
					got[name] = rules(c)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if got := s.Chains["prerouting"].Stage; got != test.stage {
				t.Errorf("the stage is %q, want %q", got, test.stage)
			}
		})
	}
}

const addressed = `
providers:
- {name: acme, registrars: [sip.acme.example, 203.0.113.9], addresses: [203.0.113.8, 203.0.113.0/29, "2001:db8::/48"]}
- {name: beta, registrars: [sip.acme.example]}
trusted: {hosts: [office.example], addresses: [192.168.0.0/17, 192.168.128.0/17]}
bans: {addresses: [198.51.100.0/24], size: 100}
dns: {servers: [192.0.2.53]}
`

func TestAddresses(t *testing.T) {
	found := map[compile.Name][]compile.Address{
		{Host: "sip.acme.example", Registrar: true}: {
			{Addr: netip.MustParseAddr("203.0.113.20"), Via: "SRV _sip._udp -> edge.acme.example A"},
			{Addr: netip.MustParseAddr("2001:db8:1::1"), Via: "AAAA"},
		},
		{Host: "office.example"}: {{Addr: netip.MustParseAddr("198.18.0.1"), Via: "A"}},
	}
	host := ruleset.Host{
		Interfaces:  []ruleset.Interface{{Name: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("203.0.113.77/24"), netip.MustParsePrefix("fe80::1/64")}}},
		Gateways:    []netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("fe80::2")},
		NameServers: []netip.Addr{netip.MustParseAddr("203.0.113.53")},
	}
	s, origins := compile.State(parse(t, addressed), found, host)
	want := map[string]string{
		"providers4": "203.0.113.0/29 203.0.113.8 203.0.113.9 203.0.113.20", "providers6": "2001:db8::/48 2001:db8:1::1",
		"trusted4": "192.168.0.0/17 192.168.128.0/17 198.18.0.1", "trusted6": "", "blocked4": "198.51.100.0/24", "blocked6": "",
		"protected4": "192.0.2.53 203.0.113.1 203.0.113.53 203.0.113.77", "protected6": "fe80::1 fe80::2",
		"allowed4": "", "allowed6": "", "banned4": "", "banned6": "", "ports": "dccp . 5060 dccp . 5061 sctp . 5060 sctp . 5061 tcp . 5060 tcp . 5061 udp . 5060 udp . 5061 udplite . 5060 udplite . 5061",
	}
	got := map[string]string{}
	for name, set := range s.Sets {
		if strings.HasPrefix(name, "dropped") || strings.HasPrefix(name, "log_") {
			if !set.Dynamic || !set.Timeout || set.Size == 0 || len(set.Elements) > 0 {
				t.Errorf("%s is %+v", name, set)
			}
			continue
		}
		var texts []string
		for _, e := range set.Elements {
			texts = append(texts, e.String())
		}
		got[name] = strings.Join(texts, " ")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if s.Sets["banned4"].Size != 100 || !s.Sets["banned4"].Dynamic {
		t.Errorf("banned4 is %+v", s.Sets["banned4"])
	}

	for prefix, why := range map[string]string{
		"203.0.113.20/32": "acme: sip.acme.example SRV _sip._udp -> edge.acme.example A; beta: sip.acme.example SRV _sip._udp -> edge.acme.example A",
		"203.0.113.9/32":  "acme: registrars",
		"203.0.113.4/32":  "acme: addresses",
	} {
		if got := origins.Why("providers4", netip.MustParsePrefix(prefix)); got != why {
			t.Errorf("%s comes from %q, want %q", prefix, got, why)
		}
	}
	if diff := cmp.Diff([]string{"acme", "beta"}, origins.Providers); diff != "" {
		t.Error(diff)
	}
	if n := origins.Addresses("beta"); n != 2 { // those of the name that it shares with acme
		t.Errorf("beta has %d addresses, want 2", n)
	}
}
