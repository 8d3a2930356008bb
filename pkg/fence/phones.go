package fence

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/events"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// learned is what the rules have added to sets by themselves, as it was at some moment.
// It is stored on disk, because it disappears from the kernel with the table. Failed
// logins are not stored: they count for a minute or so.
type learned struct {
	At     resolve.Moment `json:"at"`
	Phones []learnedPhone `json:"phones"`
	Bans   []learnedBan   `json:"bans"`
	// Logins are the addresses where somebody has logged in within a day: without them a
	// phone whose password is wrong would be taken for a guesser.
	Logins []learnedLogin `json:"logins,omitempty"`
}

type learnedPhone struct {
	Address netip.Addr   `json:"address"`
	Port    uint16       `json:"port,omitempty"`
	Left    resolve.Span `json:"left"`
	// Since is when the PBX accepted it first, as far as anybody has looked.
	Since time.Time `json:"since"`
}

type learnedLogin struct {
	Address netip.Addr   `json:"address"`
	Left    resolve.Span `json:"left"`
}

type learnedBan struct {
	Address netip.Addr   `json:"address"`
	Left    resolve.Span `json:"left"` // 0 = without end
	Comment string       `json:"comment,omitempty"`
}

func (p learnedPhone) place() backend.Phone {
	return backend.Phone{Address: p.Address, Port: p.Port, Left: time.Duration(p.Left)}
}

// later returns what is left of it at a later moment. How long a host was off is known by
// its wall clock alone. If that shows an earlier time than before, the phones are left
// out: they register again soon, and nobody may stay in for longer than the policy says.
func (l learned) later(now resolve.Moment) learned {
	passed, phones := now.Since(l.At), l.Phones
	if now.Boot != l.At.Boot {
		if now.Time.Before(l.At.Time) {
			phones = nil
		}
		passed = max(passed, time.Duration(now.Up))
	}
	left := func(s resolve.Span) resolve.Span {
		return resolve.Span((time.Duration(s) - passed).Truncate(time.Millisecond))
	}
	rest := learned{At: now}
	for _, k := range l.Logins {
		if k.Left = left(k.Left); time.Duration(k.Left) >= ShortestBan {
			rest.Logins = append(rest.Logins, k)
		}
	}
	for _, p := range phones {
		if p.Left = left(p.Left); time.Duration(p.Left) >= ShortestBan {
			rest.Phones = append(rest.Phones, p)
		}
	}
	for _, b := range l.Bans {
		if b.Left == 0 {
			rest.Bans = append(rest.Bans, b)
		} else if b.Left = left(b.Left); time.Duration(b.Left) >= ShortestBan {
			rest.Bans = append(rest.Bans, b)
		}
	}
	return rest
}

// same reports whether another one of about the same time has the same phones and bans,
// which end at the same time.
func (l learned) same(o learned) bool {
	const tolerance = 2 * time.Second // the kernel counts in ticks
	// Each login lets its address be known for a day again. That is not worth a write.
	const toleranceOfLogins = time.Hour
	o = o.later(l.At)
	near := func(a, b resolve.Span) bool { return time.Duration(a-b).Abs() <= tolerance }
	return slices.EqualFunc(l.Phones, o.Phones, func(a, b learnedPhone) bool {
		return a.place().Compare(b.place()) == 0 && near(a.Left, b.Left)
	}) && slices.EqualFunc(l.Bans, o.Bans, func(a, b learnedBan) bool {
		return a.Address == b.Address && near(a.Left, b.Left) && a.Comment == b.Comment
	}) && slices.EqualFunc(l.Logins, o.Logins, func(a, b learnedLogin) bool {
		return a.Address == b.Address && time.Duration(a.Left-b.Left).Abs() <= toleranceOfLogins
	})
}

// memoryOfPhones keeps what the rules have learned over the end of a table.
type memoryOfPhones struct{ *session }

func (f *session) phones() memoryOfPhones { return memoryOfPhones{f} }

