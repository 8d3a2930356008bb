package site_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// office is a PBX with phones on a network of its own, that does not forward.
func office() ruleset.Host {
	h := router()
	h.Forwards, h.Gateways = false, []netip.Addr{netip.MustParseAddr("203.0.113.1")}
	h.Routed = []ruleset.Network{{Interface: "lan", Prefix: netip.MustParsePrefix("10.20.0.0/16")}}
	return h
}

// TestCutLive: a flow that is up counts if its packets come in where they are judged, to
// a fenced port, from somebody who is not let in.
func TestCutLive(t *testing.T) {
	flow := func(from string, protocol ruleset.Protocol, port uint16, opened bool) ruleset.Flow {
		return ruleset.Flow{From: netip.MustParseAddr(from), Protocol: protocol, Port: port, Opened: opened}
	}
	flows := []ruleset.Flow{
		flow("198.51.100.9", ruleset.UDP, 5060, false),
		flow("198.51.100.9", ruleset.UDP, 5060, true),
		flow("198.51.100.9", ruleset.UDP, 5070, false), // no fenced port
		flow("198.51.100.8", ruleset.TCP, 5061, true),
		flow("2001:db8::9", ruleset.TCP, 5060, false),
		flow("192.168.1.20", ruleset.UDP, 5060, false),
		flow("10.20.3.4", ruleset.UDP, 5060, false),
		flow("203.0.113.2", ruleset.UDP, 5060, true), // this host
		flow("198.51.100.7", ruleset.UDP, 5060, false),
	}
	for _, test := range []struct{ name, policy, want string }{
		{"nobody is let in", "", "10.20.3.4 192.168.1.20 198.51.100.7 198.51.100.8 198.51.100.9 2001:db8::9"},
		{"the outside is fenced", "interfaces: [wan]\n", "198.51.100.7 198.51.100.8 198.51.100.9 2001:db8::9"},
		{"the inside is fenced", "interfaces: [lan]\n", "10.20.3.4 192.168.1.20"},
		{"the inside is trusted", "trusted: {interfaces: [lan]}\n", "198.51.100.7 198.51.100.8 198.51.100.9 2001:db8::9"},
		{"networks are trusted", "trusted: {addresses: [192.168.1.0/24, 198.51.100.0/24]}\n", "10.20.3.4 2001:db8::9"},
		{"a provider", "providers: [{name: acme, addresses: [198.51.100.9]}]\ninterfaces: [wan]\n", "198.51.100.7 198.51.100.8 2001:db8::9"},
		{"only UDP is fenced", "ports: {udp: [5060], tcp: []}\ninterfaces: [wan]\n", "198.51.100.7 198.51.100.9"},
		{"answers pass", "unknown: {allow_replies: true}\ninterfaces: [wan]\n", "198.51.100.7 198.51.100.9 2001:db8::9"},
		{"everybody is let in", "unknown: {action: accept}\n", ""},
		{"everybody but one", "unknown: {action: accept}\nbans: {addresses: [198.51.100.7]}\n", "198.51.100.7"},
		{"nothing is dropped", "mode: monitor\n", ""},
	} {
		s := newSite(t, test.policy, office())
		s.Contacts.Flows = flows
		var got []string
		for _, f := range site.CutLive(s, nil) {
			got = append(got, f.From.String())
		}
		if text := strings.Join(got, " "); text != test.want {
			t.Errorf("%s: %s would be cut, want %s", test.name, text, test.want)
		}
		if again := site.CutLive(s, s); len(again) > 0 {
			t.Errorf("%s: %v are dropped already", test.name, again)
		}
	}
	s := newSite(t, "interfaces: [wan]\n", office())
	s.Contacts.Flows, s.Contacts.ByHand = flows, []netip.Addr{netip.MustParseAddr("198.51.100.7")}
	if got := fmt.Sprint(site.CutLive(s, nil)); strings.Contains(got, "198.51.100.7") {
		t.Errorf("allowed by hand, and would be cut: %s", got)
	}
}

