package nft_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/nft"
	"github.com/ringfence/ringfence/pkg/plan"
)

const (
	fromProvider = 'P'
	fromStranger = 'S'
)

// TestNoPacketSlipsThroughAnUpdate changes addresses and rules while a provider and a
// stranger send: none of the provider's packets may be lost, none
// of the stranger's may arrive. Single addresses come and go beside the provider's;
// ranges that hold it grow, shrink, split and join; and a set of either becomes one of
// the other.
func TestNoPacketSlipsThroughAnUpdate(t *testing.T) {
	for _, test := range []struct {
		name     string
		prefixes func(*rand.Rand) []netip.Prefix
	}{
		{"addresses", randomAddresses},
		{"ranges", randomRanges},
		{"both", func(r *rand.Rand) []netip.Prefix {
			if r.IntN(2) == 0 {
				return randomAddresses(r)
			}
			return randomRanges(r)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			changes, hosts := labtest.Count(100, 33_400), make([]*flooded, 4)
			if os.Getenv("RINGFENCE_MACHINE") != "" {
				changes, hosts = 20, hosts[:1] // floods leave an emulated processor little time for changes
			}
			for i := range hosts {
				hosts[i] = newFlooded(t)
			}
			var group sync.WaitGroup
			start := time.Now()
			for i, h := range hosts {
				group.Go(func() {
					r := rand.New(rand.NewPCG(uint64(1+i), 1+uint64(labtest.Part())))
					h.during(t, func() error { return change(t, h.pbx, changes/len(hosts), r, test.prefixes) })
				})
			}
			group.Wait()
			took := time.Since(start)
			var sent, lost, leaked int64
			for _, h := range hosts {
				labtest.Must(t, h.sink.Close())
				sent, lost, leaked = sent+h.sent, lost+h.sent-h.sink.Received(fromProvider), leaked+h.sink.Received(fromStranger)
			}
			t.Logf("%d changes, %d packets of each in %.1f s (%.0f packets/s to each host): %d of the provider's lost, %d of the stranger's arrived",
				changes, sent, took.Seconds(), float64(2*sent)/took.Seconds()/float64(len(hosts)), lost, leaked)
			labtest.Report(t, "P2", test.name+" changed under two floods, nftables", changes/len(hosts)*len(hosts), "%d leaked, %d lost, of %d packets each", leaked, lost, sent)
			if lost != 0 || leaked != 0 {
				t.Errorf("of %d packets each, %d of the provider's were lost and %d of the stranger's arrived", sent, lost, leaked)
			}
		})
	}
}

// change gives a host's provider other addresses so many times, and now and then other
// rules.
func change(t *testing.T, pbx *lab.Namespace, times int, r *rand.Rand, prefixes func(*rand.Rand) []netip.Prefix) error {
	return pbx.Do(func() error {
		for i := range times {
			interfaces := "eth0"
			if i%50 > 40 {
				interfaces = fmt.Sprintf("eth0, eth%d", i%7+1)
			}
			next := compiled(t, "interfaces: ["+interfaces+"]\nproviders: [{name: a, addresses: ["+texts(prefixes(r))+"]}]")
			c := control.Controller{Kernel: &nft.Kernel{}}
			if _, err := c.Sync(t.Context(), control.Desired{State: next}, func(*plan.Plan) error { return nil }); err != nil {
				return err
			}
		}
		return nil
	})
}

func texts(prefixes []netip.Prefix) string {
	var all []string
	for _, p := range prefixes {
		all = append(all, p.String())
	}
	return strings.Join(all, ", ")
}

// flooded is a host with a listener, and a provider and a stranger that send to it.
type flooded struct {
	pbx                *lab.Namespace
	sink               *labtest.Sink
	provider, stranger *labtest.Source
	sent               int64 // by each of both
}

func newFlooded(t *testing.T) *flooded {
	t.Helper()
	pbx, outside := labtest.Host(t, "pbx"), labtest.Host(t, "outside")
	labtest.Link(t,
		lab.End{Host: pbx, Interface: "eth0", Addresses: []string{"192.0.2.10/24"}},
		lab.End{Host: outside, Interface: "eth0", Addresses: []string{"192.0.2.100/24", "192.0.2.200/24"}})
	labtest.AddNeighbour(t, outside, "eth0", pbx, "eth0", "192.0.2.10")
	sink, err := labtest.NewSink(t.Context(), pbx, "192.0.2.10:5060")
	labtest.Must(t, err)
	provider, err := labtest.NewSource(outside, "192.0.2.100:5060", "192.0.2.10:5060", []byte{fromProvider})
	labtest.Must(t, err)
	t.Cleanup(func() { provider.Close() })
	stranger, err := labtest.NewSource(outside, "192.0.2.200:5060", "192.0.2.10:5060", []byte{fromStranger})
	labtest.Must(t, err)
	t.Cleanup(func() { stranger.Close() })
	apply(t, pbx, compiled(t, "interfaces: [eth0]\nproviders: [{name: a, addresses: [192.0.2.100]}]"))
	return &flooded{pbx: pbx, sink: sink, provider: provider, stranger: stranger}
}