// saved returns what was saved last, as it would be now.
func (f memoryOfPhones) saved() (learned, error) {
	var l learned
	err := journal.ReadOrAside(f.Journal, journal.PhonesFile, &l)
	return l.later(f.Now()), err
}

// now reads what the kernel holds. Each phone is known since the PBX has accepted it last,
// or since what was saved says.
func (f memoryOfPhones) now(ctx context.Context, kernel backend.Kernel, life time.Duration, saved learned) (learned, error) {
	l := learned{At: f.Now()}
	phones, err := kernel.Phones(ctx)
	if err != nil {
		return l, err
	}
	bans, err := kernel.Bans(ctx)
	if err != nil {
		return l, err
	}
	known, err := kernel.Logins().List(ctx)
	if err != nil {
		return l, err
	}
	for _, k := range known {
		l.Logins = append(l.Logins, learnedLogin{k.Address, resolve.Span(k.Left)})
	}
	for _, p := range phones {
		l.Phones = append(l.Phones, learnedPhone{p.Address, p.Port, resolve.Span(p.Left), l.At.Time.Add(min(p.Left-life, 0)).Round(time.Second)})
	}
	for _, b := range bans {
		l.Bans = append(l.Bans, learnedBan{b.Address, resolve.Span(b.Left), b.Comment})
	}
	since := map[backend.Phone]time.Time{}
	for _, p := range saved.Phones {
		since[backend.Phone{Address: p.Address, Port: p.Port}] = p.Since
	}
	for i, p := range l.Phones {
		if t, ok := since[backend.Phone{Address: p.Address, Port: p.Port}]; ok && t.Before(p.Since) {
			l.Phones[i].Since = t
		}
	}
	return l, nil
}

// save stores what the kernel holds, if that is new. The lock is held.
func (f memoryOfPhones) save(ctx context.Context, kernel backend.Kernel, life time.Duration) error {
	saved, damaged := f.saved()
	if damaged != nil {
		f.Notice.Warn(notice.StateDamaged, "%v; continuing without it", damaged)
	}
	l, err := f.now(ctx, kernel, life, saved)
	if err != nil || l.same(saved) {
		return err
	}
	return journal.Write(f.Journal, journal.PhonesFile, l)
}

// keep saves what the kernel holds, for a table that may be gone a moment later. Without
// it only what was saved before comes back.
func (f memoryOfPhones) keep(ctx context.Context, kernel backend.Kernel) {
	there, err := kernel.Exists(ctx)
	if err != nil || !there {
		return
	}
	life, err := life(f.session)
	if err == nil {
		err = f.save(ctx, kernel, life)
	}
	if err != nil {
		f.Log.Info("save the phones that have registered and the bans", "error", err)
	}
}

// restore puts back what a table that was made again has forgotten. The lock is held.
func (f memoryOfPhones) restore(ctx context.Context, kernel backend.Kernel) error {
	l, err := f.saved()
	if err != nil || len(l.Phones)+len(l.Bans)+len(l.Logins) == 0 {
		return err
	}
	logins := make([]backend.Phone, 0, len(l.Logins))
	for _, k := range l.Logins {
		logins = append(logins, backend.Phone{Address: k.Address, Left: time.Duration(k.Left)})
	}
	phones := make([]backend.Phone, 0, len(l.Phones))
	for _, p := range l.Phones {
		phones = append(phones, p.place())
	}
	bans := make([]backend.Banned, 0, len(l.Bans))
	for _, b := range l.Bans {
		bans = append(bans, backend.Banned{Address: b.Address, Left: time.Duration(b.Left), Comment: b.Comment})
	}
	if err := errors.Join(kernel.PutBack(ctx, phones, bans), kernel.Logins().Add(ctx, logins)); err != nil {
		return err
	}
	f.Log.Info("put back what the rules had learned", "phones", len(phones), "bans", len(bans), "logins", len(logins))
	return nil
}

