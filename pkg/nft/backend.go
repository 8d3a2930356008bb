package nft

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

type (
	// Banned is that of a back end.
	Banned = backend.Banned
	// Touched is that of a back end.
	Touched = backend.Touched
)

// The errors of a back end.
var (
	ErrPermission  = backend.ErrPermission
	ErrUnsupported = backend.ErrUnsupported
	ErrOwned       = backend.ErrOwned
	ErrNoFence     = backend.ErrNoFence
	ErrFull        = backend.ErrFull
)

var _ backend.Kernel = (*Kernel)(nil)

// Describe says what users see of the back end.
func (k *Kernel) Describe() backend.Description {
	const table = "table inet " + ruleset.Table
	return backend.Description{Name: "nftables", Place: table, Look: "nft list " + table, Remove: "nft delete " + table}
}

// Exists reports whether the table is in the kernel.
func (k *Kernel) Exists(ctx context.Context) (bool, error) {
	r, err := newReader()
	if err != nil {
		return false, err
	}
	defer r.close()
	_, err = r.get(ctx, unix.NFT_MSG_GETTABLE, ofTable())
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}

// Tidy does nothing: what a change has left is in the table.
func (k *Kernel) Tidy(context.Context) error { return nil }

// Watch is the function of that name.
func (k *Kernel) Watch(ctx context.Context) (<-chan Touched, error) { return Watch(ctx) }

// Restore takes over what an earlier run has noted.
func (k *Kernel) Restore(s backend.Snapshot, base func() *ruleset.Base) error {
	known := &Known{}
	if err := json.Unmarshal(s, known); err != nil {
		return fmt.Errorf("read what the kernel holds: %w", err)
	}
	if known.Short != nil {
		known.lengthen(base())
	}
	if known.State == nil {
		return nil // the table is read
	}
	k.Known, k.noted, k.changed = known, s, false
	return nil
}

// Forget makes the next Observe read the whole table.
func (k *Kernel) Forget() { k.Known = nil }

// Note records that the plan is in force.
func (k *Kernel) Note(p *plan.Plan) error {
	id := after(k, p)
	if id == 0 || expires(p.Want) {
		k.Known = nil
		return nil
	}
	if k.Known.Holds(id) {
		return nil
	}
	known, err := Here(id, p.Want)
	k.Known, k.changed = known, true
	return err
}

// expires reports whether elements of a state run out, which no generation shows.
func expires(s *ruleset.State) bool {
	for _, set := range s.Sets {
		if set.Timeout && slices.ContainsFunc(set.Elements, func(e ruleset.Element) bool { return e.Timeout != 0 }) {
			return true
		}
	}
	return false
}

// Snapshot returns what the next run should Restore, and whether that differs from
// what was restored or returned last.
func (k *Kernel) Snapshot() (s backend.Snapshot, changed bool) {
	if k.Known == nil || !k.changed {
		return nil, false
	}
	k.changed = false
	s, err := json.Marshal(k.Known.shortened())
	if err != nil || bytes.Equal(s, k.noted) {
		return nil, false
	}
	k.noted = s
	return s, true
}

// Wrote reports whether the kernel has been at this generation before a change that
// this process has noted, or since: what was changed up to then was seen before it, or
// was a part of it, for it may take two transactions. The generation wraps around.
func (k *Kernel) Wrote(id uint64) bool {
	return k.Known != nil && int32(uint32(id)-uint32(k.Known.GenID)) <= 0
}
