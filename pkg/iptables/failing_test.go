package iptables_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/iptables"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// TestFailsAnywhere lets each call of a change fail, alone, so that the rest is done all the
// same, and with one of the calls that follow, so that what was there before is put back:
// the fence is the old one or the new one as a whole, as the change says, and the next
// apply ends well. The short form takes some of the calls, each in one of the ways.
func TestFailsAnywhere(t *testing.T) {
	const address = registers + "roaming: {match: address}\n"
	for _, c := range []struct{ name, before, after string }{
		{"types of sets", registers, address},
		{"types of sets, back", address, registers},
		{"bans.size", registers, registers + "bans: {size: 100}\n"},
		{"ports", registers, registers + "ports: {udp: [5060, 5070], tcp: [5061]}\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bothFlavours(t, func(t *testing.T, h *lab.Namespace, f iptables.Flavour) {
				k := failingChange{h: h, flavour: f, before: compiled(t, c.before, hosts()["classifier"]), after: compiled(t, c.after, hosts()["classifier"])}
				times, calls := 0, k.fails(t, way{first: -1, second: -1})
				for n := labtest.Part(); n < calls; n += labtest.Count(13, 1) {
					ways := k.ways(n)
					for range labtest.Count(1, len(ways)) {
						k.fails(t, ways[times%len(ways)])
						times++
					}
				}
				t.Logf("calls failed %d times", times)
			})
		})
	}
}

// way is a way in which calls fail.
type way struct {
	first, second int
	// answered says that they have done what they should, and only the answer is lost.
	answered bool
	// killed is where an earlier run was killed, if it was.
	killed int
}

func (w way) String() string {
	return fmt.Sprintf("calls %d and %d fail, done all the same: %t, after a kill at %d", w.first, w.second, w.answered, w.killed)
}

// failingChange is a change of which calls fail.
type failingChange struct {
	h             *lab.Namespace
	flavour       iptables.Flavour
	before, after *ruleset.State
}

func (failingChange) ways(n int) []way {
	return []way{
		{first: n, second: n},
		{first: n, second: n, answered: true},
		{first: 1, second: 2, killed: n},
		{first: n, second: n + 1},
		{first: n, second: n + 5},
		{first: n, second: n + 3, answered: true},
	}
}

// fails lets calls of the change fail. It returns how many calls were made.
func (c failingChange) fails(t *testing.T, w way) int {
	t.Helper()
	apply(t, c.h, c.flavour, c.before)
	if w.killed > 0 {
		k, _ := iptables.Interrupted(c.flavour, w.killed)
		_ = c.commit(t, k) // it may be interrupted
	}
	k, calls := iptables.Failing(c.flavour, []int{w.first, w.second}, w.answered)
	failure := c.commit(t, k)
	if failure != nil && strings.Contains(failure.Error(), "foreign") {
		t.Errorf("%s: %v", w, failure)
	}
	wanted := c.after
	if failure != nil {
		wanted = c.before
	}
	now := difference(t, c.h, c.flavour, wanted)
	if !now.Have.Exists || w.killed == 0 && !now.Empty() {
		t.Errorf("%s: it says %v, and the fence differs: %+v", w, failure, now.Changes)
	}
	apply(t, c.h, c.flavour, c.after)
	if p := difference(t, c.h, c.flavour, c.after); !p.Empty() {
		t.Errorf("%s: the next apply leaves %s", w, cmp.Diff(p.Have.String(), c.after.String()))
	}
	return *calls
}

// commit makes the change as it is planned now.
func (c failingChange) commit(t *testing.T, k *iptables.Kernel) (failure error) {
	t.Helper()
	labtest.In(t, c.h, func() error {
		have, err := k.Observe(t.Context())
		if err == nil {
			failure = k.Commit(t.Context(), plan.Diff(have, c.after))
		}
		return err
	})
	return failure
}
