// Package notice has what a command reports to the user besides its result: notices,
// and errors with a hint.
//
// The packages that act return notices or hand them to a Func. Whether one is
// printed or logged, and how often, is decided by the receiver.
package notice

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Severity says how much a notice matters.
type Severity string

// The severities. An alarm needs someone to act.
const (
	Alarm   Severity = "alarm"
	Warning Severity = "warning"
	Note    Severity = "note"
)

// Code is the kind of a notice. The text may change, the code does not.
type Code string

// The codes.
const (
	Monitoring            Code = "monitoring"              // what is banned passes in monitor mode
	PolicyDoubt           Code = "policy-doubt"            // what is valid in a policy but may not be meant
	NobodyAllowed         Code = "nobody-allowed"          // the policy allows no address
	AcceptsScanners       Code = "accepts-scanners"        // unknown.action is accept without the classifier
	MatchesPhones         Code = "matches-phones"          // a signature of the policy that phones match
	TrustedOutside        Code = "trusted-outside"         // a trusted interface that leads outside
	Guests                Code = "guests"                  // guests that are joined with the outside past the rules
	CutInside             Code = "cut-inside"              // inside networks would lose their provider
	ClassifierUnavailable Code = "classifier-unavailable"  // scanners are not recognised
	ClassifierNotReplaced Code = "classifier-not-replaced" // the attached classifier was not replaced
	ClassifierNotAttached Code = "classifier-not-attached" // the fence is up without the classifier
	HitsUnknown           Code = "hits-unknown"            // the classifier's counters cannot be read
	EventsUnknown         Code = "events-unknown"          // what the daemon has kept cannot be read
	PresetOld             Code = "preset-old"              // a preset that is old or weak
	NameFailed            Code = "name-failed"             // a name without a good answer
	Standing              Code = "alarm"                   // an alarm of pkg/site
	NamesRemembered       Code = "names-remembered"        // no new answers: earlier ones count
	AddressRejected       Code = "address-rejected"        // an address of an answer that is not believed
	AddressQuarantined    Code = "address-quarantined"     // an address that waits for a second answer
	StateDamaged          Code = "state-damaged"           // a file of state that cannot be read
	StateUnsaved          Code = "state-unsaved"           // a file of state that cannot be written
	RunInterrupted        Code = "run-interrupted"         // an earlier run was killed
	GuardRefuses          Code = "guard-refuses"           // apply would be refused
	NothingDone           Code = "nothing-done"            // why nothing was done
	EventsUnread          Code = "events-unread"           // dropped packets are not looked at
	EventsLost            Code = "events-lost"             // more are dropped than are looked at
	NotAllowedAgain       Code = "not-allowed-again"       // an allowance by hand that the kernel has lost
	NotLearnedAgain       Code = "not-learned-again"       // phones and bans that the kernel has lost
	NobodyRegisters       Code = "nobody-registers"        // the policy lets no phone in for having registered
	Undone                Code = "undone"                  // a generation that was not confirmed
	BanHasNoEffect        Code = "ban-has-no-effect"       // an address of bans.addresses that a name stands for
	SavedRules            Code = "saved-rules"             // rules that the host saves, with ringfence's
	RulesAsCompiled       Code = "rules-as-compiled"       // a policy that this version cannot read
)

// Notice is a message for the user besides the result.
type Notice struct {
	Severity Severity
	Code     Code
	// About is the name or interface that the notice is about, if its code alone does
	// not say it.
	About string
	Text  string
	// WayOut says what to do about it, "" if there is nothing to do.
	WayOut string
}

// Func takes notices, one at a time. A nil Func ignores them.
type Func func(Notice)

// Send passes on notices.
func (f Func) Send(notices ...Notice) {
	if f == nil {
		return
	}
	for _, n := range notices {
		f(n)
	}
}

// Warn sends a warning.
func (f Func) Warn(code Code, format string, args ...any) { f.Send(Warningf(code, format, args...)) }

// Note sends a note.
func (f Func) Note(code Code, format string, args ...any) {
	f.Send(Notice{Severity: Note, Code: code, Text: fmt.Sprintf(format, args...)})
}

// Warningf makes a warning.
func Warningf(code Code, format string, args ...any) Notice {
	return Notice{Severity: Warning, Code: code, Text: fmt.Sprintf(format, args...)}
}

// hinted is an error with a hint.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// WithHint adds a hint to an error: what the user can do about it.
func WithHint(err error, format string, args ...any) error {
	return hinted{err, fmt.Sprintf(format, args...)}
}

// Hint returns the hint that WithHint added to an error, "" if there is none.
func Hint(err error) string {
	if h, ok := errors.AsType[hinted](err); ok {
		return h.hint
	}
	return ""
}

// Count writes a number and its noun, in the plural if needed.
func Count(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "s") || strings.HasSuffix(noun, "x"):
		return fmt.Sprintf("%d %ses", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Ago writes how long ago t was.
func Ago(t time.Time) string {
	switch d := time.Since(t); {
	case t.IsZero():
		return "never"
	case d < 0:
		return "at " + t.Format(time.RFC3339)
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days ago", int(d.Hours()/24))
	}
}
