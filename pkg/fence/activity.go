package fence

import (
	"context"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/ringfence/ringfence/pkg/activity"
	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/events"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Activity is who was dropped over a time, beside the fence as it is now.
type Activity struct {
	*activity.Activity
	// Now is the fence.
	Now *Status
	// Suggestions are sources that may be ones to let in.
	Suggestions []activity.Suggestion
	// Answer is about the moment that was asked for, nil if none was.
	Answer *activity.Answer
}

// Period is what an activity is about. At is a moment: then it is the time around it, and
// Since does not count.
type Period struct {
	Since, At time.Time
}

// EventsFile is where the daemon keeps who was dropped, and what he sent.
func (f *session) EventsFile() string { return filepath.Join(f.StateDir, "events.db") }

// Activity reads what was recorded of a period, and changes nothing.
func (f View) Activity(ctx context.Context, p Period) (*Activity, error) {
	now, err := f.Measure(ctx)
	if err != nil {
		return nil, err
	}
	since, until := p.Since, f.Now().Time.In(p.Since.Location())
	if !p.At.IsZero() {
		since, until = p.At.Add(-activity.AroundMoment), p.At.Add(activity.AroundMoment)
	}
	sum := activity.New(since, until)
	if err := readEvents(f.EventsFile(), since, until, sum); err != nil {
		return nil, err
	}
	if err := addKept(ctx, f, now, since, until, sum); err != nil {
		return nil, err
	}
	a := &Activity{Activity: sum.Activity(), Now: now, Suggestions: []activity.Suggestion{}}
	if now.site != nil {
		a.Suggestions = activity.Suggest(a.Activity, knownOf(f, now))
	}
	if !p.At.IsZero() {
		then, err := f.then(since, until)
		if err != nil {
			return nil, err
		}
		answer := activity.At(p.At, a.Activity, then)
		a.Answer = &answer
	}
	return a, nil
}

func readEvents(path string, since, until time.Time, sum *activity.Sum) error {
	counts, err := events.Counts(path, since, until)
	if err != nil {
		return err
	}
	for _, c := range counts {
		sum.Count(c)
	}
	return events.Read(path, since, until, func(r events.Record) error {
		sum.Add(r)
		return nil
	})
}

// addKept adds the sources that the kernel keeps.
func addKept(ctx context.Context, f View, now *Status, since, until time.Time, sum *activity.Sum) error {
	if !now.Table || now.site == nil {
		return nil
	}
	var list []Dropped
	for _, d := range now.kept {
		if !d.Last.Before(since) && !d.First.After(until) {
			list = append(list, ofKernel(d))
		}
	}
	if err := explainBy(ctx, &f.session, f.kernel(false), now.site, now.ByHand, list); err != nil {
		return err
	}
	for _, d := range list {
		sum.Seen(activity.Source{Address: d.Address, Packets: d.Packets, First: d.First, Last: d.Last, Reason: d.Reason})
	}
	return nil
}

// then is what was in force in a time.
func (f View) then(since, until time.Time) (then activity.Then, err error) {
	open := func(from, to time.Time) {
		if from.Before(since) {
			from = since
		}
		switch n := len(then.Open); {
		case !to.After(from):
		case n > 0 && then.Open[n-1].From.Equal(to): // from the last one to the first
			then.Open[n-1].From = from
		default:
			then.Open = append(then.Open, activity.Span{From: from, To: to})
		}
	}
	down, err := f.down()
	if err != nil {
		return then, err
	}
	end := until
	if down != nil && down.Time.Before(until) {
		open(down.Time, until)
		end = down.Time
	}
	numbers, err := f.Numbers()
	if err != nil {
		return then, err
	}
	for i, n := range slices.Backward(numbers) {
		e, err := f.Entry(n)
		if isDamaged(err) || err == nil && e.Time.After(end) && (i > 0 || n == 1) {
			continue
		}
		if err != nil {
			return then, err
		}
		s, err := f.siteOf(e, resolve.Memory{})
		if err != nil {
			return then, err
		}
		begin := e.Time
		if i == 0 && n > 1 {
			begin = since // before the oldest one that is stored there was another
		}
		if s.Policy.Monitor {
			open(begin, end)
		}
		if end = begin; !end.After(since) {
			return then, nil
		}
	}
	open(since, end) // before the first one
	return then, nil
}

// knownOf is what suggestions are made from.
func knownOf(f View, now *Status) activity.Known {
	k := activity.Known{Allowed: map[string][]netip.Prefix{}, Phones: slices.Clone(softphones)}
	for _, p := range now.Providers {
		for _, a := range p.Addresses {
			k.Allowed[p.Name] = append(k.Allowed[p.Name], a.Prefix)
		}
	}
	makers, err := catalog.Makers()
	if err != nil {
		f.Log.Info("read the makers of phones", "error", err)
	}
	for _, m := range makers {
		k.Phones = append(append(k.Phones, m.Name), m.Also...)
	}
	if f.Flows != nil {
		flows, err := f.Flows(now.site.Policy.Ports.UDP, now.site.Policy.Ports.TCP)
		if err != nil {
			f.Log.Info("read which exchanges are up", "error", err)
		}
		for _, flow := range flows {
			k.Live = append(k.Live, flow.From)
		}
	}
	state, _ := now.site.Compile()
	k.Passes = func(a netip.Addr) bool { return allows(state, now.ByHand, a) }
	return k
}

// allows reports whether an address is let in, whatever it sends.
func allows(state *ruleset.State, byHand []ByHand, a netip.Addr) bool {
	return state.Sets["providers"+familyOf(a)].Contains(a) || state.Sets["trusted"+familyOf(a)].Contains(a) || isByHand(byHand, a)
}

// softphones are what the User-Agents of phones begin with whose makers the catalog does
// not have.
var softphones = []string{
	"3cx", "acrobits", "audc", "avm", "baresip", "blink", "bria", "csipsimple", "fritz", "groundwire", "jitsi", "linksys", "linphone", "microsip", "mitel",
	"obihai", "openstage", "panasonic", "poly", "portsip", "sipura", "telephone", "twinkle", "unify", "zoiper",
}
