package cli_test

import (
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// TestRedial: a link that goes and returns under another number is fenced and read at
// once, while the service runs.
func TestRedial(t *testing.T) {
	t.Parallel()
	pbx, outside := newPair(t)
	dial := func(unit string) []way {
		t.Helper()
		labtest.Link(t, lab.End{Host: pbx, Interface: unit}, lab.End{Host: outside, Interface: unit})
		return number(t, pbx, unit, outside, unit)
	}
	dial("ppp0")
	s := newSite(t, pbx, shapePolicy+"interfaces: ['ppp*']\nunknown: {action: accept}\nbans: {duration: 0s}\n")
	s.must(t, 0, "apply")
	r := serve(t, s)
	for _, unit := range []string{"ppp0", "ppp1", "ppp12", "ppp0"} {
		labtest.Run(t, pbx, "ip", "link", "del", map[string]string{"ppp0": "ppp0", "ppp1": "ppp0", "ppp12": "ppp1"}[unit])
		ways := dial(unit)
		r.mended(t, event{name: unit + " is dialled", mended: reads(unit)}, 0)
		for _, w := range ways {
			w.check(t, pbx, outside, everybody[1:]...)
		}
		if unit == "ppp12" {
			labtest.Run(t, pbx, "ip", "link", "set", unit, "down")
			labtest.Run(t, pbx, "ip", "link", "set", unit, "name", "ppp0")
		}
	}
	if v := s.status(t); len(v.Alarms) > 0 {
		t.Errorf("in the end there are alarms: %+v", v.Alarms)
	}
}

// TestMasqueradingRouter: a router that gives its own address to all that it forwards
// makes every scanner a trusted one. That is an alarm, by both families.
func TestMasqueradingRouter(t *testing.T) {
	t.Parallel()
	eachBackend(t, testMasqueradingRouter)
}

func testMasqueradingRouter(t *testing.T) {
	t.Parallel()
	t.Helper()
	for _, to := range []string{shapeNet4 + "1", shapeNet6 + "1"} {
		pbx, router := newPair(t)
		labtest.Link(t, lab.End{Host: pbx, Interface: "lan"}, lab.End{Host: router, Interface: "lan"})
		number(t, pbx, "lan", router, "lan")
		scanner := labtest.Host(t, "scanner")
		labtest.Link(t,
			lab.End{Host: router, Interface: "wan", Addresses: []string{"192.0.2.1/24", "2001:db8:2::1/64"}},
			lab.End{Host: scanner, Interface: "eth0", Addresses: []string{"192.0.2.66/24", "2001:db8:2::66/64"}})
		labtest.Must(t, scanner.Route("default", "192.0.2.1"))
		labtest.Must(t, scanner.Route("default", "2001:db8:2::1"))
		labtest.Must(t, router.Forward())
		labtest.Rules(t, router, "table inet nat { chain c { type nat hook postrouting priority srcnat; oifname \"lan\" masquerade; }; }")
		s := newSite(t, pbx, shapePolicy+"interfaces: [lan]\ntrusted: {addresses: ["+shapeNet4+"0/24, '"+shapeNet6+"/64']}\n")
		s.must(t, 0, "apply")
		e := listen(t, pbx, 5060, to)
		from := "192.0.2.66"
		if strings.Contains(to, ":") {
			from = "2001:db8:2::66"
		}
		ask(t, scanner, from, to, "OPTIONS", "friendly-scanner")
		until(t, "the scanner's packet", func() bool { return e.From(shapeNet4+"5", shapeNet4+"66", shapeNet6+"5", shapeNet6+"66") > 0 })
		if v := s.status(t); len(v.Alarms) != 1 || !strings.Contains(v.Alarms[0].Text, "sent by scanners") {
			t.Errorf("to %s: alarms: %+v", to, v.Alarms)
		}
	}
}

// TestGuestsOfABridge: with br_netfilter the packets of guests are judged and read too;
// without it they are not, and apply says so.
func TestGuestsOfABridge(t *testing.T) {
	t.Parallel()
	pbx, outside := newPair(t)
	addLink(t, pbx, "name br0 type bridge")
	labtest.Run(t, pbx, "ip", "link", "set", "eth0", "master", "br0")
	labtest.Run(t, pbx, "ip", "link", "set", "br0", "up")
	guest := labtest.Host(t, "guest")
	labtest.Link(t, lab.End{Host: pbx, Interface: "tap0"}, lab.End{Host: guest, Interface: "eth0"})
	labtest.Run(t, pbx, "ip", "link", "set", "tap0", "master", "br0")
	ways := number(t, guest, "eth0", outside, "eth0")
	s := newSite(t, pbx, shapePolicy+"interfaces: [br0]\nunknown: {action: accept}\nbans: {duration: 0s}\n")
	for _, test := range []struct {
		filter  string
		arrives []string
	}{{"0", everybody}, {"1", everybody[1:]}, {"0", everybody}} {
		filterBridges(t, pbx, test.filter)
		o := s.must(t, 0, "apply")
		if said := strings.Contains(o.stdout+o.stderr, "guests there are not fenced"); said != (test.filter == "0") {
			t.Errorf("br_netfilter %s: apply says\n%s%s", test.filter, o.stdout, o.stderr)
		}
		for _, w := range ways {
			w.host = guest
			w.check(t, pbx, outside, test.arrives...)
		}
		if v := s.status(t); v.Counters["unseen"] > 0 {
			t.Errorf("br_netfilter %s: %d packets unseen", test.filter, v.Counters["unseen"])
		}
	}
}
