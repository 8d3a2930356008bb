package fence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// RefreshOptions are the options of Refresh.
type RefreshOptions struct {
	// Large are the names whose answers may have any number of records.
	Large []string
}

// Refreshed is the result of a refresh.
type Refreshed struct {
	// Idle says why nothing was done, "" if something was.
	Idle       string
	Plan       *plan.Plan // nil if nothing was done
	Generation int        // the one in force
	Unread     error      // why that is not known
	Size       string     // of the policy's names
	// Notices are all present ones, News those that no run has shown to the user yet.
	// Alarms counts the alarms among Notices.
	Notices, News []notice.Notice
	Alarms        int
	Partly        bool // a name has failed, there is an alarm, or something was not saved
}

// refreshTries is how often Refresh starts again because a new generation was made
// while it asked for the names of the previous one.
const refreshTries = 3

// Refresh asks for the names of the newest generation, and puts their addresses and
// everything that is missing into the kernel. Its notices include those found on the
// way, so that not every run has to show them.
func (f *Fence) Refresh(ctx context.Context, o RefreshOptions) (*Refreshed, error) {
	show, heard := f.Notice, &notices{}
	f.Notice, f.notice = heard.add, heard.add
	defer func() { f.Notice, f.notice = show, show }()
	r, err := f.refresh(ctx, o, heard)
	if err != nil || r.Idle != "" {
		show.Send(*heard...)
	}
	return r, err
}

// notices are those of one command.
type notices []notice.Notice

func (list *notices) add(n notice.Notice) { *list = append(*list, n) }

func (f *Fence) refresh(ctx context.Context, o RefreshOptions, heard *notices) (*Refreshed, error) {
	if err := f.Probe(ctx); err != nil {
		return nil, err
	}
	for range refreshTries {
		if why, err := whyDown(ctx, f); why != "" || err != nil {
			return idle(f, why, err)
		}
		newest, err := generationOrKilled(ctx, f)
		if errors.Is(err, journal.ErrLocked) {
			return idle(f, fmt.Sprintf("Nothing was done: %v.", err), nil)
		}
		if err != nil {
			return nil, err
		}
		s, err := f.siteOf(newest, resolve.Memory{})
		if err != nil {
			return nil, err
		}
		if err := f.readHost(s); err != nil {
			return nil, err
		}
		remembered := f.peekMemory(newest)
		large, err := site.Mentioned(s.Policy, o.Large, remembered)
		if err != nil {
			return nil, err
		}
		f.ask(ctx, s, remembered, large)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f.engine.prepare(*s)
		f.lookForProxies(ctx)
		refreshed, err := refreshFrom(ctx, f, newest, s, heard)
		f.keepProxies(ctx)
		if errors.Is(err, journal.ErrLocked) {
			// The next run of cron will do it.
			return idle(f, fmt.Sprintf("Nothing was done: %v.", err), nil)
		}
		if err != nil || refreshed != nil {
			return refreshed, err
		}
	}
	// The runs that made the newer generations have put them into force.
	return idle(f, fmt.Sprintf("Nothing was done: a newer generation was made %d times while names were asked for.", refreshTries), nil)
}

// idle returns the result of a refresh that did nothing.
func idle(f *Fence, why string, err error) (*Refreshed, error) {
	if err != nil {
		return nil, err
	}
	newest, err := f.newest()
	return &Refreshed{Idle: why, Generation: numberOf(newest), Unread: err}, nil
}

// whyDown says that the fence was taken down on purpose, if it was.
func whyDown(ctx context.Context, f *Fence) (string, error) {
	down, err := f.down()
	if err == nil && down != nil && down.Phase != journal.Resting {
		// Another run is working on it, or was killed while it did.
		var leave func()
		if leave, err = f.enter(ctx, "refresh"); err != nil {
			return "", err
		}
		down, err = f.down()
		leave()
	}
	if down == nil || err != nil {
		return "", err
	}
	by := ""
	if !down.Time.IsZero() {
		by = fmt.Sprintf(" by %s %s", down.User, notice.Ago(down.Time))
	}
	return "The fence was taken down" + by + "; nothing was done. Put it up with ringfence apply or ringfence up.", nil
}

// generationOrKilled is like generation. It also works if the very first apply was
// killed before its generation got a number.
func generationOrKilled(ctx context.Context, f *Fence) (*journal.Entry, error) {
	newest, err := f.generation()
	if !errors.Is(err, journal.ErrNone) {
		return newest, err
	}
	if !f.Begun() {
		return nil, err
	}
	leave, err := f.enter(ctx, "refresh")
	if err != nil {
		return nil, err
	}
	leave()
	return f.generation()
}

// refreshFrom puts the answers for a generation into force. If a newer one was made
// meanwhile, it does nothing and returns nil.
func refreshFrom(ctx context.Context, f *Fence, from *journal.Entry, s *site.Site, heard *notices) (*Refreshed, error) {
	leave, err := f.enter(ctx, "refresh")
	if err != nil {
		return nil, err
	}
	defer leave()
	down, err := f.down()
	if err != nil {
		return nil, err
	}
	numbers, err := f.Numbers()
	if err != nil {
		return nil, err
	}
	if down != nil || len(numbers) == 0 || numbers[len(numbers)-1] != from.Number {
		return nil, nil
	}
	old, err := f.recall(true, from)
	if err != nil {
		return nil, err
	}
	s.Remember(old, f.Now())
	c := change{tables: f.kernel(false), before: f.siteBefore(s, from, old)}
	var unsaved error
	c.begin = func(p *plan.Plan, _ *ruleset.State) error {
		if unsaved = f.keep(s); unsaved != nil && p.Empty() {
			return unsaved
		}
		return nil // a full disk must not block a registrar
	}
	p, err := f.sync(ctx, s, c)
	if err != nil {
		return nil, err
	}
	f.inForce = true
	f.note(ctx, c.tables, p)
	f.keepForm(from, s)
	recordMoves(&f.session, c.before, s, from.Number, "refresh")
	logNames(f.Log, s.Memory)
	r := &Refreshed{Plan: p, Generation: from.Number, Size: s.Size()}
	look := lookFor(ctx, &f.session, c.tables, s, from, p.Want)
	f.records().keepCounts(look)
	alarms := s.Alarms(look)
	r.Alarms, r.Partly = len(alarms), site.NeedsSomebody(s.Memory, alarms) || unsaved != nil
	r.Notices = slices.Concat(*heard, s.HostWarnings(), site.NameNotices(s.Memory, alarms), alarmNotices(alarms))
	if unsaved != nil {
		r.Notices = append(r.Notices, notice.Warningf(notice.StateUnsaved, "the kernel is up to date, but the addresses could not be saved: %v", unsaved))
	}
	r.News = f.records().keep(r.Notices)
	return r, nil
}

// logNames logs what is known about each name and each question.
func logNames(log *slog.Logger, m resolve.Memory) {
	for _, k := range m.Names {
		missing := 0
		for _, address := range k.Addresses {
			if !address.MissingSince.IsZero() {
				missing++
			}
		}
		log.Debug("name", "name", k.Name, "addresses", len(k.Addresses), "missing", missing,
			"waiting", len(k.Quarantined), "left_out", len(k.Rejected), "next_look", time.Duration(k.Next))
		for _, q := range k.Questions {
			log.Debug("question", "name", q.Name, "type", q.Type, "last_good", q.LastGood, "last_failure", q.LastFailure, "error", q.Error)
		}
	}
}
