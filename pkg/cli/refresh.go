package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

type refreshOptions struct {
	// large are the names whose answers may have any number of records.
	large []string
}

func (a *app) refreshCommand() *cobra.Command {
	var o refreshOptions
	c := &cobra.Command{
		Use:   "refresh",
		Short: "Bring addresses up to date (for cron and timers)",
		Long: `refresh asks DNS again for the names of the newest generation, brings the
addresses in the kernel up to date, and puts back what another program removed.
It never reads the policy file: only apply does. An error or an empty answer
never removes an address.

Runs that overlap do no harm: one waits for the other, or leaves it to it.

Exit status: 0 done or nothing to do, 1 error and nothing changed, 4 done, but a
name brought no good answer or an alarm stands.`,
		Example: `  */5 * * * * root ringfence refresh     (a line of /etc/cron.d/ringfence)`,
		Args:    noArguments,
		RunE:    func(c *cobra.Command, _ []string) error { return a.refresh(c.Context(), o) },
	}
	c.Flags().StringArrayVar(&o.large, "accept-large", nil, "take the answers for this `name` although they have more than 64 records, from now on up to as many")
	return c
}

// refreshTries is how often refresh starts over because a new generation was
// made while it asked for the names of the one before.
const refreshTries = 3

func (a *app) refresh(ctx context.Context, o refreshOptions) error {
	if err := a.kernel(true).Probe(ctx); err != nil {
		return err
	}
	for range refreshTries {
		if down, err := a.saidDown(ctx); down || err != nil {
			return err
		}
		newest, err := a.generationOrKilled(ctx)
		if errors.Is(err, journal.ErrLocked) {
			return a.tellNothing(fmt.Sprintf("Nothing was done: %v.", err))
		}
		if err != nil {
			return err
		}
		s, err := siteOf(newest, resolve.Memory{})
		if err != nil {
			return err
		}
		if s.host, err = a.readHost(); err != nil {
			return err
		}
		remembered := a.glance()
		large, err := s.known(o.large, remembered)
		if err != nil {
			return err
		}
		a.ask(ctx, s, remembered, large)
		if err := ctx.Err(); err != nil {
			return err
		}
		overtaken, err := a.refreshFrom(ctx, newest, s)
		if errors.Is(err, journal.ErrLocked) {
			// The next run of cron does what this one could not.
			return a.tellNothing(fmt.Sprintf("Nothing was done: %v.", err))
		}
		if err != nil || !overtaken {
			return err
		}
	}
	// Whoever made the newer generations has put them into force.
	return a.tellNothing(fmt.Sprintf("Nothing was done: a newer generation was made %d times while names were asked for.", refreshTries))
}

// saidDown tells that the fence is down on purpose, if it is.
func (a *app) saidDown(ctx context.Context) (bool, error) {
	down, err := a.isDown()
	if err == nil && down != nil && down.Phase != journal.Resting {
		// A run is at it, or was killed while it was.
		var leave func()
		if leave, err = a.enter(ctx, "refresh"); err != nil {
			return false, err
		}
		down, err = a.isDown()
		leave()
	}
	if down == nil || err != nil {
		return false, err
	}
	by := ""
	if !down.Time.IsZero() {
		by = fmt.Sprintf(" by %s %s", down.User, ago(down.Time))
	}
	return true, a.tellNothing("The fence was taken down" + by + "; nothing was done. Put it up with ringfence apply or ringfence up.")
}

// tellNothing says why nothing was done; programs hear only that.
func (a *app) tellNothing(why string) error {
	if !a.json() {
		fmt.Fprintln(a.stdout, why)
		return nil
	}
	a.say("note", why)
	newest, err := a.newest()
	if err != nil {
		return err
	}
	return a.tellPlan(plan.Diff(&ruleset.State{}, &ruleset.State{}), numberOf(newest))
}

// generation reads the newest generation, without which there is nothing to
// work from.
func (a *app) generation() (*journal.Entry, error) {
	newest, err := a.newest()
	if err == nil && newest == nil {
		err = journal.ErrNone
	}
	return newest, err
}

// generationOrKilled is generation, also if the first apply of all was killed
// before it had given its generation a number.
func (a *app) generationOrKilled(ctx context.Context) (*journal.Entry, error) {
	newest, err := a.generation()
	if !errors.Is(err, journal.ErrNone) {
		return newest, err
	}
	if !a.journal().Begun() {
		return nil, err
	}
	leave, err := a.enter(ctx, "refresh")
	if err != nil {
		return nil, err
	}
	leave()
	return a.generation()
}

