package capture_test

import (
	"net/netip"
	"testing"

	"github.com/ringfence/ringfence/pkg/capture"
)

// FuzzBare: no packet is too odd to be decoded.
func FuzzBare(f *testing.F) {
	f.Add([]byte("\x45\x00\x00\x1d\x00\x01\x00\x00\x40\x11\x00\x00\xc6\x33\x64\x07\xc0\x00\x02\x0a\x13\xc4\x13\xc4\x00\x09\x00\x00x"))
	f.Add([]byte("\x60\x00\x00\x00\x00\x10\x00\x40" + "2001:db8::1.....2001:db8::2....." + "\x11\x00\x00\x00\x00\x00\x00\x00\x13\xc4\x13\xc4\x00\x08\x00\x00"))
	f.Fuzz(func(_ *testing.T, data []byte) { capture.Bare(data) })
}

// TestBare: a packet of which the end is missing has all that is there.
func TestBare(t *testing.T) {
	p := capture.Bare([]byte("\x45\x00\x03\xe8\x00\x01\x00\x00\x40\x11\x00\x00\xc6\x33\x64\x07\xc0\x00\x02\x0a\x13\xc4\x13\xc5\x03\xd4\x00\x00OPTIONS"))
	if p.Source != netip.MustParseAddrPort("198.51.100.7:5060") || p.Destination.Port() != 5061 || string(p.Payload) != "OPTIONS" {
		t.Errorf("got %+v", p)
	}
	for _, nothing := range []string{"", "\x45", "\x00\x01\x02"} {
		if p := capture.Bare([]byte(nothing)); p.Source.IsValid() || p.Protocol != "" {
			t.Errorf("%q: got %+v", nothing, p)
		}
	}
}
