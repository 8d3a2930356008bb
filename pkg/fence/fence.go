// Package fence does the work of the commands: it applies a policy, refreshes its
// addresses, rolls back, takes the fence down and puts it up, bans, and reports. It
// takes and returns values; everything else that a user should know is a notice.
//
// It never prints, reads no flags, and does not decide when it is called: pkg/cli and
// pkg/daemon do that. System is the only place that chooses a back end.
package fence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/control"
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

// World is the environment of a fence, besides its files.
type World struct {
	// Kernel returns a back end that has not read the table yet.
	Kernel func() backend.Kernel
	// Backend returns the back end that a policy asks for, and Backends all but that of
	// a name; nil is Kernel, and no others.
	Backend  func(policy.Backend) backend.Kernel
	Backends func(but string) []backend.Kernel
	// Classifier recognises scanners.
	Classifier backend.Classifier
	// Host reads the facts of the host, Listeners the servers that listen on it.
	Host      func() (ruleset.Host, error)
	Listeners func() ([]ruleset.Listener, error)
	// Neighbours reads the hosts on the links of this one, and Flows the exchanges of
	// packets to ports of this host or its network that go both ways now. nil is none.
	Neighbours func() ([]ruleset.Neighbour, error)
	Flows      func(udp, tcp []uint16) ([]ruleset.Flow, error)
	// Watch reports changes of what Host reads, and of files, until the context ends or
	// nothing more can be reported; then the channel is closed. nil reports none.
	Watch func(ctx context.Context, files []string) (<-chan host.Change, error)
	// ResolverFiles are those that the host's own resolver goes by.
	ResolverFiles []string
	// Servers are the host's name servers, and Hosts the names that it knows without
	// them. Lookup asks name servers: first in the usual way, again in another one.
	Servers func() (resolve.Servers, error)
	Hosts   func() (resolve.Hosts, error)
	Lookup  func(servers resolve.Servers) (first, again resolve.Lookup)
	// Fetch asks for a list that a provider publishes; nil leaves lists out.
	Fetch func(ctx context.Context, l resolve.List, tag resolve.ListTag) resolve.ListResult
	// Network, Condition and Others are what the doctor looks at.
	Network   func() (host.Facts, error)
	Condition func(stateFolder string) host.Condition
	// Folder reads what room there is in a folder; nil does not know.
	Folder func(path string) host.Folder
	Others func(ctx context.Context) (ruleset.Others, error)
	// Proxied reads the ways by which rules of other programs hand packets to servers on
	// other ports, as far as anything has changed since it has returned last; if only the
	// unreported is asked for, as far as Watch does not report that. nil knows of none.
	Proxied func(ctx context.Context, last ruleset.Proxied, unreported bool) (ruleset.Proxied, error)
	// MakeSaved makes what the rules that the host saves need to be loaded at boot; nil
	// makes nothing.
	MakeSaved func(ctx context.Context) error
	// Drops opens what receives dropped packets, which names their signatures by a
	// function; nil receives none.
	Drops func(signature func(message []byte) string) (events.Source, error)
	// LogReader is the other program that receives the dropped packets, nil for none. A
	// function that is nil does not know.
	LogReader func() (*host.Program, error)
	// Now is the time by both clocks of the host.
	Now func() resolve.Moment
}

// Config says where a fence keeps its files, who uses it, and who receives its notices.
type Config struct {
	StateDir, RunDir string
	// PolicyFile is the policy file of this host, "" if not known. It is only compared
	// with what is in force.
	PolicyFile    string
	User, Version string // for generations
	// Notice receives notices while a command runs.
	Notice notice.Func
	// Words returns the text for the ways out of alarms; nil leaves them out.
	Words site.Words
	// Progress receives messages about steps that take some time; nil ignores them.
	Progress func(text string)
	// Watchdog starts a process that outlives this one and calls WatchUnconfirmed with the
	// ID; nil starts none. Unwatch is called when a generation was confirmed; nil does
	// nothing.
	Watchdog, Unwatch func(ctx context.Context, w Watch) error
	Log               *slog.Logger
}

// session is what all commands need: the files, the world, and what is known about
// both.
type session struct {
	Config
	World
	store
	engine engine
	parsed map[string]parsed // by their texts
	// proxied is what World.Proxied has returned last.
	proxied ruleset.Proxied
	// inForce says that the purpose of the command has been achieved in the kernel.
	inForce bool
	// choice is the back end of the policy that a command is about, "" for that of the
	// newest generation.
	choice policy.Backend
	// arming is the mark of the generation that this command is about to make, nil if
	// that needs no confirmation. keeping says that the ports get no lifetime, whatever
	// the mark on disk says.
	arming  *journal.Unconfirmed
	keeping bool
}

