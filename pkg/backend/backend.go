// Package backend defines what a back end is: its methods besides observing and
// committing, the values they use, and their errors. Back ends implement these
// interfaces and commands use them; neither imports the other.
//
// It decides nothing. pkg/compile decides what a table should hold, pkg/nft how to put
// it into a kernel, and pkg/fence which back end is used.
package backend

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"time"

	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/signature"
)

// Kernel is a back end. It works in the network namespace of the calling thread,
// and its methods are called one at a time.
type Kernel interface {
	control.Kernel
	Prober
	Counters
	Bans
	Phones
	Allowances
	Drops
	Watcher
	Snapshots
	Remover
	// Describe returns how the back end presents itself to users.
	Describe() Description
}

// Description is how a back end presents itself to users.
type Description struct {
	Name   string // as written in the policy
	Place  string // where the rules are, as in "table inet ringfence"
	Look   string // the command that shows them
	Remove string // the command that removes them
}

// Prober finds out whether a back end can work on this host.
type Prober interface {
	// Probe finds out whether the kernel lets this process read and change its rules.
	// Its error wraps ErrPermission or ErrUnsupported where that is the cause.
	Probe(ctx context.Context) error
}

// Remover finds and removes what a back end has left that is not used any more. It works
// also where Probe does not.
type Remover interface {
	// Exists reports whether a fence is in the kernel. It costs little.
	Exists(ctx context.Context) (bool, error)
	// Tidy removes what an interrupted change has left that judges no packet.
	Tidy(ctx context.Context) error
}

// Counters reads the counters of the table.
type Counters interface {
	// Counters returns the packets that each named counter has seen since the table was
	// made. Without a table it returns none.
	Counters(ctx context.Context) (map[string]uint64, error)
}

// Banned is an address that is banned for a time.
type Banned struct {
	Address netip.Addr
	Left    time.Duration // 0 = without end
	// Comment says who banned it by hand. Bans made by the rules have none.
	Comment string
}

// Bans reads and changes the bans that expire.
type Bans interface {
	// Bans returns all of them, sorted. Without a table it returns none.
	Bans(ctx context.Context) ([]Banned, error)
	// Ban bans an address for a whole number of milliseconds. If it is banned already,
	// the time starts again. The error wraps ErrNoFence or ErrFull where that is the
	// cause.
	Ban(ctx context.Context, b Banned) error
	// Unban ends the ban of an address. It reports whether there was one.
	Unban(ctx context.Context, a netip.Addr) (was bool, err error)
}

// Phone is a sender that is let in because the PBX has accepted its registration.
type Phone struct {
	Address netip.Addr
	Port    uint16 // 0 = every port of the address
	Left    time.Duration
}

// Phones reads what the rules have learned from the answers of the PBX, and puts back
// what a table that was made again has forgotten.
type Phones interface {
	// Phones returns all of them, sorted. Without a table it returns none.
	Phones(ctx context.Context) ([]Phone, error)
	// Stale returns those that fail to log in though somebody there has logged in lately,
	// sorted.
	Stale(ctx context.Context) ([]Phone, error)
	// Logins are the addresses where somebody has logged in within a day.
	Logins() Logins
	// PutBack adds those phones and bans that the table lacks, with the time that they
	// have left. Where the set holds whole addresses, a phone that has a port lets in its
	// address; where it holds ports, a phone that has none is left out. The error wraps ErrFull if there is no room for all of them.
	PutBack(ctx context.Context, phones []Phone, bans []Banned) error
}

// Logins are addresses where somebody has logged in within a day: failures there are taken
// for a wrong password. A login has no port.
type Logins interface {
	// List returns all of them, sorted. Without a table it returns none.
	List(ctx context.Context) ([]Phone, error)
	// Add adds those that the table lacks, with the time that they have left. The error
	// wraps ErrFull if there is no room for all of them.
	Add(ctx context.Context, logins []Phone) error
}

// Compare orders phones by address and port.
func (p Phone) Compare(o Phone) int {
	return cmp.Or(p.Address.Compare(o.Address), cmp.Compare(p.Port, o.Port))
}

// Allowed is an address that somebody lets in for a time.
type Allowed struct {
	Address netip.Addr
	Left    time.Duration
	// Comment says who has allowed it.
	Comment string
}

// Allowances are the addresses that are let in by hand for a time, by the sets
// allowed4 and allowed6. Like bans, they are no part of the state.
type Allowances interface {
	// Allowances returns all of them, sorted; none without a table.
	Allowances(ctx context.Context) ([]Allowed, error)
	// Allow lets an address in for a time of whole milliseconds; the time restarts if
	// it is let in already. Its error wraps ErrNoFence or ErrFull where these are the
	// cause.
	Allow(ctx context.Context, a Allowed) error
	// Disallow ends that, also for connections that pass because they are there. It
	// reports whether the address was let in.
	Disallow(ctx context.Context, a netip.Addr) (was bool, err error)
}

