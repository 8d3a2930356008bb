package fence

import (
	"context"
	"time"

	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/site"
)

// Due returns the time until the next name must be asked for.
func (r *Reconciler) Due() time.Duration {
	due, now := time.Hour, r.fence.Now()
	if u := r.fence.unconfirmed(); u != nil {
		due = min(due, unconfirmedLeft(u, now))
	}
	if r.site == nil {
		return due
	}
	if oldest := r.askedAgain[0]; r.again && oldest.Time.IsZero() {
		return 0
	} else if r.again {
		due = min(due, max(0, askAgainWithin-now.Since(oldest)))
	}
	for _, t := range site.Targets(r.site.Policy) {
		due = min(due, r.memory.Due(t, now))
	}
	if r.fence.Fetch != nil {
		for _, l := range site.Lists(r.site.Policy) {
			due = min(due, r.memory.Lists.Due(l.URL, now))
		}
	}
	return due
}

// Answers are what Ask has found out.
type Answers struct {
	Names []resolve.Result
	Lists []resolve.ListResult
}

// Ask returns a function that asks for the names and lists that are due or soon will be.
// It runs concurrently with the other methods. Ask returns nil if there is nothing to ask.
func (r *Reconciler) Ask() func(context.Context) Answers {
	if r.site == nil {
		return nil
	}
	now := r.fence.Now()
	soon := r.site.Policy.DNS.Min / 10
	servers := r.site.Policy.DNS.Servers
	q := resolve.Inquiry{Memory: r.memory, Settings: r.site.Settings(), Unhurried: true}
	for _, t := range site.Targets(r.site.Policy) {
		if r.again || r.memory.Due(t, now) <= soon {
			q.Targets = append(q.Targets, t)
		}
	}
	var lists []resolve.List
	for _, l := range q.Settings.Lists {
		if r.again || r.memory.Lists.Due(l.URL, now) <= soon {
			lists = append(lists, l)
		}
	}
	if r.again {
		r.again = false
		copy(r.askedAgain[:], r.askedAgain[1:])
		r.askedAgain[len(r.askedAgain)-1] = now
	}
	return func(ctx context.Context) Answers {
		fetched := r.fence.beginFetch(ctx, lists, q.Memory, nil)
		names := askAbout(ctx, &r.fence.session, q, servers)
		return Answers{names, fetched()}
	}
}

// askAgainWithin is the time within which all names are asked for because of AskAgain at
// most as often as askedAgain remembers: a link may come and go all the time.
const askAgainWithin = 10 * time.Second

// AskAgain makes all names due, because others may answer now than before.
func (r *Reconciler) AskAgain() { r.again = true }

// Learn puts answers into force. They are about names and lists only, so it does not matter for
// which generation they were asked.
func (r *Reconciler) Learn(ctx context.Context, answers Answers) (Outcome, error) {
	var o Outcome
	err := r.locked(ctx, &o, func() error {
		s := *r.site
		s.Answers, s.Lists, s.Asked = answers.Names, answers.Lists, true
		before := s
		before.Memory = r.memory
		if err := r.sync(ctx, &s, &o, func() { r.save(s.Whole(), r.fence.Now()) }); err != nil {
			return err
		}
		recordMoves(&r.fence.session, &before, &s, r.newest.Number, "run")
		r.site.Host, r.site.Classifier = s.Host, s.Classifier
		return nil
	})
	return o, err
}

// save takes over a memory. It writes the memory if that says anything new, and
// otherwise at most as often as names are asked for, because flash wears out. If
// writing fails, the memory lasts as long as this process.
func (r *Reconciler) save(memory resolve.Memory, now resolve.Moment) {
	age := now.Since(r.saved)
	due := !r.memory.Same(memory) || age >= r.site.Policy.DNS.Min || r.saved.Time.IsZero()
	r.memory, r.unsaved = memory, true
	if !due {
		return
	}
	if err := r.fence.WriteAddresses(memory); err != nil {
		r.fence.Log.Error("save addresses; they are used all the same", "error", err)
		return
	}
	r.read, r.saved, r.unsaved = markOf(r.addressesFile()), now, false
}
