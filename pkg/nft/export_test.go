package nft

import (
	"context"
	"slices"

	"github.com/ringfence/ringfence/pkg/plan"
)

// Transactions is how many transactions a plan takes.
func Transactions(p *plan.Plan) int { return len(transactions(p.Have, p.Want)) }

// CommitFirst does the first transaction of a plan and no more.
func (k *Kernel) CommitFirst(ctx context.Context, p *plan.Plan) error {
	return k.commitEach(ctx, p, slices.Values(transactions(p.Have, p.Want)[:1]))
}

// CommitBeside commits a plan, and after its transaction of this number, from 0, lets
// another program do something.
func (k *Kernel) CommitBeside(ctx context.Context, p *plan.Plan, at int, other func()) error {
	all := slices.Values(transactions(p.Have, p.Want))
	return k.commitEach(ctx, p, func(yield func([]step) bool) {
		i := 0
		for steps := range all {
			if !yield(steps) {
				return
			}
			if i == at {
				other()
			}
			i++
		}
	})
}
