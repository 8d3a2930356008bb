package site_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// host is one with interfaces, each written as name, kind, "parent=", "master=" or
// "altname=".
func hostOf(outside []string, texts ...string) ruleset.Host {
	h := ruleset.Host{Outside: outside}
	for _, text := range texts {
		words := strings.Fields(text)
		i := ruleset.Interface{Name: words[0], Kind: words[1]}
		for _, word := range words[2:] {
			switch key, value, _ := strings.Cut(word, "="); key {
			case "parent":
				i.Parent = value
			case "master":
				i.Master = value
			case "altname":
				i.AltNames = append(i.AltNames, value)
			}
		}
		h.Interfaces = append(h.Interfaces, i)
	}
	return h
}

// TestLinkAlarms: what makes the fence less than the policy says is an alarm, and what
// does not is none.
func TestLinkAlarms(t *testing.T) {
	wan, lte := []string{"wan"}, []string{"lte", "wan"}
	for _, test := range []struct {
		name, policy string
		host         ruleset.Host
		want         []string
	}{
		{"all are fenced", "", hostOf(wan, "wan device", "lan device"), nil},
		{"what leads outside is fenced", "interfaces: [wan]\n", hostOf(wan, "wan device", "lan device"), nil},
		{"renamed", "interfaces: [eth0]\n", hostOf(wan, "wan device"), []string{
			"interface-absent eth0: no interface is called that now: until there is one, it fences nothing (if it was renamed, perhaps it is wan)",
			"outside-unfenced wan: a default route goes by it, and what comes in there is not fenced",
		}},
		{"missing", "interfaces: [wan, lte]\n", hostOf(wan, "wan device"), []string{"interface-absent lte: no interface is called that now: until there is one, it fences nothing"}},
		{"a pattern that means none", "interfaces: ['ppp*', wan]\n", hostOf(wan, "wan device"), []string{"interface-absent ppp*: no interface is called that now: until there is one, it fences nothing"}},
		{"another name", "interfaces: [enp1s0, lan]\n", hostOf(nil, "wan device altname=enp1s0", "lan device"), []string{
			"interface-absent enp1s0: it is another name of wan, and rules know only that one: it fences nothing",
		}},
		{"a second uplink", "interfaces: [wan]\n", hostOf(lte, "wan device", "lte device"), []string{
			"outside-unfenced lte: a default route goes by it, and what comes in there is not fenced",
		}},
		{"a second uplink that is one's own", "interfaces: [wan]\ntrusted: {interfaces: [lte]}\n", hostOf(lte, "wan device", "lte device"), nil},
		{"a tunnel", "interfaces: [wan]\n", hostOf([]string{"tun0"}, "wan device", "tun0 tun"), []string{
			"outside-unfenced tun0: a default route goes by it, and what comes in there is not fenced",
		}},
		{"a macvlan leads outside", "interfaces: [wan]\n", hostOf([]string{"v1"}, "wan device", "v1 macvlan parent=wan"), nil},
		{"a port of a bridge", "interfaces: [wan]\n", hostOf([]string{"br0"}, "br0 bridge", "wan device master=br0"), []string{
			"interface-port wan: it is a port of br0, and rules see its packets come in by that: it fences nothing",
			"outside-unfenced br0: a default route goes by it, and what comes in there is not fenced",
		}},
		{"a port of a bond", "interfaces: [eth0, bond0]\n", hostOf([]string{"bond0"}, "bond0 bond", "eth0 device master=bond0"), nil},
	} {
		var got []string
		for _, a := range newSite(t, test.policy, test.host).LinkAlarms() {
			got = append(got, string(a.Kind)+" "+a.Name+": "+a.Text)
			if a.WayOut == "" {
				t.Errorf("%s: no way out of %q", test.name, a.Text)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q\nwant %q", test.name, got, test.want)
		}
	}
}

// TestGuests: bridges and cards that join guests with the outside past the rules are
// named, with what br_netfilter makes of it; bridges without an uplink are not.
func TestGuests(t *testing.T) {
	hypervisor := []string{"vmbr0 bridge", "eth0 device master=vmbr0", "tap0 tun master=vmbr0", "veth1 veth master=vmbr0"}
	for _, test := range []struct {
		name, policy string
		outside      []string
		links        []string
		want, on     string
	}{
		{"a hypervisor", "", []string{"vmbr0"}, hypervisor, "vmbr0 joins tap0, veth1, and what it passes", "vmbr0 joins tap0, veth1, and br_netfilter is on"},
		{"without an address of its own", "", nil, hypervisor, "vmbr0 joins tap0, veth1, and what it passes", "vmbr0 joins tap0, veth1, and br_netfilter is on"},
		{"Docker's bridge", "", []string{"eth0"}, []string{"eth0 device", "docker0 bridge", "veth1 veth master=docker0", "veth2 veth master=docker0"}, "", ""},
		{"a bridge of cards", "", []string{"br0"}, []string{"br0 bridge", "eth0 device master=br0", "eth1 device master=br0"}, "", ""},
		{"guests on the card", "interfaces: [eth0]\n", []string{"eth0"}, []string{"eth0 device", "macvtap0 macvtap parent=eth0"}, "what eth0 hands to macvtap0", "what eth0 hands to macvtap0"},
		{"Open vSwitch", "", []string{"br-ex"}, []string{"br-ex openvswitch", "ovs-system openvswitch", "eth0 device master=ovs-system", "tap0 tun master=ovs-system"}, "what ovs-system hands to tap0", "what ovs-system hands to tap0"},
	} {
		for _, filter := range []bool{false, true} {
			h := hostOf(test.outside, test.links...)
			h.BridgeFilter = filter
			want := test.want
			if filter {
				want = test.on
			}
			var got []string
			for _, n := range newSite(t, "providers: [{name: acme, addresses: [203.0.113.5]}]\n"+test.policy, h).Warnings() {
				got = append(got, n.Text)
			}
			if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], want)) {
				t.Errorf("%s, br_netfilter %t: got %q\nwant %q", test.name, filter, got, want)
			}
		}
	}
}
