package classifier_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/classifier"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/signature"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
)

// BenchmarkPacket measures what recognising scanners costs a packet on its way in,
// over veth: nothing at all, by one rule of iptables' string match, by 25 of them,
// by the classifier with 25 signatures and with 1,000. All packets end in the same
// drop, later. The configurations take turns, so that a machine whose speed drifts
// is as unfair to one as to another; the figures are medians of the rounds in ns a
// packet, on top of those of nothing.
func BenchmarkPacket(b *testing.B) {
	const end = `table inet end {
	chain prerouting { type filter hook prerouting priority 0; policy drop; }
}
`
	list := signaturetest.Many(1000)
	strings25 := func(h *lab.Namespace, n int) {
		for i, s := range listed(b)[:n] {
			if s.Value == "" {
				b.Fatal(i)
			}
			labtest.Run(b, h, "iptables-nft", "-t", "raw", "-A", "PREROUTING", "-p", "udp", "--dport", "5060",
				"-m", "string", "--algo", "bm", "--string", s.Value)
		}
	}
	configurations := []struct {
		name string
		make func(h *lab.Namespace)
	}{
		{"none", func(*lab.Namespace) {}},
		{"string1", func(h *lab.Namespace) { strings25(h, 1) }},
		{"string25", func(h *lab.Namespace) { strings25(h, 25) }},
		{"bpf25", func(h *lab.Namespace) { attach(b, h, listed(b)[:25]) }},
		{"bpf60", func(h *lab.Namespace) { attach(b, h, listed(b)) }},
		{"bpf1000", func(h *lab.Namespace) { attach(b, h, list) }},
	}
	packets := []struct {
		name    string
		port    int
		payload []byte
	}{
		{"otherport", 10000, []byte(signaturetest.Invite)},
		{"svmap", 5060, []byte(signaturetest.Svmap)},
		{"invite", 5060, []byte(signaturetest.Invite)},
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
		for _, p := range packets {
			source, err := outside.Send("192.0.2.200:0", fmt.Sprintf("192.0.2.10:%d", p.port), p.payload)
			labtest.Must(b, err)
			b.Cleanup(func() { source.Close() })
			labtest.Must(b, source.Burst(1))
			cells[c.name+"-"+p.name] = &cell{source: source}
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var one unix.CPUSet
	one.Set(1)
	labtest.Must(b, unix.SchedSetaffinity(0, &one))
	const burst = 2048
	for b.Loop() {
		for _, c := range configurations {
			for _, p := range packets {
				cell := cells[c.name+"-"+p.name]
				start := time.Now()
				labtest.Must(b, cell.source.Burst(burst))
				cell.times = append(cell.times, float64(time.Since(start).Nanoseconds())/burst)
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	for _, p := range packets {
		none := median(cells["none-"+p.name].times)
		b.ReportMetric(none, "ns/none-"+p.name)
		for _, c := range configurations[1:] {
			b.ReportMetric(median(cells[c.name+"-"+p.name].times)-none, "+ns/"+c.name+"-"+p.name)
		}
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/10]
}

func attach(b testing.TB, h *lab.Namespace, list []signature.Signature) {
	b.Helper()
	a, err := signature.Compile(list, nil)
	labtest.Must(b, err)
	l, err := classifier.New(a, sipPorts).Load()
	labtest.Must(b, err)
	b.Cleanup(func() { l.Close() })
	labtest.In(b, h, func() error {
		c, err := classifier.Begin(l, []string{"eth0"})
		if err != nil {
			return err
		}
		return c.Finish()
	})
}

func listed(b testing.TB) []signature.Signature {
	data, err := os.ReadFile("../../rules/signatures/scanners.yaml")
	labtest.Must(b, err)
	var l []signature.Signature
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(line, "- {") || strings.Contains(line, "off: true") {
			continue
		}
		field := func(k string) string {
			_, rest, ok := strings.Cut(line, k+": ")
			if !ok {
				return ""
			}
			if q := rest[0]; q == '"' || q == '\'' {
				rest = rest[1:]
				return rest[:strings.IndexByte(rest, q)]
			}
			return rest[:strings.IndexAny(rest, ",}")]
		}
		s := signature.Signature{Name: field("name"), Header: field("header"), Class: signature.Class(field("class"))}
		for _, m := range []signature.Match{signature.Contains, signature.Prefix, signature.Exact} {
			if v := field(string(m)); v != "" {
				s.Match, s.Value = m, v
			}
		}
		l = append(l, s)
	}
	return l
}
