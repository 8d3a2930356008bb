package fence

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/events"
	"github.com/ringfence/ringfence/pkg/host"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// Reconciler brings the kernel to the newest generation again and again, for as long as
// a process runs. Other runs change the files on disk, so they are read again whenever
// the lock is held. The lock is never held while name servers are asked. pkg/daemon
// decides when to do what.
type Reconciler struct {
	fence *Fence
	// kernel is the back end of the newest generation. Watch may be called beside the
	// other methods.
	mu      sync.Mutex
	kernel  backend.Kernel
	backend policy.Backend
	unwatch context.CancelFunc // ends the last Watch
	// restorer restores a table of nftables; nothing is remembered for other back ends.
	restorer *Restorer
	gauge    *gauge
	recorder *recorder

	// newest is the newest generation and site its site. Both are nil while there is
	// nothing to do.
	newest *journal.Entry
	site   *site.Site
	memory resolve.Memory
	idle   string // why there is nothing to do
	taken  bool   // the generation has become the newest one since the last outcome
	// read is the addresses.json that memory was read from or written to. saved is when
	// it was last written; memory may have newer times.
	read    fileMark
	saved   resolve.Moment
	unsaved bool
	// learned is when what the rules have learned was last looked at.
	learned resolve.Moment
	// again says that all names are due, askedAgain when they were asked for because of
	// that the last times, the oldest first.
	again      bool
	askedAgain [3]resolve.Moment
}

// Reconciler returns a reconciler that has not read anything yet.
func (f *Fence) Reconciler() *Reconciler {
	r := &Reconciler{fence: f, kernel: f.kernel(true), backend: f.chosen(), restorer: newRestorer(f)}
	r.recorder = &recorder{Recorder: events.NewRecorder(f.EventsFile())}
	r.gauge = &gauge{kernel: f.open(r.backend), now: f.Now, counted: r.recorder.Count}
	return r
}

// Outcome is the result of a reconciliation or of answers.
type Outcome struct {
	// Idle says why there was nothing to do. It is "" if there was; otherwise the other
	// fields are empty.
	Idle string
	// Generation is the one in force. New says that it was not in force at the last
	// reconciliation.
	Generation int
	New        bool
	Plan       *plan.Plan
	// HostChanged says that the host caused the changes, not another program.
	HostChanged bool
	// Size, Failures and Alarms describe the state of the policy's names.
	Size             string
	Failures, Alarms int
	// Notices are what is wrong now.
	Notices []notice.Notice
}

func (r *Reconciler) addressesFile() string {
	return filepath.Join(r.fence.StateDir, "addresses.json")
}

// Probe asks whether the back end works here.
func (r *Reconciler) Probe(ctx context.Context) error { return r.kernel.Probe(ctx) }

// Wrote reports whether all changes up to this generation came before a change that
// this process made, or are part of one.
func (r *Reconciler) Wrote(generation uint64) bool { return r.kernel.Wrote(generation) }

// Watch reports changes of the table, as the back end does. The channel is closed when
// another back end is in use.
func (r *Reconciler) Watch(ctx context.Context) (<-chan backend.Touched, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ctx, r.unwatch = context.WithCancel(ctx)
	return r.kernel.Watch(ctx)
}

// use makes the back end of a policy the one in use.
func (r *Reconciler) use(b policy.Backend) {
	if b == r.backend {
		return
	}
	kernel := r.fence.open(b)
	r.gauge.use(r.fence.open(b))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kernel, r.backend = kernel, b
	if r.unwatch != nil {
		r.unwatch()
	}
}

// Restorer puts back what this reconciler has put into force.
func (r *Reconciler) Restorer() *Restorer { return r.restorer }

// StateFiles are those that other runs write to say that something else should be in
// force, and ResolverFiles those by which the host's own resolver goes.
func (r *Reconciler) StateFiles() []string {
	return []string{r.fence.BegunFile(), r.fence.DownFile(), r.fence.UnconfirmedFile()}
}

// ResolverFiles are described at StateFiles.
func (r *Reconciler) ResolverFiles() []string { return r.fence.ResolverFiles }

// WatchHost reports changes of everything else that the fence depends on, as
// World.Watch does; nil is a world that reports none.
func (r *Reconciler) WatchHost(ctx context.Context) (<-chan host.Change, error) {
	if r.fence.Watch == nil {
		return nil, nil
	}
	files := slices.Concat(r.StateFiles(), r.ResolverFiles())
	if r.fence.PolicyFile != "" {
		files = append(files, r.fence.PolicyFile)
	}
	return r.fence.Watch(ctx, files)
}

// Reconcile brings the kernel to the state of the newest generation, with the
// remembered addresses. With full it reads everything again.
func (r *Reconciler) Reconcile(ctx context.Context, full bool) (Outcome, error) {
	var o Outcome
	err := r.locked(ctx, &o, func() error {
		if full {
			r.kernel.Forget()
			if r.fence.engine.obstacle != nil {
				r.fence.engine.forget()
			}
		}
		s := *r.site
		if err := r.sync(ctx, &s, &o, nil); err != nil {
			return err
		}
		o.HostChanged = !o.Plan.Empty() && !o.New && !r.site.AsksTheSame(&s)
		r.site.Host, r.site.Classifier = s.Host, s.Classifier
		return nil
	})
	return o, err
}

// patience is how long a reconciler waits for another run before its caller can do
// something else, such as notifying a watchdog.
const patience = 3 * time.Second