// refreshFrom puts the answers for a generation into force. It does nothing,
// and says so, if a newer one has been made meanwhile.
func (a *app) refreshFrom(ctx context.Context, from *journal.Entry, s *site) (overtaken bool, err error) {
	leave, err := a.enter(ctx, "refresh")
	if err != nil {
		return false, err
	}
	defer leave()
	down, err := a.isDown()
	if err != nil {
		return false, err
	}
	numbers, err := a.journal().Numbers()
	if err != nil {
		return false, err
	}
	if down != nil || len(numbers) == 0 || numbers[len(numbers)-1] != from.Number {
		return true, nil
	}
	old, err := a.recall(true, from)
	if err != nil {
		return false, err
	}
	s.remember(old, a.now())
	kernel := a.kernel(false)
	before := a.siteBefore(s, from, old)
	var unsaved error
	p, err := a.sync(ctx, s, syncOptions{kernel: withClassifier(kernel), before: before, begin: func(p *plan.Plan, _ *ruleset.State) error {
		if unsaved = a.keep(s); unsaved != nil && p.Empty() {
			return unsaved
		}
		return nil // a disk that is full must not keep a registrar out
	}})
	if err != nil {
		return false, err
	}
	a.inForce = true
	a.noteKernel(kernel, p)
	if err := a.tellRefreshed(s, p, from.Number); err != nil {
		return false, err
	}
	a.warnOfNewCut(s, before)
	a.warnOfEngine(s)
	err = a.tellNames(s)
	if unsaved != nil {
		a.say("warning", "the kernel is up to date, but what it goes by could not be saved: "+unsaved.Error())
		err = statusError(exitPartly)
	}
	return false, err
}

// known reads names of the command line: they must be the policy's, or be asked
// for because of one of those.
func (s *site) known(names []string, memory resolve.Memory) ([]string, error) {
	var known []string
	for _, name := range names {
		r, ok := policy.ParseRegistrar(name)
		isKnown := slices.ContainsFunc(memory.Names, func(k resolve.Known) bool {
			return slices.ContainsFunc(k.Questions, func(q resolve.KnownAnswer) bool { return q.Name == r.Host })
		})
		if !ok || r.Host == "" || !isKnown && !slices.ContainsFunc(targets(s.policy), func(t resolve.Target) bool { return t.Name == r.Host }) {
			return nil, fmt.Errorf("the policy has no name %q, and none leads to it", name)
		}
		known = append(known, r.Host)
	}
	return known, nil
}

func (a *app) tellRefreshed(s *site, p *plan.Plan, generation int) error {
	a.logNames(s.memory)
	if a.json() {
		return a.tellPlan(p, generation)
	}
	for _, c := range p.Changes {
		a.log.Debug("change", "action", c.Action, "kind", c.Kind, "name", c.Name, "value", c.Value, "reason", c.Reason)
	}
	fmt.Fprintf(a.stdout, "Generation %d, %s: %s.\n", generation, s.size(), summary(p))
	return nil
}

// logNames writes down what is known of each name and of each question.
func (a *app) logNames(m resolve.Memory) {
	for _, k := range m.Names {
		missing := 0
		for _, address := range k.Addresses {
			if !address.MissingSince.IsZero() {
				missing++
			}
		}
		a.log.Debug("name", "name", k.Name, "addresses", len(k.Addresses), "missing", missing,
			"waiting", len(k.Held), "left_out", len(k.Rejected), "next_look", time.Duration(k.Next))
		for _, q := range k.Questions {
			a.log.Debug("question", "name", q.Name, "type", q.Type, "last_good", q.LastGood, "last_failure", q.LastFailure, "error", q.Error)
		}
	}
}

// summary says in a few words what a plan does to bring back what should be.
func summary(p *plan.Plan) string {
	switch {
	case p.Empty():
		return "nothing to do"
	case !p.Have.Exists:
		return "the table was gone and is back"
	}
	words, other := allowedDelta(p)
	if other > 0 {
		words = append(words, count(other, "other difference")+" mended")
	}
	return strings.Join(words, ", ")
}

// allowedDelta says in a few words how the allowed addresses change, and counts
// the other changes.
func allowedDelta(p *plan.Plan) (words []string, other int) {
	added, removed := 0, 0
	for _, c := range p.Changes {
		allowed := c.Kind == plan.KindElement && (strings.HasPrefix(c.Name, "providers") || strings.HasPrefix(c.Name, "trusted"))
		switch {
		case allowed && c.Action == plan.Add:
			added++
		case allowed:
			removed++
		default:
			other++
		}
	}
	if added+removed > 0 {
		words = append(words, fmt.Sprintf("%s added, %d removed", count(added, "allowed address"), removed))
	}
	return words, other
}
