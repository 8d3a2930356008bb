package cli

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/nft"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// keeper keeps the newest generation in force while ringfence runs as a service.
// What is on disk is the truth: other runs change it, so it is looked at anew
// whenever the lock is held. The lock is never held while somebody is asked.
type keeper struct {
	*app
	// The world, which tests replace: the clocks, the facts of the host, the name
	// servers, a kernel (nil is the real one) and whoever wants to know how it
	// goes.
	clock  func() resolve.Moment
	facts  func() (ruleset.Host, error)
	lookup func(servers []netip.AddrPort) (first, again resolve.Lookup)
	table  control.Kernel
	tell   func(status string)

	// newest is the newest generation and site what it asks for; both are nil
	// while there is nothing to keep.
	newest *journal.Entry
	site   *site
	memory resolve.Memory
	// read is addresses.json as it was when memory was read from it or written to
	// it; saved is when it was written last. Then memory may know later times.
	read    fileMark
	saved   resolve.Moment
	unsaved bool
	// known is what the kernel holds since the last commit.
	known *nft.Known
	// wrong is what has been said to be wrong, and told how it goes.
	wrong map[string]bool
	told  string
	// unwatched is what has been said of scanners that are not recognised.
	unwatched string
}

func (a *app) newKeeper() *keeper {
	return &keeper{
		app: a, clock: a.now, facts: a.readHost, wrong: map[string]bool{}, tell: func(string) {},
		lookup: func(servers []netip.AddrPort) (first, again resolve.Lookup) {
			client := a.client(servers)
			return client.Lookup, client.Again
		},
	}
}

// fileMark tells whether a file is still the same. Files of state are replaced,
// never written to.
type fileMark struct {
	info os.FileInfo
}

func markOf(path string) fileMark {
	info, err := os.Stat(path)
	if err != nil {
		return fileMark{}
	}
	return fileMark{info}
}

func (m fileMark) same(other fileMark) bool {
	return m.info != nil && other.info != nil && os.SameFile(m.info, other.info) && m.info.ModTime().Equal(other.info.ModTime())
}

func (k *keeper) addressesFile() string { return filepath.Join(k.stateDir, "addresses.json") }

// Keep brings the kernel to what the newest generation asks for, with the
// addresses that are remembered.
func (k *keeper) Keep(ctx context.Context, e control.Event) error {
	// What was changed up to the last commit was seen before it, or was that commit:
	// it may take two transactions. The generation wraps around.
	if k.known != nil && e.Generation != 0 && int32(e.Generation-k.known.Generation) <= 0 {
		return nil
	}
	first := k.newest == nil
	return k.locked(ctx, func() error {
		s := *k.site
		p, err := k.sync(ctx, &s, e.Full, nil)
		if err != nil {
			return err
		}
		before := *k.site
		k.site.host = s.host
		switch {
		case p.Empty():
		case first:
			k.log.Info("the table is as it should be now", "changed", summary(p))
		case before.asksTheSame(s):
			k.log.Warn("the table was not as it should be; it is now", "changed", summary(p), "by", cmp.Or(e.Who, "nobody knows whom"))
		default:
			k.log.Info("the host is not as it was", "changed", summary(p))
		}
		return nil
	})
}

// asksTheSame reports whether the same rules come of both hosts.
func (s site) asksTheSame(other site) bool {
	s.memory = other.memory
	before, _ := s.compile()
	now, _ := other.compile()
	return plan.Diff(before, now).Empty()
}

// patience is how long the service waits for another run before it does something
// else, such as telling its watchdog that it is alive.
const patience = 3 * time.Second

// locked does something with the lock held and everything on disk known, unless
// there is nothing to keep.
func (k *keeper) locked(ctx context.Context, f func() error) error {
	waiting, cancel := context.WithTimeout(ctx, patience)
	leave, err := k.enter(waiting, "run")
	cancel()
	if errors.Is(err, journal.ErrLocked) {
		k.log.Info("wait for another run", "error", err)
		return err
	}
	if err == nil {
		defer leave()
		if err = k.load(); err == nil && k.site != nil {
			err = f()
		}
	}
	if err != nil && ctx.Err() == nil {
		k.log.Error("keep the fence as it should be", "error", err)
	}
	return err
}

// load reads what other runs have changed on disk.
func (k *keeper) load() error {
	numbers, err := k.journal().Numbers()
	if err != nil {
		return err
	}
	down, err := k.isDown()
	if err != nil {
		return err
	}
	switch {
	case len(numbers) == 0:
		k.rest("there is no generation yet: waiting for ringfence apply")
		return nil
	case down != nil:
		k.rest("the fence was taken down: doing nothing until ringfence apply or ringfence up")
		return nil
	}
	changed := k.site == nil || k.newest.Number != numbers[len(numbers)-1]
	if changed {
		newest, err := k.generation()
		if err != nil {
			return err
		}
		s, err := siteOf(newest, resolve.Memory{})
		if err != nil {
			return err
		}
		if s.host, err = k.facts(); err != nil {
			return err
		}
		k.newest, k.site = newest, s
		k.log.Info("keep a generation in force", "generation", newest.Number)
	}
	if mark := markOf(k.addressesFile()); changed || !mark.same(k.read) {
		if k.memory, err = k.recall(true, k.newest); err != nil {
			k.site = nil
			return err
		}
		k.read, k.unsaved = markOf(k.addressesFile()), false
	}
	return nil
}

