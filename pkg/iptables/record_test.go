package iptables_test

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/iptables"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

var flavours = []iptables.Flavour{iptables.Legacy, iptables.NFT}

// strangers are those of labtest, over a flavour of iptables.
type strangers struct {
	labtest.Strangers
	*iptables.Kernel
}

func newStrangers(t *testing.T, f iptables.Flavour, payload []byte) strangers {
	t.Helper()
	return strangers{labtest.NewStrangers(t, payload), &iptables.Kernel{Flavour: f}}
}

func (s strangers) counted(t *testing.T, packets uint64) {
	t.Helper()
	labtest.Until(t, fmt.Sprintf("%d packets are counted", packets), func() bool {
		var counters map[string]uint64
		labtest.In(t, s.PBX, func() (err error) {
			counters, err = s.Counters(t.Context())
			return err
		})
		return counters["dropped_unknown"] == packets
	})
}

func (s strangers) dropped(t *testing.T) map[netip.Addr]backend.Dropped {
	t.Helper()
	found := map[netip.Addr]backend.Dropped{}
	labtest.In(t, s.PBX, func() error {
		list, err := s.Dropped(t.Context(), netip.Addr{})
		for _, d := range list {
			found[d.Address] = d
		}
		if err == nil {
			err = alone(t.Context(), s, found)
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
// beginning; all are counted, and a set that is made again keeps what it has counted.
func TestReportedOnce(t *testing.T) {
	for _, f := range flavours {
		t.Run(string(f), func(t *testing.T) {
			s := newStrangers(t, f, make([]byte, 1400))
			want := compiled(t, "", ruleset.Host{})
			apply(t, s.PBX, f, want)
			const packets = 20
			s.SendReported(t, packets, "unknown", ruleset.LogBytes)
			s.counted(t, packets*(labtest.ManyStrangers+1))
			sized(want, map[string]uint32{"dropped4": 100})
			for _, change := range []string{"", "a set is made again"} {
				if change != "" {
					apply(t, s.PBX, f, want)
				}
				found := s.dropped(t)
				if len(found) != labtest.ManyStrangers+1 {
					t.Errorf("%s: %d sources are kept: %v", change, len(found), found)
				}
				for _, d := range found {
					if d.Packets != packets || time.Since(d.Last) > time.Minute || d.Last.Before(d.First) {
						t.Errorf("%s: of %s is kept %+v", change, d.Address, d)
					}
				}
			}
		})
	}
}

// sized gives sets of a state other sizes.
func sized(s *ruleset.State, sizes map[string]uint32) {
	for name, size := range sizes {
		set := s.Sets[name]
		set.Size = size
		s.Sets[name] = set
	}
}

// TestFullSets: where no more sources can be kept, their packets are dropped all the same,
// and they are not reported.
func TestFullSets(t *testing.T) {
	for _, f := range flavours {
		for mode, arrive := range map[string]int64{"enforce": 0, "monitor": labtest.ManyStrangers * 10} {
			t.Run(string(f)+"/"+mode, func(t *testing.T) {
				s := newStrangers(t, f, []byte("S"))
				state := compiled(t, "mode: "+mode, ruleset.Host{})
				sized(state, map[string]uint32{"dropped4": 2, "log_unknown4": 1})
				apply(t, s.PBX, f, state)
				if reported := s.Send(t, 10); len(reported) != 2 {
					t.Errorf("%d packets are reported, want one of the set's only source, and that of IPv6", len(reported))
				}
				s.counted(t, (labtest.ManyStrangers+1)*10)
				if found := s.dropped(t); len(found) != 3 || found[netip.MustParseAddr("192.0.2.200")].Packets != 10 {
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
}
