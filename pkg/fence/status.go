package fence

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// Status describes the fence.
type Status struct {
	Backend backend.Description
	// Table says that there is a table in the kernel. Begun says that the apply that
	// made it has not given its generation a number yet.
	Table, Begun bool
	// Fenced says that packets of at least one interface are judged.
	Fenced   bool
	Counters map[string]uint64

	// Dropped is how many sources were dropped lately, Latest are those that came last.
	Dropped int
	Latest  []Dropped

	// Generation is the newest one, 0 if there is none; then all later fields are
	// empty.
	Generation int
	Made       time.Time
	MadeBy     string
	// Down is when the fence was taken down, nil if it was not.
	Down    *time.Time
	Monitor bool
	// Differences counts the differences between the kernel and what it should hold.
	Differences int
	// PolicyChanged says that the policy file differs from that of the generation.
	PolicyChanged bool
	// Pending is what waits for a confirmation, nil if nothing does.
	Pending *Pending
	// Names is how many names the policy asks for.
	Names     int
	Providers []Allowed
	Trusted   []Address
	ByHand    []ByHand
	// Phones is how many phones are let in because they have registered, nil if the
	// table lets none in for that.
	Phones *int
	// Banned is how many addresses are banned for a time.
	Banned  int
	Refresh resolve.Refreshed
	Alarms  []site.Alarm
	LeftOut []LeftOut
	// Engine is what recognises scanners, and EngineWhy is more about it. Hits is how
	// many packets each signature has matched, nil if not known.
	Engine    policy.Engine
	EngineWhy string
	Hits      map[string]uint64

	Notices []notice.Notice

	site *site.Site        // what the generation asks for, nil if there is none
	kept []backend.Dropped // what the kernel keeps of those that were dropped
}

// Allowed is a provider with its addresses.
type Allowed struct {
	Name      string
	Addresses []Address
}

// Address is an address that may reach the SIP ports.
type Address struct {
	Prefix    netip.Prefix
	From, Via string
	// LastSeen is nil for a listed address, Missing for one that answers have.
	LastSeen, Missing *time.Time
}

// LeftOut is an address of an answer that is not allowed, and why.
type LeftOut struct{ Name, Address, Why string }

// Status reads the kernel and the files, and changes nothing.
func (f View) Status(ctx context.Context) (*Status, error) {
	r, err := f.Measure(ctx)
	if err != nil || !r.Table || r.site == nil {
		return r, err
	}
	if err := describeDrops(ctx, &f.session, r, f.kernel(false), r.site); err != nil {
		return nil, err
	}
	return r, nil
}

// Measure is Status without Latest, for those who ask again and again: the daemon's file
// may be large.
func (f View) Measure(ctx context.Context) (*Status, error) {
	kernel := f.kernel(false)
	have, err := f.observe(ctx, kernel)
	if err != nil {
		return nil, err
	}
	r := &Status{Backend: kernel.Describe(), Table: have.Exists, Engine: policy.EngineOff}
	if have.Exists {
		if err := r.readTable(ctx, kernel, have); err != nil {
			return nil, err
		}
	}
	newest, err := f.newest()
	if err != nil {
		return nil, err
	}
	if newest == nil {
		r.Begun = have.Exists && f.Begun()
		r.Alarms = withoutGeneration(r, f.Now().Time)
		return r, nil
	}
	down, err := f.down()
	if err != nil {
		return nil, err
	}
	s, err := siteOfNow(f, newest)
	if err != nil {
		return nil, err
	}
	if r.Pending, err = f.Pending(); err != nil {
		return nil, err
	}
	state, origins := s.Compile()
	arm(&f.session, state)
	if down != nil {
		r.Down, state = &down.Time, &ruleset.State{}
	}
	drift := plan.Diff(have, state)
	r.Differences = len(drift.Changes)
	r.site = s
	r.describe(s, newest, origins)
	describeEngine(f, r, s, have)
	f.lookForProxies(ctx)
	look := lookFor(ctx, &f.session, kernel, s, newest, have)
	r.PolicyChanged = s.PolicyChanged(look.File)
	if down == nil {
		look.Drift, r.Fenced = drift, have.Exists && len(s.FencedInterfaces()) > 0
	}
	r.Alarms = s.Alarms(look)
	r.Notices = append(r.Notices, s.Warnings()...)
	if other := otherReader(&f.session, s); other != nil {
		r.Notices = append(r.Notices, notice.Notice{
			Severity: notice.Warning, Code: notice.EventsUnread,
			Text: fmt.Sprintf("what dropped packets contain is not known: %s receives NFLOG group %d; ringfence doctor says what to do", other, ruleset.LogGroup),
		})
	}
	if look.Accepted != nil {
		r.Notices = append(r.Notices, site.CutWarnings(look.Accepted)...)
	}
	return r, nil
}

