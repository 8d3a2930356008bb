package fence

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/site"
)

// ApplyOptions say which guards of Apply are overridden.
type ApplyOptions struct {
	Allow site.Allowances
	// Adopt allows to replace a table that another program has made.
	Adopt bool
	// Confirm is the time after which the change is undone unless it is confirmed, 0 for
	// never.
	Confirm time.Duration
	// Agree, if not nil, is called with the plan, unless the plan is empty. Its error
	// ends the command.
	Agree func(ctx context.Context, p *plan.Plan) error
}

// Applied is the result of a command that puts a policy into force.
type Applied struct {
	Plan *plan.Plan
	// Generation is the one in force. New says that this command made it.
	Generation int
	New        bool
	// Notices are about what is in force now. Partly says that a name has failed or
	// that there is an alarm.
	Notices []notice.Notice
	Partly  bool
	// Monitor says that what would be dropped passes.
	Monitor bool
	// Pending says that the change is undone unless it is confirmed, nil if it stays.
	Pending *Pending
}

// Apply puts a policy into force, with the present addresses of its names.
func (f *Fence) Apply(ctx context.Context, policy Policy, o ApplyOptions) (*Applied, error) {
	s, err := f.gather(ctx, policy, false)
	if err != nil {
		return nil, err
	}
	for _, name := range o.Allow.Empty {
		if !site.HasProvider(s.Policy, name) {
			return nil, fmt.Errorf("provider %q may be empty, but the policy has no provider of that name", name)
		}
	}
	var agreed []plan.Change
	if o.Agree != nil {
		if agreed, err = f.agree(ctx, *s, o); err != nil {
			return nil, err
		}
	}
	f.engine.prepare(*s)
	prepareLists(&f.session, s)
	leave, err := f.enter(ctx, "apply")
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := refusePending(&f.session); err != nil {
		return nil, err
	}
	before, newest, err := f.background(s, true)
	if err != nil {
		return nil, err
	}
	c := change{before: before, strict: true, otherPolicy: true, window: o.Confirm}
	if c.guards, err = f.guards(ctx, s, o, newest); err != nil {
		return nil, err
	}
	if o.Agree != nil {
		c.guards = append(c.guards, sameAs(agreed))
	}
	p, generation, err := f.commit(ctx, s, c, newest, "apply")
	if err != nil {
		return nil, err
	}
	applied := &Applied{Plan: lasting(p), Generation: generation, New: generation != numberOf(newest), Monitor: s.Policy.Monitor}
	applied.Pending = pendingNow(&f.session)
	alarms := s.Alarms(site.Look{Now: f.Now(), Words: f.Words, Generation: generation, Table: p.Want, Earlier: f.records().notices()})
	applied.Notices = slices.Concat(site.FileWarnings(s.Policy), s.Warnings(), site.NameNotices(s.Memory, alarms), alarmNotices(alarms))
	applied.Partly = site.NeedsSomebody(s.Memory, alarms)
	f.records().keep(applied.Notices)
	return applied, nil
}

// prepareLists makes what a large policy and the one before it list, so that this does not
// take time while the lock is held.
func prepareLists(f *session, s *site.Site) {
	s.Listed.Make()
	newest, err := f.Newest()
	if err != nil || newest == nil {
		return // which is reported where it is needed
	}
	if before, err := f.parseEntry(newest); err == nil {
		before.listed.Make()
	}
}

// readFlows reads which exchanges of SIP are up. What is not known ends unseen.
func readFlows(ctx context.Context, f *session, s *site.Site) {
	if f.Flows == nil || s.Policy.Monitor {
		return
	}
	var err error
	if s.Contacts.Flows, err = f.Flows(s.Policy.Ports.UDP, s.Policy.Ports.TCP); err != nil {
		f.Log.Info("read the connections of now", "error", err)
	}
	allowed, err := allowedByHand(ctx, f.kernel(true))
	if err != nil {
		f.Log.Info("read what is allowed by hand", "error", err)
	}
	for _, a := range allowed {
		s.Contacts.ByHand = append(s.Contacts.ByHand, a.Address)
	}
}

// guards returns the guards for the change to a site. What the newest generation
// already does is not refused: it was accepted when that was made, or the host has
// changed since.
func (f *committer) guards(ctx context.Context, s *site.Site, o ApplyOptions, newest *journal.Entry) ([]plan.Guard, error) {
	foreign, err := foreignTable(&f.session, o.Adopt)
	if err != nil {
		return nil, err
	}
	readFlows(ctx, &f.session, s)
	allow := o.Allow
	if before := f.siteBefore(s, newest, s.Whole()); before != nil {
		before.Host, before.Contacts = s.Host, s.Contacts
		allow = allow.As(before)
	}
	return append(foreign, s.Guards(allow)...), nil
}

// sameAs refuses a plan that differs from the one that the user agreed to.
func sameAs(agreed []plan.Change) plan.Guard {
	return func(p *plan.Plan) error {
		if !reflect.DeepEqual(lasting(p).Changes, agreed) {
			return errors.New("the changes are no longer those that you agreed to, so nothing was changed: run it again")
		}
		return nil
	}
}

// agree asks the user to agree to the changes and returns them. The site is a copy,
// because nothing of this is kept.
func (f *committer) agree(ctx context.Context, s site.Site, o ApplyOptions) ([]plan.Change, error) {
	before, newest, err := f.background(&s, false)
	if err != nil {
		return nil, err
	}
	p, err := f.planFor(ctx, f.kernel(false), &s, before)
	if err != nil {
		return nil, err
	}
	guards, err := f.guards(ctx, &s, o, newest)
	if err != nil {
		return nil, err
	}
	if err := p.Check(guards...); err != nil || p.Empty() {
		return p.Changes, err
	}
	return p.Changes, o.Agree(ctx, p)
}

// DiffOptions are the options of Diff.
type DiffOptions struct {
	// Offline asks no name server.
	Offline bool
	// Full reads the whole table even if no rule has changed.
	Full bool
}

// Difference is what Apply would change.
type Difference struct {
	Plan       *plan.Plan
	Generation int // in force now
	Notices    []notice.Notice
	// Refusal is the refusal of a guard, nil if no guard would refuse.
	Refusal *plan.Refusal
}

// Diff returns what Apply would change. It keeps nothing.
func (f *Fence) Diff(ctx context.Context, policy Policy, o DiffOptions) (*Difference, error) {
	s, err := f.gather(ctx, policy, o.Offline)
	if err != nil {
		return nil, err
	}
	before, newest, err := f.background(s, false)
	if err != nil {
		return nil, err
	}
	p, err := f.planFor(ctx, f.kernel(o.Full), s, before)
	if err != nil {
		return nil, err
	}
	d := &Difference{Plan: p, Generation: numberOf(newest)}
	d.Notices = append(site.RejectedNotices(s.Memory), site.FailureNotices(s.Memory.Refresh.Failures)...)
	if n := s.FromMemory(); n > 0 {
		d.Notices = append(d.Notices, notice.Notice{
			Severity: notice.Note, Code: notice.NamesRemembered,
			Text: fmt.Sprintf("for %s this uses the addresses of earlier answers", notice.Count(n, "name")),
		})
	}
	d.Notices = append(slices.Concat(d.Notices, site.FileWarnings(s.Policy), s.Warnings()), alarmNotices(s.LinkAlarms())...)
	guards, err := f.guards(ctx, s, ApplyOptions{}, newest)
	if err != nil {
		return nil, err
	}
	d.Refusal, _ = errors.AsType[*plan.Refusal](p.Check(guards...))
	return d, nil
}
