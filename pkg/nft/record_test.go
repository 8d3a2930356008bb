package nft_test

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/nft"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// strangers are those of labtest, over nftables.
type strangers struct{ labtest.Strangers }

func newStrangers(t *testing.T, payload []byte) strangers {
	t.Helper()
	return strangers{labtest.NewStrangers(t, payload)}
}

func (s strangers) counted(t *testing.T, packets uint64) {
	t.Helper()
	labtest.Until(t, fmt.Sprintf("%d packets are counted", packets), func() bool {
		var counters map[string]uint64
		labtest.In(t, s.PBX, func() (err error) {
			counters, err = new(nft.Kernel).Counters(t.Context())
			return err
		})
		return counters["dropped_unknown"] == packets
	})
}

func (s strangers) dropped(t *testing.T) map[netip.Addr]backend.Dropped {
	t.Helper()
	found := map[netip.Addr]backend.Dropped{}
	labtest.In(t, s.PBX, func() error {
		list, err := new(nft.Kernel).Dropped(t.Context(), netip.Addr{})
		for _, d := range list {
			found[d.Address] = d
		}
		if err == nil {
			err = alone(t.Context(), new(nft.Kernel), found)
		}
		return err
	})
	return found
}

// alone asks for single sources: each is found as it is among all.
func alone(ctx context.Context, k backend.Drops, found map[netip.Addr]backend.Dropped) error {
	for _, a := range append(slices.Collect(maps.Keys(found)), netip.MustParseAddr("203.0.113.77"), netip.MustParseAddr("2001:db8:77::77")) {
		list, err := k.Dropped(ctx, a)
		want, known := found[a]
		switch {
		case err != nil:
			return err
		case known != (len(list) == 1) || known && (list[0].Packets != want.Packets || list[0].Last.Sub(want.Last).Abs() > 2*time.Second):
			return fmt.Errorf("of %s alone is kept %+v, among all %+v", a, list, want)
		}
	}
	return nil
}

// TestReportedOnce: of each source one packet is reported, and no more of it than its
// beginning; all are counted.
func TestReportedOnce(t *testing.T) {
	s := newStrangers(t, make([]byte, 1400))
	apply(t, s.PBX, compiledFor(t, "providers: [{name: a, addresses: [192.0.2.100]}]", ruleset.Host{}))
	const packets = 20
	s.SendReported(t, packets, "unknown", ruleset.LogBytes)
	s.counted(t, packets*(labtest.ManyStrangers+1))
	found := s.dropped(t)
	if len(found) != labtest.ManyStrangers+1 {
		t.Errorf("%d sources are kept: %v", len(found), found)
	}
	for _, d := range found {
		if d.Packets != packets || time.Since(d.Last) > time.Minute || time.Since(d.Last) < 0 {
			t.Errorf("of %s is kept %+v", d.Address, d)
		}
	}

	// A table that is made again keeps all that.
	labtest.Rules(t, s.PBX, "add table inet ringfence { flags dormant; }")
	apply(t, s.PBX, compiledFor(t, "providers: [{name: a, addresses: [192.0.2.101]}]", ruleset.Host{}))
	for a, d := range s.dropped(t) {
		if was := found[a]; d.Packets != was.Packets || d.Last.Sub(was.Last).Abs() > time.Second {
			t.Errorf("after the table was made again, of %s is kept %+v, before %+v", a, d, was)
		}
	}
}

// TestFullSets: where no more sources can be kept, their packets are dropped all the same,
// and they are not reported.
func TestFullSets(t *testing.T) {
	for mode, arrive := range map[string]int64{"enforce": 0, "monitor": labtest.ManyStrangers * 10} {
		t.Run(mode, func(t *testing.T) {
			s := newStrangers(t, []byte("S"))
			state := compiledFor(t, "mode: "+mode, ruleset.Host{})
			for name, size := range map[string]uint32{"dropped4": 2, "log_unknown4": 1} {
				set := state.Sets[name]
				set.Size = size
				state.Sets[name] = set
			}
			apply(t, s.PBX, state)
			if reported := s.Send(t, 10); len(reported) != 2 {
				t.Errorf("%d packets are reported, want one of the set's only source, and that of IPv6", len(reported))
			}
			s.counted(t, (labtest.ManyStrangers+1)*10)
			found := s.dropped(t)
			if len(found) != 3 || found[netip.MustParseAddr("192.0.2.200")].Packets != 10 {
				t.Errorf("two sources of IPv4 have room, and there are %v", found)
			}
			labtest.Until(t, "all that passes has arrived", func() bool { return s.Sink.Received('S') == arrive })
			labtest.Must(t, s.Sink.Close())
			if n := s.Sink.Received('S'); n != arrive {
				t.Errorf("%d packets arrived, want %d", n, arrive)
			}
		})
	}
}
