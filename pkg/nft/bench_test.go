package nft_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/nft"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// scattered are n addresses that do not touch each other.
func scattered(n int) []netip.Prefix {
	prefixes := make([]netip.Prefix, n)
	for i := range prefixes {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 0x20000000+uint32(i)*3)
		prefixes[i] = netip.PrefixFrom(netip.AddrFrom4(b), 32)
	}
	return prefixes
}

func withProviders(s *ruleset.State, prefixes []netip.Prefix) *ruleset.State {
	next := *s
	next.Sets = maps.Clone(s.Sets)
	set := next.Sets["providers4"]
	set.Elements = ruleset.Addresses(prefixes)
	set.Size = set.Room()
	next.Sets["providers4"] = set
	return &next
}

// BenchmarkOneMoreAddress adds one address while the set holds many, and says
// where the time goes. "known" is the way when nobody else has changed a rule.
func BenchmarkOneMoreAddress(b *testing.B) {
	for _, n := range []int{10, 1000, 100_000} {
		h := labtest.Host(b, "pbx")
		many := scattered(n)
		less := withProviders(compiled(b, ""), many)
		more := withProviders(less, append(slices.Clone(many), netip.MustParsePrefix("9.9.9.9/32")))
		apply(b, h, less)
		b.Run(fmt.Sprintf("%d/dump", n), func(b *testing.B) {
			labtest.In(b, h, func() error {
				for b.Loop() {
					if _, err := new(nft.Kernel).Observe(b.Context()); err != nil {
						return err
					}
				}
				return nil
			})
		})
		b.Run(fmt.Sprintf("%d/known", n), func(b *testing.B) {
			labtest.In(b, h, func() error {
				s, err := new(nft.Kernel).Observe(b.Context())
				if err != nil {
					return err
				}
				known, err := nft.Here(s.GenID, s)
				if err != nil {
					return err
				}
				for b.Loop() {
					if _, err := (&nft.Kernel{Known: known}).Observe(b.Context()); err != nil {
						return err
					}
				}
				return nil
			})
		})
		b.Run(fmt.Sprintf("%d/diff", n), func(b *testing.B) {
			for b.Loop() {
				plan.Diff(less, more)
			}
		})
		b.Run(fmt.Sprintf("%d/commit", n), func(b *testing.B) {
			labtest.In(b, h, func() error {
				k := &nft.Kernel{}
				s, err := k.Observe(b.Context())
				if err != nil {
					return err
				}
				id := s.GenID
				from, to := less, more
				for b.Loop() {
					p := plan.Diff(from, to)
					p.GenID = id
					if err := k.Commit(b.Context(), p); err != nil {
						return err
					}
					id = nft.NextGenID(id)
					from, to = to, from
				}
				return nil
			})
		})
	}
}

// BenchmarkPacket measures what a packet costs on its way in, over veth: behind
// no rule at all, behind the least that one would write by hand, behind the
// fence; both for all interfaces and for one, whose name takes time to compare.
// All that pass end in the same drop, later. The configurations take turns, so that
// a change of the machine's speed affects all of them alike. The figures are ns
// a packet on top of those behind no rule, of the lowest decile of the rounds, which
// other programs disturb least; and how many times what is written by hand the fence
// costs. The fence is also measured without the rules that report a packet ("unlogged"),
// and without those that keep its source either ("unkept").
func BenchmarkPacket(b *testing.B) {
	const (
		end = `table inet end {
	chain prerouting { type filter hook prerouting priority 0; policy drop; }
}
`
		fenced   = "providers: [{name: a, addresses: [192.0.2.100]}]"
		unlogged = "events: {keep: 0s}\n"
		byHand   = `table inet hand {
	set allowed { type ipv4_addr; elements = { 192.0.2.100 } }
	chain prerouting {
		type filter hook prerouting priority raw - 10;
		meta l4proto { tcp, udp } th dport { 5060, 5061 } INTERFACE ip saddr != @allowed drop
	}
}
`
	)
	configurations := []struct {
		name  string
		rules string
	}{
		{"none", ""},
		{"hand", strings.Replace(byHand, "INTERFACE ", "", 1)},
		{"fence", compiledFor(b, fenced, ruleset.Host{}).String()},
		{"unlogged", compiledFor(b, unlogged+fenced, ruleset.Host{}).String()},
		{"unkept", without(compiledFor(b, unlogged+fenced, ruleset.Host{}), "@dropped").String()},
		{"hand-eth0", strings.Replace(byHand, "INTERFACE", `iifname "eth0"`, 1)},
		{"fence-eth0", compiledFor(b, "interfaces: [eth0]\n"+fenced, ruleset.Host{}).String()},
	}
	packets := []struct {
		name, from string
		port       int
	}{{"otherport", "192.0.2.200", 10000}, {"provider", "192.0.2.100", 5060}, {"dropped", "192.0.2.200", 5060}}

	type cell struct {
		source *labtest.Source
		times  []float64
	}
	cells := map[string]*cell{}
	for _, c := range configurations {
		pbx, outside := labtest.Host(b, c.name), labtest.Host(b, "outside")
		labtest.Link(b,
			lab.End{Host: pbx, Interface: "eth0", Addresses: []string{"192.0.2.10/24"}},
			lab.End{Host: outside, Interface: "eth0", Addresses: []string{"192.0.2.100/24", "192.0.2.200/24"}})
		labtest.Rules(b, pbx, end+c.rules)
		for _, p := range packets {
			source, err := labtest.NewSource(outside, p.from+":0", fmt.Sprintf("192.0.2.10:%d", p.port), make([]byte, 400))
			labtest.Must(b, err)
			b.Cleanup(func() { source.Close() })
			labtest.Must(b, source.Burst(1))
			cells[c.name+"-"+p.name] = &cell{source: source}
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const burst = 256
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
		none := lowest(cells["none-"+p.name].times)
		b.ReportMetric(none, "ns/none-"+p.name)
		costs := map[string]float64{}
		for _, c := range configurations[1:] {
			costs[c.name] = lowest(cells[c.name+"-"+p.name].times) - none
			b.ReportMetric(costs[c.name], "+ns/"+c.name+"-"+p.name)
		}
		for _, of := range []string{"", "-eth0"} {
			b.ReportMetric(costs["fence"+of]/costs["hand"+of], "times/fence"+of+"-"+p.name)
		}
	}
}

// without is the state without the rules that hold a word.
func without(s *ruleset.State, word string) *ruleset.State {
	for name, c := range s.Chains {
		c.Rules = slices.DeleteFunc(c.Rules, func(r ruleset.Rule) bool { return strings.Contains(r.String(), word) })
		s.Chains[name] = c
	}
	return s
}

func lowest(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/10]
}
