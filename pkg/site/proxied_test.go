package site_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// TestProxiedAlarms: what rules of other programs hand to a server on a fenced port is an
// alarm if strangers may send it to a port that is not fenced.
func TestProxiedAlarms(t *testing.T) {
	port := func(low, high uint16) ruleset.Condition { return ruleset.Condition{Ports: [][2]uint16{{low, high}}} }
	from := func(prefixes ...string) (c ruleset.Condition) {
		for _, p := range prefixes {
			c.Sources = append(c.Sources, netip.MustParsePrefix(p))
		}
		return c
	}
	not := func(c ruleset.Condition) ruleset.Condition {
		c.Not = true
		return c
	}
	by := func(names ...string) ruleset.Condition { return ruleset.Condition{Interfaces: names} }
	udp, tcp := ruleset.Condition{Protocols: []ruleset.Protocol{ruleset.UDP}}, ruleset.Condition{Protocols: []ruleset.Protocol{ruleset.TCP}}
	way := func(hook string, priority int, when ...ruleset.Condition) ruleset.Proxy {
		return ruleset.Proxy{Chain: ruleset.OtherChain{Table: "ip divert", Name: "c", Hook: hook, Priority: priority}, Port: 5060, When: when}
	}
	written := func(hook string, priority int, when ...ruleset.Condition) ruleset.Proxy {
		w := way(hook, priority, when...)
		w.Written = true
		return w
	}
	to := func(p uint16, w ruleset.Proxy) ruleset.Proxy { w.Port = p; return w }
	const forwards, bridged = "forwards", "bridged"
	for _, test := range []struct {
		name, more string // of the policy, or of the host
		way        ruleset.Proxy
		want       string // what is sent to these ports
	}{
		{"a port", "", way("prerouting", -150, udp, port(7000, 7000)), "UDP port 7000 to"},
		{"any protocol", "", way("prerouting", -150, port(7000, 7001)), "UDP ports 7000-7001, TCP ports 7000-7001 to"},
		{"before the fence", "", way("prerouting", -400, udp, port(7000, 7000)), "UDP port 7000 to"},
		{"any port", "", way("prerouting", -150, udp), "UDP ports other than the fenced ones to"},
		{"ports beside a fenced one", "", way("prerouting", -150, udp, port(5059, 5062)), "UDP port 5059, UDP port 5062 to"},
		{"all but some ports", "", way("prerouting", -150, tcp, port(7000, 7001), not(port(7000, 7000))), "TCP port 7001 to"},
		{"listed by TCP only", "ports: {udp: [5060], tcp: [5060, 7000]}", way("prerouting", -150, port(7000, 7000)), "UDP port 7000 to"},
		{"written", "", written("prerouting", -150, udp, port(7000, 7000)), "it writes that port"},
		{"written at input", "", written("input", -400, udp, port(7000, 7000)), "UDP port 7000 to"},
		{"written in what is forwarded", forwards, written("postrouting", 0, udp, port(7000, 7000)), "UDP port 7000 to"},
		{"written on a bridge", bridged, written("forward", 0, udp, port(7000, 7000)), "UDP port 7000 to"},
		{"by the fenced interface", "", way("prerouting", -150, udp, port(7000, 7000), by("lan", "eth*"), not(by("lan"))), "UDP port 7000 to"},
		{"from more than friends", "", way("prerouting", -150, udp, port(7000, 7000), from("192.168.0.0/16")), "UDP port 7000 to"},
		{"behind friends who have left", "", way("prerouting", -150, udp, port(7000, 7000), not(from("192.168.1.0/24"))), "UDP port 7000 to"},

		{"a server that is not fenced", "", to(8080, way("prerouting", -150, udp, port(7000, 7000))), ""},
		{"fenced ports", "", way("prerouting", -150, udp, port(5060, 5061)), ""},
		{"a listed port", "ports: {udp: [5060, 7000], tcp: []}", way("prerouting", -150, port(7000, 7000)), ""},
		{"the server's other protocol", "ports: {udp: [5060], tcp: []}", way("prerouting", -150, tcp, port(7000, 7000)), ""},
		{"no protocol that is fenced", "", way("prerouting", -150, ruleset.Condition{Protocols: []ruleset.Protocol{ruleset.OtherProtocol}}), ""},
		{"written before the fence", "", written("prerouting", -311, udp, port(7000, 7000)), ""},
		{"written before a later fence", "unknown: {allow_replies: true}", written("prerouting", -200, udp, port(7000, 7000)), ""},
		{"written in what leaves", "", written("output", 0, udp, port(7000, 7000)), ""},
		{"nothing is forwarded", "", written("forward", 0, udp, port(7000, 7000)), ""},
		{"by another interface", "", way("prerouting", -150, udp, port(7000, 7000), by("lan")), ""},
		{"not by the fenced one", "", way("prerouting", -150, udp, port(7000, 7000), not(by("eth0"))), ""},
		{"from friends", "", way("prerouting", -150, udp, port(7000, 7000), from("192.168.1.128/25", "203.0.113.5/32")), ""},
		{"strangers have left", "", way("prerouting", -150, udp, port(7000, 7000), from("192.168.0.0/16"), from("192.168.1.0/24", "10.0.0.0/8")), ""},
	} {
		more := test.more
		if more == forwards || more == bridged {
			more = ""
		}
		h := ruleset.Host{Interfaces: []ruleset.Interface{link("eth0"), link("lan")}, Forwards: test.more == forwards}
		if test.more == bridged {
			h.BridgeFilter = true
			h.Interfaces = append(h.Interfaces, ruleset.Interface{Name: "br0", Kind: "bridge"})
		}
		s := newSite(t, "interfaces: [eth0]\nproviders: [{name: acme, addresses: [203.0.113.5]}]\ntrusted: {addresses: [192.168.1.0/24]}\n"+more, h)
		var got []string
		for _, a := range s.Alarms(site.Look{Now: resolve.Moment{Time: noon}, Proxied: ruleset.Proxied{Ways: []ruleset.Proxy{test.way}}}) {
			if a.Kind == site.AlarmProxied {
				got = append(got, a.Name+": "+a.Text+"; "+a.WayOut)
			}
		}
		switch {
		case test.want == "" && len(got) > 0, test.want != "" && len(got) != 1:
			t.Errorf("%s: %q", test.name, got)
		case test.want != "" && (!strings.Contains(got[0], test.want) || !strings.HasPrefix(got[0], "chain c of table ip divert: ") || !strings.Contains(got[0], "nft list table ip divert")):
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
