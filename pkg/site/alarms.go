package site

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// AlarmKind says what an alarm is about. Those of names are resolve's.
type AlarmKind string

// The kinds of alarms that are not about a name.
const (
	AlarmInterrupted   AlarmKind = "interrupted"    // an apply was killed
	AlarmNoTable       AlarmKind = "no-table"       // nothing is fenced
	AlarmDrift         AlarmKind = "drift"          // the kernel does not hold what it should
	AlarmPolicyChanged AlarmKind = "policy-changed" // the policy file is newer than the generation
	AlarmUnasked       AlarmKind = "unasked"        // nobody asks for the names any more
	AlarmUnanswered    AlarmKind = "unanswered"     // no name server answers
	AlarmCutInside     AlarmKind = "cut-inside"     // phones were cut off since the last apply

	AlarmUnseen         AlarmKind = "unseen"          // the classifier does not see packets
	AlarmAllowedScanner AlarmKind = "allowed-scanner" // an allowed address sends what scanners send
	AlarmWrongPassword  AlarmKind = "wrong-password"  // a phone that is known fails to log in
)

// Alarm is something that needs somebody: the fence is less than the policy says, or
// will be.
type Alarm struct {
	Kind AlarmKind `json:"kind"`
	// Name is what the alarm is about: a name, an interface, a file. Type is the type
	// of record, "" if it is about no single one.
	Name  string       `json:"name"`
	Type  resolve.Type `json:"type,omitempty"`
	Text  string       `json:"text"`
	Since time.Time    `json:"since"` // when it was first seen, if nothing older is known
	// WayOut is what ends the alarm.
	WayOut string `json:"way_out"`
}

// Notice is the alarm as a notice.
func (a Alarm) Notice() notice.Notice {
	about := strings.TrimSpace(a.Name + " " + string(a.Type))
	text := about + ": " + a.Text
	if !a.Since.IsZero() {
		text += fmt.Sprintf(" (since %s)", a.Since.Local().Format(time.DateTime))
	}
	return notice.Notice{Severity: notice.Alarm, Code: notice.Standing, About: fmt.Sprintf("%s: %s", a.Kind, about), Text: text, WayOut: a.WayOut}
}

// Look is what was found at one moment, beside what the site itself knows. What is
// not known is left empty, and raises no alarm.
type Look struct {
	Now   resolve.Moment
	Words Words
	// Generation is the one that should be in force, Made when it was made, and
	// Accepted its site as it was then.
	Generation int
	Made       time.Time
	Accepted   *Site
	// File is the policy file.
	File *File
	// Place is where the rules are, Drift what has to be done to bring the kernel to
	// what the site wants, Table what it holds, and Counters are its packets.
	Place    string
	Drift    *plan.Plan
	Table    *ruleset.State
	Counters map[string]uint64
	// Counts are what an earlier look has found in the counters that must not grow.
	// Before are the programs that see packets before the classifier, by interface.
	Counts Counts
	Before map[string][]string
	// Proxied are the ways by which rules of other programs hand packets to servers on
	// other ports.
	Proxied ruleset.Proxied
	// Stale are those who fail to log in though somebody at their address has done so
	// lately. One without a port stands for its address.
	Stale []netip.AddrPort
	// Folder is the state folder, and Unwritable why nothing can be stored there.
	Folder, Unwritable string
	// Earlier are the notices of earlier looks that may hold still.
	Earlier notice.Record
}

// File is a policy file as it was found.
type File struct {
	Path, Text string
	// Changed is when it, or a link that leads to it, was changed last.
	Changed time.Time
	// Unread is why it cannot be read, nil if it can.
	Unread error
}

// alarmSources are what raises alarms, in the order in which they are shown. A new
// kind of alarm is a new function here: pure, and silent about what the look does
// not know.
var alarmSources = []func(*Site, Look) []Alarm{
	tableAlarms,
	linkAlarms,
	publicAlarms,
	trustedAlarms,
	proxiedAlarms,
	unclassifiedAlarms,
	countAlarms,
	passwordAlarms,
	policyAlarms,
	stateAlarms,
	cutAlarms,
	dnsAlarms,
	nameAlarms,
}

