package policy_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

func link(name string, addresses ...string) ruleset.Interface {
	i := ruleset.Interface{Name: name}
	for _, a := range addresses {
		i.Addresses = append(i.Addresses, netip.MustParsePrefix(a))
	}
	return i
}

var lo = link("lo", "127.0.0.1/8", "::1/128")

// TestDraft: whatever the host, its draft is a policy that every guard accepts.
func TestDraft(t *testing.T) {
	for _, test := range []struct {
		name       string
		host       ruleset.Host
		servers    []ruleset.Listener
		interfaces string
		trusted    string
		udp, tcp   string
		monitor    bool // also with a provider
	}{
		{
			name:    "a PBX in an office",
			host:    ruleset.Host{Interfaces: []ruleset.Interface{lo, link("eth0", "192.168.1.5/24", "fe80::5/64", "2001:db8:5::5/64")}, Outside: []string{"eth0"}},
			trusted: "192.168.1.0/24 2001:db8:5::/64", udp: "5060 5061", tcp: "5060 5061",
		},
		{
			name:       "a router with PPP",
			host:       ruleset.Host{Forwards: true, Interfaces: []ruleset.Interface{lo, link("lan0", "192.168.1.1/24", "fd00:1::1/64"), link("ppp0", "198.51.100.77/32")}, Outside: []string{"ppp0"}},
			interfaces: "ppp*", udp: "5060 5061", tcp: "5060 5061",
		},
		{
			name:       "a Docker host in an office",
			host:       ruleset.Host{Forwards: true, Interfaces: []ruleset.Interface{lo, link("docker0", "172.17.0.1/16"), link("eth0", "10.1.2.3/16")}, Outside: []string{"eth0"}},
			interfaces: "eth0", trusted: "10.1.0.0/16", udp: "5060 5061", tcp: "5060 5061",
		},
		{
			name: "a rented server, whose neighbours are strangers",
			host: ruleset.Host{Interfaces: []ruleset.Interface{lo, link("eth0", "198.51.100.5/24", "2001:db8:7::5/64")}, Outside: []string{"eth0"}},
			servers: []ruleset.Listener{
				{Protocol: ruleset.UDP, Port: 5060, Program: "asterisk"},
				{Protocol: ruleset.UDP, Port: 5160, Program: "asterisk"},
				{Protocol: ruleset.UDP, Port: 4569, Program: "asterisk"},
				{Protocol: ruleset.TCP, Port: 5038, Program: "asterisk"},
				{Protocol: ruleset.TCP, Port: 5080, Program: "freeswitch"},
				{Protocol: ruleset.UDP, Port: 5090, Program: "somebody"},
				{Protocol: ruleset.UDP, Port: 5061},
			},
			udp: "5060 5061 5160", tcp: "5060 5061 5080",
		},
		{
			name:    "a rented server, and a PBX for everybody",
			host:    ruleset.Host{Interfaces: []ruleset.Interface{lo, link("eth0", "198.51.100.5/24")}},
			servers: []ruleset.Listener{{Protocol: ruleset.UDP, Port: 5060, Public: true}},
			udp:     "5060 5061", tcp: "5060 5061", monitor: true,
		},
		{
			name:    "only its IPv6 address is public",
			host:    ruleset.Host{Interfaces: []ruleset.Interface{lo, link("ppp0", "100.64.0.7/32", "2001:db8:7::5/64", "fe80::5/64")}},
			servers: []ruleset.Listener{{Protocol: ruleset.TCP, Port: 5060, Public: true}},
			udp:     "5060 5061", tcp: "5060 5061", monitor: true,
		},
		{
			name:    "the server's address is not public",
			host:    ruleset.Host{Interfaces: []ruleset.Interface{lo, link("ppp0", "100.64.0.7/32")}},
			servers: []ruleset.Listener{{Protocol: ruleset.UDP, Port: 5060, Public: true}},
			udp:     "5060 5061", tcp: "5060 5061",
		},
		{
			name:    "a server that only listens inside",
			host:    ruleset.Host{Interfaces: []ruleset.Interface{lo, link("eth0", "198.51.100.5/24"), link("wg0", "10.8.0.1/32")}},
			servers: []ruleset.Listener{{Protocol: ruleset.UDP, Port: 5060}},
			udp:     "5060 5061", tcp: "5060 5061",
		},
		{
			name:    "what listens to everybody is no SIP server",
			host:    ruleset.Host{Interfaces: []ruleset.Interface{lo, link("eth0", "198.51.100.5/24")}},
			servers: []ruleset.Listener{{Protocol: ruleset.TCP, Port: 22, Public: true}},
			udp:     "5060 5061", tcp: "5060 5061",
		},
		{
			name:    "phones are connected",
			host:    ruleset.Host{Interfaces: []ruleset.Interface{lo, link("eth0", "198.51.100.5/24"), link("lan0", "192.168.1.5/24")}},
			servers: []ruleset.Listener{{Protocol: ruleset.UDP, Port: 5060, Public: true}},
			trusted: "192.168.1.0/24", udp: "5060 5061", tcp: "5060 5061",
		},
		{
			name:    "a host that forwards and leads nowhere",
			host:    ruleset.Host{Forwards: true, Interfaces: []ruleset.Interface{lo, link("a", "192.168.1.1/24"), link("b", "192.168.2.1/24", "192.168.2.2/24")}},
			trusted: "192.168.1.0/24 192.168.2.0/24", udp: "5060 5061", tcp: "5060 5061",
		},
		{
			name:       "interfaces with names that YAML misreads",
			host:       ruleset.Host{Forwards: true, Interfaces: []ruleset.Interface{link("null"), link("br-{a}"), link("~")}, Outside: []string{"br-{a}", "null", "~"}},
			interfaces: "br-{a} null ~", udp: "5060 5061", tcp: "5060 5061",
		},
		{
			name: "an office with another router inside",
			host: ruleset.Host{
				Interfaces: []ruleset.Interface{lo, link("eth0", "192.168.1.5/24")}, Outside: []string{"eth0"},
				Routed: []ruleset.Network{{Interface: "eth0", Prefix: netip.MustParsePrefix("10.20.0.0/16")}},
			},
			trusted: "192.168.1.0/24 10.20.0.0/16", udp: "5060 5061", tcp: "5060 5061",
		},
		{name: "a host with nothing", udp: "5060 5061", tcp: "5060 5061"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, providers := range [][][]string{nil, {{"- name: acme", `  registrars: ["sip.acme.example"]`}, {"# a comment", "- name: beta", "  addresses: [203.0.113.9]"}}} {
				text := policy.NewDraft(test.host, test.servers, providers).Text(time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC))
				p, err := policy.Parse("policy.yaml", strings.NewReader(text), policy.Available{SignatureLists: []string{"scanners"}})
				if err != nil {
					t.Fatalf("%v in\n%s", err, text)
				}
				if inside := plan.FindInside(test.host, p.Fences, p.Allowed()); len(inside) > 0 && test.host.Forwards {
					t.Errorf("the draft cuts off %v:\n%s", inside, text)
				}
				if p.Monitor != (providers == nil || test.monitor) || len(p.Providers) != len(providers) {
					t.Errorf("monitor is %t with %d providers, %d were given", p.Monitor, len(p.Providers), len(providers))
				}
				for _, got := range []struct{ what, got, want string }{
					{"interfaces", join(p.Interfaces), test.interfaces},
					{"trusted", join(p.Trusted.Addresses), test.trusted},
					{"udp", join(p.Ports.UDP), test.udp},
					{"tcp", join(p.Ports.TCP), test.tcp},
				} {
					if got.got != got.want {
						t.Errorf("%s: %s, want %s", got.what, got.got, got.want)
					}
				}
			}
		})
	}
}

