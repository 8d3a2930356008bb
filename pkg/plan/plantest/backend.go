package plantest

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/signature"
)

var _ backend.Kernel = (*Kernel)(nil)

// Describe returns how the back end presents itself to users.
func (k *Kernel) Describe() backend.Description {
	const table = "table inet " + ruleset.Table
	return backend.Description{Name: "nftables", Place: table, Look: "nft list " + table, Remove: "nft delete " + table}
}

// Probe always succeeds.
func (k *Kernel) Probe(context.Context) error { return nil }

// Count sets what a counter of the table holds. It may be called while the kernel is in
// use.
func (k *Kernel) Count(name string, packets uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.packets == nil {
		k.packets = map[string]uint64{}
	}
	k.packets[name] = packets
}

// Counters returns the table's counters, which hold what Count has set.
func (k *Kernel) Counters(context.Context) (map[string]uint64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	counters := map[string]uint64{}
	for _, name := range k.state.Counters {
		counters[name] = k.packets[name]
	}
	return counters, nil
}

// Bans returns all bans. They do not expire.
func (k *Kernel) Bans(context.Context) ([]backend.Banned, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.SortedFunc(maps.Values(k.bans), func(a, b backend.Banned) int { return a.Address.Compare(b.Address) }), nil
}

// Ban bans an address.
func (k *Kernel) Ban(_ context.Context, b backend.Banned) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.state.Exists {
		return backend.ErrNoFence
	}
	if k.bans == nil {
		k.bans = map[netip.Addr]backend.Banned{}
	}
	k.bans[b.Address] = b
	return nil
}

// Unban ends the ban of an address.
func (k *Kernel) Unban(_ context.Context, a netip.Addr) (was bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.state.Exists {
		return false, backend.ErrNoFence
	}
	_, was = k.bans[a]
	delete(k.bans, a)
	return was, nil
}

// Register makes the kernel let in a phone for a time, as its rules would after an answer
// of the PBX. It may be called while the kernel is in use.
func (k *Kernel) Register(p backend.Phone) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.phones = append(k.phones, p)
}

// Phones returns all phones. They do not expire.
func (k *Kernel) Phones(context.Context) ([]backend.Phone, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.SortedFunc(slices.Values(k.phones), backend.Phone.Compare), nil
}

// Logins returns the addresses where somebody has logged in. They do not expire.
func (k *Kernel) Logins() backend.Logins { return logins{k} }

type logins struct{ *Kernel }

// List returns all of them.
func (l logins) List(context.Context) ([]backend.Phone, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.SortedFunc(slices.Values(l.known), backend.Phone.Compare), nil
}

// Add adds those that are missing.
func (l logins) Add(_ context.Context, added []backend.Phone) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known = missing(l.known, added)
	return nil
}

// missing returns phones with those of others that are not among them.
func missing(phones, others []backend.Phone) []backend.Phone {
	for _, p := range others {
		if !slices.ContainsFunc(phones, func(o backend.Phone) bool { return p.Compare(o) == 0 }) {
			phones = append(phones, p)
		}
	}
	return phones
}

// Stale returns none.
func (k *Kernel) Stale(context.Context) ([]backend.Phone, error) { return nil, nil }

// PutBack adds the phones and bans that are missing.
func (k *Kernel) PutBack(_ context.Context, phones []backend.Phone, bans []backend.Banned) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.state.Exists {
		return backend.ErrNoFence
	}
	k.phones = missing(k.phones, phones)
	for _, b := range bans {
		if _, there := k.bans[b.Address]; there {
			continue
		}
		if k.bans == nil {
			k.bans = map[netip.Addr]backend.Banned{}
		}
		k.bans[b.Address] = b
	}
	return nil
}

// Drop stands for packets of a source that were dropped.
func (k *Kernel) Drop(d backend.Dropped) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dropped = append(k.dropped, d)
}

// Dropped returns the sources whose packets were dropped, or that of an address.
func (k *Kernel) Dropped(_ context.Context, of netip.Addr) ([]backend.Dropped, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(k.dropped), func(d backend.Dropped) bool { return of.IsValid() && d.Address != of }), nil
}

// Exists reports whether there is a table.
func (k *Kernel) Exists(context.Context) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state.Exists, nil
}

// memory is what there is nothing to do for, because all is in memory.
type memory struct{}

// Tidy does nothing.
func (memory) Tidy(context.Context) error { return nil }

// Forget does nothing: Observe always reads everything.
func (memory) Forget() {}

// Allowances returns all addresses that are allowed by hand. Time does not end that.
func (k *Kernel) Allowances(context.Context) ([]backend.Allowed, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.SortedFunc(maps.Values(k.allowed), func(a, b backend.Allowed) int { return a.Address.Compare(b.Address) }), nil
}