// Alarms are all that stand now: what refresh, run and status show.
func (s *Site) Alarms(l Look) []Alarm {
	alarms := []Alarm{}
	for _, from := range alarmSources {
		alarms = append(alarms, from(s, l)...)
	}
	for i, a := range alarms {
		if a.Since.IsZero() {
			alarms[i].Since = l.Earlier.Since(a.Notice(), l.Now.Time)
		}
	}
	return alarms
}

// Interrupted is the alarm of a first apply that was killed, which has left no site.
func Interrupted(place string, now time.Time) Alarm {
	return Alarm{
		Kind: AlarmInterrupted, Name: place, Since: now, Text: "the first ringfence apply has not ended, or was killed",
		WayOut: "if it was killed, ringfence refresh completes it or removes what it has left",
	}
}

// tableAlarms are about the kernel.
func tableAlarms(_ *Site, l Look) []Alarm {
	switch {
	case l.Drift == nil || l.Drift.Empty():
		return nil
	case !l.Drift.Have.Exists && l.Drift.Want.Exists:
		return []Alarm{{
			Kind: AlarmNoTable, Name: l.Place, Text: "it is not in the kernel: nothing is fenced",
			WayOut: "ringfence refresh puts it back; ringfence run does so at once, whatever removes it",
		}}
	}
	// The addresses that are protected from bans follow the host at the next refresh,
	// and nobody is let in or shut out by them.
	changes := slices.DeleteFunc(slices.Clone(l.Drift.Changes), func(c plan.Change) bool {
		return c.Kind == plan.KindElement && strings.HasPrefix(c.Name, "protected")
	})
	if len(changes) == 0 {
		return nil
	}
	return []Alarm{{
		Kind: AlarmDrift, Name: l.Place,
		Text:   notice.Count(len(changes), "difference") + " from what generation " + fmt.Sprint(l.Generation) + " asks for",
		WayOut: "ringfence diff shows what differs, ringfence refresh corrects it",
	}}
}

// policyAlarms are about a policy file that is newer than the generation, or is not there
// any more. An older one that differs is what a rollback leaves.
func policyAlarms(s *Site, l Look) []Alarm {
	if l.File != nil && l.File.Unread != nil && s.PolicyChanged(l.File) {
		return []Alarm{{
			Kind: AlarmPolicyChanged, Name: l.File.Path,
			Text:   fmt.Sprintf("generation %d was made from it, and it cannot be read any more: %v", l.Generation, l.File.Unread),
			WayOut: "put it back: apply needs it; what is in force stays",
		}}
	}
	if !s.PolicyChanged(l.File) || !l.File.Changed.After(l.Made) {
		return nil
	}
	return []Alarm{{
		Kind: AlarmPolicyChanged, Name: l.File.Path, Since: l.File.Changed,
		Text:   fmt.Sprintf("it was changed after generation %d was made, and what it says now is not in force", l.Generation),
		WayOut: "ringfence diff shows what it would change, ringfence apply puts it into force",
	}}
}

// PolicyChanged reports whether a policy file has another text than the site's policy, or
// is the one that it was read from and cannot be read any more; nil is a file that is not
// known.
func (s *Site) PolicyChanged(f *File) bool {
	switch {
	case f == nil:
		return false
	case f.Unread != nil:
		return f.Path == s.Source
	}
	return f.Text != s.Text
}

// cutAlarms are about networks inside that were cut off by what has come over the
// host since the policy was applied. Those before were accepted then.
func cutAlarms(s *Site, l Look) []Alarm {
	if l.Accepted == nil {
		return nil
	}
	var alarms []Alarm
	add := func(n ruleset.Network, text string) {
		alarms = append(alarms, Alarm{
			Kind: AlarmCutInside, Name: n.String(), Text: text,
			WayOut: "list the network under trusted.addresses, or only what leads outside in interfaces, and run ringfence apply",
		})
	}
	if s.Host.Forwards {
		accepted := l.Accepted.Cuts().Networks
		for _, n := range s.Cuts().Networks {
			if !slices.Contains(accepted, n) {
				add(n, "phones there cannot reach their provider since this host forwards")
			}
		}
		return alarms
	}
	for _, n := range come(s, l.Accepted) {
		switch {
		case renumbered(s, l.Accepted, n):
			add(n, "phones there cannot reach this host since the interface has other addresses")
		case len(seen(s, n)) > 0:
			add(n, "phones there cannot reach this host: the network has come since the policy was applied")
		}
	}
	return alarms
}