// during lets both send while something is done.
func (f *flooded) during(t *testing.T, do func() error) {
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() { f.send(t, stop) })
	if err := do(); err != nil {
		t.Error(err)
	}
	close(stop)
	group.Wait()
}

// TestNewTableLosesNoPacket makes the table again and again while a provider and
// a stranger send: whatever the order in which the kernel takes up what is new, none of
// the provider's packets may be lost. The stranger's arrive while there is no table.
func TestNewTableLosesNoPacket(t *testing.T) {
	times := labtest.Count(50, 1000)
	f := newFlooded(t)
	state := compiled(t, "interfaces: [eth0]\nproviders: [{name: a, addresses: [192.0.2.100]}]")
	f.during(t, func() error {
		for range times {
			before := f.sink.Received(fromProvider)
			labtest.Rules(t, f.pbx, "delete table inet ringfence")
			apply(t, f.pbx, state)
			if !f.waitFor(t, math.MaxInt64, before+1) { // there is traffic at all
				break
			}
		}
		return nil
	})
	labtest.Must(t, f.sink.Close())
	got, passed := f.sink.Received(fromProvider), f.sink.Received(fromStranger)
	t.Logf("%d new tables, %d packets of each: %d of the provider's lost, %d of the stranger's passed while there was none", times, f.sent, f.sent-got, passed)
	labtest.Report(t, "P2", "the table made again under two floods, nftables", times, "%d lost of %d packets", f.sent-got, f.sent)
	if got != f.sent {
		t.Errorf("%d of the provider's %d packets were lost", f.sent-got, f.sent)
	}
}

// randomAddresses always hold the provider and never the stranger: neighbours of both,
// and addresses far away.
func randomAddresses(r *rand.Rand) []netip.Prefix {
	prefixes := []netip.Prefix{netip.MustParsePrefix("192.0.2.100/32")}
	for range r.IntN(20) {
		prefixes = append(prefixes,
			netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(96 + r.IntN(8))}), 32),
			netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, []byte{198, 199, 201, 202}[r.IntN(4)]}), 32),
			netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(r.IntN(256))}), 32))
	}
	return prefixes
}

// randomRanges always hold the provider and never the stranger.
func randomRanges(r *rand.Rand) []netip.Prefix {
	prefixes := append(randomAddresses(r), netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, 100}), 26+r.IntN(6)))
	for range r.IntN(5) {
		prefixes = append(prefixes,
			netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(192))}), 27+r.IntN(6)),
			netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, byte(r.IntN(100)), 0}), 20+r.IntN(5)))
	}
	return prefixes
}

// send sends equally many packets from both until stop: 24,000 a second together, or as
// many as the machine can. So it also has time for changes. It keeps at most a few hundred
// of the provider's under way, so that nothing but the fence can lose one.
func (f *flooded) send(t *testing.T, stop <-chan struct{}) {
	const perSecond, underWay = 12_000, 256
	next, start := time.NewTicker(time.Second/500), time.Now()
	defer next.Stop()
	for {
		select {
		case <-stop:
			f.waitFor(t, f.sent, f.sent)
			return
		case <-next.C:
		}
		for due := int64(time.Since(start).Seconds() * perSecond); f.sent < due; {
			n := min(due-f.sent, 64)
			if err := errors.Join(f.provider.Burst(int(n)), f.stranger.Burst(int(n))); err != nil {
				t.Error(err)
				return
			}
			f.sent += n
			if !f.waitFor(t, f.sent, f.sent-underWay) {
				return
			}
		}
	}
}

// waitFor waits until n of the provider's packets have come, of those that both
// have sent.
func (f *flooded) waitFor(t *testing.T, sent, n int64) bool {
	deadline, look := labtest.Deadline(), time.Now().Add(time.Second)
	for f.sink.Received(fromProvider) < n {
		switch now := time.Now(); {
		case now.After(deadline):
			t.Errorf("packets of the provider are missing: %d of %d have come", f.sink.Received(fromProvider), n)
			return false
		case now.After(look):
			look = now.Add(time.Second)
			if dropped := droppedUnknown(t, f.pbx); dropped > sent {
				t.Errorf("the fence has dropped %d packets as unknown, but the stranger has only sent %d", dropped, sent)
				return false
			}
		}
		runtime.Gosched()
	}
	return true
}

// droppedUnknown is how many packets the fence has dropped because it does not
// know who sends them.
func droppedUnknown(t *testing.T, pbx *lab.Namespace) (n int64) {
	err := pbx.Do(func() error {
		counters, err := new(nft.Kernel).Counters(t.Context())
		n = int64(counters["dropped_unknown"])
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return n
}
