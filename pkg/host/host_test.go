package host_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/ringfence/ringfence/pkg/host"
)

const main, second = 254, 100

func hops(links ...int) (list []host.Hop) {
	for _, l := range links {
		list = append(list, host.Hop{Link: l})
	}
	return list
}

func way(table uint32, to string, links ...int) host.Route {
	return host.Route{Table: table, To: netip.MustParsePrefix(to), Hops: hops(links...)}
}

// TestOutside: an interface leads outside if any table that a rule or a VRF leads to has
// a way to the internet by it, in whatever form programs write that.
func TestOutside(t *testing.T) {
	links := []host.Link{
		{Index: 1, Name: "lan", Kind: "device"},
		{Index: 2, Name: "wan", Kind: "device"},
		{Index: 3, Name: "lte", Kind: "device"},
		{Index: 4, Name: "red", Kind: "vrf", Table: 10},
	}
	toMain := host.Rule{Table: main, Suppress: -1}
	toMain6 := host.Rule{V6: true, Table: main, Suppress: -1}
	for _, test := range []struct {
		name   string
		routes []host.Route
		rules  []host.Rule
		want   []string
	}{
		{"a default route", []host.Route{way(main, "0.0.0.0/0", 2)}, []host.Rule{toMain}, []string{"wan"}},
		{"one of IPv6", []host.Route{way(main, "::/0", 3)}, []host.Rule{toMain6}, []string{"lte"}},
		{"one of IPv6 where only IPv4 is looked up", []host.Route{way(main, "::/0", 3)}, []host.Rule{toMain}, nil},
		{"two of equal cost", []host.Route{way(main, "0.0.0.0/0", 3, 2)}, []host.Rule{toMain}, []string{"lte", "wan"}},
		{"a second table", []host.Route{way(main, "0.0.0.0/0", 2), way(second, "0.0.0.0/0", 3)}, []host.Rule{toMain, {Table: second, Suppress: -1}}, []string{"lte", "wan"}},
		{"a second table that no rule leads to", []host.Route{way(main, "0.0.0.0/0", 2), way(second, "0.0.0.0/0", 3)}, []host.Rule{toMain}, []string{"wan"}},
		{"default routes that a rule leaves out", []host.Route{way(main, "0.0.0.0/0", 2), way(second, "0.0.0.0/0", 3)}, []host.Rule{{Table: main, Suppress: 0}, {Table: second, Suppress: -1}}, []string{"lte"}},
		{"a VRF", []host.Route{way(10, "0.0.0.0/0", 3)}, []host.Rule{toMain}, []string{"lte"}},
		{"halves of the internet", []host.Route{way(main, "0.0.0.0/1", 3), way(main, "128.0.0.0/1", 3)}, []host.Rule{toMain}, []string{"lte"}},
		{"the internet without private networks", []host.Route{way(main, "64.0.0.0/2", 3)}, []host.Rule{toMain}, []string{"lte"}},
		{"what IPv6 has given out", []host.Route{way(main, "2000::/3", 3)}, []host.Rule{toMain6}, []string{"lte"}},
		{"networks of one's own", []host.Route{way(main, "10.0.0.0/8", 1), way(main, "fc00::/7", 1), way(main, "224.0.0.0/4", 1), way(main, "198.51.100.0/24", 1)}, []host.Rule{toMain, toMain6}, nil},
	} {
		got := host.Facts{Links: links, Routes: test.routes, Rules: test.rules}.Host()
		if !slices.Equal(got.Outside, test.want) {
			t.Errorf("%s: %v lead outside, want %v", test.name, got.Outside, test.want)
		}
	}
}

// TestLinks: rules see the packets of a port come in by its bridge or bond, and those of
// a VLAN or macvlan by that.
func TestLinks(t *testing.T) {
	h := host.Facts{Links: []host.Link{
		{Index: 9, Name: "vmbr0", Kind: "bridge"},
		{Index: 2, Name: "eth0", Kind: "device", Master: 9},
		{Index: 3, Name: "eth0.7", Kind: "vlan", Parent: 2},
		{Index: 4, Name: "vrrp.7", Kind: "macvlan", Parent: 3},
		{Index: 5, Name: "gre1", Kind: "gre", Parent: 2},
		{Index: 6, Name: "eth1", Kind: "device", Master: 7},
		{Index: 7, Name: "red", Kind: "vrf"},
		{Index: 8, Name: "away", Kind: "macvlan", Parent: 77},
	}}.Host()
	for _, want := range []struct{ name, parent, master string }{
		{"eth0", "", "vmbr0"}, {"eth0.7", "eth0", ""}, {"vrrp.7", "eth0.7", ""}, {"gre1", "", ""}, {"eth1", "", ""}, {"away", "", ""},
	} {
		for _, i := range h.Interfaces {
			if i.Name == want.name && (i.Parent != want.parent || i.Master != want.master) {
				t.Errorf("%s stands on %q and belongs to %q, want %q and %q", i.Name, i.Parent, i.Master, want.parent, want.master)
			}
		}
	}
}
