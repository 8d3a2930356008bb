package fence

import (
	"context"
	"sync"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// gauge compares the counters that must not grow with what the last look has found in
// them. It is for the time between two looks, and costs little.
type gauge struct {
	now func() resolve.Moment
	// counted receives all counters.
	counted func(counters map[string]uint64)

	mu sync.Mutex
	// kernel is one of its own: the methods of a back end are called one at a time.
	kernel backend.Kernel
	counts site.Counts // as of the last look, nil before it
	// newcomers are phones that are cut off as soon as they are seen.
	newcomers site.Newcomers
	// proxied is what rules of other programs were found to hand to other servers.
	proxied ruleset.Proxied
	// folder is why nothing could be stored when that was last looked at.
	folder string
}

// use takes another back end.
func (g *gauge) use(kernel backend.Kernel) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.kernel = kernel
}

// found takes over what a look has found.
func (g *gauge) found(counts site.Counts, newcomers site.Newcomers, proxied ruleset.Proxied) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.counts, g.newcomers, g.proxied = counts, newcomers, proxied
}

// Grown reports whether packets were counted that must not come, and that are an alarm
// which the last look did not raise, whether somebody is seen who is cut off, whether rules
// of other programs hand packets to other servers, or whether the state folder cannot be
// written any more, or can be again: nothing else says so. It may be called beside the other methods, but not twice at once.
func (r *Reconciler) Grown(ctx context.Context) bool {
	g := r.gauge
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.counts == nil {
		return false
	}
	if f := r.fence; f.Folder != nil {
		if now := f.Folder(f.StateDir).Unwritable(); now != g.folder {
			g.folder = now
			return true
		}
	}
	if f := r.fence; f.Neighbours != nil && g.newcomers.Possible() {
		if neighbours, err := f.Neighbours(); err == nil && g.newcomers.Among(neighbours) {
			return true
		}
	}
	if g.proxiesChanged(ctx, &r.fence.session) {
		return true
	}
	counters, err := g.kernel.Counters(ctx)
	if err != nil {
		return false
	}
	g.counted(counters)
	return g.counts.Raise(counters, g.now().Time)
}
