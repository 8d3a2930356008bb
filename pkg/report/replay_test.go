package report

import (
	"net/netip"
	"testing"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/replay"
	"github.com/ringfence/ringfence/pkg/site"
)

func TestSilencedText(t *testing.T) {
	phone := replay.Source{Address: netip.MustParseAddr("198.51.100.21"), Packets: 3, Dropped: 3, Got: replay.Good{Registered: true}}
	server := replay.Source{
		Address: netip.MustParseAddr("198.51.100.22"), Packets: 1, Dropped: 1,
		Gave: replay.Good{Registered: true}, Answer: site.Answer{Provider: "acme"},
	}
	for _, test := range []struct {
		sources []replay.Source
		monitor bool
		want    string
	}{
		{nil, false, ""},
		{[]replay.Source{phone}, false, "1 of your phones would be silenced"},
		{[]replay.Source{phone}, true, "1 of your phones would be silenced in mode enforce"},
		{[]replay.Source{server}, false, "198.51.100.22, which looks like a server of acme, would be silenced"},
		{[]replay.Source{phone, server}, false, "1 of your phones, and 198.51.100.22, which looks like a server of acme, would be silenced"},
	} {
		r := fence.Replayed{Result: replay.Result{Sources: test.sources}, Monitor: test.monitor}
		if got := silencedText(r); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}
