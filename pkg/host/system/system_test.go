package system_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ringfence/ringfence/pkg/host/system"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

func TestMain(m *testing.M) {
	os.Exit(labtest.Main(m, map[string]func() int{"liar": liar, "ulogd": ulogd}))
}

// liar is a program with a name that is more than a name. It listens by UDP until
// its input ends.
func liar() int {
	if err := os.WriteFile("/proc/self/comm", []byte("a\nmode: \x1b[1m#"), 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	socket, err := net.ListenPacket("udp6", "[::]:5070")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer socket.Close()
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

func read(t *testing.T, h *lab.Namespace) (facts ruleset.Host) {
	t.Helper()
	labtest.In(t, h, func() (err error) { facts, err = system.Links(); return err })
	// Link-local addresses are made up by the kernel.
	for i, link := range facts.Interfaces {
		var kept []netip.Prefix
		for _, a := range link.Addresses {
			if !a.Addr().IsLinkLocalUnicast() {
				kept = append(kept, a)
			}
		}
		facts.Interfaces[i].Addresses = kept
	}
	facts.BridgeFilter = false // which depends on a module that others may have loaded
	return facts
}

func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }

// TestRead reads a router with a bridge, two ways out and another router inside.
func TestRead(t *testing.T) {
	h, outside := labtest.Host(t, "router"), labtest.Host(t, "outside")
	labtest.Link(t, lab.End{Host: h, Interface: "wan", Addresses: []string{"203.0.113.2/24", "2001:db8:1::2/64"}}, lab.End{Host: outside, Interface: "eth0"})
	for _, args := range [][]string{
		{"link", "add", "br0", "type", "bridge"},
		{"link", "set", "br0", "up"},
		{"link", "add", "port0", "type", "veth", "peer", "name", "peer0"},
		{"link", "set", "port0", "master", "br0", "up"},
		{"addr", "add", "192.168.1.1/24", "dev", "br0"},
		{"addr", "add", "2001:db8:2::1/64", "dev", "br0", "nodad"},
		{"route", "add", "default", "via", "203.0.113.1"},
		{"-6", "route", "add", "default", "via", "2001:db8:1::1"},
		{"route", "add", "10.20.0.0/17", "via", "192.168.1.9"},
		{"route", "add", "10.20.128.0/17", "via", "192.168.1.9"},
		{"route", "add", "198.51.100.0/24", "via", "192.168.1.9"},
		{"route", "add", "unreachable", "172.16.0.0/12"},
	} {
		labtest.Run(t, h, "ip", args...)
	}
	want := ruleset.Host{
		Interfaces: []ruleset.Interface{
			{Name: "br0", Kind: "bridge", Addresses: []netip.Prefix{prefix("192.168.1.1/24"), prefix("2001:db8:2::1/64")}},
			{Name: "lo", Kind: "device", Addresses: []netip.Prefix{prefix("127.0.0.1/8"), prefix("::1/128")}},
			{Name: "peer0", Kind: "veth"},
			{Name: "port0", Kind: "veth", Master: "br0"},
			{Name: "wan", Kind: "veth", Addresses: []netip.Prefix{prefix("203.0.113.2/24"), prefix("2001:db8:1::2/64")}},
		},
		Gateways: []netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8:1::1")},
		Outside:  []string{"wan"},
		Routed:   []ruleset.Network{{Interface: "br0", Prefix: prefix("10.20.0.0/16")}},
	}
	compare := []cmp.Option{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()}
	if diff := cmp.Diff(want, read(t, h), compare...); diff != "" {
		t.Error(diff)
	}
	labtest.Must(t, h.Set("ipv4/conf/br0/forwarding", "1"))
	if !read(t, h).Forwards {
		t.Error("a host with one forwarding interface does not forward")
	}
	if got := read(t, labtest.Host(t, "nothing")); got.Forwards || len(got.Outside)+len(got.Gateways)+len(got.Routed) > 0 {
		t.Errorf("a host without network is %+v", got)
	}
}

// TestReadWaysOut: the kernel's own words for ways out that are not in the main table, and
// for interfaces that stand on others.
func TestReadWaysOut(t *testing.T) {
	h := labtest.Host(t, "pbx")
	for _, args := range []string{
		"link add wan type veth peer name far", "link set wan up", "addr add 203.0.113.2/24 dev wan", "link property add dev wan altname enp1s0",
		"link add lte type veth peer name farther", "link set lte up", "addr add 198.51.100.2/24 dev lte",
		"tuntap add tun9 mode tun", "link set tun9 up", "link add idle type bridge", "link set idle up",
		"link add link wan name wan.7 type macvlan", "link set wan.7 up", "link add link wan name vrrp.1 type macvlan",
		"route add default via 203.0.113.1", "route add default via 198.51.100.1 table 100", "rule add from 198.51.100.2 lookup 100",
		"route add 0.0.0.0/1 dev tun9 table 7", "rule add fwmark 7 lookup 7",
		"route add default dev idle table 8",
		"-6 route add 2000::/3 dev wan.7 table 9", "-6 rule add iif wan.7 lookup 9", "-6 rule add unreachable priority 30000",
	} {
		labtest.Run(t, h, "ip", strings.Fields(args)...)
	}
	got := read(t, h)
	if want := []string{"lte", "tun9", "wan", "wan.7"}; !slices.Equal(got.Outside, want) {
		t.Errorf("%v lead outside, want %v", got.Outside, want)
	}
	if want := []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("203.0.113.1")}; !slices.Equal(got.Gateways, want) {
		t.Errorf("the gateways are %v, want %v", got.Gateways, want)
	}
	for _, i := range got.Interfaces {
		switch i.Name {
		case "wan.7", "vrrp.1":
			if i.Parent != "wan" {
				t.Errorf("%s stands on %q", i.Name, i.Parent)
			}
		case "wan":
			if !slices.Equal(i.AltNames, []string{"enp1s0"}) {
				t.Errorf("other names of wan: %q", i.AltNames)
			}
		}
	}
}