// Dropped is a source whose packets were dropped, or would be in monitor mode.
type Dropped struct {
	Address netip.Addr
	Packets uint64
	// First is when its first packet came, the zero time if the back end does not keep
	// that. Last is when its last one came, or up to a minute before that.
	First, Last time.Time
	// Scanner says that the classifier has recognised a scanner in one of its packets of
	// the last day.
	Scanner bool
}

// Drops are the sources whose packets were dropped lately, by the sets dropped4,
// dropped6, scanners4 and scanners6. Like bans, they are no part of the state.
type Drops interface {
	// Dropped returns all of them, in no order, or only the one of an address; none
	// without a table. The zero address stands for all.
	Dropped(ctx context.Context, of netip.Addr) ([]Dropped, error)
}

// Touched says that somebody has changed the table.
type Touched struct {
	// GenID is the back end's GenID after the change, 0 if it is not known or Lost is
	// set.
	GenID uint64
	// Program and PID identify the program that changed it, as the kernel reports them:
	// PID is the number of the thread.
	Program string
	PID     int
	// Lost says that there were more changes than could be reported: the table may have
	// changed.
	Lost bool
}

// Watcher reports changes of the table.
type Watcher interface {
	// Watch reports every change of the table, also those of this process, until the
	// context ends. Then, or when the kernel stops reporting, the channel is closed. If
	// very many changes come while nobody receives, only the last ones are reported.
	Watch(ctx context.Context) (<-chan Touched, error)
}

// Snapshot is what a back end knows of the table after its own change. Only the back
// end that made it can read it.
type Snapshot = json.RawMessage

// Snapshots lets a back end skip reading a table that has not changed.
type Snapshots interface {
	// Restore takes over the snapshot of an earlier run. base returns that of the states
	// that the run has made, nil if it is not known; it is called only if it is needed.
	Restore(s Snapshot, base func() *ruleset.Base) error
	// Forget makes the next Observe read everything.
	Forget()
	// Note records that the plan is in force. If it succeeds, Snapshot and Wrote
	// reflect that.
	Note(p *plan.Plan) error
	// Snapshot returns what the next run should Restore, and whether that differs
	// from what was restored or returned last.
	Snapshot() (s Snapshot, changed bool)
	// Wrote reports whether all changes up to this GenID came before a change that this
	// process recorded, or are part of one.
	Wrote(id uint64) bool
}

// Classifier is the eBPF program that marks packets before the rules see them.
type Classifier interface {
	// Probe returns why this process cannot attach a program, or nil if it can.
	Probe() error
	// Observe returns which program is attached to which interface.
	Observe() (ruleset.Classifier, error)
	// Foreign returns, for each of the interfaces where another program takes the place
	// of ringfence's, which program that is.
	Foreign(interfaces []string) map[string]error
	// Before returns the programs that see a packet before ringfence's does, for each of
	// the interfaces that has any.
	Before(interfaces []string) map[string][]string
	// Details returns lines that say more about an error, for a log.
	Details(err error) []string
	// Hits returns how many packets each signature has matched.
	Hits() (map[string]uint64, error)
	// New makes a program that is not in the kernel yet.
	New(a *signature.Automaton, r ruleset.Reading) Program
	// With is the part of a transaction that attaches the program where the plan
	// wants it; nil is for a plan that wants none.
	With(p Program) control.Classifier
}

// Program is a classifier for certain signatures and ports.
type Program interface {
	// On returns the classifier with the program attached to the interfaces.
	On(interfaces []string) ruleset.Classifier
	// Prepare does what takes long before the program can be attached. It need not be
	// called.
	Prepare() error
}

// Errors that a user can do something about.
var (
	// ErrPermission says that the process may not read or change rules.
	ErrPermission = errors.New("the kernel lets only root, or a process with CAP_NET_ADMIN, read and change nftables")
	// ErrUnsupported says that the kernel lacks what the back end needs.
	ErrUnsupported = errors.New("this kernel has no nftables (nf_tables)")
	// ErrIncomplete is an ErrUnsupported whose text says what to install or to load.
	ErrIncomplete = errors.New("this host lacks a program or a module")
	// ErrOwned says that the table belongs to another process alone.
	ErrOwned = errors.New("the table belongs to another process alone (flags owner)")
	// ErrNoFence says that there is no table, or none with the sets for that.
	ErrNoFence = errors.New("there is no fence in the kernel")
	// ErrFull says that as many addresses are banned, or allowed by hand, as may be.
	ErrFull = errors.New("the set is full")
)
