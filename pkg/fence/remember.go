package fence

import (
	"context"
	"errors"
	"time"

	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/site"
)

// saveEvery is how often what the rules have learned is saved at most.
const saveEvery = time.Minute

// rememberPhones puts back what the restorer's table has forgotten, and saves from time to
// time what the kernel has learned. The lock is held.
func rememberPhones(ctx context.Context, r *Reconciler, s *site.Site) {
	f := r.fence
	if r.restorer.takeForgot() {
		f.phones().putBack(ctx, r.kernel)
	}
	now := f.Now()
	if !s.Policy.Unknown.Admits() || !r.learned.Time.IsZero() && now.Since(r.learned) < saveEvery {
		return
	}
	if err := f.phones().save(ctx, r.kernel, s.Policy.Roaming.Life); err != nil {
		f.Log.Error("save the phones that have registered", "error", err)
		return
	}
	r.learned = now
}

// stands reports whether there is a table to learn from: one that another program has
// just removed says nothing of who had registered.
func stands(ctx context.Context, r *Reconciler) bool {
	there, err := r.kernel.Exists(ctx)
	return there && err == nil && !r.restorer.takeForgot()
}

// Close writes what has not been saved yet.
func (r *Reconciler) Close(ctx context.Context) {
	learns := r.site != nil && r.site.Policy.Unknown.Admits()
	if !r.unsaved && !learns {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	leave, err := journal.Lock(ctx, r.fence.RunDir, "run")
	if err == nil {
		defer leave()
		if r.unsaved && r.read.same(markOf(r.addressesFile())) {
			err = r.fence.WriteAddresses(r.memory)
		}
		if learns && stands(ctx, r) {
			err = errors.Join(err, r.fence.phones().save(ctx, r.kernel, r.site.Policy.Roaming.Life))
		}
	}
	if err != nil {
		r.fence.Log.Info("write what is not saved at the end", "error", err)
	}
}
