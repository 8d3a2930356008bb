package classifier_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
	"golang.org/x/sys/unix"
)

func BenchmarkTmp(b *testing.B) {
	const end = `table inet end {
	chain prerouting { type filter hook prerouting priority 0; policy drop; }
}
`
	configurations := []struct {
		name string
		make func(h *lab.Namespace)
	}{
		{"none", func(*lab.Namespace) {}},
		{"none2", func(*lab.Namespace) {}},
		{"clsact", func(h *lab.Namespace) { labtest.Run(b, h, "tc", "qdisc", "add", "dev", "eth0", "clsact") }},
		{"empty", func(h *lab.Namespace) {
			labtest.Run(b, h, "tc", "qdisc", "add", "dev", "eth0", "clsact")
			labtest.Run(b, h, "tc", "filter", "add", "dev", "eth0", "ingress", "pref", "5", "handle", "0x5060", "bpf", "da", "obj", "/tmp/e.o", "sec", "classifier")
		}},
		{"l28", func(h *lab.Namespace) {
			labtest.Run(b, h, "tc", "qdisc", "add", "dev", "eth0", "clsact")
			labtest.Run(b, h, "tc", "filter", "add", "dev", "eth0", "ingress", "pref", "5", "handle", "0x5060", "bpf", "da", "obj", "/tmp/e.o", "sec", "classifier/a28")
		}},
		{"bpf60", func(h *lab.Namespace) { attach(b, h, listed(b)) }},
	}
	type cell struct {
		source *lab.Source
		times  []float64
	}
	cells := map[string]*cell{}
	for _, c := range configurations {
		pbx, outside := labtest.Host(b, c.name), labtest.Host(b, "outside")
		labtest.Link(b,
			lab.End{Host: pbx, Interface: "eth0", Addresses: []string{"192.0.2.10/24"}},
			lab.End{Host: outside, Interface: "eth0", Addresses: []string{"192.0.2.200/24"}})
		labtest.Rules(b, pbx, end)
		c.make(pbx)
		source, err := outside.Send("192.0.2.200:0", fmt.Sprintf("192.0.2.10:%d", 10000), []byte(signaturetest.Invite))
		labtest.Must(b, err)
		b.Cleanup(func() { source.Close() })
		labtest.Must(b, source.Burst(1))
		cells[c.name] = &cell{source: source}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var one unix.CPUSet
	one.Set(1)
	labtest.Must(b, unix.SchedSetaffinity(0, &one))
	const burst = 2048
	for b.Loop() {
		for _, c := range configurations {
			cell := cells[c.name]
			start := time.Now()
			labtest.Must(b, cell.source.Burst(burst))
			cell.times = append(cell.times, float64(time.Since(start).Nanoseconds())/burst)
		}
	}
	b.ReportMetric(0, "ns/op")
	none := median(cells["none"].times)
	for _, c := range configurations {
		b.ReportMetric(median(cells[c.name].times)-none, "+ns/"+c.name)
	}
}
