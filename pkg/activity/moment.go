package activity

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// AroundMoment is how long before and after a moment a packet may have come to be the
// cause of what happened then.
const AroundMoment = 2 * time.Minute

// Verdict says whether something that rang was a ghost call.
type Verdict string

// The verdicts.
const (
	GhostCall Verdict = "ghost-call" // a stranger called, and his packets passed
	Perhaps   Verdict = "perhaps"    // strangers' packets passed, and what they were is not known
	Dropped   Verdict = "dropped"    // strangers sent packets, and none passed
	Nothing   Verdict = "nothing"    // no stranger sent anything
	Unknown   Verdict = "unknown"    // nothing was recorded then
)

// Then is what was in force around a moment.
type Then struct {
	// Open are the times in which nothing was dropped: without a fence, or in monitor mode.
	Open []Span
}

// Span is a time from one moment to another.
type Span struct{ From, To time.Time }

// passed reports whether a packet of a source may have come while nothing was dropped.
func (t Then) passed(s Source) bool {
	return slices.ContainsFunc(t.Open, func(o Span) bool { return !s.Last.Before(o.From) && !s.First.After(o.To) })
}

// always reports whether nothing was dropped for the whole time of an activity.
func (t Then) always(a *Activity) bool {
	return len(t.Open) == 1 && !t.Open[0].From.After(a.Since) && !t.Open[0].To.Before(a.Until)
}

// Answer is what is known of a moment.
type Answer struct {
	Time    time.Time
	Verdict Verdict
	Text    string
}

// At says what an activity around a moment means.
func At(moment time.Time, a *Activity, then Then) Answer {
	answer := Answer{Time: moment}
	var callers []string
	passed, nothing := a.Unnamed > 0 && len(then.Open) > 0, "for a part of that time nothing was dropped"
	for _, s := range a.Sources {
		if !then.passed(s) {
			continue
		}
		passed = true
		if s.Method == "INVITE" {
			callers = append(callers, s.Address.String())
		}
	}
	if then.always(a) {
		nothing = "nothing was dropped then"
	}
	strangers := a.Allowed["unknown"] + a.Allowed["registered"]
	switch {
	case len(a.Sources) == 0 && a.Unnamed == 0 && !a.Counted:
		answer.Verdict, answer.Text = Unknown, "Nothing was recorded then: that takes ringfence run."
	case len(callers) > 0:
		answer.Verdict = GhostCall
		answer.Text = fmt.Sprintf("It was probably a ghost call: %s called, which nobody has allowed, and %s.", some(callers), nothing)
	case passed:
		answer.Verdict = Perhaps
		answer.Text = "It may have been a ghost call: strangers sent packets, and " + nothing + "."
	case strangers > 0:
		answer.Verdict = Perhaps
		answer.Text = fmt.Sprintf("It may have been a ghost call: in that hour %d packets of strangers were let in, as unknown.action says.", strangers)
	case len(a.Sources) > 0 || a.Unnamed > 0:
		answer.Verdict = Dropped
		answer.Text = "It was no ghost call by this host: strangers sent packets, and they were dropped. What is dropped makes nothing ring."
	default:
		answer.Verdict = Nothing
		answer.Text = "It was no ghost call by this host: no stranger's packet was recorded within two minutes of it."
	}
	if answer.Verdict != Unknown {
		answer.Text += letIn(a.Allowed)
	}
	return answer
}

// letIn says whose packets were let in.
func letIn(allowed map[string]uint64) string {
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(allowed)) {
		if n := allowed[reason]; n > 0 && reason != "unknown" && reason != "registered" {
			parts = append(parts, fmt.Sprintf("%d (%s)", n, strings.ReplaceAll(reason, "_", " ")))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " Packets of allowed addresses in that hour: " + strings.Join(parts, ", ") + "."
}

// some names the first of a list.
func some(list []string) string {
	const most = 3
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}
