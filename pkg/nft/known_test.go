package nft_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/nft"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// noCookie is why the tests of what is known end early on an old kernel.
const noCookie = "a network namespace has a cookie (SO_NETNS_COOKIE) since Linux 5.14: before that nothing is taken as known, and the table is always read"

// here writes down what the kernel holds at a generation: nothing, where a network
// namespace has no cookie.
func here(t *testing.T, generation uint32, state *ruleset.State) (*nft.Known, error) {
	t.Helper()
	known, err := nft.Here(generation, state)
	if errors.Is(err, unix.ENOPROTOOPT) && known == nil && labtest.LinuxBefore(t, 5, 14) {
		err = nil
	}
	return known, err
}

// TestKnown: what was committed is believed only while nobody has changed any
// rule, in this namespace, since this boot.
func TestKnown(t *testing.T) {
	h, other := labtest.Host(t, "pbx"), labtest.Host(t, "other")
	want := compiled(t, everything)
	p := apply(t, h, want)
	var known *nft.Known
	labtest.In(t, h, func() error {
		s, err := new(nft.Kernel).Observe(t.Context())
		if err != nil {
			return err
		}
		// A state that is not the kernel's shows whether it was read.
		known, err = here(t, s.Generation, &ruleset.State{Exists: true, Flags: "believed"})
		return err
	})
	if known == nil {
		forgets(t, h, p)
		t.Skip(noCookie)
	}
	believes := func(h *lab.Namespace, k *nft.Known) bool {
		var s *ruleset.State
		labtest.In(t, h, func() (err error) {
			s, err = (&nft.Kernel{Known: k}).Observe(t.Context())
			return err
		})
		return s.Flags == "believed"
	}
	if !believes(h, known) {
		t.Error("the table was read although nobody has changed a rule")
	}
	for name, k := range map[string]*nft.Known{
		"nothing":           nil,
		"another boot":      {Boot: "x", Namespace: known.Namespace, Generation: known.Generation, State: known.State},
		"another namespace": {Boot: known.Boot, Namespace: 1, Generation: known.Generation, State: known.State},
		"no state":          {Boot: known.Boot, Namespace: known.Namespace, Generation: known.Generation},
	} {
		if believes(h, k) {
			t.Errorf("knowing %s was enough", name)
		}
	}
	apply(t, other, want)
	if believes(other, known) {
		t.Error("one namespace's table was believed in another")
	}
	labtest.Rules(t, h, "add table ip another")
	if believes(h, known) {
		t.Error("the table was not read although somebody has changed rules")
	}
}

// forgets checks that where there is nothing to know a kernel by, a commit leaves no note
// and no other change is taken for its own.
func forgets(t *testing.T, h *lab.Namespace, p *plan.Plan) {
	t.Helper()
	labtest.In(t, h, func() error {
		k := &nft.Kernel{Known: &nft.Known{Generation: nft.GenerationAfter(p), State: p.Want}}
		if err := k.Note(p); !errors.Is(err, unix.ENOPROTOOPT) {
			t.Errorf("noting a commit gave %v", err)
		}
		if s, changed := k.Snapshot(); changed || k.Known != nil || k.Wrote(nft.GenerationAfter(p)) {
			t.Errorf("what is noted of a commit is %s", s)
		}
		return nil
	})
}

// TestBansAreNoChange: what ringfence's own bans do to the generation, it knows.
func TestBansAreNoChange(t *testing.T) {
	h := labtest.Host(t, "pbx")
	apply(t, h, compiled(t, ""))
	var k *nft.Kernel
	labtest.In(t, h, func() error {
		s, err := new(nft.Kernel).Observe(t.Context())
		if err != nil {
			return err
		}
		known, err := here(t, s.Generation, s)
		if err != nil {
			return err
		}
		k = &nft.Kernel{Known: known}
		if err := k.Ban(t.Context(), nft.Banned{Address: netip.MustParseAddr("192.0.2.1"), Left: time.Hour}); err != nil {
			return err
		}
		now, err := new(nft.Kernel).Observe(t.Context())
		if err == nil && known != nil && !k.Known.Holds(now.Generation) {
			err = fmt.Errorf("after a ban at generation %d, what is known is of %d", now.Generation, k.Known.Generation)
		}
		return err
	})
	if k.Known == nil {
		t.Skip(noCookie)
	}
}