// locked calls do with the lock held and all files read, unless there is nothing to do.
func (r *Reconciler) locked(ctx context.Context, o *Outcome, do func() error) error {
	r.fence.lookForProxies(ctx)
	waiting, cancel := context.WithTimeout(ctx, patience)
	leave, err := r.fence.enter(waiting, "run")
	cancel()
	if err != nil {
		return err
	}
	defer r.fence.keepProxies(ctx)
	defer leave()
	if err := r.load(); err != nil {
		return err
	}
	if r.site == nil {
		*o = Outcome{Idle: r.idle}
		return nil
	}
	o.Generation, o.New = r.newest.Number, r.taken
	err = do()
	if err == nil {
		r.taken = false
	}
	return err
}

// IsLocked reports whether an error says that another run holds the lock.
func IsLocked(err error) bool { return errors.Is(err, journal.ErrLocked) }

// load reads what other runs have changed on disk.
func (r *Reconciler) load() error {
	f := r.fence
	numbers, err := f.Numbers()
	if err != nil {
		return err
	}
	down, err := f.down()
	if err != nil {
		return err
	}
	r.idle = ""
	switch {
	case len(numbers) == 0:
		r.idle = "there is no generation yet: waiting for ringfence apply"
	case down != nil:
		r.idle = "the fence was taken down: doing nothing until ringfence apply or ringfence up"
	}
	if r.idle != "" {
		r.newest, r.site = nil, nil
		r.gauge.found(nil, site.Newcomers{}, ruleset.Proxied{})
		r.restorer.remember(0, nil)
		return nil
	}
	changed := r.site == nil || r.newest.Number != numbers[len(numbers)-1]
	mark := markOf(r.addressesFile())
	if !changed && mark.same(r.read) {
		return nil
	}
	newest, err := f.generation()
	if err != nil {
		return err
	}
	defer f.last.forget()
	if changed {
		s, err := f.siteOf(newest, resolve.Memory{})
		if err != nil {
			return err
		}
		if err := f.readHost(s); err != nil {
			return err
		}
		// Older policies are not needed any more.
		clear(f.parsed)
		f.parsed[newest.Policy] = parsed{s.Policy, s.Listed}
		another := r.newest != nil
		kept := *newest
		kept.Addresses, kept.State, kept.Form = nil, nil, nil // which are large, and hardly ever needed
		r.newest, r.site, r.taken = &kept, s, true
		r.use(s.Policy.Backend)
		if another {
			r.adopt()
		}
		r.recorder.follow(s.Policy)
	}
	if r.memory, err = f.recall(true, newest); err != nil {
		r.site = nil
		return err
	}
	r.read, r.unsaved = markOf(r.addressesFile()), false
	return nil
}

// adopt takes over what the run that has made a generation has noted of the kernel: if
// nobody has changed anything since, the table need not be read while the lock is held.
func (r *Reconciler) adopt() {
	snapshot, err := r.fence.snapshot()
	if err == nil && snapshot != nil {
		err = r.kernel.Restore(snapshot, r.fence.base)
	}
	if err != nil {
		r.fence.Log.Info("read what is known of the kernel", "error", err)
	}
}

// sync brings the kernel to the desired state of a site on the host as it is now. begin
// is called before the kernel is changed.
func (r *Reconciler) sync(ctx context.Context, s *site.Site, o *Outcome, begin func()) error {
	f := r.fence
	if err := f.readHost(s); err != nil {
		return err
	}
	now := f.Now()
	s.Remember(r.memory, now)
	c := change{tables: r.kernel, before: f.siteBefore(s, r.newest, r.memory), begin: func(*plan.Plan, *ruleset.State) error {
		if begin != nil {
			begin()
		}
		if err := f.keepHost(s.Host); err != nil {
			f.Log.Error("save the facts of the host", "error", err)
		}
		return nil // a full disk must not keep the fence down or block a registrar
	}}
	var err error
	if o.Plan, err = f.sync(ctx, s, c); err != nil {
		r.kernel.Forget()
		return err
	}
	f.note(ctx, r.kernel, o.Plan)
	rememberPhones(ctx, r, s)
	switch {
	case r.kernel.Describe().Name != string(policy.BackendNFTables):
		// Nothing refuses a commit of theirs that another run was faster than.
		r.restorer.remember(0, nil)
	case f.unconfirmed() != nil:
		// What is left of the lifetimes of ports has to be read for every change.
		r.restorer.remember(r.newest.Number, nil)
	default:
		r.restorer.remember(r.newest.Number, o.Plan.Want)
	}
	look := lookFor(ctx, &f.session, r.kernel, s, r.newest, o.Plan.Want)
	r.recorder.Begin(look.Counters)
	r.gauge.found(f.records().keepCounts(look), s.Newcomers(look), look.Proxied)
	alarms := s.Alarms(look)
	o.Size, o.Failures, o.Alarms = s.Size(), len(s.Memory.Refresh.Failures), len(alarms)
	o.Notices = s.HostWarnings()
	for _, p := range s.Memory.Refresh.Failures {
		o.Notices = append(o.Notices, notice.Notice{
			Severity: notice.Warning, Code: notice.NameFailed, About: site.ProblemText(p), Text: site.ProblemText(p),
		})
	}
	o.Notices = append(o.Notices, eventNotices(r)...)
	o.Notices = append(o.Notices, alarmNotices(alarms)...)
	f.records().keepAlarms(alarms)
	return nil
}
