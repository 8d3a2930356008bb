package fence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// gather loads what a command needs that starts from the policy file: the policy, the
// host and, unless offline, the answers to all questions. It looks at the kernel first,
// so that a user without the right to change it need not wait for DNS. The lock must
// not be held.
func (f *committer) gather(ctx context.Context, p Policy, offline bool) (*site.Site, error) {
	f.choice = p.Backend
	if err := f.Probe(ctx); err != nil {
		return nil, err
	}
	s := &site.Site{Policy: p.Policy, Listed: f.keepParsed(p.Text, p.Policy).listed, Text: p.Text, Source: p.Source}
	if err := f.readHost(s); err != nil {
		return nil, err
	}
	if why := s.LacksClassifier(); why != "" {
		return nil, notice.WithHint(fmt.Errorf("%s, and scanners cannot be recognised here: %w", why, s.Classifier.Obstacle),
			"correct that, or write signatures.engine: auto and leave require_user_agent out")
	}
	if !offline {
		newest, _ := f.Newest() // a damaged one is reported where it is needed
		f.ask(ctx, s, f.peekMemory(newest), nil)
	}
	return s, ctx.Err()
}

// background sets what the site remembers. It returns the site that the kernel's rules
// were made from and the newest generation; both are nil if no generation can be read.
// With aside, damaged addresses are set aside.
func (f *committer) background(s *site.Site, aside bool) (before *site.Site, newest *journal.Entry, err error) {
	// The policy comes from its file, so a damaged generation is not needed.
	if newest, err = f.newestOrDamaged(); err != nil {
		return nil, nil, err
	}
	old, err := f.recall(aside, newest)
	if err != nil {
		return nil, nil, err
	}
	s.Remember(old, f.Now())
	return f.siteBefore(s, newest, old), newest, nil
}

// desired returns the desired state of a site. before is what the present addresses
// were compiled from, nil if not known. An error is about the signatures.
func (f *committer) desired(s, before *site.Site) (control.Desired, error) {
	if err := f.engine.classify(s); err != nil {
		return control.Desired{}, err
	}
	state, origins := s.Compile()
	arm(&f.session, state)
	d := control.Desired{State: state, Will: origins}
	if before != nil {
		d.Why = s.DiffersFrom(before)
		d.Was = before.Origins
	}
	return d, nil
}

// planFor returns the plan that would bring the kernel to the desired state of a site.
func (f *committer) planFor(ctx context.Context, tables control.Kernel, s, before *site.Site) (*plan.Plan, error) {
	d, err := f.desired(s, before)
	if err != nil {
		return nil, err
	}
	return control.Controller{Kernel: f.withClassifier(tables, s)}.Plan(ctx, d)
}

// change describes how to bring a kernel to the desired state of a site.
type change struct {
	tables backend.Kernel
	before *site.Site // what the kernel's rules were made from, nil if that is not known
	guards []plan.Guard
	// begin is called as in control, with the desired state. It is called again, with
	// another state, if the classifier cannot be attached.
	begin func(p *plan.Plan, want *ruleset.State) error
	// strict refuses a site that requires the classifier if it cannot be attached.
	// otherPolicy says that what is attached was made for another policy.
	strict, otherPolicy bool
	// window is the time for a confirmation, 0 for none.
	window time.Duration
}

// sync brings the kernel to the desired state of a site. If the classifier cannot be
// attached, the attached one stays if it fits. Otherwise the fence is put up without a
// classifier, unless the site is strict and requires it.
func (f *committer) sync(ctx context.Context, s *site.Site, c change) (*plan.Plan, error) {
	s.Classifier.Kept = nil
	for {
		d, err := f.desired(s, c.before)
		if err != nil {
			return nil, err
		}
		d.Guards = c.guards
		kernel := f.withClassifier(c.tables, s)
		p, err := control.Controller{Kernel: kernel}.Sync(ctx, d, func(p *plan.Plan) error { return c.begin(p, d.State) })
		if !errors.Is(err, control.ErrClassifier) || c.strict && site.RequiresClassifier(s.Policy) != "" {
			return p, err
		}
		for _, line := range f.Classifier.Details(err) {
			f.Log.Debug("verifier", "line", line)
		}
		f.engine.forget()
		if s.Classifier.Kept == nil && f.keepAttached(s, c.otherPolicy) {
			f.Notice.Warn(notice.ClassifierNotReplaced, "%v; the classifier stays as it is, on %s", err, strings.Join(s.Classifier.Kept.Interfaces(), ", "))
			continue
		}
		s.Classifier.Obstacle = err
		f.Notice.Warn(notice.ClassifierNotAttached, "%v; the fence works without it", err)
		s.Host.Engine = ""
	}
}

