// Package nft observes and changes ringfence's table in the kernel, over
// netlink. It is the nftables back end. It runs no program and touches no other table.
//
// What the table should be is decided elsewhere; this package only translates,
// both ways, between pkg/ruleset and the kernel's expressions, and finds the
// transactions that lead from one table to the other.
package nft

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/conntrack"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Kernel is nftables in the network namespace of the calling thread. The zero
// Kernel works; it always reads the whole table.
type Kernel struct {
	// Known is what ringfence knows of the kernel from its last commit. If
	// nobody has changed any nftables rule since, Observe answers from it
	// instead of reading the table. nil knows nothing.
	Known *Known
	// Log gets what goes wrong without making a commit fail; nil is silence.
	Log *slog.Logger

	noted   backend.Snapshot // what the next run knows already
	changed bool             // Known is not what was noted

	committed *plan.Plan // the last that was committed, and the generation then
	reached   uint64
}

// Probe finds out whether the kernel would let this process read nftables. Its
// error wraps ErrPermission or ErrUnsupported where these are the cause.
func (k *Kernel) Probe(ctx context.Context) error {
	r, err := newReader()
	if err != nil {
		return err
	}
	defer r.close()
	_, err = r.genID(ctx)
	return err
}

// maxDumps bounds how often a table is read again because somebody keeps
// changing rules meanwhile.
const maxDumps = 20

// Observe returns the table as it is. The state belongs to one generation: the
// kernel's generation was the same before and after reading. Its error wraps
// ErrPermission or ErrUnsupported where these are the cause.
func (k *Kernel) Observe(ctx context.Context) (*ruleset.State, error) {
	r, err := newReader()
	if err != nil {
		return nil, err
	}
	defer r.close()
	before, err := r.genID(ctx)
	if err != nil {
		return nil, err
	}
	if k.Known.Holds(before) {
		// A kernel that has unloaded and loaded its nftables starts to count again:
		// then there is no table.
		_, err := r.get(ctx, unix.NFT_MSG_GETTABLE, ofTable())
		if absent := errors.Is(err, unix.ENOENT); err == nil && k.Known.State.Exists || absent && !k.Known.State.Exists {
			state := *k.Known.State
			state.GenID = before
			return &state, nil
		}
	}
	for range maxDumps {
		state, err := r.table(ctx)
		after, genErr := r.genID(ctx)
		if genErr != nil {
			return nil, genErr
		}
		switch {
		case before != after || errors.Is(err, errInterrupted):
			// An object that was listed may be gone when it is read, so an
			// error means nothing either.
			before = after
		case err != nil:
			return nil, err
		default:
			state.GenID = after
			return state, nil
		}
	}
	return nil, fmt.Errorf("read table: %w, %d times in a row", errInterrupted, maxDumps)
}

// Commit brings the table to what the plan wants, or leaves it as it is. It returns
// plan.ErrStale when the kernel is no longer at the plan's GenID, or somebody has changed
// rules between two of the transactions that it took. After any other error nobody knows
// what is in force before observing: ENOBUFS has been seen with the change made. Then
// nothing is taken as known any more either.
func (k *Kernel) Commit(ctx context.Context, p *plan.Plan) error {
	err := k.commitEach(ctx, p, slices.Values(transactions(p.Have, p.Want)))
	if err != nil {
		k.Known = nil
		return err
	}
	if err := conntrack.Forget(p); err != nil && k.Log != nil {
		k.Log.Warn("forget removed addresses", "error", err)
	}
	return nil
}

// commitEach does the transactions. The first changes nothing for packets unless it is
// the only one, the second puts in force what is wanted, and the others only give sets
// their names back. So the others need no generation, and if one fails the plan is in
// force all the same. What has been begun is not cancelled.
func (k *Kernel) commitEach(ctx context.Context, p *plan.Plan, all iter.Seq[[]step]) error {
	var first []step
	var untidy error
	id, i := p.GenID, 0
	for steps := range all {
		if i > 1 {
			if untidy == nil {
				untidy = doAnyway(ctx, steps)
			}
			id, i = NextGenID(id), i+1
			continue
		}
		err := transact(ctx, id, steps)
		ctx = context.WithoutCancel(ctx)
		switch {
		case err == nil:
		case !errors.Is(err, plan.ErrStale) && isAt(ctx, NextGenID(id)):
			// The kernel has changed the rules, and the answer that says so was lost.
			k.committed, k.reached = p, 0
			if worse := finish(ctx, p.Want); worse != nil {
				return commitError(errors.Join(err, worse), p)
			}
			return nil
		case i == 1:
			return commitError(errors.Join(err, undo(ctx, first)), p)
		default:
			return commitError(err, p)
		}
		first = steps
		id, i = NextGenID(id), i+1
	}
	k.committed, k.reached = p, id
	if i > 2 && (untidy != nil || !isAt(ctx, id)) {
		k.reached = 0 // nobody knows which changes in between were ours
	}
	if untidy == nil {
		return nil
	}
	if err := finish(ctx, p.Want); err != nil && k.Log != nil {
		k.Log.Warn("give replaced sets their names back; the next refresh does it", "error", errors.Join(untidy, err))
	}
	return nil
}

