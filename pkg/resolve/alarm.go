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

// The kinds of alarms. None of them means that an address was removed.
const (
	// AlarmKept: the name has only addresses that would otherwise have been removed.
	AlarmKept AlarmKind = "kept"
	// AlarmGone: the name, or its records, do not exist any more.
	AlarmGone AlarmKind = "gone"
	// AlarmLarge: the answer has more records than any provider needs, so it is not
	// used.
	AlarmLarge AlarmKind = "large"
	// AlarmContradicted: one name server gives addresses that another does not have.
	AlarmContradicted AlarmKind = "contradicted"
	// AlarmRejected: all addresses in the answers were rejected.
	AlarmRejected AlarmKind = "rejected"
	// AlarmLimit: there is more behind the name than is asked for.
	AlarmLimit AlarmKind = "limit"
	// AlarmStale: there has been no good answer for too long.
	AlarmStale AlarmKind = "stale"
)

// Alarm is something about a name that needs attention.
type Alarm struct {
	Kind AlarmKind `json:"kind"`
	// Name is what the alarm is about. Type is the type of record, "" if the alarm is
	// about the name as a whole.
	Name  string    `json:"name"`
	Type  Type      `json:"type,omitempty"`
	Since time.Time `json:"since"`
	Text  string    `json:"text"`
	// WayOut is what ends the alarm.
	WayOut WayOut `json:"way_out"`
}

// WayOut is what ends an alarm. The caller chooses the words.
type WayOut struct {
	Kind WayOutKind `json:"kind"`
	// Name is the policy's name. The addresses are those to list in the policy under
	// Owner, if they are right; "" means under trusted.
	Name      string       `json:"name"`
	Owner     string       `json:"owner,omitempty"`
	Addresses []netip.Addr `json:"addresses,omitempty"`
}

// WayOutKind says what to do.
type WayOutKind string

// The ways out.
const (
	CheckName       WayOutKind = "check-name"        // check what is behind it, and list the addresses if they are right
	RemoveName      WayOutKind = "remove-name"       // remove it from the policy
	AcceptLarge     WayOutKind = "accept-large"      // accept its large answers
	ListAddresses   WayOutKind = "list-addresses"    // list the addresses, if they are right
	CompareServers  WayOutKind = "compare-servers"   // ask another name server
	FindWrongServer WayOutKind = "find-wrong-server" // find out which name server is wrong; list the addresses if they are right
	AskRegularly    WayOutKind = "ask-regularly"     // have names asked for regularly
	LimitName       WayOutKind = "limit-name"        // see what is behind it; list its networks instead
	RepairServer    WayOutKind = "repair-server"     // repair the name server
	ReachList       WayOutKind = "reach-list"        // let the host reach the list
)

// A name counts as gone after this many answers in a row that say so, over at least
// this time.
const (
	goneTimes = 3
	goneTime  = time.Hour
)

// Alarms returns the present alarms, sorted by the policy's names. It is pure.
func (m Memory) Alarms(settings Settings, now Moment) []Alarm {
	var alarms []Alarm
	index := m.index()
	for _, name := range settings.Names {
		k := name.of(index)
		k.Owners = name.Owners
		if k.Cut != nil {
			alarms = append(alarms, k.cutOff())
		}
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
				Text: "all its addresses were rejected", WayOut: k.believe(),
			})
		}
		alarms = append(alarms, k.contradicted()...)
		alarms = append(alarms, k.stale(settings.StaleAlarm, now, gone)...)
	}
	return append(alarms, listAlarms(m, settings, now)...)
}

func (k Known) kept() Alarm {
	var list []netip.Addr
	for _, a := range k.Addresses {
		list = append(list, a.Address)
	}
	return Alarm{
		Kind: AlarmKept, Name: k.Name, Since: k.KeptSince,
		Text:   fmt.Sprintf("without %s it would have no address, so that is kept", AddressList(list)),
		WayOut: k.list(CheckName, list),
	}
}

// cutOff names the limits that the last lookup has come to.
func (k Known) cutOff() Alarm {
	var texts []string
	for _, limit := range k.Cut.Limits {
		texts = append(texts, string(limit))
	}
	return Alarm{
		Kind: AlarmLimit, Name: k.Name, Since: k.Cut.Since,
		Text:   fmt.Sprintf("there is more behind it than one name is asked for (limit: %s), and the rest is left out", strings.Join(texts, ", ")),
		WayOut: k.list(LimitName, nil),
	}
}

// alarm is the alarm of one question.
func (k Known) alarm(a KnownAnswer) (Alarm, bool) {
	alarm := Alarm{Name: a.Name, Type: a.Type, Since: a.Since}
	switch {
	case a.Kind == Gone && a.Gone >= goneTimes && time.Duration(a.GoneFor) >= goneTime:
		alarm.Kind = AlarmGone
		alarm.Text = fmt.Sprintf("%s, in %d answers in a row; its addresses are kept", a.Error, a.Gone)
		alarm.WayOut = WayOut{Kind: RemoveName, Name: k.Name}
	case a.Kind == TooLarge:
		alarm.Kind = AlarmLarge
		alarm.Text = a.Error + ", so it is not used"
		alarm.WayOut = WayOut{Kind: AcceptLarge, Name: k.Name}
	case a.Kind == Unbelieved:
		alarm.Kind = AlarmRejected
		alarm.Text = a.Error
		alarm.WayOut = k.believe()
	default:
		return alarm, false
	}
	return alarm, true
}

// believe returns how to allow what is rejected, if that is possible.
func (k Known) believe() WayOut {
	var list []netip.Addr
	for _, r := range k.Rejected {
		if r.Address.IsPrivate() {
			list = append(list, r.Address)
		}
	}
	if len(list) == 0 {
		return WayOut{Kind: CompareServers, Name: k.Name}
	}
	return k.list(ListAddresses, list)
}

// list returns a way out that lists addresses in the policy.
func (k Known) list(kind WayOutKind, list []netip.Addr) WayOut {
	w := WayOut{Kind: kind, Name: k.Name, Addresses: list}
	if k.Registrar && len(k.Owners) > 0 {
		w.Owner = k.Owners[0]
	}
	return w
}

// AddressList writes some addresses, and how many more there are.
func AddressList(list []netip.Addr) string {
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

func (k Known) contradicted() []Alarm {
	var list []netip.Addr
	var since time.Time
	for _, h := range k.Quarantined {
		if !h.Contradicted {
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
		Kind: AlarmContradicted, Name: k.Name, Since: since,
		Text:   fmt.Sprintf("one answer has %s instead of the known addresses, another does not; they wait for a second answer", AddressList(list)),
		WayOut: k.list(FindWrongServer, list),
	}}
}

// stale returns the questions on which addresses depend and which have had no good
// answer for too long. Those in told have an alarm already.
func (k Known) stale(limit time.Duration, now Moment, told map[Question]bool) []Alarm {
	passed, _ := now.since(k.Looked)
	if passed >= limit && len(k.Addresses) > 0 {
		return []Alarm{{
			Kind: AlarmStale, Name: k.Name, Since: k.Looked.Time,
			Text:   fmt.Sprintf("it was not asked for during %d h; its addresses are kept", passed/time.Hour),
			WayOut: WayOut{Kind: AskRegularly, Name: k.Name},
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
			Text:   fmt.Sprintf("no good answer for %d h; its addresses are kept", d/time.Hour),
			WayOut: WayOut{Kind: RepairServer, Name: k.Name},
		})
	}
	slices.SortFunc(alarms, func(a, b Alarm) int { return compareQuestions(Question{a.Name, a.Type}, Question{b.Name, b.Type}) })
	return alarms
}
