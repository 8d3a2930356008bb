package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

func (a *app) historyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "history [N]",
		Short: "Show the generations: when, by whom, what changed",
		Long: `history lists the generations that are kept, the newest first: when and by whom
each was made, by which command, and what it changed in the rules of the one
before. A generation is made by apply and by rollback; refresh makes none.

With N it shows one generation with each of its changes and its policy.`,
		Example: `  ringfence history
  ringfence history 12      what did generation 12 change, and what is its policy?
  ringfence rollback 11     go back behind it`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) <= 1 {
				return nil
			}
			return fmt.Errorf("%s takes the number of one generation, and %q is one more", c.CommandPath(), args[1])
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.history()
			}
			n, err := strconv.Atoi(args[0])
			if err != nil || n < 1 {
				return withHint(fmt.Errorf("%q is no number of a generation", args[0]), "ringfence history shows them")
			}
			return a.historyOf(n)
		},
	}
}

// pastGeneration is the object that history prints for a generation.
type pastGeneration struct {
	Generation int       `json:"generation"`
	Time       time.Time `json:"time,omitzero"`
	User       string    `json:"user,omitempty"`
	Command    string    `json:"command,omitempty"`
	Version    string    `json:"version,omitempty"`
	Source     string    `json:"source,omitempty"`
	InForce    bool      `json:"in_force"`
	Summary    string    `json:"summary,omitempty"`
	Damaged    string    `json:"damaged,omitempty"`
}

// past is a generation with what it changed in the one before.
type past struct {
	pastGeneration
	entry *journal.Entry // nil if it is damaged
	plan  *plan.Plan     // nil if it or the one before is not known
}

// generations reads all of them, the oldest first.
func (a *app) generations() ([]past, error) {
	numbers, err := a.journal().Numbers()
	if err != nil {
		return nil, err
	}
	down, err := a.isDown()
	if err != nil {
		return nil, err
	}
	var all []past
	var before *ruleset.State
	for i, n := range numbers {
		g := past{pastGeneration: pastGeneration{Generation: n, InForce: i == len(numbers)-1 && down == nil}}
		var state *ruleset.State
		if g.entry, err = a.journal().Entry(n); err == nil {
			e := g.entry
			g.Time, g.User, g.Command, g.Version, g.Source = e.Time, e.User, e.Command, e.Version, e.Source
			state = &ruleset.State{}
			if err := json.Unmarshal(e.State, state); err != nil {
				return nil, fmt.Errorf("read rules of generation %d: %w", n, err)
			}
		} else if _, damaged := errors.AsType[*journal.Damaged](err); damaged {
			g.Damaged = err.Error()
		} else {
			return nil, err
		}
		if i == 0 && n == 1 {
			before = &ruleset.State{} // there was nothing
		}
		if state != nil && before != nil {
			g.plan = plan.Diff(before, state)
			g.Summary = g.summarise()
		}
		before = state
		all = append(all, g)
	}
	return all, nil
}

// summarise says in a few words what the generation changed.
func (g past) summarise() string {
	switch {
	case !g.plan.Have.Exists:
		return "the first: " + count(len(allowedElements(g.plan.Want)), "allowed range")
	case g.plan.Empty():
		return "the rules stayed as they were"
	}
	words, other := allowedDelta(g.plan)
	if other > 0 {
		words = append(words, count(other, "other change"))
	}
	return strings.Join(words, ", ")
}

// allowedElements are those of all sets that let somebody in.
func allowedElements(s *ruleset.State) []ruleset.Element {
	var all []ruleset.Element
	for _, set := range []string{"providers4", "providers6", "trusted4", "trusted6"} {
		all = append(all, s.Sets[set].Elements...)
	}
	return all
}

func (a *app) history() error {
	all, err := a.generations()
	if err != nil {
		return err
	}
	slices.Reverse(all)
	if a.json() {
		list := []pastGeneration{}
		for _, g := range all {
			list = append(list, g.pastGeneration)
		}
		return a.writeJSON(list)
	}
	if len(all) == 0 {
		fmt.Fprintln(a.stdout, "There is no generation yet: write a policy and run ringfence apply.")
		return nil
	}
	table(a.stdout, func(w io.Writer) {
		for _, g := range all {
			switch {
			case g.Damaged != "":
				fmt.Fprintf(w, "%d\t%s\n", g.Generation, a.alarm(g.Damaged))
			default:
				fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s%s\n", g.Generation, ago(g.Time), g.User, g.Command, g.Summary, inForce(g.InForce))
			}
		}
	})
	return nil
}

func inForce(yes bool) string {
	if yes {
		return " (in force)"
	}
	return ""
}

// historyOf shows one generation whole.
func (a *app) historyOf(number int) error {
	all, err := a.generations()
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return journal.ErrNone
	}
	i := slices.IndexFunc(all, func(g past) bool { return g.Generation == number })
	if i < 0 {
		return withHint(fmt.Errorf("there is no generation %d: kept are %d to %d", number, all[0].Generation, all[len(all)-1].Generation),
			"ringfence history shows them")
	}
	g := all[i]
	if g.entry == nil {
		return withHint(errors.New(g.Damaged), "ringfence history shows the generations that can be read")
	}
	if g.plan != nil {
		g.explain(all[max(i-1, 0)].entry)
	}
	if a.json() {
		changes := []plan.Change{}
		if g.plan != nil {
			changes = append(changes, g.plan.Changes...)
		}
		return a.writeJSON(struct {
			pastGeneration
			Changes []plan.Change `json:"changes"`
			Policy  string        `json:"policy"`
		}{g.pastGeneration, changes, g.entry.Policy})
	}
	table(a.stdout, func(w io.Writer) {
		fmt.Fprintf(w, "generation\t%d%s\n", g.Generation, inForce(g.InForce))
		fmt.Fprintf(w, "made\t%s (%s), by %s\n", g.Time.Local().Format(time.DateTime), ago(g.Time), g.User)
		fmt.Fprintf(w, "command\t%s\n", g.Command)
		fmt.Fprintf(w, "version\t%s\n", g.Version)
		fmt.Fprintf(w, "policy from\t%s\n", g.Source)
	})
	fmt.Fprintln(a.stdout, "\nchanges")
	switch {
	case g.plan == nil:
		fmt.Fprintln(a.stdout, "  not known: the generation before is not there")
	case g.plan.Empty():
		fmt.Fprintln(a.stdout, "  none in the rules")
	default:
		a.writePlan(a.stdout, g.plan)
	}
	fmt.Fprintf(a.stdout, "\npolicy\n%s", g.entry.Policy)
	return nil
}

// explain gives the changes their reasons, as far as this version can read both
// policies.
func (g past) explain(before *journal.Entry) {
	will := originsThen(g.entry)
	var was ruleset.Origins
	why := ""
	if before != nil && before != g.entry {
		was = originsThen(before)
		now, nowErr := siteThen(g.entry)
		then, thenErr := siteThen(before)
		if nowErr == nil && thenErr == nil {
			why = now.differsFrom(then)
		}
	}
	g.plan.Explain(was, will, why)
}

// originsThen says where a generation's addresses came from when it was made;
// nowhere if this version cannot read it any more.
func originsThen(e *journal.Entry) ruleset.Origins {
	s, err := siteThen(e)
	if err != nil {
		return ruleset.Origins{}
	}
	_, origins := s.compile()
	return origins
}