// TestListeners: servers are found with their programs, those on loopback are
// left out, and no program's name can say more than a name.
func TestListeners(t *testing.T) {
	h := labtest.Host(t, "pbx")
	labtest.Must(t, h.AddAddress("lo", "192.0.2.1/32"))
	labtest.Must(t, h.AddAddress("lo", "10.0.0.1/32"))
	for address, port := range map[string]uint16{"192.0.2.1": 5060, "127.0.0.1": 5061, "::1": 5062, "10.0.0.1": 5063} {
		listener, err := h.Listen(port, address)
		labtest.Must(t, err)
		defer listener.Close()
	}
	liar := labtest.Program(t, "liar")
	out, err := liar.StdoutPipe()
	labtest.Must(t, err)
	in, err := liar.StdinPipe()
	labtest.Must(t, err)
	labtest.Must(t, h.Start(liar))
	_, err = io.ReadFull(out, make([]byte, len("ready")))
	labtest.Must(t, err)
	var got []ruleset.Listener
	labtest.In(t, h, func() (err error) { got, err = system.Listeners(); return err })
	labtest.Must(t, in.Close())
	labtest.Must(t, liar.Wait())
	want := []ruleset.Listener{
		{Protocol: ruleset.TCP, Port: 5060, Program: "exe", Public: true},
		{Protocol: ruleset.UDP, Port: 5060, Program: "exe", Public: true},
		{Protocol: ruleset.TCP, Port: 5063, Program: "exe"},
		{Protocol: ruleset.UDP, Port: 5063, Program: "exe"},
		{Protocol: ruleset.UDP, Port: 5070, Program: "amode1m", Public: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestRights: root of a test may change rules, and knows where it runs.
func TestRights(t *testing.T) {
	r := system.ReadRights()
	if !r.Root || !r.NetAdmin {
		t.Errorf("the rights are %+v", r)
	}
}