// Allow allows an address.
func (k *Kernel) Allow(_ context.Context, a backend.Allowed) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.state.Exists {
		return backend.ErrNoFence
	}
	if k.allowed == nil {
		k.allowed = map[netip.Addr]backend.Allowed{}
	}
	k.allowed[a.Address] = a
	return nil
}

// Disallow ends that.
func (k *Kernel) Disallow(_ context.Context, a netip.Addr) (was bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.state.Exists {
		return false, backend.ErrNoFence
	}
	_, was = k.allowed[a]
	delete(k.allowed, a)
	return was, nil
}

// Watch reports commits and what Change does, until the context ends.
func (k *Kernel) Watch(ctx context.Context) (<-chan backend.Touched, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	touched := make(chan backend.Touched, 64)
	k.watchers = append(k.watchers, touched)
	context.AfterFunc(ctx, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.watchers = slices.DeleteFunc(k.watchers, func(c chan backend.Touched) bool { return c == touched })
		close(touched)
	})
	return touched, nil
}

// report sends the change of the table to all watchers. The lock is held.
func report(k *Kernel, program string) {
	for _, c := range k.watchers {
		select {
		case c <- backend.Touched{GenID: k.state.GenID, Program: program, PID: 1}:
		default:
		}
	}
}

// Restore takes over the snapshot of an earlier run.
func (k *Kernel) Restore(s backend.Snapshot, _ func() *ruleset.Base) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return json.Unmarshal(s, &k.noted)
}

// Note records that the plan is in force.
func (k *Kernel) Note(*plan.Plan) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.changed = k.changed || k.noted != k.state.GenID
	k.noted = k.state.GenID
	return nil
}

// Snapshot returns the generation that was recorded last.
func (k *Kernel) Snapshot() (s backend.Snapshot, changed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, err := json.Marshal(k.noted)
	changed, k.changed = k.changed && err == nil, false
	return s, changed
}

// Wrote reports whether the table is at the generation that was recorded last.
func (k *Kernel) Wrote(id uint64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return id == k.noted
}

// Classifier is a classifier in memory. The zero Classifier works.
type Classifier struct {
	// Obstacle is what Probe returns.
	Obstacle error
	// Fails is the error of every attempt to attach.
	Fails error
	// Others are the interfaces that another program occupies.
	Others map[string]error
	// Probes and Programs count the calls of Probe and New.
	Probes, Programs int

	mu       sync.Mutex
	attached ruleset.Classifier
}

// Fail makes every later attempt to attach fail with why; nil ends this. It may be
// called while the classifier is in use.
func (c *Classifier) Fail(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Fails = why
}

// Detach takes the program from all interfaces, as another program would. It may be
// called while the classifier is in use.
func (c *Classifier) Detach() { c.attach(nil) }

func (c *Classifier) attach(to ruleset.Classifier) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attached = maps.Clone(to)
}

var _ backend.Classifier = (*Classifier)(nil)

// Probe counts the call and returns Obstacle.
func (c *Classifier) Probe() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Probes++
	return c.Obstacle
}

// Observe returns what is attached.
func (c *Classifier) Observe() (ruleset.Classifier, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.attached), nil
}

// Before returns nothing: no other program is there.
func (c *Classifier) Before([]string) map[string][]string { return nil }

// Foreign returns those of Others that are asked for.
func (c *Classifier) Foreign(interfaces []string) map[string]error {
	foreign := maps.Clone(c.Others)
	maps.DeleteFunc(foreign, func(name string, _ error) bool { return !slices.Contains(interfaces, name) })
	return foreign
}

// Details returns nothing.
func (c *Classifier) Details(error) []string { return nil }

// Hits returns no matches.
func (c *Classifier) Hits() (map[string]uint64, error) { return map[string]uint64{}, nil }

// New makes a program, which is only a name.
func (c *Classifier) New(*signature.Automaton, ruleset.Reading) backend.Program {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Programs++
	return program{}
}

type program struct{}

// On returns the program as attached to the interfaces.
func (program) On(interfaces []string) ruleset.Classifier {
	on := ruleset.Classifier{}
	for _, name := range interfaces {
		on[name] = "ringfence:test"
	}
	return on
}

// Prepare does nothing.
func (program) Prepare() error { return nil }

// With attaches whatever the plan wants.
func (c *Classifier) With(backend.Program) control.Classifier { return attaching{c} }

type attaching struct{ *Classifier }

func (a attaching) Begin(want ruleset.Classifier) (control.Change, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.Fails != nil && len(want) > 0 {
		return nil, a.Fails
	}
	return attachment{a.Classifier, want}, nil
}

type attachment struct {
	*Classifier
	want ruleset.Classifier
}

func (a attachment) Finish() error {
	a.attach(a.want)
	return nil
}

func (a attachment) Undo() error { return nil }

// ErrNoEBPF is an obstacle for tests to use.
var ErrNoEBPF = errors.New("the kernel does not let this process use eBPF")
