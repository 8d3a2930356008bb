package ruleset_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// TestPublic: strangers cannot send to private addresses, nor to those that many customers
// of a provider share.
func TestPublic(t *testing.T) {
	for address, want := range map[string]bool{
		"203.0.113.1": true, "2001:db8::1": true, "8.8.8.8": true,
		"10.1.2.3": false, "192.168.0.1": false, "172.16.0.1": false, "172.32.0.1": true, "100.64.0.1": false, "100.128.0.1": true,
		"127.0.0.1": false, "::1": false, "fe80::1": false, "fd00::1": false, "169.254.1.1": false, "224.0.0.1": false, "0.0.0.0": false,
	} {
		if got := ruleset.IsPublic(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s is public: %t, want %t", address, got, want)
		}
	}
	h := ruleset.Host{Interfaces: []ruleset.Interface{
		{Name: "wan", Addresses: []netip.Prefix{netip.MustParsePrefix("203.0.113.2/24"), netip.MustParsePrefix("2001:db8::2/64"), netip.MustParsePrefix("fe80::2/64")}},
		{Name: "lan", Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")}},
	}}
	if got := fmt.Sprint(h.PublicAddresses()); got != "[203.0.113.2 2001:db8::2]" {
		t.Errorf("the host can be reached at %s", got)
	}
}

// TestOwnNetworks: private networks are the site's own, and public IPv6 ones where private
// IPv4 is beside them; neighbours at a public address are strangers.
func TestOwnNetworks(t *testing.T) {
	link := func(name string, addresses ...string) ruleset.Interface {
		i := ruleset.Interface{Name: name}
		for _, a := range addresses {
			i.Addresses = append(i.Addresses, netip.MustParsePrefix(a))
		}
		return i
	}
	for _, test := range []struct {
		name string
		link ruleset.Interface
		want string
	}{
		{"a public link", link("wan", "203.0.113.2/24", "2001:db8::2/64", "fe80::2/64"), ""},
		{"a private link", link("lan", "192.168.1.1/24", "192.168.1.2/24", "fe80::1/64"), "192.168.1.0/24 on lan"},
		{"public IPv6 beside it", link("lan", "192.168.1.1/24", "2001:db8:1::1/64", "fd00::1/64"), "192.168.1.0/24 on lan, 2001:db8:1::/64 on lan, fd00::/64 on lan"},
		{"public IPv4 beside it", link("lan", "192.168.1.1/24", "203.0.113.2/24"), "192.168.1.0/24 on lan"},
		{"an address alone", link("ppp0", "10.0.0.1/32", "fd00::1/128"), ""},
		{"without addresses", link("eth9"), ""},
	} {
		if got := texts(test.link.OwnNetworks()); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
	routed := ruleset.Network{Interface: "lan", Prefix: netip.MustParsePrefix("10.20.0.0/16")}
	h := ruleset.Host{
		Interfaces: []ruleset.Interface{link("lan", "192.168.1.1/24"), link("wan", "203.0.113.2/24")},
		Routed:     []ruleset.Network{routed, {Interface: "lan", Prefix: netip.MustParsePrefix("192.168.1.0/24")}},
	}
	if got := texts(h.OwnNetworks()); got != "192.168.1.0/24 on lan, 10.20.0.0/16 on lan" {
		t.Errorf("the site has %s", got)
	}
}

func texts(networks []ruleset.Network) string {
	var list []string
	for _, n := range networks {
		list = append(list, n.String())
	}
	return strings.Join(list, ", ")
}

// TestSeenAs: with br_netfilter, rules see what comes in by the port of a bridge under the
// bridge's name; nothing else has another name.
func TestSeenAs(t *testing.T) {
	h := ruleset.Host{Interfaces: []ruleset.Interface{
		{Name: "br0", Kind: "bridge"},
		{Name: "bond0", Kind: "bond"},
		{Name: "eth0", Master: "br0"},
		{Name: "eth1", Master: "bond0"},
		{Name: "eth2"},
		{Name: "eth3", Master: "gone"},
	}}
	for _, filtered := range []bool{false, true} {
		h.BridgeFilter = filtered
		for name, master := range map[string]string{"eth0": "br0", "eth1": "", "eth2": "", "eth3": "", "br0": "", "unknown": ""} {
			want := name
			if filtered && master != "" {
				want = master
			}
			if got := h.SeenAs(name); got != want {
				t.Errorf("with a filter of bridges: %t, %s is seen as %s, want %s", filtered, name, got, want)
			}
		}
	}
}

// TestOrder: what people read in lists has an order that does not depend on the kernel's.
func TestOrder(t *testing.T) {
	listeners := []ruleset.Listener{
		{Protocol: ruleset.UDP, Port: 5060, Program: "kamailio"}, {Protocol: ruleset.TCP, Port: 5061}, {Protocol: ruleset.UDP, Port: 5060, Program: "asterisk"}, {Protocol: ruleset.TCP, Port: 5060},
	}
	slices.SortFunc(listeners, ruleset.Listener.Compare)
	var got []string
	for _, l := range listeners {
		got = append(got, fmt.Sprintf("%s %d %s", l.Protocol, l.Port, l.Program))
	}
	if want := "tcp 5060 ; udp 5060 asterisk; udp 5060 kamailio; tcp 5061 "; strings.Join(got, "; ") != want {
		t.Errorf("listeners are %q, want %q", strings.Join(got, "; "), want)
	}
	flows := []ruleset.Flow{
		{From: netip.MustParseAddr("192.0.2.9"), Protocol: ruleset.UDP, Port: 5060},
		{From: netip.MustParseAddr("192.0.2.1"), Protocol: ruleset.UDP, Port: 5062},
		{From: netip.MustParseAddr("192.0.2.1"), Protocol: ruleset.TCP, Port: 5070},
		{From: netip.MustParseAddr("192.0.2.1"), Protocol: ruleset.UDP, Port: 5060},
	}
	slices.SortFunc(flows, ruleset.Flow.Compare)
	if got := fmt.Sprint(flows); got != "[192.0.2.1 (TCP 5070) 192.0.2.1 (UDP 5060) 192.0.2.1 (UDP 5062) 192.0.2.9 (UDP 5060)]" {
		t.Errorf("flows are %s", got)
	}
}
