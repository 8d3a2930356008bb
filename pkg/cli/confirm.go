package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/report"
)

// defaultWindow is the time for a confirmation if none is named.
const defaultWindow = "60s"

func confirmCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "confirm [N]",
		Short: "Keep a change that is undone otherwise",
		Long: `confirm keeps what ringfence apply --confirm, or ringfence rollback --confirm, has
put into force. Without it the change is undone when its time is over. It works
from any terminal. If another user has made the change, name its generation.

Exit status: 0 the change stays, 1 there is none, or it was undone.`,
		Example: `  ringfence confirm`,
		Args:    oneGeneration,
		RunE: func(c *cobra.Command, args []string) error {
			n, err := generationOf(args)
			if err != nil {
				return err
			}
			return runConfirm(c.Context(), a, n)
		},
	}
}

func runConfirm(ctx context.Context, a *app, number int) error {
	generation, err := a.fence().Confirm(ctx, number)
	if err != nil {
		return err
	}
	if a.json() {
		return a.writeJSON(report.Confirmed{Generation: generation})
	}
	output.Printf(a.stdout, "Generation %d is confirmed.\n", generation)
	return nil
}

// addConfirmFlag adds the flag that asks for a confirmation.
func addConfirmFlag(c *cobra.Command, window *string) {
	c.Flags().StringVar(window, "confirm", "",
		"undo the change after this `time` unless ringfence confirm comes first ("+defaultWindow+" if left out)")
	c.Flags().Lookup("confirm").NoOptDefVal = defaultWindow
}

// looksLikeTime matches a number with a unit, even with one that there is not.
var looksLikeTime = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9.]+[a-z]`) })

// takeWindow reads the time for a confirmation. It may be an argument of its own behind
// the flag, and is taken out of the arguments then. An empty one is a mistake: a script whose
// variable is not set must not change a fence for good.
func takeWindow(c *cobra.Command, flag string, args []string) (window time.Duration, rest []string, err error) {
	if !c.Flags().Changed("confirm") {
		return 0, args, nil
	}
	for i, arg := range args {
		// A number alone is a generation's.
		if flag == defaultWindow && looksLikeTime().MatchString(arg) {
			flag, args = arg, append(append([]string{}, args[:i]...), args[i+1:]...)
			break
		}
	}
	window, err = policy.ParseDuration(flag)
	if err != nil || window < fence.ShortestWindow || window > fence.LongestWindow || window != window.Truncate(time.Second) {
		return 0, nil, notice.WithHint(fmt.Errorf("%q is no time for a confirmation", flag),
			"write whole seconds, from 1s to 24h, as in --confirm 60s")
	}
	return window, args, nil
}

// awaitConfirmation asks at a terminal whether to keep a change, and elsewhere says how
// to keep it.
func awaitConfirmation(ctx context.Context, a *app, p *fence.Pending) error {
	if p == nil {
		return nil
	}
	if !isTerminal(a.stdin) || !a.stdout.Terminal || a.json() {
		a.say("note", fmt.Sprintf("generation %d is undone in %s unless you run: ringfence confirm", p.Generation, p.Left.Round(time.Second)))
		return nil
	}
	keep, err := askToKeep(ctx, a, p)
	if err != nil {
		return err
	}
	if keep {
		return runConfirm(ctx, a, p.Generation)
	}
	kept, err := a.fence().Undo(ctx, *p)
	switch {
	case err != nil:
		return err
	case kept:
		fmt.Fprintf(a.stdout, "Generation %d was confirmed elsewhere.\n", p.Generation)
		return nil
	}
	return fmt.Errorf("not confirmed: generation %d was undone", p.Generation)
}

// askToKeep counts down and shows how many packets were let through, until the user has
// answered or the time is over.
func askToKeep(ctx context.Context, a *app, p *fence.Pending) (keep bool, err error) {
	answers := make(chan string)
	reading, stop := context.WithCancel(ctx)
	defer stop()
	go readAnswers(reading, a.stdin, answers)
	f := a.work
	before, _ := f.LetThrough(ctx)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	output.Println(a.stderr, "Is your phone registered? Type y to keep the change, n to undo it at once.")
	answered := false // then the line has ended
	defer func() {
		if !answered {
			output.Println(a.stderr)
		}
	}()
	for {
		now, err := f.Pending()
		if err != nil {
			return false, err
		}
		if now == nil || now.ID != p.ID || now.Left == 0 {
			return false, nil
		}
		passed, err := f.LetThrough(ctx)
		if err != nil {
			passed = before
		}
		// A terminal may have only 80 columns, and the line is written over itself.
		output.Printf(a.stderr, output.Return()+"%5d s left, %s of providers and trusted let through: ",
			int(now.Left.Round(time.Second).Seconds()), notice.Count(int(passed-min(before, passed)), "packet"))
		select {
		case <-ctx.Done():
			return false, fmt.Errorf("interrupted: generation %d is undone in %s unless you run: ringfence confirm",
				p.Generation, now.Left.Round(time.Second))
		case answer := <-answers:
			keep = answer == "y" || answer == "yes"
			if answered = keep || answer == "n" || answer == "no"; answered {
				return keep, nil
			}
		case <-tick.C:
		}
	}
}

// readAnswers sends each line that is typed. At the end of the input nobody is there, and
// the time decides.
func readAnswers(ctx context.Context, r io.Reader, answers chan<- string) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		select {
		case <-ctx.Done():
			return
		case answers <- strings.ToLower(strings.TrimSpace(lines.Text())):
		}
	}
}
