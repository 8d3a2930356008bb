// Package backend says what a back end is: what it does beside observing and
// committing, the values that it deals in, and its errors. Back ends fulfil its
// interfaces, commands use them, and neither knows the other.
//
// It decides nothing. What a table should be is decided in pkg/compile, how it is
// put into a kernel in pkg/nft, and which back end is used in pkg/fence.
package backend

import (
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
	Watcher
	Snapshots
	Remover
	// Describe says what users see of it.
	Describe() Description
}

// Description is what users see of a back end.
type Description struct {
	Name   string // as the policy has it
	Place  string // where the rules are, as in "table inet ringfence"
	Look   string // the command that shows them
	Remove string // the command that removes them
}

// Prober finds out whether a back end works here.
type Prober interface {
	// Probe finds out whether the kernel would let this process read and change its
	// rules. Its error wraps ErrPermission or ErrUnsupported where these are the
	// cause.
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

// Counters are the table's.
type Counters interface {
	// Counters returns the packets that each named counter has seen since the table
	// was made; none without a table.
	Counters(ctx context.Context) (map[string]uint64, error)
}

// Banned is an address that is banned for a time.
type Banned struct {
	Address netip.Addr
	Left    time.Duration // 0 = for ever
	// Comment says who has banned it by hand. The packet path writes none.
	Comment string
}

// Bans are the addresses that are banned for a time.
type Bans interface {
	// Bans returns all of them, sorted; none without a table.
	Bans(ctx context.Context) ([]Banned, error)
	// Ban bans an address for a time of whole milliseconds; the time restarts if
	// it is banned already. Its error wraps ErrNoFence or ErrFull where these are
	// the cause.
	Ban(ctx context.Context, b Banned) error
	// Unban ends the ban of an address. It reports whether there was one.
	Unban(ctx context.Context, a netip.Addr) (was bool, err error)
}

// Touched says that somebody has changed the table.
type Touched struct {
	// GenID is the back end's stamp after the change, 0 if Lost or not known.
	GenID uint64
	// Program and PID are who it was, as the kernel has it: the number is that of
	// the thread.
	Program string
	PID     int
	// Lost says that there was more to report than there was room for: the table
	// may have changed.
	Lost bool
}

// Watcher reports changes of the table.
type Watcher interface {
	// Watch reports every change of the table, also of its own process, until the
	// context ends; then, or if the kernel reports nothing more, the channel is
	// closed. Of very many changes that come while nobody receives, the last are
	// reported.
	Watch(ctx context.Context) (<-chan Touched, error)
}

// Snapshot is what a back end knows of the table after a change of its own. It is
// opaque to all but the back end that has made it.
type Snapshot = json.RawMessage

// Snapshots spare a back end from reading a table that nobody has changed.
type Snapshots interface {
	// Restore takes over what an earlier run has noted.
	Restore(s Snapshot) error
	// Forget makes the next Observe read everything.
	Forget()
	// Note notes that the plan is in force. Without an error, Snapshot and Wrote go
	// by it.
	Note(p *plan.Plan) error
	// Snapshot returns what the next run should Restore, and whether that differs
	// from what was restored or returned last.
	Snapshot() (s Snapshot, changed bool)
	// Wrote reports whether what was changed up to this GenID was seen before a
	// change that this process has noted, or was a part of it.
	Wrote(id uint64) bool
}

// Classifier is the eBPF program that marks packets before the rules see them.
type Classifier interface {
	// Probe says why this process cannot attach a program, nil if it can.
	Probe() error
	// Observe returns which program is attached to which interface.
	Observe() (ruleset.Classifier, error)
	// Foreign says of interfaces on which another program keeps ringfence's out
	// which that is.
	Foreign(interfaces []string) map[string]error
	// Details are lines that say more about an error, for a log.
	Details(err error) []string
	// Hits returns how many packets each signature has matched.
	Hits() (map[string]uint64, error)
	// New makes a program that is not in the kernel yet.
	New(a *signature.Automaton, udp, tcp []uint16) Program
	// With is the part of a transaction that attaches the program where the plan
	// wants it; nil is for a plan that wants none.
	With(p Program) control.Classifier
}

// Program is a classifier for certain signatures and ports.
type Program interface {
	// On is the classifier with the program on the interfaces.
	On(interfaces []string) ruleset.Classifier
}

// Errors that a user can do something about.
var (
	// ErrPermission says that the process may not read or change rules.
	ErrPermission = errors.New("the kernel lets only root, or a process with CAP_NET_ADMIN, read and change nftables")
	// ErrUnsupported says that the kernel lacks what the back end needs.
	ErrUnsupported = errors.New("this kernel has no nftables (nf_tables)")
	// ErrOwned says that the table belongs to another process alone.
	ErrOwned = errors.New("the table belongs to another process alone (flags owner)")
	// ErrNoFence says that there is no table, or none with sets for bans.
	ErrNoFence = errors.New("there is no fence in the kernel")
	// ErrFull says that as many addresses are banned as may be.
	ErrFull = errors.New("as many addresses are banned as bans.size allows")
)
