package ruleset_test

import (
	"math/rand/v2"
	"testing"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

func TestOtherPorts(t *testing.T) {
	for _, test := range []struct {
		udp, tcp []uint16
		want     string
		others   int // how many of all ports it tells
	}{
		{[]uint16{5060}, nil, "@th,0,32 & 0xffff != 0x13c4", 65535},
		{[]uint16{5060}, []uint16{5061}, "@th,0,32 & 0xfffe != 0x13c4", 65534},
		{[]uint16{5060, 5061}, []uint16{5080}, "@th,0,32 & 0xffe0 != 0x13c0", 65504},
		{[]uint16{5060, 5160}, nil, "@th,0,32 & 0xf800 != 0x1000", 63488},
		{[]uint16{0x7fff}, []uint16{1}, "@th,0,32 & 0x8000 != 0x0", 32768},
		{[]uint16{5060}, []uint16{50600}, "", 0},
		{nil, nil, "", 0},
	} {
		services := ruleset.Services(test.udp, test.tcp)
		s, ok := ruleset.OtherPorts(services, false)
		if ok != (test.want != "") || ok && s.String() != test.want {
			t.Errorf("%v: %q, %t", services, s, ok)
		}
		others := 0
		for port := range 1 << 16 {
			if ok && s.Matches(uint16(port)) {
				others++
			}
		}
		if others != test.others {
			t.Errorf("%v: tells %d other ports, not %d", services, others, test.others)
		}
	}
}

// TestNoFencedPortIsAnother: whatever the ports are, none of them matches, and the rule is
// read as it was written.
func TestNoFencedPortIsAnother(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	ports := func() []uint16 {
		list := make([]uint16, r.IntN(4))
		around := 1 + r.IntN(65000)
		for i := range list {
			list[i] = uint16(around + r.IntN(1+r.IntN(500)))
		}
		return list
	}
	for range 10000 {
		services := ruleset.Services(ports(), ports())
		for _, source := range []bool{false, true} {
			s, ok := ruleset.OtherPorts(services, source)
			if !ok {
				continue
			}
			for _, e := range services {
				if s.Matches(e.Port) {
					t.Fatalf("%q takes %s for another port", s, e)
				}
			}
			if again, ok := ruleset.OtherPortOf(s.Words()); !ok || again != s {
				t.Fatalf("%+v was read as %+v", s, again)
			}
		}
	}
	for _, words := range [][2]uint32{{0, 0}, {0xfffd, 0x13c4}, {0x7fff, 1}, {0xfffe, 0x13c5}, {0xfffffffe, 0x13c4}, {0xfffe, 0x113c4}, {0x1fffe, 0}} {
		if s, ok := ruleset.OtherPortOf(words[0], words[1]); ok {
			t.Errorf("0x%x, 0x%x was read as %q", words[0], words[1], s)
		}
	}
}
