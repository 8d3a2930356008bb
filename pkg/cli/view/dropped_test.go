package view_test

import (
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/fence"
)

func TestDropped(t *testing.T) {
	now := time.Now()
	source := func(n byte, text, method string) fence.Dropped {
		return fence.Dropped{
			Dropped: backend.Dropped{Address: netip.AddrFrom4([4]byte{192, 0, 2, n}), Packets: uint64(n), Last: now.Add(-3 * time.Hour)},
			Reason:  "unknown", Text: text, Method: method,
		}
	}
	list := []fence.Dropped{source(1, "unknown: never allowed", "INVITE"), source(2, "banned", ""), source(3, "banned", "")}
	for _, test := range []struct {
		name  string
		drops fence.Drops
		most  int
		want  string
	}{
		{"nobody", fence.Drops{}, 9, "Nobody was dropped in the last 24h.\n"},
		{"nobody, monitor mode", fence.Drops{Monitor: true}, 9, "Nobody would have been dropped in the last 24h.\n"},
		{"monitor mode", fence.Drops{Monitor: true, Sources: list[1:2]}, 9, `These would be dropped. In monitor mode what they send passes.
192.0.2.2  2 packets  last 3 h ago  banned
`},
		{"all", fence.Drops{Sources: list}, math.MaxInt, `192.0.2.1  1 packet   last 3 h ago  unknown: never allowed  INVITE
192.0.2.2  2 packets  last 3 h ago  banned
192.0.2.3  3 packets  last 3 h ago  banned
`},
		{"some", fence.Drops{Sources: list}, 1, `192.0.2.1  1 packet  last 3 h ago  unknown: never allowed  INVITE
2 more sources before; ringfence dropped --all shows all
`},
	} {
		var b strings.Builder
		view.Dropped(&b, test.drops, 24*time.Hour, test.most)
		if b.String() != test.want {
			t.Errorf("%s: got\n%s\nwant\n%s", test.name, b.String(), test.want)
		}
	}
}