// TestCutNeighbours: where the host does not forward, a network inside counts if anybody
// but the gateway and the name server is there.
func TestCutNeighbours(t *testing.T) {
	h := office()
	h.Gateways, h.NameServers = []netip.Addr{netip.MustParseAddr("192.168.1.254")}, []netip.Addr{netip.MustParseAddr("192.168.1.53")}
	neighbour := func(link, address string) ruleset.Neighbour {
		return ruleset.Neighbour{Interface: link, Address: netip.MustParseAddr(address)}
	}
	for _, test := range []struct {
		name, policy string
		neighbours   []ruleset.Neighbour
		want         string
	}{
		{name: "nobody"},
		{name: "a phone", neighbours: []ruleset.Neighbour{neighbour("lan", "192.168.1.20")}, want: "phones in 192.168.1.0/24 on lan could no longer reach this host (seen there: 192.168.1.20)"},
		{name: "a phone that is trusted", policy: "trusted: {addresses: [192.168.0.0/16]}\n", neighbours: []ruleset.Neighbour{neighbour("lan", "192.168.1.20")}},
		{name: "a phone whose interface is trusted", policy: "trusted: {interfaces: ['la*']}\n", neighbours: []ruleset.Neighbour{neighbour("lan", "192.168.1.20")}},
		{name: "the gateway and the name server", neighbours: []ruleset.Neighbour{neighbour("lan", "192.168.1.254"), neighbour("lan", "192.168.1.53")}},
		{name: "strangers on the internet", neighbours: []ruleset.Neighbour{neighbour("wan", "203.0.113.77"), neighbour("wan", "192.168.1.20")}},
		{name: "a link-local address", neighbours: []ruleset.Neighbour{neighbour("lan", "fe80::20")}},
		{name: "an interface that is not fenced", policy: "interfaces: [wan]\n", neighbours: []ruleset.Neighbour{neighbour("lan", "192.168.1.20")}},
	} {
		s := newSite(t, test.policy, h)
		s.Contacts.Neighbours = test.neighbours
		got := ""
		if inside := s.Cuts(); len(inside.Networks) > 0 {
			got = inside.String()
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// TestNewcomers: they are those in a network that has come since the policy was applied, and
// in which nobody has been seen yet.
func TestNewcomers(t *testing.T) {
	lan := func(network string) ruleset.Host {
		h := office()
		for i := range h.Interfaces {
			if h.Interfaces[i].Name == "lan" {
				h.Interfaces[i].Addresses = append(h.Interfaces[i].Addresses, netip.MustParsePrefix(network))
			}
		}
		return h
	}
	phone := func(address string) []ruleset.Neighbour {
		return []ruleset.Neighbour{{Interface: "lan", Address: netip.MustParseAddr(address)}}
	}
	const there = "192.168.77.20"
	for _, test := range []struct {
		name, policy string
		forwards     bool
		known        string // is there already
		seen         string
		want         bool
	}{
		{name: "a phone", seen: there, want: true},
		{name: "a phone of a network of before", seen: "192.168.1.20"},
		{name: "somebody outside", seen: "198.51.100.9"},
		{name: "one more", known: "192.168.77.21", seen: there},
		{name: "on a host that forwards", forwards: true, seen: there},
		{name: "nothing is dropped", policy: "mode: monitor\n", seen: there},
		{name: "it is let in", policy: "trusted: {addresses: [192.168.77.0/24]}\n", seen: there},
	} {
		accepted, now := newSite(t, test.policy, office()), newSite(t, test.policy, lan("192.168.77.1/24"))
		now.Host.Forwards = test.forwards
		if test.known != "" {
			now.Contacts.Neighbours = phone(test.known)
		}
		n := now.Newcomers(site.Look{Accepted: accepted})
		if got := n.Among(phone(test.seen)); got != test.want {
			t.Errorf("%s: %t", test.name, got)
		}
	}
}