// committer brings the kernel to the desired state of a site.
type committer struct{ session }

// Fence changes the fence of one host. Each of its methods is the work of a command.
type Fence struct{ committer }

// View is the work of the commands that ask about a fence and change nothing.
type View struct{ *Fence }

// View returns what answers questions about the fence.
func (f *Fence) View() View { return View{f} }

// New returns a fence in a world.
func New(c Config, w World) *Fence {
	return &Fence{committer{session{
		Config: c, World: w, store: store{
			journal.Journal{Folder: c.StateDir}, c.Notice, &lastEntry{}, sync.OnceValue(func() string { return programOf(c.Version) }),
		},
		engine: engine{Classifier: w.Classifier}, parsed: map[string]parsed{},
	}}}
}

// InForce reports whether the purpose of the last command has been achieved in the
// kernel, whatever else has failed.
func (f *session) InForce() bool { return f.inForce }

// Policy is a policy file that was read.
type Policy struct {
	*policy.Policy
	Text   string
	Source string // the file's path
}

// enter takes the lock for a command that changes the fence, and cleans up after an
// earlier command that was killed.
func (f *session) enter(ctx context.Context, command string) (leave func(), err error) {
	if err := journal.Check(f.Journal); err != nil {
		return nil, err
	}
	unlock, err := journal.Lock(ctx, f.RunDir, command)
	if err != nil {
		return nil, err
	}
	if c, ok := f.Classifier.(*able); ok {
		c.note()
	}
	taken := time.Now()
	leave = func() {
		unlock()
		f.Log.Debug("released the lock", "held", time.Since(taken).Round(100*time.Microsecond))
	}
	journal.Sweep(f.Journal)
	if err := f.recovery().all(ctx); err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

// kernel returns the back end with the snapshot of the last commit. With full it has
// none and reads the whole table.
func (f *session) kernel(full bool) backend.Kernel {
	k := f.open(f.chosen())
	if full {
		return k
	}
	snapshot, err := f.snapshot()
	if err == nil && snapshot != nil {
		err = k.Restore(snapshot, f.base)
	}
	if err != nil {
		f.Notice.Warn(notice.StateDamaged, "%v; reading the kernel instead", err)
	}
	return k
}

// Probe finds out whether the back end works here, before the user waits for anything.
func (f *session) Probe(ctx context.Context) error { return f.kernel(true).Probe(ctx) }

// note saves what the kernel holds after a plan, and adds again what is no part of a plan:
// the addresses that are allowed by hand, and what the rules had learned if the plan has
// made their sets. Saving only makes the next run faster, so its failure is not an error.
func (f *session) note(ctx context.Context, k backend.Kernel, p *plan.Plan) {
	f.beginNote(ctx, k, p)()
}

// beginNote is note, but what it saves may still be on its way to the disk until wait
// returns.
func (f *session) beginNote(ctx context.Context, k backend.Kernel, p *plan.Plan) (wait func()) {
	err := k.Note(p)
	if err := f.allowances().restore(ctx, k); err != nil {
		f.Notice.Warn(notice.NotAllowedAgain, "addresses that were allowed by hand may not be allowed now: %v", err)
	}
	if forgets(p) {
		f.phones().putBack(ctx, k)
	}
	saved := saveSnapshot(f, k)
	return func() {
		if err := errors.Join(err, saved()); err != nil {
			f.Log.Info("save what is known of the kernel", "error", err)
		}
	}
}

// saveSnapshot begins to save what the back end knows, if that is new.
func saveSnapshot(f *session, k backend.Kernel) (wait func() error) {
	snapshot, changed := k.Snapshot()
	if !changed {
		return func() error { return nil }
	}
	return aside(func() error { return journal.Write(f.Journal, journal.KernelFile, snapshot) })
}

// withClassifier returns the kernel together with the classifier that a site wants. A
// nil site wants none.
func (f *session) withClassifier(tables control.Kernel, s *site.Site) control.Kernel {
	var program backend.Program
	if s != nil {
		program = s.Classifier.Program
	}
	return control.Classified{Rules: armedKernel{tables, f}, Classifier: f.Classifier.With(program)}
}

// observe observes the kernel together with the classifier.
func (f *session) observe(ctx context.Context, tables control.Kernel) (*ruleset.State, error) {
	return f.withClassifier(tables, nil).Observe(ctx)
}

// readHost reads the facts of the host into a site, and whether scanners can be
// recognised there.
func (f *session) readHost(s *site.Site) error {
	h, err := f.Host()
	if err != nil {
		return err
	}
	s.Host = h
	readNeighbours(f, s)
	s.Host.ByHand = f.Kept(journal.AllowedFile)
	f.engine.probe(s)
	return nil
}

// readNeighbours reads the neighbours of a host that does not forward. Without them no
// network counts as one of phones.
func readNeighbours(f *session, s *site.Site) {
	s.Contacts.Neighbours = nil
	if f.Neighbours == nil || s.Host.Forwards {
		return
	}
	var err error
	if s.Contacts.Neighbours, err = f.Neighbours(); err != nil {
		f.Log.Info("read neighbours", "error", err)
	}
}

// siteOf returns the site of a generation with the given memory of names.
func (f *session) siteOf(e *journal.Entry, memory resolve.Memory) (*site.Site, error) {
	p, err := f.parseEntry(e)
	if err != nil {
		return nil, err
	}
	return &site.Site{Policy: p.Policy, Listed: p.listed, Text: e.Policy, Source: e.Source, Host: e.Host, Memory: memory}, nil
}

// siteThen returns the site of a generation as it was when that was made.
func (f *session) siteThen(e *journal.Entry) (*site.Site, error) {
	memory, err := memoryOf(e)
	if err != nil {
		return nil, err
	}
	return f.siteOf(e, memory)
}

// siteBefore returns the site that the kernel's rules were made from: the newest
// generation with the facts of the host at that time. It returns nil if that is not
// known.
func (f *session) siteBefore(s *site.Site, newest *journal.Entry, memory resolve.Memory) *site.Site {
	if newest == nil {
		return nil
	}
	before := &site.Site{Policy: s.Policy, Listed: s.Listed, Text: s.Text, Memory: memory}
	if newest.Policy != s.Text {
		var err error
		if before, err = f.siteOf(newest, memory); err != nil {
			f.Log.Info("read the policy of the newest generation", "error", err)
			return nil
		}
	}
	before.Host = f.lastHost(newest)
	return before
}

// askTime is the time limit for asking for all names.
const askTime = 20 * time.Second

// ask resolves all names of the site and fetches its lists. It must not be called with
// the lock held, so the memory that it uses may be out of date: it only decides whether to
// ask twice.
func (f *session) ask(ctx context.Context, s *site.Site, remembered resolve.Memory, large []string) {
	s.Asked = true
	lists := f.beginFetch(ctx, s.Settings().Lists, remembered, large)
	defer func() { s.Lists = lists() }()
	if targets := site.Targets(s.Policy); len(targets) > 0 {
		s.Answers = askAbout(ctx, f, resolve.Inquiry{Targets: targets, Memory: remembered, Settings: s.Settings(), Large: large}, s.Policy.DNS.Servers)
	}
}

// askAbout asks name servers, those of the host if none are given, and the host's
// own file of names.
func askAbout(ctx context.Context, f *session, q resolve.Inquiry, given []netip.AddrPort) []resolve.Result {
	servers := resolve.ServersAt(given)
	var err error
	if len(given) == 0 {
		if servers, err = f.Servers(); err != nil {
			f.Log.Warn("read name servers", "error", err)
		}
	}
	if q.Hosts, err = f.Hosts(); err != nil {
		f.Log.Warn("read the host's file of names", "error", err)
	}
	if f.Progress != nil {
		f.Progress(fmt.Sprintf("asking for %s …", notice.Count(len(q.Targets), "name")))
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	results := q.Ask(ctx, func(own []netip.AddrPort) (first, again resolve.Lookup) {
		these := servers
		if len(own) > 0 {
			these = resolve.ServersAt(own)
		}
		these.Unhurried = q.Unhurried
		return f.Lookup(these)
	})
	f.Log.Debug("asked for names", "names", len(q.Targets), "servers", servers.Addresses, "again", len(results)-len(q.Targets), "took", time.Since(start))
	return results
}

// Resolve asks for names as for a policy, and keeps nothing.
func (f *Fence) Resolve(ctx context.Context, p *policy.Policy, targets []resolve.Target) (Resolved, error) {
	h, err := f.Host()
	if err != nil {
		return Resolved{}, err
	}
	settings, names := resolve.Settings{Filter: site.AddressFilter(p, h)}, site.NamesOf(p)
	for _, t := range targets {
		settings.Names = append(settings.Names, names.Name(t))
	}
	results := askAbout(ctx, &f.session, resolve.Inquiry{Targets: targets, Settings: settings}, p.DNS.Servers)
	memory := resolve.NewMemory().Learn(results, settings, f.Now())
	return Resolved{results, memory.Names, memory.Refresh.Failures, settings.Filter, memory.Refresh.OK}, nil
}

// Resolved is the result for names: one result and one memory for each.
type Resolved struct {
	Results       []resolve.Result
	Known         []resolve.Known
	Failures      []resolve.Problem
	AddressFilter resolve.AddressFilter
	OK            bool // no question has failed
}