// sync brings the kernel to what a site asks for on the host as it is now. begin
// is called before the kernel is touched.
func (k *keeper) sync(ctx context.Context, s *site, full bool, begin func()) (*plan.Plan, error) {
	var err error
	if s.host, err = k.facts(); err != nil {
		return nil, err
	}
	s.remember(k.memory, k.clock())
	tables := &nft.Kernel{Log: k.log, Known: k.known}
	if full {
		tables.Known = nil
	}
	kernel := withClassifier(tables)
	if k.table != nil {
		kernel = func(*site) control.Kernel { return k.table }
	}
	o := syncOptions{kernel: kernel, before: k.siteBefore(s, k.newest, k.memory), begin: func(*plan.Plan, *ruleset.State) error {
		if begin != nil {
			begin()
		}
		if err := k.keepHost(s.host); err != nil {
			k.log.Error("save the facts of the host", "error", err)
		}
		return nil // a disk that is full must not keep the fence down, or a registrar out
	}}
	p, err := k.app.sync(ctx, s, o)
	if err != nil {
		k.known = nil
		return p, err
	}
	if k.table == nil {
		k.known = k.noteKernel(tables, p)
	}
	k.report(s)
	k.reportEngine(s)
	return p, nil
}

// Due is how long it is until a name should be asked for.
func (k *keeper) Due() time.Duration {
	const nobody = time.Hour
	if k.site == nil {
		return nobody
	}
	due, now := nobody, k.clock()
	for _, t := range targets(k.site.policy) {
		due = min(due, k.memory.Due(t, now))
	}
	return due
}

// Ask asks for the names that are due, and for those that soon will be.
func (k *keeper) Ask() func(context.Context) func(context.Context) error {
	if k.site == nil {
		return func(context.Context) func(context.Context) error { return func(context.Context) error { return nil } }
	}
	now := k.clock()
	soon := k.site.policy.DNS.Min / 10
	q := questions{servers: k.site.policy.DNS.Servers, memory: k.memory, terms: k.site.terms()}
	for _, t := range targets(k.site.policy) {
		if k.memory.Due(t, now) <= soon {
			q.targets = append(q.targets, t)
		}
	}
	return func(ctx context.Context) func(context.Context) error {
		first, again := k.lookup(k.serversOf(q.servers))
		answers := q.ask(ctx, first, again)
		return func(ctx context.Context) error {
			if ctx.Err() != nil {
				return ctx.Err() // the answers are not whole
			}
			return k.learn(ctx, answers)
		}
	}
}

// learn puts answers into force. Whatever generation they were asked for, they
// only speak of names.
func (k *keeper) learn(ctx context.Context, answers []resolve.Result) error {
	return k.locked(ctx, func() error {
		s := *k.site
		s.answers, s.asked = answers, true
		p, err := k.sync(ctx, &s, false, func() { k.save(s.memory.Merge(s.retired), k.clock()) })
		if err != nil {
			return err
		}
		k.site.host = s.host
		k.complain(&s)
		k.log.Debug("asked for names", "names", len(answers), "changed", summary(p))
		for _, c := range p.Changes {
			k.log.Info("change", "action", c.Action, "kind", c.Kind, "name", c.Name, "value", c.Value, "reason", c.Reason)
		}
		return nil
	})
}

// save takes over a memory, and writes it if it says anything new, or else at
// most as often as a name is asked for: flash wears out. What cannot be written
// stays in this run.
func (k *keeper) save(memory resolve.Memory, now resolve.Moment) {
	age := now.Since(k.saved)
	anew := !k.memory.Same(memory) || age >= k.site.policy.DNS.Min || k.saved.Time.IsZero()
	k.memory, k.unsaved = memory, true
	if !anew {
		return
	}
	if err := k.journal().WriteAddresses(memory); err != nil {
		k.log.Error("save addresses; going on with them all the same", "error", err)
		return
	}
	k.read, k.saved, k.unsaved = markOf(k.addressesFile()), now, false
}

// end writes what only this run knows yet.
func (k *keeper) end(ctx context.Context) {
	if !k.unsaved {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	leave, err := journal.Lock(ctx, k.runDir, "run")
	if err == nil {
		defer leave()
		if k.read.same(markOf(k.addressesFile())) {
			err = k.journal().WriteAddresses(k.memory)
		}
	}
	if err != nil {
		k.log.Info("write addresses at the end", "error", err)
	}
}

// serversOf are those of the policy, or the host's.
func (k *keeper) serversOf(servers []netip.AddrPort) []netip.AddrPort {
	if len(servers) > 0 {
		return servers
	}
	servers, err := resolve.SystemServers(resolvConf)
	if err != nil {
		k.log.Warn("read name servers", "error", err)
	}
	return slices.Clone(servers)
}
