package cli_test

import (
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// tunnelShapes are tunnels that end on the host of the PBX.
var tunnelShapes = []shape{
	{"IPIP", tunnel("ipip", ""), []string{"tun0"}, false},
	{"6in4", tunnel("sit", ""), []string{"tun0"}, false},
	{"GRE", tunnel("gre", ""), []string{"tun0"}, false},
	{"GRE with a key, checksum and numbers", tunnel("gre", "key 7 csum seq"), []string{"tun0"}, false},
	{"GRE of Ethernet", tunnel("gretap", ""), []string{"tun0"}, false},
	{"GRE over IPv6", tunnel("ip6gre", ""), []string{"tun0"}, false},
	{"IPv4 and IPv6 in IPv6", tunnel("ip6tnl", "mode any"), []string{"tun0"}, false},
	{"VXLAN", tunnel("vxlan", "id 7 dstport 4789"), []string{"tun0"}, false},
	{"VXLAN over IPv6", tunnel("vxlan6", "id 7 dstport 4789"), []string{"tun0"}, false},
	{"VXLAN in a bridge", func(t *testing.T, pbx, outside *lab.Namespace) []way {
		t.Helper()
		tunnel("vxlan", "id 7 dstport 4789")(t, pbx, outside)
		addLink(t, pbx, "name br0 type bridge")
		labtest.Run(t, pbx, "ip", "address", "flush", "dev", "tun0")
		labtest.Run(t, pbx, "ip", "link", "set", "tun0", "master", "br0")
		return number(t, pbx, "br0", outside, "tun0")
	}, []string{"br0"}, false},
	{"Geneve", tunnel("geneve", "id 7"), []string{"tun0"}, false},
	{"vlan in a GRE of Ethernet", func(t *testing.T, pbx, outside *lab.Namespace) []way {
		t.Helper()
		tunnel("gretap", "")(t, pbx, outside)
		addLink(t, pbx, "link tun0 name tun0.7 type vlan id 7")
		addLink(t, outside, "link tun0 name tun0.7 type vlan id 7")
		renumber(t, pbx, "tun0", outside, "tun0")
		return number(t, pbx, "tun0.7", outside, "tun0.7")
	}, []string{"tun0"}, false},
}

// tunnel makes one of a kind between both ends of eth0. The provider's end of it is the
// stranger's too: what comes in by a tunnel is judged by who is in it.
func tunnel(kind, options string) func(t *testing.T, pbx, outside *lab.Namespace) []way {
	return func(t *testing.T, pbx, outside *lab.Namespace) []way {
		t.Helper()
		here, there := "203.0.113.1", "203.0.113.5"
		if strings.Contains(kind, "6") {
			here, there = "2001:db8:203::1", "2001:db8:203::5"
			labtest.Must(t, pbx.AddAddress("eth0", here+"/64"))
			labtest.Must(t, outside.AddAddress("eth0", there+"/64"))
		}
		name := strings.TrimSuffix(kind, "6")
		ends := [][2]string{{here, there}, {there, here}}
		for i, h := range []*lab.Namespace{pbx, outside} {
			words := "name tun0 type " + name + " local " + ends[i][0] + " remote " + ends[i][1]
			if kind == "geneve" {
				words = "name tun0 type geneve remote " + ends[i][1]
			}
			addLink(t, h, words+" "+options)
		}
		ways := number(t, pbx, "tun0", outside, "tun0")
		switch kind {
		case "ipip":
			return ways[:1]
		case "sit":
			return ways[1:]
		}
		return ways
	}
}