// readTable reads what is in the table beside what it should hold.
func (r *Status) readTable(ctx context.Context, kernel backend.Kernel, have *ruleset.State) (err error) {
	if r.Counters, err = kernel.Counters(ctx); err != nil {
		return err
	}
	if r.ByHand, err = allowedByHand(ctx, kernel); err != nil {
		return err
	}
	banned, err := kernel.Bans(ctx)
	if err != nil {
		return err
	}
	if r.kept, err = kernel.Dropped(ctx, netip.Addr{}); err != nil {
		return err
	}
	r.Banned, r.Dropped = len(banned), len(r.kept)
	if learns(have) {
		phones, err := kernel.Phones(ctx)
		if err != nil {
			return err
		}
		r.Phones = new(len(phones))
	}
	return nil
}

// withoutGeneration are the alarms of a fence that no generation has made.
func withoutGeneration(r *Status, now time.Time) []site.Alarm {
	switch {
	case r.Begun:
		return []site.Alarm{site.Interrupted(r.Backend.Place, now)}
	case r.Table:
		return []site.Alarm{site.NoGeneration(r.Backend.Place)}
	}
	return nil
}

// siteOfNow is the site of an entry with the saved addresses and the host as they are now.
func siteOfNow(f View, e *journal.Entry) (*site.Site, error) {
	memory, err := f.recall(false, e)
	if err != nil {
		return nil, err
	}
	s, err := f.siteOf(e, memory)
	if err != nil {
		return nil, err
	}
	if err := f.readHost(s); err != nil {
		return nil, err
	}
	s.Remember(memory, f.Now())
	return s, f.engine.classify(s)
}

func (r *Status) describe(s *site.Site, newest *journal.Entry, origins ruleset.Origins) {
	r.Generation, r.Made, r.MadeBy = newest.Number, newest.Time, newest.User
	r.Monitor, r.Names = s.Policy.Monitor, len(site.Targets(s.Policy))
	for _, name := range origins.Providers {
		r.Providers = append(r.Providers, Allowed{name, addressesOf(name, "providers", origins, s.Memory)})
	}
	r.Trusted = addressesOf("trusted", "trusted", origins, s.Memory)
	r.Refresh, r.LeftOut = s.Memory.Refresh, leftOut(s.Memory)
}

// addressesOf lists an owner's addresses in the sets of both families.
func addressesOf(owner, set string, origins ruleset.Origins, memory resolve.Memory) []Address {
	var list []Address
	for _, family := range []string{"4", "6"} {
		for _, o := range origins.All(set + family) {
			if o.Owner != owner {
				continue
			}
			a := Address{Prefix: o.Prefix, From: o.Name, Via: o.Via}
			if o.Name == "" {
				a.From, a.Via = o.Via, ""
				if listed, ok := memory.Lists.Find(o.Via, o.Prefix); ok {
					a.LastSeen = &listed.LastSeen
					if !listed.MissingSince.IsZero() {
						a.Missing = &listed.MissingSince
					}
				}
			} else if known, ok := memory.Find(o.Name, set == "providers", o.Prefix.Addr()); ok {
				a.LastSeen = &known.LastSeen
				if !known.MissingSince.IsZero() {
					a.Missing = &known.MissingSince
				}
			}
			list = append(list, a)
		}
	}
	return list
}

// leftOut lists the addresses of answers that are not allowed, with what would allow
// them.
func leftOut(m resolve.Memory) []LeftOut {
	var list []LeftOut
	for _, k := range m.Names {
		for _, r := range k.Rejected {
			list = append(list, LeftOut{k.Name, r.Address.String(), r.Why})
		}
		for _, h := range k.Quarantined {
			list = append(list, LeftOut{k.Name, h.Address.String(), "waits for a second answer that has it"})
		}
	}
	return list
}

// describeEngine says what recognises scanners and what it has matched.
func describeEngine(f View, r *Status, s *site.Site, have *ruleset.State) {
	switch {
	case s.Policy.Signatures.Engine == policy.EngineOff:
		r.EngineWhy = "the policy switches it off"
		return
	case s.Policy.Signatures.Engine == policy.EngineString:
		if texts, err := catalog.TextsOf(s.Policy); err == nil && have.Exists {
			r.Engine = policy.EngineString
			r.EngineWhy = fmt.Sprintf("%d of %s, looked for anywhere in a packet; not header-exact",
				texts.Signatures, notice.Count(texts.Of, "signature"))
		}
		return
	case s.Host.Engine == "":
		if why := s.ClassifierObstacle(); why != nil {
			r.EngineWhy = why.Error()
		}
		return
	case len(have.Classifier) == 0:
		r.EngineWhy = "the classifier is not attached to any interface"
		return
	}
	r.Engine = policy.EngineBPF
	r.EngineWhy = notice.Count(s.Classifier.Signatures, "signature") + " on " + strings.Join(have.Classifier.Interfaces(), ", ")
	for _, name := range slices.Sorted(maps.Keys(s.Classifier.Unavailable)) {
		r.EngineWhy += fmt.Sprintf("; none on %s: %v", name, s.Classifier.Unavailable[name])
	}
	var err error
	if r.Hits, err = f.Classifier.Hits(); err != nil {
		r.Hits = nil
		r.Notices = append(r.Notices, notice.Notice{
			Severity: notice.Note, Code: notice.HitsUnknown, Text: fmt.Sprintf("the matches of signatures are not known: %v", err),
		})
	}
}

// Hits returns how many packets each signature has matched.
func (f View) Hits() (map[string]uint64, error) { return f.Classifier.Hits() }
