package ruleset_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// words are numbers of 16 bits as the kernel has them.
func words(numbers ...uint16) []byte {
	var info []byte
	for _, n := range numbers {
		info = binary.NativeEndian.AppendUint16(info, n)
	}
	return info
}

func marks(numbers ...uint32) []byte {
	var info []byte
	for _, n := range numbers {
		info = binary.NativeEndian.AppendUint32(info, n)
	}
	return info
}

// multiport is an xt_multiport_v1: what it looks at, its ports, and those that begin a
// range.
func multiport(flags byte, inverted bool, ports []uint16, ranges ...int) []byte {
	info := make([]byte, 48)
	info[0], info[1] = flags, byte(len(ports))
	copy(info[2:], words(ports...))
	for _, i := range ranges {
		info[32+i] = 1
	}
	if inverted {
		info[47] = 1
	}
	return info
}

// connTrack is an xt_ct_target_info_v1.
func connTrack(flags uint16, helper string) []byte {
	info := make([]byte, 64)
	binary.NativeEndian.PutUint16(info, flags)
	copy(info[12:], helper)
	return info
}

// TestMatches: doctor understands which ports a rule of iptables is about, and which bits
// of marks it uses.
func TestMatches(t *testing.T) {
	notPorts := []ruleset.Condition{{Not: true, Ports: [][2]uint16{{5060, 5060}}}}
	for _, test := range []struct {
		name, match string
		info        []byte
		want        ruleset.OtherRule
	}{
		{"--dport 5060", "udp", words(0, math.MaxUint16, 5060, 5060), ruleset.OtherRule{Ports: [][2]uint16{{5060, 5060}}}},
		{"--dport 5000:6000", "tcp", words(0, math.MaxUint16, 5000, 6000), ruleset.OtherRule{Ports: [][2]uint16{{5000, 6000}}}},
		{"--sport 5060", "udp", words(5060, 5060, 0, math.MaxUint16), ruleset.OtherRule{Partly: true}},
		{"-p udp cut off", "udp", words(0, math.MaxUint16, 5060), ruleset.OtherRule{Partly: true}},
		{"! --dport 5060", "udp", append(words(0, math.MaxUint16, 5060, 5060), 2), ruleset.OtherRule{When: notPorts}},
		{"! --dport 5060 of TCP", "tcp", append(words(0, math.MaxUint16, 5060, 5060), 0, 0, 0, 2), ruleset.OtherRule{When: notPorts}},
		{"--syn", "tcp", append(words(0, math.MaxUint16, 0, math.MaxUint16), 0, 0x17, 2, 0), ruleset.OtherRule{Partly: true}},
		{"a comment", "comment", []byte("text"), ruleset.OtherRule{}},
		{"--dports", "multiport", multiport(1, false, []uint16{22, 5060, 5061}), ruleset.OtherRule{Ports: [][2]uint16{{22, 22}, {5060, 5060}, {5061, 5061}}}},
		{"--dports with a range", "multiport", multiport(1, false, []uint16{22, 5060, 5080}, 1), ruleset.OtherRule{Ports: [][2]uint16{{22, 22}, {5060, 5080}}}},
		{"--ports, either end", "multiport", multiport(2, false, []uint16{5060}), ruleset.OtherRule{Ports: [][2]uint16{{5060, 5060}}, Either: true, Partly: true}},
		{"--sports", "multiport", multiport(0, false, []uint16{5060}), ruleset.OtherRule{Partly: true}},
		{"! --dports", "multiport", multiport(1, true, []uint16{5060}), ruleset.OtherRule{When: notPorts}},
		{"a range that does not end", "multiport", multiport(1, false, []uint16{5060}, 0), ruleset.OtherRule{Ports: [][2]uint16{{5060, 5060}}}},
		{"--mark 0x10", "mark", marks(0x10, math.MaxUint32, 0), ruleset.OtherRule{Marks: 0x10, Partly: true}},
		{"--mark 0x10/0xf0", "mark", marks(0x10, 0xf0, 0), ruleset.OtherRule{Marks: 0xf0, Partly: true}},
		{"--mark with bits beside the mask", "mark", marks(0x100, 0xf0, 0), ruleset.OtherRule{Marks: 0x1f0, Partly: true}},
		{"another match", "conntrack", words(1, 2, 3, 4, 5), ruleset.OtherRule{Partly: true}},
	} {
		var got ruleset.OtherRule
		got.ReadMatch(test.match, test.info)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

// TestTargets: doctor understands what a rule of iptables does.
func TestTargets(t *testing.T) {
	for _, test := range []struct {
		name, target string
		info         []byte
		want         ruleset.OtherRule
	}{
		{"-j DROP", "DROP", nil, ruleset.OtherRule{Drops: true, Leaves: true}},
		{"-j REJECT", "REJECT", words(0, 0), ruleset.OtherRule{Drops: true, Leaves: true}},
		{"-j MARK --set-mark 0x1", "MARK", marks(1, math.MaxUint32), ruleset.OtherRule{Marks: 1}},
		{"-j MARK --set-xmark 0x1/0xff", "MARK", marks(1, 0xff), ruleset.OtherRule{Marks: 0xff}},
		{"-j NOTRACK", "NOTRACK", nil, ruleset.OtherRule{Untracked: true}},
		{"-j CT --notrack", "CT", connTrack(1, ""), ruleset.OtherRule{Untracked: true}},
		{"-j CT --helper sip", "CT", connTrack(0, "sip"), ruleset.OtherRule{Helper: "sip"}},
		{"-j CT cut off", "CT", connTrack(1, "sip")[:20], ruleset.OtherRule{}},
		{"-j LOG", "LOG", marks(1, 2), ruleset.OtherRule{}},
	} {
		var got ruleset.OtherRule
		got.ReadTarget(test.target, test.info)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

// TestOddData: data of any length and content, as of another kernel's version, is read
// without harm, and no range of ports is of more than the kernel can have.
func TestOddData(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		info := make([]byte, random.IntN(80))
		for i := range info {
			info[i] = byte(random.Uint32())
		}
		for _, name := range []string{"udp", "tcp", "multiport", "mark", "CT", "MARK", "TPROXY", "NOTRACK"} {
			var r ruleset.OtherRule
			r.ReadMatch(name, info)
			r.ReadTarget(name, info)
			if len(r.Ports) > 15 {
				t.Fatalf("%s has %d ports of %d bytes", name, len(r.Ports), len(info))
			}
		}
	}
}

// TestMeets: a rule is about SIP if one of its ranges has one of the ports.
func TestMeets(t *testing.T) {
	r := ruleset.OtherRule{Ports: [][2]uint16{{22, 22}, {5000, 5060}}}
	for port, want := range map[uint16]bool{22: true, 23: false, 4999: false, 5000: true, 5060: true, 5061: false} {
		if got := r.Meets([]uint16{1, port}); got != want {
			t.Errorf("it meets %d: %t", port, got)
		}
	}
	if (ruleset.OtherRule{}).Meets([]uint16{5060}) || r.Meets(nil) {
		t.Error("a rule for no port, or no port, is met")
	}
}
