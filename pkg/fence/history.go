package fence

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Generation is a generation with its changes against the one before.
type Generation struct {
	Number  int
	InForce bool
	// Undone says that it was not confirmed and does not count.
	Undone bool
	// Damaged says why nothing else is known, nil if it is.
	Damaged error
	Entry   *journal.Entry // nil if it is damaged
	Plan    *plan.Plan     // nil if it or the one before is not known
	// PolicyChanges say what its policy says otherwise than the one before.
	PolicyChanges []string
}

// History returns all stored generations, the oldest first.
func (f View) History() ([]Generation, error) {
	numbers, err := f.Numbers()
	if err != nil {
		return nil, err
	}
	undone, err := f.Undone()
	if err != nil {
		return nil, err
	}
	down, err := f.down()
	if err != nil {
		return nil, err
	}
	var all []Generation
	var before *ruleset.State
	var entryBefore *journal.Entry
	for _, n := range slices.Sorted(slices.Values(slices.Concat(numbers, undone))) {
		g := Generation{Number: n, Undone: slices.Contains(undone, n)}
		g.InForce = !g.Undone && n == numbers[len(numbers)-1] && down == nil
		state, err := readGeneration(f, &g)
		if err != nil {
			return nil, err
		}
		if len(all) == 0 && n == 1 {
			before = &ruleset.State{} // there was nothing
		}
		if state != nil && before != nil {
			g.Plan = plan.Diff(withStages(before, state), state)
		}
		g.PolicyChanges = policyChanges(&f.session, entryBefore, g.Entry)
		if !g.Undone {
			before, entryBefore = state, g.Entry
		}
		all = append(all, g)
	}
	return all, nil
}

// mostCompared is the longest text of a policy that is read to compare it.
const mostCompared = 1 << 20

// policyChanges says what differs between the policies of two generations. It says nothing
// if one of them is not known, or this version cannot read it.
func policyChanges(f *session, then, now *journal.Entry) []string {
	if then == nil || now == nil || then.Policy == now.Policy {
		return nil
	}
	if max(len(then.Policy), len(now.Policy)) > mostCompared {
		return []string{"the policy's text has changed"}
	}
	was, err := f.parse(then.Source, then.Policy)
	if err != nil {
		return nil
	}
	is, err := f.parse(now.Source, now.Policy)
	if err != nil {
		return nil
	}
	return policy.Changes(was.Policy, is.Policy)
}

// readGeneration reads the entry of a generation and returns its rules, nil if it is
// damaged.
func readGeneration(f View, g *Generation) (*ruleset.State, error) {
	var err error
	if !g.Undone {
		g.Entry, err = f.Entry(g.Number)
		g.Undone = errors.Is(err, fs.ErrNotExist) // meanwhile
	}
	if g.Undone {
		g.InForce = false
		g.Entry, err = journal.UndoneEntry(f.Journal, g.Number)
	}
	if isDamaged(err) {
		g.Damaged = err
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	state := &ruleset.State{}
	if err := json.Unmarshal(g.Entry.State, state); err != nil {
		return nil, fmt.Errorf("read rules of generation %d: %w", g.Number, err)
	}
	return state, nil
}

// withStages returns before with the stages of after's chains if before has none at all:
// older versions stored a hook and a priority in their place. These chains then compare
// by what both versions stored.
func withStages(before, after *ruleset.State) *ruleset.State {
	for _, c := range before.Chains {
		if c.Stage != "" {
			return before
		}
	}
	known := *before
	known.Chains = maps.Clone(before.Chains)
	for name, c := range known.Chains {
		c.Stage = after.Chains[name].Stage
		known.Chains[name] = c
	}
	return &known
}

// Generation returns one generation, with the reason of each of its changes if this
// version can read both policies.
func (f View) Generation(number int) (*Generation, error) {
	all, err := f.History()
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, journal.ErrNone
	}
	var before *journal.Entry
	for _, g := range all {
		if g.Number != number {
			if !g.Undone {
				before = g.Entry
			}
			continue
		}
		if g.Entry == nil {
			return nil, notice.WithHint(errors.New(g.Damaged.Error()), "ringfence history shows the generations that can be read")
		}
		if g.Plan != nil {
			if b := f.backendOf("", g.Entry.Policy); b != policy.BackendAuto && f.Backend != nil {
				g.Plan.Have.Place = f.Backend(b).Describe().Place
			}
			explain(f, g, before)
		}
		return &g, nil
	}
	return nil, notice.WithHint(fmt.Errorf("there is no generation %d: those from %d to %d are stored", number, all[0].Number, all[len(all)-1].Number),
		"ringfence history shows them")
}

// explain gives the changes of a generation their reasons.
func explain(f View, g Generation, before *journal.Entry) {
	will := originsThen(&f.session, g.Entry)
	var was ruleset.Origins
	why := ""
	if before != nil {
		was = originsThen(&f.session, before)
		now, nowErr := f.siteThen(g.Entry)
		then, thenErr := f.siteThen(before)
		if nowErr == nil && thenErr == nil {
			why = now.DiffersFrom(then)
		}
	}
	g.Plan.Explain(was, will, why)
}

// originsThen says where a generation's addresses came from when it was made. It is
// empty if this version cannot read the policy.
func originsThen(f *session, e *journal.Entry) ruleset.Origins {
	s, err := f.siteThen(e)
	if err != nil {
		return ruleset.Origins{}
	}
	_, origins := s.Compile()
	return origins
}
