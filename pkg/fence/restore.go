package fence

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Restorer puts back the rules that a reconciler has put into force last, when another
// program has removed or changed them. It waits for nobody: not for the lock, which a
// run may hold while it works on a large policy, nor for the reconciler, which may be
// busy with answers. For it works from memory, writes no file, and its commit is one
// that any other run notices, as it would another program's: that run plans again from
// what is there, and has the last word. Its methods may be called beside the
// reconciler's.
type Restorer struct {
	journal journal.Journal
	kernel  backend.Kernel
	own     string // the name that the kernel knows programs of this kind by

	mu     sync.Mutex
	number int // of the generation that want belongs to
	want   *ruleset.State
	// forgot says that what the rules had learned is not in the table yet that was made
	// again.
	forgot bool
}

func newRestorer(f *Fence) *Restorer {
	r := &Restorer{journal: f.Journal, kernel: f.Kernel(), own: "ringfence"}
	if comm, err := os.ReadFile("/proc/self/comm"); err == nil {
		r.own = strings.TrimSpace(string(comm))
	}
	return r
}

// remember takes over what is in force; a nil state is nothing to restore.
func (r *Restorer) remember(number int, want *ruleset.State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.number, r.want = number, nil
	if want != nil {
		rules := *want
		rules.Classifier = nil // which is the reconciler's to look after
		r.want = &rules
	}
}

// forgets notes that a plan has made again what held what the rules had learned.
func (r *Restorer) forgets(p *plan.Plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgot = r.forgot || forgets(p)
}

// takeForgot reports that once.
func (r *Restorer) takeForgot() (forgot bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	forgot, r.forgot = r.forgot, false
	return forgot
}

func (r *Restorer) known() (number int, want *ruleset.State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.number, r.want
}

// Foreign reports whether another program than ringfence has changed the table.
func (r *Restorer) Foreign(t backend.Touched) bool {
	return !t.Lost && t.Program != r.own && t.Program != "ringfence"
}

// errNotNow says that what is remembered is not what should be in force.
var errNotNow = errors.New("there is nothing to restore")

// Restore puts the rules back after a change of the table, unless a run of ringfence
// has made that. The plan is what was done, nil if nothing was.
func (r *Restorer) Restore(ctx context.Context, t backend.Touched) (*plan.Plan, error) {
	if !r.Foreign(t) {
		return nil, nil
	}
	number, want := r.known()
	if want == nil || r.newest() == 0 {
		return nil, nil
	}
	c := control.Controller{Kernel: r.kernel}
	p, err := c.Sync(ctx, control.Desired{State: want}, func(p *plan.Plan) error {
		// Asked behind the observation: who takes the fence down notes that first. A newer
		// generation is for the run that has made it, which may be on its way with the lock,
		// to put into force; but where there is nothing, the one before is more.
		newest := r.newest()
		if p.Empty() || newest == 0 || newest != number && p.Have.Exists {
			return errNotNow
		}
		return nil
	})
	if errors.Is(err, errNotNow) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r.forgets(p)
	if down, err := r.journal.IsDown(); down != nil || err != nil {
		// Somebody took the fence down while it was gone already, and left nothing in the
		// kernel for the commit to be refused by.
		_, err := c.Sync(context.WithoutCancel(ctx), control.Desired{State: &ruleset.State{}}, func(*plan.Plan) error { return nil })
		return nil, err
	}
	return p, nil
}

// newest is the newest generation, 0 if there is none or the fence is down.
func (r *Restorer) newest() int {
	numbers, err := r.journal.Numbers()
	if err != nil || len(numbers) == 0 {
		return 0
	}
	if down, err := r.journal.IsDown(); down != nil || err != nil {
		return 0
	}
	return numbers[len(numbers)-1]
}
