package cli_test

import (
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// linkShapes are kinds of interfaces on a wire.
var linkShapes = []shape{
	{"veth", func(*testing.T, *lab.Namespace, *lab.Namespace) []way { return []way{onEth0()} }, []string{"eth0", "'eth*'"}, false},
	{"vlan", onLinks("eth0.7", "link eth0 name eth0.7 type vlan id 7"), []string{"eth0", "eth0.7"}, false},
	{"vlan with priorities", onLinks("eth0.7", "link eth0 name eth0.7 type vlan id 7 egress-qos-map 0:5 ingress-qos-map 5:5"), []string{"eth0"}, false},
	{"802.1ad", onLinks("s7", "link eth0 name s7 type vlan proto 802.1ad id 7"), []string{"eth0"}, false},
	{"QinQ", onLinks("q9", "link eth0 name s7 type vlan proto 802.1ad id 7", "link s7 name q9 type vlan id 9"), []string{"eth0", "s7", "q9"}, false},
	{"vlan in a vlan", onLinks("q9", "link eth0 name s7 type vlan id 7", "link s7 name q9 type vlan id 9"), []string{"eth0"}, false},
	{"macvlan", macvlan("eth0"), []string{"eth0"}, false},
	{"macvlan on a vlan", func(t *testing.T, pbx, outside *lab.Namespace) []way {
		t.Helper()
		onLinks("eth0.7", "link eth0 name eth0.7 type vlan id 7")(t, pbx, outside)
		return macvlan("eth0.7")(t, pbx, outside)
	}, []string{"eth0", "eth0.7"}, false},
	{"ipvlan L2", ipvlan("l2"), []string{"eth0"}, false},
	{"ipvlan L3", ipvlan("l3"), []string{"eth0"}, false},
	{"ipvlan L3S", ipvlan("l3s"), []string{"eth0"}, false},
	{"bridge", bridge(""), []string{"br0"}, false},
	{"bridge with br_netfilter", func(t *testing.T, pbx, outside *lab.Namespace) []way {
		t.Helper()
		ways := bridge("")(t, pbx, outside)
		filterBridges(t, pbx, "1")
		return ways
	}, []string{"br0"}, false},
	{"bridge with VLAN filtering", bridge("vlan_filtering 1"), []string{"br0"}, false},
	{"vlan on a bridge", func(t *testing.T, pbx, outside *lab.Namespace) []way {
		t.Helper()
		bridge("")(t, pbx, outside)
		addLink(t, pbx, "link br0 name br0.7 type vlan id 7")
		addLink(t, outside, "link eth0 name eth0.7 type vlan id 7")
		renumber(t, pbx, "br0", outside, "eth0")
		return number(t, pbx, "br0.7", outside, "eth0.7")
	}, []string{"br0", "br0.7"}, false},
	{"bond", bond, []string{"bond0"}, false},
	{"vlan on a bond", func(t *testing.T, pbx, outside *lab.Namespace) []way {
		t.Helper()
		bond(t, pbx, outside)
		addLink(t, pbx, "link bond0 name bond0.7 type vlan id 7")
		addLink(t, outside, "link eth0 name eth0.7 type vlan id 7")
		renumber(t, pbx, "bond0", outside, "eth0")
		return number(t, pbx, "bond0.7", outside, "eth0.7")
	}, []string{"bond0"}, false},
	{"VRF", vrf("eth0"), []string{"eth0"}, false},
	{"vlan in a VRF", func(t *testing.T, pbx, outside *lab.Namespace) []way {
		t.Helper()
		onLinks("eth0.7", "link eth0 name eth0.7 type vlan id 7")(t, pbx, outside)
		return vrf("eth0.7")(t, pbx, outside)
	}, []string{"eth0", "eth0.7"}, false},
}

// onLinks makes the same interfaces on both hosts, on eth0; name is the last one.
func onLinks(name string, links ...string) func(t *testing.T, pbx, outside *lab.Namespace) []way {
	return func(t *testing.T, pbx, outside *lab.Namespace) []way {
		t.Helper()
		for _, h := range []*lab.Namespace{pbx, outside} {
			for _, words := range links {
				addLink(t, h, words)
			}
			for _, link := range []string{"s7", name} {
				labtest.TryInput(t, h, "", "ip", "link", "set", link, "up")
			}
		}
		return number(t, pbx, name, outside, name)
	}
}

// renumber takes the addresses of the ways off two interfaces, so that others can have
// them.
func renumber(t *testing.T, pbx *lab.Namespace, inside string, outside *lab.Namespace, link string) {
	t.Helper()
	labtest.Run(t, pbx, "ip", "address", "flush", "dev", inside)
	labtest.Run(t, outside, "ip", "address", "flush", "dev", link)
	labtest.Run(t, pbx, "ip", "link", "set", inside, "up")
}

// macvlan is a second card of the PBX on an interface.
func macvlan(on string) func(t *testing.T, pbx, outside *lab.Namespace) []way {
	return func(t *testing.T, pbx, outside *lab.Namespace) []way {
		t.Helper()
		addLink(t, pbx, "link "+on+" name mv0 type macvlan mode bridge")
		labtest.Run(t, pbx, "ip", "address", "flush", "dev", on)
		return number(t, pbx, "mv0", outside, on)
	}
}

// ipvlan is one with the address of the card. The PBX is in the card's namespace: what
// belongs to another one is its own to fence.
func ipvlan(mode string) func(t *testing.T, pbx, outside *lab.Namespace) []way {
	return func(t *testing.T, pbx, outside *lab.Namespace) []way {
		t.Helper()
		addLink(t, pbx, "link eth0 name iv0 type ipvlan mode "+mode)
		labtest.Run(t, pbx, "ip", "address", "flush", "dev", "eth0")
		ways := number(t, pbx, "iv0", outside, "eth0")
		// One in layer 3 does not resolve addresses of its network.
		labtest.AddNeighbour(t, outside, "eth0", pbx, "eth0", shapeNet4+"1", shapeNet6+"1")
		return ways
	}
}

// filterBridges sets the switches of br_netfilter, which are on where nobody sets them.
func filterBridges(t *testing.T, h *lab.Namespace, value string) {
	t.Helper()
	for _, name := range []string{"iptables", "ip6tables"} {
		if err := h.Set("bridge/bridge-nf-call-"+name, value); err != nil {
			if value != "0" {
				t.Skipf("br_netfilter is not loaded: %v", err)
			}
		}
	}
}

// bridge is one that rules do not see into.
func bridge(settings string) func(t *testing.T, pbx, outside *lab.Namespace) []way {
	return func(t *testing.T, pbx, outside *lab.Namespace) []way {
		t.Helper()
		addLink(t, pbx, "name br0 type bridge "+settings)
		filterBridges(t, pbx, "0")
		labtest.Run(t, pbx, "ip", "address", "flush", "dev", "eth0")
		labtest.Run(t, pbx, "ip", "link", "set", "eth0", "master", "br0")
		return number(t, pbx, "br0", outside, "eth0")
	}
}

func bond(t *testing.T, pbx, outside *lab.Namespace) []way {
	t.Helper()
	addLink(t, pbx, "name bond0 type bond mode active-backup miimon 10")
	labtest.Run(t, pbx, "ip", "address", "flush", "dev", "eth0")
	labtest.Run(t, pbx, "ip", "link", "set", "eth0", "down")
	labtest.Run(t, pbx, "ip", "link", "set", "eth0", "master", "bond0")
	return number(t, pbx, "bond0", outside, "eth0")
}

// vrf puts an interface into one. Sockets that are bound to none receive what comes by it
// (udp_l3mdev_accept).
func vrf(link string) func(t *testing.T, pbx, outside *lab.Namespace) []way {
	return func(t *testing.T, pbx, outside *lab.Namespace) []way {
		t.Helper()
		addLink(t, pbx, "name red type vrf table 9")
		labtest.Must(t, pbx.Set("ipv4/udp_l3mdev_accept", "1"))
		labtest.Run(t, pbx, "ip", "link", "set", "red", "up")
		labtest.Run(t, pbx, "ip", "link", "set", link, "master", "red")
		ways := number(t, pbx, link, outside, link)
		ways[0].at, ways[1].at = "0.0.0.0", "::"
		return ways
	}
}
