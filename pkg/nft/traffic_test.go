package nft_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
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
// stranger send as fast as they can: none of the provider's packets may be lost, none
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
			pbx, sink, provider, stranger := underFlood(t)
			state := compiled(t, "interfaces: [eth0]\nproviders: [{name: a, addresses: [192.0.2.100]}]")
			apply(t, pbx, state)
			stop := make(chan struct{})
			var group sync.WaitGroup
			var sent int64
			start := time.Now()
			group.Go(func() { sent = flood(t, stop, pbx, sink, provider, stranger) })
			changes := labtest.Count(100, 33_400)
			change(t, pbx, changes, test.prefixes)
			close(stop)
			group.Wait()
			took := time.Since(start)
			labtest.Must(t, sink.Close())
			got, leaked := sink.Received(fromProvider), sink.Received(fromStranger)
			t.Logf("%d changes, %d packets of each in %.1f s (%.0f packets/s): %d of the provider's lost, %d of the stranger's arrived",
				changes, sent, took.Seconds(), float64(2*sent)/took.Seconds(), sent-got, leaked)
			labtest.Report(t, "P2", test.name+" changed under two floods, nftables", changes, "%d leaked, %d lost, of %d packets each", leaked, sent-got, sent)
			if got != sent || leaked != 0 {
				t.Errorf("of %d packets each, %d of the provider's were lost and %d of the stranger's arrived", sent, sent-got, leaked)
			}
		})
	}
}

// change gives a host's provider other addresses so many times, and now and then other
// rules.
func change(t *testing.T, pbx *lab.Namespace, times int, prefixes func(*rand.Rand) []netip.Prefix) {
	r := rand.New(rand.NewPCG(1, 1+uint64(labtest.Part())))
	labtest.In(t, pbx, func() error {
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

// underFlood makes a host with a listener, and a provider and a stranger that send
// to it.
func underFlood(t *testing.T) (pbx *lab.Namespace, sink *labtest.Sink, provider, stranger *labtest.Source) {
	t.Helper()
	pbx, outside := labtest.Host(t, "pbx"), labtest.Host(t, "outside")
	labtest.Link(t,
		lab.End{Host: pbx, Interface: "eth0", Addresses: []string{"192.0.2.10/24"}},
		lab.End{Host: outside, Interface: "eth0", Addresses: []string{"192.0.2.100/24", "192.0.2.200/24"}})
	labtest.AddNeighbour(t, outside, "eth0", pbx, "eth0", "192.0.2.10")
	sink, err := labtest.NewSink(t.Context(), pbx, "192.0.2.10:5060")
	labtest.Must(t, err)
	provider, err = labtest.NewSource(outside, "192.0.2.100:5060", "192.0.2.10:5060", []byte{fromProvider})
	labtest.Must(t, err)
	t.Cleanup(func() { provider.Close() })
	stranger, err = labtest.NewSource(outside, "192.0.2.200:5060", "192.0.2.10:5060", []byte{fromStranger})
	labtest.Must(t, err)
	t.Cleanup(func() { stranger.Close() })
	return pbx, sink, provider, stranger
}

// TestNewTableLosesNoPacket makes the table again and again while a provider and
// a stranger send: whatever the order in which the kernel takes up what is new, none of
// the provider's packets may be lost. The stranger's arrive while there is no table.
func TestNewTableLosesNoPacket(t *testing.T) {
	times := labtest.Count(50, 1000)
	pbx, sink, provider, stranger := underFlood(t)
	state := compiled(t, "interfaces: [eth0]\nproviders: [{name: a, addresses: [192.0.2.100]}]")
	apply(t, pbx, state)
	stop := make(chan struct{})
	var group sync.WaitGroup
	var sent int64
	group.Go(func() { sent = flood(t, stop, pbx, sink, provider, stranger) })
	for range times {
		before := sink.Received(fromProvider)
		labtest.Rules(t, pbx, "delete table inet ringfence")
		apply(t, pbx, state)
		if !waitFor(t, pbx, sink, math.MaxInt64, before+1) { // there is traffic at all
			break
		}
	}
	close(stop)
	group.Wait()
	labtest.Must(t, sink.Close())
	got, passed := sink.Received(fromProvider), sink.Received(fromStranger)
	t.Logf("%d new tables, %d packets of each: %d of the provider's lost, %d of the stranger's passed while there was none", times, sent, sent-got, passed)
	labtest.Report(t, "P2", "the table made again under two floods, nftables", times, "%d lost of %d packets", sent-got, sent)
	if got != sent {
		t.Errorf("%d of the provider's %d packets were lost", sent-got, sent)
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

// flood sends equally many packets from both until stop, and returns how many.
// It keeps at most a few hundred of the provider's under way, so that nothing
// but the fence can lose one.
func flood(t *testing.T, stop <-chan struct{}, pbx *lab.Namespace, sink *labtest.Sink, provider, stranger *labtest.Source) (sent int64) {
	const burst, underWay = 32, 256
	for {
		select {
		case <-stop:
			waitFor(t, pbx, sink, sent, sent)
			return sent
		default:
		}
		if err := provider.Burst(burst); err != nil {
			t.Error(err)
			return sent
		}
		if err := stranger.Burst(burst); err != nil {
			t.Error(err)
			return sent
		}
		sent += burst
		if !waitFor(t, pbx, sink, sent, sent-underWay) {
			return sent
		}
	}
}

// waitFor waits until n of the provider's packets have come, of those that both
// have sent.
func waitFor(t *testing.T, pbx *lab.Namespace, sink *labtest.Sink, sent, n int64) bool {
	deadline, look := labtest.Deadline(), time.Now().Add(time.Second)
	for sink.Received(fromProvider) < n {
		switch now := time.Now(); {
		case now.After(deadline):
			t.Errorf("packets of the provider are missing: %d of %d have come", sink.Received(fromProvider), n)
			return false
		case now.After(look):
			look = now.Add(time.Second)
			if dropped := droppedUnknown(t, pbx); dropped > sent {
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
