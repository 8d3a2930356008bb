// Package iptables observes and changes ringfence's chains and sets in iptables and
// ipset. It is the back end for hosts whose firewall is iptables, in either flavour, and
// for kernels without nf_tables.
//
// What should be is decided elsewhere, in the same form as for nftables; this package
// translates it to chains RINGFENCE-… in the tables raw, mangle and filter of both
// families, and to sets ringfence-…, and reads these back. It touches nothing else.
//
// A change builds new chains beside those in force, adds to sets what comes, leads
// packets to the new chains by one jump for each family, and takes away what goes. So
// every packet is judged by the old rules or by the new ones. IPv4, IPv6 and sets are
// not changed in one moment.
package iptables

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Kernel is iptables and ipset in the network namespace of the calling thread.
type Kernel struct {
	// Flavour says which iptables; "" is Host.
	Flavour Flavour
	// Log gets what goes wrong without making a commit fail; nil is silence.
	Log *slog.Logger

	found *tool
	// watched is what Watch looks at; nil without it.
	watched atomic.Pointer[watched]
	// around, if it is not nil, makes each call that changes something: a test's way to end
	// a change there, or to let the call fail.
	around func(name string, call func() error) error
}

var _ backend.Kernel = (*Kernel)(nil)

// tool is the flavour's programs.
func (k *Kernel) tool() (*tool, error) {
	if k.found != nil {
		return k.found, nil
	}
	flavour := k.Flavour
	if flavour == "" {
		flavour = Host
	}
	var err error
	k.found, err = findTool(context.Background(), flavour) //nolint:forbidigo // it only asks a program for its version
	return k.found, err
}

// Describe says what users see of the back end.
func (k *Kernel) Describe() backend.Description {
	name := k.Flavour
	if t, err := k.tool(); err == nil {
		name = t.flavour
	}
	command := string(name)
	return backend.Description{
		Name: string(name), Place: "chains " + chainPrefix + "* of " + command,
		Look:   command + " -t raw -S",
		Remove: fmt.Sprintf("%s-save -t raw | grep RINGFENCE shows the jump from PREROUTING: delete it with -D, and the same of %s", command, strings.Replace(command, "ip", "ip6", 1)),
	}
}

// Probe finds out whether iptables and ipset work here.
func (k *Kernel) Probe(ctx context.Context) error {
	if _, err := k.tool(); err != nil {
		return err
	}
	// The programs open such a socket too, and some say of its failure that a module is
	// missing.
	socket, err := tableSocket(false)
	if err != nil {
		return err
	}
	unix.Close(socket)
	conn, err := openSets()
	if err != nil {
		return err
	}
	defer conn.close()
	if err := conn.probe(ctx); err != nil {
		return err
	}
	if _, err := conn.headers(ctx); err != nil {
		return err
	}
	_, err = k.found.save(ctx, where{table: "raw"})
	return err
}

// Observe returns the fence as it is. It tells apart all that ringfence can write;
// another program's rules and sets are not read.
func (k *Kernel) Observe(ctx context.Context) (*ruleset.State, error) {
	observing(ctx, k)
	v, err := k.look(ctx)
	if err != nil {
		return nil, err
	}
	s := v.state()
	s.Place = k.Describe().Place
	return s, nil
}

// Restore takes over what an earlier run has noted, which is nothing here: iptables and
// ipset do not say whether they have changed.
func (k *Kernel) Restore(backend.Snapshot, func() *ruleset.Base) error { return nil }

// Forget does nothing: Observe always reads everything.
func (k *Kernel) Forget() {}

// Note records that the plan is in force.
func (k *Kernel) Note(*plan.Plan) error { return nil }

// Snapshot returns nothing.
func (k *Kernel) Snapshot() (s backend.Snapshot, changed bool) { return nil, false }

// Wrote cannot say who has changed what.
func (k *Kernel) Wrote(uint64) bool { return false }