// TestDraftText shows a whole draft.
func TestDraftText(t *testing.T) {
	host := ruleset.Host{
		Forwards: true, Outside: []string{"ppp0"}, NameServers: []netip.Addr{netip.MustParseAddr("192.0.2.53")},
		Interfaces: []ruleset.Interface{lo, link("lan0", "192.168.1.1/24"), link("ppp0", "10.64.0.7/24")},
	}
	servers := []ruleset.Listener{{Protocol: ruleset.UDP, Port: 5060, Program: "asterisk"}, {Protocol: ruleset.UDP, Port: 5080, Program: "asterisk"}, {Protocol: ruleset.TCP, Port: 5061}}
	got := policy.NewDraft(host, servers, [][]string{{"- preset: telnyx   # Telnyx"}}).Text(time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC))
	const want = `# The policy of this host, drafted by ringfence init on 2026-11-25. Read it,
# then run ringfence diff to see what it would do, and ringfence apply to do it.
version: 1

# Not sure whom this would block? monitor drops nothing: it counts what
# enforce would drop (ringfence status).
mode: enforce

# This host forwards packets, so only the outside interfaces are fenced: phones
# inside reach their provider as before.
#   inside: 192.168.1.0/24 on lan0
interfaces: [ppp*]

# On this host a server listens on TCP 5061.
# On this host asterisk listens on UDP 5060, UDP 5080.
# Phones on the road cannot be recognised by their address: "unknown: {action: register}"
# lets them in when they have registered with a PBX on this host or behind it.
ports:
  udp: [5060, 5061, 5080]
  tcp: [5060, 5061]

# The providers that may call. A registrar is what your phones or your PBX use as
# registrar, outbound proxy or SIP domain; every server behind it is found.
providers:
  - preset: telnyx   # Telnyx

# Your own phones, and offices with a fixed name or address. Do not trust a router that
# puts its own address in the place of those who call (masquerading of what comes in):
# every scanner would come from a trusted address.
trusted:
  hosts: []
  addresses:
    - 10.64.0.0/24   # by ppp0

dns:
  # As in /etc/resolv.conf, now 192.0.2.53. Use the same servers as your phones:
  # providers give different answers in different places.
  servers: []
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestExposedDraftText: a draft that monitors although it has a provider says why.
func TestExposedDraftText(t *testing.T) {
	host := ruleset.Host{Interfaces: []ruleset.Interface{lo, link("eth0", "198.51.100.5/24")}}
	servers := []ruleset.Listener{{Protocol: ruleset.UDP, Port: 5060, Program: "asterisk", Public: true}, {Protocol: ruleset.TCP, Port: 5060, Public: true}}
	got := policy.NewDraft(host, servers, [][]string{{"- preset: telnyx"}}).Text(time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC))
	const want = `
# A SIP server listens on a public address of this host (UDP 5060, TCP 5060), and no
# network of phones is connected to it: its phones may be anywhere. enforce would
# drop those that have not registered since (unknown.action, below) and are not
# listed. So this only monitors: nothing is dropped, and ringfence status counts what
# enforce would drop. Write enforce once your provider is listed and all phones have
# registered: ringfence phones shows them.
mode: monitor
`
	if !strings.Contains(got, want) || !strings.Contains(got, "\nunknown:\n  action: register\n") {
		t.Errorf("the draft does not say why it monitors:\n%s", got)
	}
}

func join[T any](items []T) string {
	return strings.Trim(fmt.Sprint(items), "[]")
}
