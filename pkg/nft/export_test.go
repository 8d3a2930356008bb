package nft

import (
	"context"

	"github.com/ringfence/ringfence/pkg/plan"
)

// Transactions is how many transactions a plan takes.
func Transactions(p *plan.Plan) int { return len(transactions(p.Have, p.Want)) }

// CommitFirst does the first transaction of a plan and no more.
func (k *Kernel) CommitFirst(ctx context.Context, p *plan.Plan) error {
	return k.commit(ctx, p, transactions(p.Have, p.Want)[:1])
}
