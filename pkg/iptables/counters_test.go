package iptables_test

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/iptables"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// TestCounters: what is read of the kernel are the packets that iptables-save shows, of
// both families, also while there are tables with many rules of others.
func TestCounters(t *testing.T) {
	bothFlavours(t, func(t *testing.T, h *lab.Namespace, f iptables.Flavour) {
		outside := labtest.Host(t, "outside")
		labtest.Must(t, h.Set("ipv6/conf/all/accept_dad", "0"))
		labtest.Must(t, outside.Set("ipv6/conf/all/accept_dad", "0"))
		labtest.Link(t,
			lab.End{Host: h, Interface: "eth0", Addresses: []string{"203.0.113.1/24", "2001:db8::1/64"}},
			lab.End{Host: outside, Interface: "eth0", Addresses: []string{"203.0.113.5/24", "203.0.113.66/24", "2001:db8::66/64"}})
		apply(t, h, f, compiled(t, "providers: [{name: a, addresses: [203.0.113.5]}]", hosts()["plain"]))
		program := "iptables" + strings.TrimPrefix(string(f), "iptables")
		for i := range 40 {
			labtest.Run(t, h, program, "-t", "raw", "-A", "PREROUTING", "-p", "tcp", "--dport", fmt.Sprint(1000+i), "-m", "comment", "--comment", "another program's", "-j", "ACCEPT")
		}
		for _, from := range []string{"203.0.113.5", "203.0.113.66", "203.0.113.66", "2001:db8::66"} {
			to := "203.0.113.1"
			if strings.Contains(from, ":") {
				to = "2001:db8::1"
			}
			source, err := labtest.NewSource(outside, net.JoinHostPort(from, "0"), net.JoinHostPort(to, "5060"), []byte("OPTIONS sip:a@b SIP/2.0\r\n\r\n"))
			labtest.Must(t, err)
			labtest.Must(t, source.Burst(1))
			labtest.Must(t, source.Close())
		}
		var counters map[string]uint64
		read := func() bool {
			labtest.In(t, h, func() (err error) {
				counters, err = (&iptables.Kernel{Flavour: f}).Counters(t.Context())
				return err
			})
			return counters["dropped_unknown"] == 3
		}
		labtest.Until(t, "three packets are dropped", read)
		if counters["allowed_provider"] != 1 || counters["unseen"] != 0 {
			t.Errorf("counters: %v", counters)
		}
		saved := labtest.Run(t, h, program+"-save", "-c")
		if !strings.Contains(saved, "[2:") {
			t.Errorf("iptables-save shows other counts:\n%s", saved)
		}
		if names := slices.Sorted(maps.Keys(counters)); len(names) < 10 {
			t.Errorf("only these counters are read: %v", names)
		}
	})
}
