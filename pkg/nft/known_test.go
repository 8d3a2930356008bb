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
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// noCookie is why the tests of what is known are skipped on an old kernel.
const noCookie = "a network namespace has a cookie (SO_NETNS_COOKIE) since Linux 5.14: before that nothing is known (TestNote), and the table is always read"

// haveCookies reports whether a network namespace has a cookie.
func haveCookies(t *testing.T) bool {
	t.Helper()
	_, err := nft.Here(0, nil)
	if errors.Is(err, unix.ENOPROTOOPT) && labtest.LinuxBefore(t, 5, 14) {
		return false
	}
	labtest.Must(t, err)
	return true
}

// TestKnown: what was committed is believed only while nobody has changed any
// rule, in this namespace, since this boot.
func TestKnown(t *testing.T) {
	if !haveCookies(t) {
		t.Skip(noCookie)
	}
	h, other := labtest.Host(t, "pbx"), labtest.Host(t, "other")
	want := compiled(t, everything)
	apply(t, h, want)
	var known *nft.Known
	labtest.In(t, h, func() error {
		s, err := new(nft.Kernel).Observe(t.Context())
		if err != nil {
			return err
		}
		// A state that is not the kernel's shows whether it was read.
		known, err = nft.Here(s.GenID, &ruleset.State{Exists: true, Flags: "believed"})
		return err
	})
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
		"another boot":      {Boot: "x", Namespace: known.Namespace, GenID: known.GenID, State: known.State},
		"another namespace": {Boot: known.Boot, Namespace: 1, GenID: known.GenID, State: known.State},
		"no state":          {Boot: known.Boot, Namespace: known.Namespace, GenID: known.GenID},
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

// TestNote: what the kernel is after a commit need not be read. Where a namespace has no
// cookie nothing is noted, and no change is taken for the own one.
func TestNote(t *testing.T) {
	h, cookies := labtest.Host(t, "pbx"), haveCookies(t)
	for _, text := range []string{everything, everything + "dns: {servers: [192.0.2.53]}\n", "interfaces: [eth0]\n"} {
		p := difference(t, h, compiled(t, text))
		labtest.In(t, h, func() error {
			committed, other := new(nft.Kernel), new(nft.Kernel)
			if err := committed.Commit(t.Context(), p); err != nil {
				return err
			}
			s, err := new(nft.Kernel).Observe(t.Context())
			if err != nil {
				return err
			}
			for _, k := range []*nft.Kernel{committed, other} {
				err := k.Note(p)
				switch {
				case !cookies && (!errors.Is(err, unix.ENOPROTOOPT) || k.Known != nil || k.Wrote(s.GenID)):
					t.Errorf("without a cookie a commit is noted as %+v, and the error is %v", k.Known, err)
				case cookies && err != nil:
					return err
				case cookies && k.Known.GenID != s.GenID:
					t.Errorf("generation %d after a commit at %d, want %d", k.Known.GenID, p.GenID, s.GenID)
				}
			}
			return nil
		})
	}
	if got := nft.NextGenID(1<<32 - 1); got != 1 {
		t.Errorf("after the last generation comes %d, want 1", got)
	}
}

// TestBansAreNoChange: what ringfence's own bans do to the generation, it knows.
func TestBansAreNoChange(t *testing.T) {
	if !haveCookies(t) {
		t.Skip(noCookie)
	}
	h := labtest.Host(t, "pbx")
	apply(t, h, compiled(t, ""))
	labtest.In(t, h, func() error {
		s, err := new(nft.Kernel).Observe(t.Context())
		if err != nil {
			return err
		}
		known, err := nft.Here(s.GenID, s)
		if err != nil {
			return err
		}
		k := &nft.Kernel{Known: known}
		if err := k.Ban(t.Context(), nft.Banned{Address: netip.MustParseAddr("192.0.2.1"), Left: time.Hour}); err != nil {
			return err
		}
		now, err := new(nft.Kernel).Observe(t.Context())
		if err == nil && !k.Known.Holds(now.GenID) {
			err = fmt.Errorf("after a ban at generation %d, what is known is of %d", now.GenID, k.Known.GenID)
		}
		return err
	})
}
