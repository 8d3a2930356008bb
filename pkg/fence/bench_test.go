package fence_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// sipOf is a request that nothing is known against, of so many bytes.
func sipOf(size int) []byte {
	message := lab.Message("OPTIONS", "192.0.2.200", "192.0.2.10", "Yealink SIP-T46U 108.86.0.20")
	return append(message, bytes.Repeat([]byte{'x'}, max(size-len(message), 0))...)
}

// BenchmarkPacket measures what a packet from an unknown source costs that is let in
// (unknown.action: accept), over veth: with the classifier before each back end, and with
// iptables looking for texts. All packets end in the same drop, later. The configurations
// take turns; the figures are medians in ns a packet, beyond that without a fence.
func BenchmarkPacket(b *testing.B) {
	type cell struct {
		name   string
		source *labtest.Source
		times  []float64
	}
	var cells []*cell
	for _, c := range []struct{ name, more string }{
		{"none", ""},
		{"nftables-bpf", "backend: nftables"},
		{"legacy-bpf", "backend: iptables-legacy"},
		{"nft-bpf", "backend: iptables-nft"},
		{"legacy-string", "backend: iptables-legacy\nsignatures: {engine: string}"},
		{"nft-string", "backend: iptables-nft\nsignatures: {engine: string}"},
	} {
		f := labtest.NewFlood(b)
		labtest.Rules(b, f.PBX, "table inet end {\n\tchain prerouting {\n\t\ttype filter hook prerouting priority 0; policy drop;\n\t}\n}\n")
		if c.name != "none" {
			u := underFloodOn(b, f)
			u.apply(b, "auto", "198.51.100.1", "interfaces: [eth0]\nunknown: {action: accept}\n"+c.more)
		}
		for _, size := range []int{400, 937} {
			source, err := labtest.NewSource(f.Outside, net.JoinHostPort(labtest.FloodStranger[0], "0"), net.JoinHostPort(labtest.FloodPBX[0], "5060"), sipOf(size))
			labtest.Must(b, err)
			b.Cleanup(func() { source.Close() })
			labtest.Must(b, source.Burst(1))
			cells = append(cells, &cell{name: fmt.Sprintf("%s-%d", c.name, size), source: source})
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const burst = 1024
	for b.Loop() {
		for _, c := range cells {
			start := time.Now()
			labtest.Must(b, c.source.Burst(burst))
			c.times = append(c.times, float64(time.Since(start).Nanoseconds())/burst)
		}
	}
	b.ReportMetric(0, "ns/op")
	for i, c := range cells {
		slices.Sort(c.times)
		slices.Sort(cells[i%2].times)
		b.ReportMetric(c.times[len(c.times)/2]-cells[i%2].times[len(cells[i%2].times)/2], "+ns/"+c.name)
	}
}

// scattered are n addresses that do not touch each other.
func scattered(n int) []netip.Prefix {
	prefixes := make([]netip.Prefix, n)
	for i := range prefixes {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 0x20000000+uint32(i)*3)
		prefixes[i] = netip.PrefixFrom(netip.AddrFrom4(a), 32)
	}
	return prefixes
}

// stateWith is a table with these addresses of a provider.
func stateWith(tb testing.TB, addresses []netip.Prefix) *ruleset.State {
	tb.Helper()
	p := policyOf(tb, firstPolicy).Policy
	p.Providers[0].Addresses = nil
	for _, a := range addresses {
		p.Providers[0].Addresses = append(p.Providers[0].Addresses, policy.Address{Prefix: a})
	}
	s, _ := compile.State(p, nil, ruleset.Host{})
	return s
}

// inMilliseconds reports what a benchmark took each time in ms, and not in ns.
func inMilliseconds(b *testing.B) {
	b.Helper()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms")
}

// BenchmarkAddresses puts up a fence with 10,000 addresses, beside ipset restoring as
// many, and adds one to 100,000.
func BenchmarkAddresses(b *testing.B) {
	sync := func(b *testing.B, name policy.Backend, want *ruleset.State) {
		b.Helper()
		kernel := fence.System(slog.New(slog.DiscardHandler), nil).Backend(name)
		_, err := control.Controller{Kernel: kernel}.Sync(b.Context(), control.Desired{State: want}, func(*plan.Plan) error { return nil })
		labtest.Must(b, err)
	}
	many, most := scattered(10_000), scattered(100_000)
	var script strings.Builder
	script.WriteString("create many hash:net maxelem 16777216\n")
	for _, p := range many {
		fmt.Fprintf(&script, "add many %s\n", p.Addr())
	}
	b.Run("10000/ipset-restore", func(b *testing.B) {
		h := labtest.Host(b, "pbx")
		for b.Loop() {
			labtest.RunInput(b, h, script.String(), "ipset", "restore")
			b.StopTimer()
			labtest.Run(b, h, "ipset", "destroy", "many")
			b.StartTimer()
		}
		inMilliseconds(b)
	})
	nothing, with := &ruleset.State{}, stateWith(b, many)
	less, more := stateWith(b, most), stateWith(b, append(most, netip.MustParsePrefix("9.9.9.9/32")))
	for _, name := range backends {
		h := labtest.Host(b, "pbx")
		b.Run("10000/"+string(name), func(b *testing.B) {
			labtest.In(b, h, func() error {
				for b.Loop() {
					sync(b, name, with)
					b.StopTimer()
					sync(b, name, nothing)
					b.StartTimer()
				}
				inMilliseconds(b)
				return nil
			})
		})
		b.Run("one-in-100000/"+string(name), func(b *testing.B) {
			labtest.In(b, h, func() error {
				sync(b, name, less)
				from, to := less, more
				for b.Loop() {
					sync(b, name, to)
					from, to = to, from
				}
				inMilliseconds(b)
				return nil
			})
		})
	}
}