// keepAttached makes the site use the classifier that is attached, if that fits.
func (f *committer) keepAttached(s *site.Site, otherPolicy bool) bool {
	observed, err := f.Classifier.Observe()
	return err == nil && s.KeepAttached(observed, otherPolicy)
}

// commit puts the site into force and returns the generation that is then in force: a
// new one if the policy's text differs from that of the newest. The files on disk
// change only together with the kernel: if the commit fails, the next run finds
// everything as it was.
func (f *committer) commit(ctx context.Context, s *site.Site, c change, newest *journal.Entry, command string) (*plan.Plan, int, error) {
	down, err := f.down()
	if err != nil {
		return nil, 0, err
	}
	var pending *journal.Pending
	begun := false
	c.tables = f.kernel(false)
	if f.arming, err = f.toConfirm(ctx, s, c, newest); err != nil {
		return nil, 0, err
	}
	armed := f.arming
	defer func() { f.arming = nil }()
	c.begin = func(p *plan.Plan, want *ruleset.State) error {
		begun = true
		if remakes(p) {
			f.phones().keep(ctx, c.tables)
		}
		if err := f.begun(ctx, armed); err != nil {
			return err
		}
		if newest != nil && newest.Policy == s.Text && armed == nil {
			// The names are the same as before, so knowing more about them does no
			// harm.
			err = f.keep(s)
		} else {
			pending, err = f.beginGeneration(s, want, command)
		}
		if err != nil {
			return err
		}
		return f.comingUp(down)
	}
	p, err := f.sync(ctx, s, c)
	if err != nil {
		if begun {
			err = f.restoreDown(down, err)
		}
		if pending != nil {
			err = errors.Join(err, pending.Discard())
		}
		if begun && armed != nil {
			err = errors.Join(err, f.ClearUnconfirmed())
			unwatch(ctx, &f.session, armed)
		}
		return p, 0, err
	}
	f.inForce = true
	noted := f.beginNote(ctx, c.tables, p)
	defer noted()
	f.isUp(down)
	if pending == nil {
		recordMoves(&f.session, c.before, s, newest.Number, command)
		return p, newest.Number, nil
	}
	err = f.finish(s, pending, command)
	return p, pending.Number, err
}

// finish gives a generation that is in force its number.
func (f *committer) finish(s *site.Site, pending *journal.Pending, command string) error {
	// The generation has the same addresses, and is used if they cannot be saved here.
	kept := aside(func() error { return f.keep(s) })
	err := pending.Finish()
	unsaved := kept()
	if pending.Number == 0 {
		return notice.WithHint(fmt.Errorf("%w: %w", ErrUnrecorded, err), "repair the state folder and run ringfence %s again", command)
	}
	f.keepForm(pending.Entry, s)
	if err := errors.Join(err, unsaved); err != nil {
		f.Notice.Warn(notice.StateUnsaved, "%v", err)
	}
	return nil
}

// ErrUnrecorded says that a change is in force, and that its generation has no number yet.
// The next run gives it one.
var ErrUnrecorded = errors.New("the rules are in force, but their generation could not be recorded")

// toConfirm returns the mark of the generation that a change is about to make, nil if it
// needs no confirmation.
func (f *committer) toConfirm(ctx context.Context, s *site.Site, c change, newest *journal.Entry) (*journal.Unconfirmed, error) {
	if c.window == 0 {
		return nil, nil
	}
	p, err := f.planFor(ctx, c.tables, s, c.before)
	if err != nil {
		return nil, err
	}
	return f.prepareUnconfirmed(c.window, p, newest)
}

// beginGeneration writes the generation that is about to be committed.
func (f *committer) beginGeneration(s *site.Site, state *ruleset.State, command string) (*journal.Pending, error) {
	addresses, err := json.Marshal(s.Memory)
	if err != nil {
		return nil, fmt.Errorf("write addresses: %w", err)
	}
	facts := s.Host
	facts.Classified = s.Classifier.Desired.Interfaces()
	compiled, err := json.Marshal(withLifetime(state, 0, func(ruleset.Element) bool { return true }))
	if err != nil {
		return nil, fmt.Errorf("write state: %w", err)
	}
	return f.Begin(&journal.Entry{
		Time: time.Now(), User: f.User, Command: command, Version: f.Version,
		Source: s.Source, Policy: s.Text, Host: facts, Addresses: addresses, State: compiled,
	})
}

// foreignTable returns the guard against replacing another program's table. There is
// none once a policy was applied.
func foreignTable(f *session, adopt bool) ([]plan.Guard, error) {
	numbers, err := f.Numbers()
	if adopt || err != nil || len(numbers) > 0 {
		return nil, err
	}
	shown := f.kernel(true).Describe()
	return []plan.Guard{plan.ForeignTable(compile.Counters(), shown.Place, shown.Look)}, nil
}