// come are the networks inside, of a host that does not forward, that have come since the
// policy was applied and whose phones are not let in.
func come(s, accepted *Site) []ruleset.Network {
	if s.Host.Forwards || s.Policy.Monitor || s.Policy.Unknown.Admits() {
		return nil
	}
	before := uncovered(accepted)
	return slices.DeleteFunc(uncovered(s), func(n ruleset.Network) bool { return slices.Contains(before, n) })
}

// renumbered reports whether a network has taken the place of one on the same interface
// whose phones were let in.
func renumbered(s, accepted *Site, n ruleset.Network) bool {
	letIn := func(s *Site) bool {
		open := uncovered(s)
		return slices.ContainsFunc(s.Host.OwnNetworks(), func(own ruleset.Network) bool {
			return own.Interface == n.Interface && own.Prefix.Addr().Is4() == n.Prefix.Addr().Is4() && !slices.Contains(open, own)
		})
	}
	return letIn(accepted) && !letIn(s)
}

// askedAtLeast is how often names must be asked for, and answered: once a day, with an
// hour for a run that begins late.
const askedAtLeast = 25 * time.Hour

// dnsAlarms are about names that nobody asks for, or that no name server knows. After
// dns.stale_alarm each name has an alarm of its own.
func dnsAlarms(s *Site, l Look) []Alarm {
	names := nameAlarms(s, l)
	if slices.ContainsFunc(names, func(a Alarm) bool { return a.Kind == AlarmKind(resolve.AlarmStale) }) {
		return nil
	}
	unasked, unanswered := silence(s, l.Now)
	switch {
	case unasked >= askedAtLeast:
		return []Alarm{{
			Kind: AlarmUnasked, Name: "dns", Since: l.Now.Time.Add(-unasked),
			Text:   fmt.Sprintf("nobody has asked for the policy's names for %s: addresses that are new since are not allowed", longText(unasked)),
			WayOut: "run ringfence refresh by cron or by a timer, or ringfence run as a service",
		}}
	case unanswered >= askedAtLeast:
		return []Alarm{{
			Kind: AlarmUnanswered, Name: "dns", Since: l.Now.Time.Add(-unanswered),
			Text:   fmt.Sprintf("no name server has given a good answer for %s: addresses that are new since are not allowed", longText(unanswered)),
			WayOut: "repair the name server, or name another one under dns.servers: ringfence resolve NAME shows what fails",
		}}
	}
	return nil
}

// silence is for how long nobody has asked for any name, and for how long there was no
// good answer that an address depends on; 0 if there are none.
func silence(s *Site, now resolve.Moment) (unasked, unanswered time.Duration) {
	const never = time.Duration(math.MaxInt64)
	unasked, unanswered = never, never
	for _, k := range s.Memory.Names {
		if k.Looked.Time.IsZero() {
			continue
		}
		passed := now.Since(k.Looked)
		unasked = min(unasked, passed)
		for _, a := range k.Addresses {
			for _, source := range a.Sources {
				unanswered = min(unanswered, time.Duration(source.UnheardFor)+passed)
			}
		}
	}
	if unasked == never {
		unasked = 0
	}
	if unanswered == never {
		unanswered = 0
	}
	return unasked, unanswered
}

// longText writes a time of at least some hours.
func longText(d time.Duration) string {
	if d < 48*time.Hour {
		return notice.Count(int(d.Hours()), "hour")
	}
	return notice.Count(int(d.Hours()/24), "day")
}

// nameAlarms are about single names.
func nameAlarms(s *Site, l Look) []Alarm {
	var alarms []Alarm
	for _, a := range s.Memory.Alarms(s.Settings(), l.Now) {
		alarms = append(alarms, Alarm{
			Kind: AlarmKind(a.Kind), Name: a.Name, Type: a.Type, Text: a.Text, Since: a.Since,
			WayOut: cmp.Or(l.Words.of(a.WayOut), string(a.WayOut.Kind)),
		})
	}
	return alarms
}
