package cli

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/ringfence/ringfence/pkg/cli/hint"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/report"
)

// The exit statuses of every command.
const (
	exitDone    = 0
	exitError   = 1 // nothing was changed
	exitChanges = 2 // diff: there are changes
	exitRefused = 3 // a guard refused, nothing was changed
	exitPartly  = 4 // done as far as possible, but a name failed
)

// statusError ends a command with an exit status that is not an error: everything was
// already printed.
type statusError int

func (s statusError) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// fail prints the error, if there is one, and returns its exit status.
func (a *app) fail(err error) int {
	if err == nil {
		return exitDone
	}
	if status, ok := errors.AsType[statusError](err); ok {
		return int(status)
	}
	object := report.ErrorOf(err, hint.Of(err, fence.OwnRights()))
	mistakes, _ := errors.AsType[policy.Mistakes](err)
	for _, m := range mistakes {
		a.say("error", hint.Mistake(m))
		object.Mistakes = append(object.Mistakes, hint.Mistake(m))
	}
	if len(mistakes) == 0 {
		a.say("error", err.Error())
	}
	if object.Hint != "" {
		a.say("hint", object.Hint)
	}
	if a.json() && !a.stdout.Wrote {
		if err := a.writeJSON(object); err == nil {
			_ = a.stdout.Flush() // the exit status says that something is wrong
		}
	}
	if _, ok := errors.AsType[*plan.Refusal](err); ok {
		return exitRefused
	}
	if errors.Is(err, fence.ErrUnrecorded) {
		return exitPartly
	}
	return exitError
}

// flagError says what a flag may be, where the library has only the words of Go.
func flagError(err error) error {
	invalid, ok := errors.AsType[*pflag.InvalidValueError](err)
	if _, number := errors.AsType[*strconv.NumError](err); !ok || !number {
		return err
	}
	may := "a whole number"
	if invalid.GetFlag().Value.Type() == "bool" {
		may = "true or false, or the flag alone"
	}
	return fmt.Errorf("invalid argument %q for \"--%s\" flag: write %s", invalid.GetValue(), invalid.GetFlag().Name, may)
}
