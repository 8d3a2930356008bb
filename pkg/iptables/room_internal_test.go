package iptables

import (
	"math/rand/v2"
	"testing"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// TestRoom fills sets as the kernel counts them, each more often than any set is filled in
// a test of packets: none holds more than it should, and each size is recognised.
func TestRoom(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 18))
	for _, size := range []uint32{1, 9, 100, 4096, 4097, 4300, 4400, 8192, 8193, 10_000, 16_384, 16_385, 65_535, 65_536, 100_000, 1 << 20, 1 << 24} {
		set := ruleset.Set{Key: ruleset.IPv4, Timeout: true, Dynamic: true, Size: size}
		h, err := headerOf("banned4", set)
		if err != nil {
			t.Fatal(err)
		}
		if most(h.maxElem) > size || most(h.maxElem+1) <= size {
			t.Errorf("a set for %d has maxelem %d, with which it holds %d at most; with one more it would hold %d", size, h.maxElem, most(h.maxElem), most(h.maxElem+1))
		}
		if lost := size - h.maxElem; lost > size/10 {
			t.Errorf("a set for %d has maxelem %d: too much is left free", size, h.maxElem)
		}
		if seen := observedSet(h, nil, false); seen.Foreign != "" || !seen.SameFrame(set) || !set.SameFrame(seen) {
			t.Errorf("a set for %d is observed as %+v", size, seen)
		}
		for _, other := range []uint32{size * 8 / 10, size + size/8 + 1} {
			set.Size = other
			if seen := observedSet(h, nil, false); seen.SameFrame(set) || set.SameFrame(seen) {
				t.Errorf("a set for %d is taken for one for %d: %+v", size, other, seen)
			}
		}
		for range max(1, 1_000_000/size) {
			if held := filled(r, h); held > size || held < h.maxElem {
				t.Fatalf("a set for %d, with maxelem %d and %d buckets, holds %d", size, h.maxElem, h.hashSize, held)
			}
		}
	}
}

// filled is how many elements a set holds when no more are taken.
func filled(r *rand.Rand, h setHeader) (all uint32) {
	buckets := uint32(1)
	for buckets < h.hashSize {
		buckets *= 2
	}
	regions := make([]uint32, max(1, buckets/1024))
	share := h.maxElem / uint32(len(regions))
	for all < h.maxElem {
		regions[r.IntN(len(regions))]++
		all++
	}
	for _, elements := range regions {
		if elements < share {
			all += share - elements
		}
	}
	return all
}
