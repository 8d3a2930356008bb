package fence

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// Why says what happens to a packet under the rules that are in the kernel now, and why. It
// changes nothing.
func (f View) Why(ctx context.Context, q site.Question) (site.Answer, error) {
	newest, err := f.generation()
	if errors.Is(err, ErrNoGeneration) {
		return f.withoutFence(ctx, q, err)
	}
	if err != nil {
		return site.Answer{}, err
	}
	s, err := siteOfNow(f, newest)
	if err != nil {
		return site.Answer{}, err
	}
	live, err := f.live(ctx, s.Policy)
	if err != nil {
		return site.Answer{}, err
	}
	if err := f.readDrops(ctx, q.Address, &live); err != nil {
		return site.Answer{}, err
	}
	a, err := s.Why(live, q)
	if err != nil {
		return a, notice.WithHint(err, "ringfence diff shows what is not of the fence, and ringfence refresh removes it")
	}
	return a, nil
}

// Interfaces are the names of those of this host.
func (f View) Interfaces() ([]string, error) {
	h, err := f.Host()
	var names []string
	for _, i := range h.Interfaces {
		names = append(names, i.Name)
	}
	return names, err
}

// withoutFence is the answer where nothing was ever applied. If there is a table all the
// same, it is the error.
func (f View) withoutFence(ctx context.Context, q site.Question, none error) (site.Answer, error) {
	have, err := f.observe(ctx, f.kernel(false))
	if err != nil {
		return site.Answer{}, err
	}
	if have.Exists {
		return site.Answer{}, none
	}
	p, err := catalog.Parse("default", []byte("version: 1\n"))
	if err != nil {
		return site.Answer{}, err
	}
	return (&site.Site{Policy: p}).Why(site.Live{Table: have}, q)
}

// live reads the table with the elements of its dynamic sets.
func (f View) live(ctx context.Context, p *policy.Policy) (site.Live, error) {
	kernel := f.kernel(false)
	live := site.Live{Preset: catalog.PresetOf}
	var err error
	if live.Table, err = f.observe(ctx, kernel); err != nil {
		return live, err
	}
	if live.Table.Exists {
		if err := readTemporary(ctx, kernel, &live); err != nil {
			return live, err
		}
	}
	if compile.Engine(p, ruleset.Host{Engine: string(policy.EngineBPF)}) != policy.EngineOff {
		live.Automaton, err = catalog.AutomatonOf(p)
	}
	return live, err
}

// readTemporary reads who is banned, or allowed by hand, now.
func readTemporary(ctx context.Context, kernel backend.Kernel, live *site.Live) error {
	banned, err := kernel.Bans(ctx)
	if err != nil {
		return err
	}
	for _, b := range banned {
		live.Banned = append(live.Banned, site.Temporary{Address: b.Address, Left: b.Left, Why: b.Comment})
	}
	allowed, err := kernel.Allowances(ctx)
	if err != nil {
		return err
	}
	for _, a := range allowed {
		live.ByHand = append(live.ByHand, site.Temporary{Address: a.Address, Left: a.Left, Why: a.Comment})
	}
	phones, err := kernel.Phones(ctx)
	if err != nil {
		return err
	}
	for _, p := range phones {
		live.Phones = append(live.Phones, site.Registered(p))
	}
	addPhones(live.Table, phones)
	addElements(live.Table, "banned", live.Banned)
	addElements(live.Table, "allowed", live.ByHand)
	return nil
}

// addElements adds addresses to the sets of a kind, which observing leaves empty.
func addElements(table *ruleset.State, kind string, list []site.Temporary) {
	for _, t := range list {
		name := kind + familyOf(t.Address)
		if set, ok := table.Sets[name]; ok {
			set.Elements = append(set.Elements, ruleset.Element{From: t.Address, To: t.Address})
			table.Sets[name] = set
		}
	}
	for _, family := range []string{"4", "6"} {
		slices.SortFunc(table.Sets[kind+family].Elements, ruleset.Element.Compare)
	}
}

// addPhones does the same for those that have registered.
func addPhones(table *ruleset.State, phones []backend.Phone) {
	for _, p := range phones {
		name := "phones" + familyOf(p.Address)
		if set, ok := table.Sets[name]; ok {
			set.Elements = append(set.Elements, ruleset.Element{From: p.Address, To: p.Address, Port: p.Port})
			table.Sets[name] = set
		}
	}
}

// latelyIs how long ago a dropped packet may be that is still of interest.
const latelyIs = 30 * 24 * time.Hour

// readDrops reads what was dropped of an address lately, and when it was allowed before.
func (f View) readDrops(ctx context.Context, addr netip.Addr, live *site.Live) error {
	kept, err := f.kernel(false).Dropped(ctx, addr)
	if err != nil {
		return err
	}
	live.Former = formerly(&f.session, []netip.Addr{addr})[addr]
	for _, d := range droppedIn(&f.session, kept, addr, f.Now().Time.Add(-latelyIs)) {
		live.Lately = &site.Lately{
			Packets: d.Packets, First: d.First, Last: d.Last, Reason: d.Reason,
			Method: d.Method, UserAgent: d.UserAgent, Called: d.Called, Signature: d.Signature,
		}
	}
	return nil
}
