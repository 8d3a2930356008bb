package nft_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/nft"
	"github.com/ringfence/ringfence/pkg/plan"
)

// limited is a context that ends after so many looks at it.
type limited struct {
	context.Context
	left int
}

func (c *limited) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

const (
	oneRange  = "providers: [{name: a, addresses: [192.0.2.1, 203.0.113.0/24]}]"
	moreRange = "providers: [{name: a, addresses: [192.0.2.1, 203.0.113.0/24, 198.51.100.0/24]}]"
)

// TestInterrupted ends a change that takes several transactions at each point where it
// can end: it is done whole, or not at all.
func TestInterrupted(t *testing.T) {
	for _, test := range []struct{ name, have, want string }{
		{"a set of ranges", oneRange, moreRange},
		{"from addresses to ranges", "providers: [{name: a, addresses: [192.0.2.1]}]", moreRange},
		{"beside another set's size", oneRange, moreRange + "\nbans: {size: 100}\nunknown: {action: accept}"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := labtest.Host(t, "pbx")
			have, want := compiled(t, test.have), compiled(t, test.want)
			apply(t, h, have)
			before := list(t, h)
			for looks, done := 0, false; !done; looks++ {
				p := difference(t, h, want)
				err := h.Do(func() error {
					return new(nft.Kernel).Commit(&limited{t.Context(), looks}, p)
				})
				switch done = err == nil; {
				case done:
				case !errors.Is(err, context.Canceled):
					t.Fatalf("after %d looks: %v", looks, err)
				case list(t, h) != before:
					t.Fatalf("after %d looks a change that says it failed has left\n%s", looks, list(t, h))
				}
			}
			if p := difference(t, h, want); !p.Empty() || strings.Contains(list(t, h), "_next") {
				t.Errorf("there is left to do %v in\n%s", p.Changes, list(t, h))
			}
		})
	}
}

// TestOthersWriteBetween: other programs change rules of their own between the
// transactions of a change. Before its rules are in force they make it stale, and nothing
// of it is left; after that they do not matter.
func TestOthersWriteBetween(t *testing.T) {
	h := labtest.Host(t, "pbx")
	have, want := compiled(t, oneRange), compiled(t, moreRange)
	apply(t, h, have)
	before := list(t, h)
	last := nft.Transactions(difference(t, h, want)) - 1
	for at := range last {
		p := difference(t, h, want)
		k := &nft.Kernel{}
		err := h.Do(func() error {
			return k.CommitBeside(t.Context(), p, at, func() {
				labtest.Rules(t, h, "add table ip theirs; delete table ip theirs")
			})
		})
		if at == 0 {
			if !errors.Is(err, plan.ErrStale) {
				t.Fatalf("beside a change after transaction %d: %v", at, err)
			}
			if got := list(t, h); got != before {
				t.Fatalf("a stale change has left\n%s", got)
			}
			continue
		}
		labtest.Must(t, err)
		if p := difference(t, h, want); !p.Empty() {
			t.Fatalf("beside a change after transaction %d there is left to do %v", at, p.Changes)
		}
		// Whose change was which is not known then, so that all are looked at.
		labtest.In(t, h, func() error {
			s, err := new(nft.Kernel).Observe(t.Context())
			if err == nil {
				err = k.Note(p)
			}
			if err == nil && (k.Known.Holds(s.GenID) || k.Wrote(s.GenID-1)) {
				t.Errorf("the other program's change after transaction %d counts as ours", at)
			}
			return err
		})
		apply(t, h, have)
	}
}

// TestAnotherRunFinishes: a new table that another run finishes, between the transactions
// of the one that has begun it, is the fence: the change is stale, and does not take it
// away.
func TestAnotherRunFinishes(t *testing.T) {
	h := labtest.Host(t, "pbx")
	want := compiled(t, everything)
	p := difference(t, h, want)
	err := h.Do(func() error {
		return new(nft.Kernel).CommitBeside(t.Context(), p, 0, func() { apply(t, h, want) })
	})
	if !errors.Is(err, plan.ErrStale) {
		t.Errorf("got %v, want that the plan is stale", err)
	}
	if p := difference(t, h, want); !p.Empty() || !p.Have.Exists {
		t.Errorf("the fence that another run has made is not whole: %v", p.Changes)
	}
}
