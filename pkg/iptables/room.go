package iptables

import (
	"math"
	"math/bits"
	"sort"
)

// The kernel counts the elements of a set by parts, the regions of its table
// (ip_set_hash_gen.h, mtype_add): a region that has less than its share takes one more
// whatever the others have, and only one that has its share looks at all of them. So a set
// may hold more than its maxelem, and one that must not hold more than a policy says gets a
// smaller one.

// roomFor is the largest maxelem with which a set does not hold more than size elements:
// but for chance, see excess, and for packets that processors look at in the same instant,
// each of which may add one.
func roomFor(size uint32) uint32 {
	return uint32(sort.Search(int(size), func(n int) bool { return most(uint32(n)+1) > size }))
}

// most is how many elements a set with this maxelem holds at most.
func most(maxElem uint32) uint32 { return maxElem + excess(maxElem) }

// excess is how many elements a set may take beyond its maxelem. When they are that many,
// the n regions that have less than their share fill up to it, and lack as much as the
// others have too many. Which region an element comes to is chance, by a hash with a random
// seed. So they lack sqrt(maxelem*n)/2 together on average at most (n times half the
// standard deviation of one), and, as one element more here and one less there makes a
// difference of one, sqrt(maxelem*x/2) more than that with a chance of exp(-x) at most
// (McDiarmid's inequality): once in 10^9 times that a set is filled.
func excess(maxElem uint32) uint32 {
	const perRegion = 1024 // HTABLE_REGION_BITS
	regions := (uint32(1) << bits.Len32(hashSizeFor(maxElem)-1)) / perRegion
	if regions <= 1 {
		return 0 // all are counted together
	}
	x := math.Log(1e9)
	return uint32(math.Ceil(math.Sqrt(float64(maxElem)*float64(regions))/2 + math.Sqrt(float64(maxElem)*x/2)))
}
