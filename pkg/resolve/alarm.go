package resolve

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// AlarmKind says what an alarm is about.
type AlarmKind string

// The kinds of alarms. None of them has removed an address.
const (
	// AlarmKept: without addresses that are kept for that reason alone, the name
	// would have none.
	AlarmKept AlarmKind = "kept"
	// AlarmGone: the name, or its records, do not exist any more.
	AlarmGone AlarmKind = "gone"
	// AlarmLarge: the answer has more records than any provider needs, and is not
	// used.
	AlarmLarge AlarmKind = "large"
	// AlarmDenied: one name server gives addresses that another does not know.
	AlarmDenied AlarmKind = "denied"
	// AlarmRejected: the answers have only addresses that are not believed.
	AlarmRejected AlarmKind = "rejected"
	// AlarmStale: there has been no good answer for too long.
	AlarmStale AlarmKind = "stale"
)

// Alarm is something about a name that somebody should look after.
type Alarm struct {
	Kind AlarmKind `json:"kind"`
	// Name is what the alarm is about, and Type the type of record, "" if it is
	// about the name as a whole.
	Name  string    `json:"name"`
	Type  Type      `json:"type,omitempty"`
	Since time.Time `json:"since"`
	Text  string    `json:"text"`
	// WayOut is what ends the alarm: a command, or a line of the policy.
	WayOut string `json:"way_out"`
}

// A name is gone for good after this many answers in a row that say so, over at
// least this time.
const (
	goneTimes = 3
	goneTime  = time.Hour
)

// Alarms returns what stands now, sorted by the policy's names. It is pure.
func (m Memory) Alarms(terms Terms, now Moment) []Alarm {
	var alarms []Alarm
	for _, name := range terms.Names {
		k := m.name(name.Target)
		k.Owners = name.Owners
		if !k.KeptSince.IsZero() {
			alarms = append(alarms, k.kept())
		}
		gone := map[Question]bool{}
		for _, a := range k.Questions {
			alarm, ok := k.alarm(a)
			if ok {
				gone[a.question()] = true
				alarms = append(alarms, alarm)
			}
		}
		if len(k.Addresses) == 0 && len(k.Rejected) > 0 {
			alarms = append(alarms, Alarm{
				Kind: AlarmRejected, Name: k.Name, Since: k.Looked.Time,
				Text: "no address that can be believed", WayOut: k.believe(),
			})
		}
		alarms = append(alarms, k.denied()...)
		alarms = append(alarms, k.stale(terms.StaleAlarm, now, gone)...)
	}
	return alarms
}

func (k Known) kept() Alarm {
	var list []netip.Addr
	for _, a := range k.Addresses {
		list = append(list, a.Address)
	}
	return Alarm{
		Kind: AlarmKept, Name: k.Name, Since: k.KeptSince,
		Text:   fmt.Sprintf("without %s it would have no address, so that stays", addressList(list)),
		WayOut: "look at ringfence resolve " + k.Name + "; if the address is right, " + k.line(list),
	}
}

// alarm is the alarm of one question.
func (k Known) alarm(a KnownAnswer) (Alarm, bool) {
	alarm := Alarm{Name: a.Name, Type: a.Type, Since: a.Since}
	switch {
	case a.Kind == Gone && a.Gone >= goneTimes && time.Duration(a.GoneFor) >= goneTime:
		alarm.Kind = AlarmGone
		alarm.Text = fmt.Sprintf("%s, in %d answers in a row; its addresses stay", a.Error, a.Gone)
		alarm.WayOut = fmt.Sprintf("if it has been given up for good, take %s out of the policy and run ringfence apply", k.Name)
	case a.Kind == TooLarge:
		alarm.Kind = AlarmLarge
		alarm.Text = a.Error + ", so it is not used"
		alarm.WayOut = "if so many are right: ringfence refresh --accept-large " + k.Name
	case a.Kind == Unbelieved:
		alarm.Kind = AlarmRejected
		alarm.Text = a.Error
		alarm.WayOut = k.believe()
	default:
		return alarm, false
	}
	return alarm, true
}

// believe says how to allow what is rejected, if there is a way.
func (k Known) believe() string {
	var list []netip.Addr
	for _, r := range k.Rejected {
		if r.Address.IsPrivate() {
			list = append(list, r.Address)
		}
	}
	if len(list) == 0 {
		return "somebody's name server answers wrongly: compare ringfence resolve " + k.Name + " by another one (dns.servers in the policy)"
	}
	return "if they are right, " + k.line(list)
}

// line says which line of the policy allows addresses.
func (k Known) line(list []netip.Addr) string {
	where := "trusted"
	if k.Registrar && len(k.Owners) > 0 {
		where = "provider " + k.Owners[0]
	}
	return fmt.Sprintf("write \"addresses: [%s]\" under %s in the policy", addressList(list), where)
}

func addressList(list []netip.Addr) string {
	const most = 8
	var texts []string
	for i, a := range list {
		if i == most {
			texts = append(texts, fmt.Sprintf("and %d more", len(list)-most))
			break
		}
		texts = append(texts, a.String())
	}
	return strings.Join(texts, ", ")
}

func (k Known) denied() []Alarm {
	var list []netip.Addr
	var since time.Time
	for _, h := range k.Held {
		if !h.Denied {
			continue
		}
		list = append(list, h.Address)
		if since.IsZero() || h.Since.Before(since) {
			since = h.Since
		}
	}
	if len(list) == 0 {
		return nil
	}
	return []Alarm{{
		Kind: AlarmDenied, Name: k.Name, Since: since,
		Text:   fmt.Sprintf("one answer has %s in the place of what is known, another has not; they wait for a second answer", addressList(list)),
		WayOut: "find out which name server lies (dns.servers in the policy); if they are right, " + k.line(list),
	}}
}

// stale are the questions without a good answer for too long that addresses
// hang on. Those in told have an alarm already.
func (k Known) stale(limit time.Duration, now Moment, told map[Question]bool) []Alarm {
	passed, _ := now.since(k.Looked)
	if passed >= limit && len(k.Addresses) > 0 {
		return []Alarm{{
			Kind: AlarmStale, Name: k.Name, Since: k.Looked.Time,
			Text:   fmt.Sprintf("nobody has asked for it for %d h; its addresses stay as they were", passed/time.Hour),
			WayOut: "run ringfence refresh by cron or by a timer, or ringfence run as a service",
		}}
	}
	unheard := map[Question]time.Duration{}
	for _, a := range k.Addresses {
		for _, s := range a.Sources {
			if d := time.Duration(s.UnheardFor) + passed; d >= limit && !told[s.Question] {
				unheard[s.Question] = max(unheard[s.Question], d)
			}
		}
	}
	var alarms []Alarm
	for q, d := range unheard {
		alarms = append(alarms, Alarm{
			Kind: AlarmStale, Name: q.Name, Type: q.Type, Since: now.Time.Add(-d),
			Text:   fmt.Sprintf("no good answer for %d h; its addresses stay as they were", d/time.Hour),
			WayOut: "mend the name server (dns.servers in the policy): ringfence resolve " + k.Name + " shows what fails",
		})
	}
	slices.SortFunc(alarms, func(a, b Alarm) int { return compareQuestions(Question{a.Name, a.Type}, Question{b.Name, b.Type}) })
	return alarms
}