// finish does what is left to do of a commit, however far that came.
func finish(ctx context.Context, want *ruleset.State) error {
	now, err := new(Kernel).Observe(ctx)
	if err != nil {
		return err
	}
	rest := plan.Diff(now, want)
	id := rest.GenID
	for _, steps := range transactions(rest.Have, rest.Want) {
		if err := transact(ctx, id, steps); err != nil {
			return err
		}
		id = NextGenID(id)
	}
	return nil
}

// isAt reports whether the kernel is at a generation.
func isAt(ctx context.Context, id uint64) bool {
	r, err := newReader()
	if err != nil {
		return false
	}
	defer r.close()
	now, err := r.genID(ctx)
	return err == nil && now == id
}

// transact does some steps of a plan as one transaction.
func transact(ctx context.Context, id uint64, steps []step) error {
	carry, err := carried(ctx, id, steps)
	if err != nil {
		return err
	}
	b, err := newBatch(carry)
	if err != nil {
		return err
	}
	for _, step := range steps {
		if err := b.add(ctx, step); err != nil {
			return err
		}
	}
	if err := b.commit(id); err != nil {
		if errors.Is(err, plan.ErrStale) {
			return err
		}
		return fmt.Errorf("commit rules: %w", err)
	}
	return nil
}

// undo removes what the first transaction of a plan has made, when the second is
// refused. A table that was there before and was made again stays as it is, without
// hooks: the next observation sees that.
func undo(ctx context.Context, first []step) error {
	var steps []step
	for _, s := range first {
		switch s := s.(type) {
		case deleteTable:
			return nil
		case addTable:
			return removing(deleteUnfinished(ctx))
		case addSet:
			steps = append(steps, deleteSet{s.name})
		}
	}
	return removing(doAnyway(ctx, steps))
}

// deleteUnfinished deletes a new table to which no packet comes yet. One that another run
// has finished meanwhile stays: it is the fence.
func deleteUnfinished(ctx context.Context) error {
	const tries = 5
	for range tries {
		now, err := new(Kernel).Observe(ctx)
		if err != nil || !now.Exists || hasHook(now) {
			return err
		}
		if err = transact(ctx, now.GenID, []step{deleteTable{}}); !errors.Is(err, plan.ErrStale) {
			return err
		}
	}
	return nil // the next run finishes it
}

func hasHook(s *ruleset.State) bool {
	for _, c := range s.Chains {
		if c.Stage != "" {
			return true
		}
	}
	return false
}

func removing(err error) error {
	if err != nil {
		return fmt.Errorf("remove what was made for it: %w", err)
	}
	return nil
}

// doAnyway does steps as one transaction, whatever the generation of the kernel is.
func doAnyway(ctx context.Context, steps []step) error {
	b, err := newBatch(nil)
	for _, step := range steps {
		if err == nil {
			err = b.add(ctx, step)
		}
	}
	if err == nil {
		err = b.conn.Flush()
	}
	return kernelError(err)
}

// after is the kernel's generation right after the plan was committed, 0 if it is not
// known.
func after(k *Kernel, p *plan.Plan) uint64 {
	if k.committed == p {
		return k.reached
	}
	id := p.GenID
	for range transactions(p.Have, p.Want) {
		id = NextGenID(id)
	}
	return id
}

// NextGenID is the kernel's generation right after a commit at base: every
// transaction adds one, and 0 is left out (nf_tables_commit).
func NextGenID(base uint64) uint64 { return uint64(max(uint32(base)+1, 1)) }

// carried reads the elements that are taken over from sets that are made again, with
// what is left of their lifetime.
func carried(ctx context.Context, base uint64, steps []step) (map[string][]nftables.SetElement, error) {
	carry := map[string][]nftables.SetElement{}
	for _, step := range steps {
		s, ok := step.(addSet)
		if !ok || !s.carry {
			continue
		}
		r, err := newReader()
		if err != nil {
			return nil, err
		}
		points, err := r.elements(ctx, s.name)
		id, genErr := r.genID(ctx)
		r.close()
		switch {
		case genErr != nil:
			return nil, genErr
		case id != base:
			return nil, plan.ErrStale
		case err != nil:
			return nil, fmt.Errorf("read elements of set %s: %w", s.name, err)
		}
		for _, point := range points {
			element := nftables.SetElement{Key: point.key, Timeout: point.expires, Comment: point.comment, Counter: point.counter}
			if point.counter != nil { // how long ago the last packet came is a part of what is kept
				element.Timeout, element.Expires = point.timeout, point.expires
			}
			carry[s.name] = append(carry[s.name], element)
		}
	}
	return carry, nil
}
