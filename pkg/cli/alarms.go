package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/host"
	"github.com/ringfence/ringfence/pkg/resolve"
)

// now is the time by both clocks of the host.
func (a *app) now() resolve.Moment {
	now := resolve.Moment{Time: time.Now().Round(0)}
	boot, up, err := host.Uptime()
	if err != nil {
		// The clock of this run then is the only one that nobody moves.
		a.log.Debug("read the time since the boot", "error", err)
		boot, up = fmt.Sprintf("process %d of %s", os.Getpid(), a.started.Format(time.RFC3339Nano)), time.Since(a.started)
	}
	now.Boot, now.Up = boot, resolve.Span(up)
	return now
}

// tellNames warns of names that failed and of alarms, and makes the exit status
// say so.
func (a *app) tellNames(s *site) error {
	alarms := s.memory.Alarms(s.terms(), a.now())
	failures := s.memory.Refresh.Failures
	a.tellRejected(s.memory)
	a.tellProblems(slices.DeleteFunc(slices.Clone(failures), func(p resolve.Problem) bool {
		return slices.ContainsFunc(alarms, func(alarm resolve.Alarm) bool { return alarm.Name == p.Name && alarm.Type == p.Type })
	}))
	a.tellHeld(s.memory)
	for _, alarm := range alarms {
		a.say("alarm", alarmText(alarm))
		a.say("hint", alarm.WayOut)
	}
	if len(failures)+len(alarms) > 0 {
		return statusError(exitPartly)
	}
	return nil
}

// tellHeld warns of addresses that no second answer has confirmed or denied.
func (a *app) tellHeld(m resolve.Memory) {
	for _, k := range m.Names {
		var waiting []string
		for _, h := range k.Held {
			if !h.Denied {
				waiting = append(waiting, h.Address.String())
			}
		}
		if len(waiting) > 0 {
			a.say("warning", fmt.Sprintf("%s: the addresses that were known are gone from its answer, and a second answer is needed for %s", k.Name, strings.Join(waiting, ", ")))
		}
	}
}

func alarmText(alarm resolve.Alarm) string {
	return fmt.Sprintf("%s: %s (since %s)", strings.TrimSpace(alarm.Name+" "+string(alarm.Type)), alarm.Text, alarm.Since.Local().Format(time.DateTime))
}

// writeAlarms prints what stands, each with its way out, before anything else.
func (a *app) writeAlarms(out io.Writer, alarms []resolve.Alarm) {
	for _, alarm := range alarms {
		fmt.Fprintf(out, "%s  %s\n       %s\n", a.alarm("alarm"), alarmText(alarm), alarm.WayOut)
	}
	if len(alarms) > 0 {
		fmt.Fprintln(out)
	}
}

// waiting is an address that is not allowed yet, or not at all, as status
// prints it.
type waiting struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Why     string `json:"why"`
}

// leftOut lists the addresses of answers that are not allowed, with what would
// allow them.
func leftOut(m resolve.Memory) []waiting {
	list := []waiting{}
	for _, k := range m.Names {
		for _, r := range k.Rejected {
			list = append(list, waiting{k.Name, r.Address.String(), r.Why})
		}
		for _, h := range k.Held {
			list = append(list, waiting{k.Name, h.Address.String(), "waits for a second answer that has it"})
		}
	}
	return list
}

func writeLeftOut(out io.Writer, list []waiting) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(out, "\nleft out\n")
	table(out, func(w io.Writer) {
		for _, left := range list {
			fmt.Fprintf(w, "  %s\t%s\t%s\n", left.Address, left.Name, left.Why)
		}
	})
}