// putBack does that, and reports why it could not.
func (f memoryOfPhones) putBack(ctx context.Context, kernel backend.Kernel) {
	if err := f.restore(ctx, kernel); err != nil {
		f.Notice.Warn(notice.NotLearnedAgain, "phones may have to register again, and bans may have ended: %v", err)
	}
}

// forgets reports whether a plan makes a set of what the rules learn that was not there, or
// held something else.
func forgets(p *plan.Plan) bool {
	for _, set := range []string{"phones4", "phones6", "banned4", "banned6", "known4", "known6"} {
		_, there := p.Have.Sets[set]
		if _, wanted := p.Want.Sets[set]; wanted && !there {
			return true
		}
	}
	return remakes(p)
}

// remakes reports whether a plan makes the sets of phones again, of another kind: what they
// hold has to be saved before, and put back as the new ones hold it.
func remakes(p *plan.Plan) bool {
	for _, set := range []string{"phones4", "phones6"} {
		have, there := p.Have.Sets[set]
		want, wanted := p.Want.Sets[set]
		if there && wanted && have.Key != want.Key {
			return true
		}
	}
	return false
}

// Registered is a phone that is let in because the PBX has accepted its registration.
type Registered struct {
	Address netip.Addr
	Port    uint16 // 0 = every port
	// Since is when the PBX has accepted it first, as far as anybody has looked, and
	// Until when it is out unless it is accepted again.
	Since, Until time.Time
	// UserAgent is what it has sent when it was dropped once, "" if that is not known.
	UserAgent string
}

// Phones lists the phones that are let in because the PBX has accepted them.
func (f View) Phones(ctx context.Context) ([]Registered, error) {
	kernel := f.kernel(false)
	have, err := kernel.Observe(ctx)
	if err != nil {
		return nil, err
	}
	if have.Exists && !learns(have) {
		f.Notice.Note(notice.NobodyRegisters, "nobody is let in for having registered: that needs unknown.action: register in the policy")
	}
	life, err := life(&f.session)
	if err != nil {
		return nil, err
	}
	var saved learned
	if err := journal.Read(f.Journal, journal.PhonesFile, &saved); err != nil {
		f.Notice.Warn(notice.StateDamaged, "%v; since when phones are in is not known", err)
	}
	l, err := f.phones().now(ctx, kernel, life, saved.later(f.Now()))
	if err != nil {
		return nil, fmt.Errorf("read phones: %w", err)
	}
	agents := f.userAgents(l.Phones)
	var list []Registered
	for _, p := range l.Phones {
		until := l.At.Time.Add(time.Duration(p.Left)).Round(time.Second)
		list = append(list, Registered{p.Address, p.Port, p.Since, until, agents[p.Address]})
	}
	return list, nil
}

// userAgents returns the last User-Agent that each phone's address has sent in a packet
// that was dropped: the others are not looked at.
func (f View) userAgents(phones []learnedPhone) map[netip.Addr]string {
	agents, last := map[netip.Addr]string{}, map[netip.Addr]time.Time{}
	for _, p := range phones {
		agents[p.Address] = ""
	}
	if len(agents) == 0 {
		return agents
	}
	err := events.Read(f.EventsFile(), time.Time{}, time.Time{}, func(r events.Record) error {
		if _, ok := agents[r.Source]; ok && r.UserAgent != "" && !r.Last.Before(last[r.Source]) {
			agents[r.Source], last[r.Source] = r.UserAgent, r.Last
		}
		return nil
	})
	if err != nil {
		f.Log.Info("read the User-Agents of phones", "error", err)
	}
	return agents
}

// learns reports whether a table lets phones in that have registered.
func learns(have *ruleset.State) bool {
	_, v4 := have.Sets["phones4"]
	_, v6 := have.Sets["phones6"]
	return v4 || v6
}

// life is how long the newest generation lets a phone in.
func life(f *session) (time.Duration, error) {
	newest, err := f.newest()
	if newest == nil || err != nil {
		return 0, err
	}
	s, err := f.siteOf(newest, resolve.Memory{})
	if err != nil {
		return 0, err
	}
	return s.Policy.Roaming.Life, nil
}
