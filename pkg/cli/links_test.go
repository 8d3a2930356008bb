package cli_test

import (
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

const linksPolicy = "version: 1\nproviders: [{name: acme, addresses: [203.0.113.5]}]\n"

// newPair links a PBX with what is outside of it, where the provider, a stranger and a
// scanner have addresses.
func newPair(t *testing.T) (pbx, outside *lab.Namespace) {
	t.Helper()
	pbx, outside = labtest.Host(t, "pbx"), labtest.Host(t, "outside")
	labtest.Must(t, pbx.Set("ipv4/conf/all/rp_filter", "0"))
	labtest.Must(t, pbx.Set("ipv4/conf/default/rp_filter", "0"))
	labtest.Link(t,
		lab.End{Host: pbx, Interface: "eth0", Addresses: []string{"203.0.113.1/24"}},
		lab.End{Host: outside, Interface: "eth0", Addresses: []string{"203.0.113.5/24", "203.0.113.66/24", "203.0.113.67/24"}})
	return pbx, outside
}

// passes sends one packet from a stranger's address, and reports whether it has come
// before the provider's, which follows it the same way.
func passes(t *testing.T, pbx, outside *lab.Namespace, from, provider, to string) bool {
	t.Helper()
	e := listen(t, pbx, 5060, to)
	defer e.Close()
	sendPacket(t, outside, from, to, 5060)
	sendPacket(t, outside, provider, to, 5060)
	until(t, "the provider's packet", func() bool { return e.From(provider) == 1 })
	return e.From(from) > 0
}

// TestChildren: a macvlan on a listed interface is fenced with it, also if it comes when
// the fence stands, as soon as somebody looks.
func TestChildren(t *testing.T) {
	t.Parallel()
	pbx, outside := newPair(t)
	s := newSite(t, pbx, linksPolicy+"interfaces: [eth0]\n")
	s.must(t, 0, "apply")
	labtest.Run(t, pbx, "ip", "link", "add", "link", "eth0", "name", "vrrp.1", "type", "macvlan", "mode", "bridge")
	labtest.Must(t, pbx.AddAddress("vrrp.1", "203.0.113.9/24"))
	labtest.Run(t, pbx, "ip", "link", "set", "vrrp.1", "up")
	labtest.AddNeighbour(t, outside, "eth0", pbx, "vrrp.1", "203.0.113.9") // the host answers for it on both
	if !passes(t, pbx, outside, "203.0.113.66", "203.0.113.5", "203.0.113.9") {
		t.Fatal("without a rule for it, the packet does not come by the macvlan: this is no test")
	}
	s.must(t, 0, "refresh")
	if passes(t, pbx, outside, "203.0.113.66", "203.0.113.5", "203.0.113.9") {
		t.Error("a stranger's packet came in by the macvlan")
	}
	if passes(t, pbx, outside, "203.0.113.66", "203.0.113.5", "203.0.113.1") {
		t.Error("a stranger's packet came in by the interface itself")
	}
	s.must(t, 0, "diff") // nothing is left to do
}

// TestTrustedInterfaces: what comes in by a trusted interface passes, whatever its
// address, also one that is banned for good; the same addresses by another do not.
func TestTrustedInterfaces(t *testing.T) {
	t.Parallel()
	pbx, outside := newPair(t)
	labtest.Link(t,
		lab.End{Host: pbx, Interface: "lan0", Addresses: []string{"192.168.7.1/24", "2001:db8:7::1/64"}},
		lab.End{Host: outside, Interface: "lan0", Addresses: []string{"192.168.7.20/24", "192.168.7.21/24", "2001:db8:7::20/64"}})
	s := newSite(t, pbx, linksPolicy+"trusted: {interfaces: ['lan*']}\nbans: {addresses: [192.168.7.21]}\n")
	s.must(t, 0, "apply")
	for _, by := range []struct{ from, to string }{{"192.168.7.20", "192.168.7.1"}, {"192.168.7.21", "192.168.7.1"}, {"2001:db8:7::20", "2001:db8:7::1"}} {
		e := listen(t, pbx, 5060, by.to)
		sendPacket(t, outside, by.from, by.to, 5060)
		until(t, by.from+" comes in by the trusted interface", func() bool { return e.From(by.from) == 1 })
		labtest.Must(t, e.Close())
	}
	if passes(t, pbx, outside, "203.0.113.66", "203.0.113.5", "203.0.113.1") {
		t.Error("a stranger's packet came in by the other interface")
	}
}
