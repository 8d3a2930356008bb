package system_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ringfence/ringfence/pkg/host/system"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// TestConnected: of the sockets of a host, the connected ones count, of both families, also
// an IPv4 connection to a socket of IPv6; and neither those that listen nor those of the
// host with itself.
func TestConnected(t *testing.T) {
	h, far := labtest.Host(t, "pbx"), labtest.Host(t, "far")
	labtest.Link(t,
		lab.End{Host: h, Interface: "eth0", Addresses: []string{"192.0.2.1/24", "2001:db8::1/64"}},
		lab.End{Host: far, Interface: "eth0", Addresses: []string{"192.0.2.2/24", "2001:db8::2/64"}})
	flows := func() (list []ruleset.Flow) {
		t.Helper()
		labtest.In(t, h, func() (err error) { list, err = system.Flows([]uint16{5060}, []uint16{5060, 5061}); return err })
		return list
	}
	if got := flows(); len(got) != 0 {
		t.Errorf("without sockets there are flows: %v", got)
	}
	listen := func(network, address string) {
		t.Helper()
		labtest.In(t, h, func() error {
			l, err := net.Listen(network, address)
			if err != nil {
				return err
			}
			t.Cleanup(func() { l.Close() })
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					t.Cleanup(func() { c.Close() })
				}
			}()
			return nil
		})
	}
	dial := func(from *lab.Namespace, network, address string) {
		t.Helper()
		labtest.In(t, from, func() error {
			c, err := net.Dial(network, address)
			if err == nil {
				t.Cleanup(func() { c.Close() })
			}
			return err
		})
	}
	listen("tcp4", "0.0.0.0:5060")
	if got := flows(); len(got) != 0 {
		t.Errorf("a socket that listens is a flow: %v", got)
	}
	listen("tcp", "[::]:5061")
	listen("tcp4", "0.0.0.0:5062") // no port of SIP
	for _, address := range []string{"192.0.2.1:5060", "192.0.2.1:5061", "[2001:db8::1]:5061", "192.0.2.1:5062"} {
		dial(far, "tcp", address)
	}
	dial(h, "tcp", "127.0.0.1:5060")
	labtest.In(t, h, func() error {
		c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 5060}, &net.UDPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 5060})
		if err == nil {
			t.Cleanup(func() { c.Close() })
		}
		return err
	})
	four, six := netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::2")
	want := []ruleset.Flow{
		{From: four, Protocol: ruleset.TCP, Port: 5060},
		{From: four, Protocol: ruleset.TCP, Port: 5061},
		{From: four, Protocol: ruleset.UDP, Port: 5060},
		{From: six, Protocol: ruleset.TCP, Port: 5061},
	}
	var diff string
	labtest.Until(t, "all connections are seen", func() bool {
		diff = cmp.Diff(want, flows(), cmpopts.EquateComparable(netip.Addr{}))
		return diff == ""
	})
}
