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
	// AlarmContradicted: one name server gives addresses that another does not know.
	AlarmContradicted AlarmKind = "contradicted"
	// AlarmRejected: the answers have only addresses that are not believed.
	AlarmRejected AlarmKind = "rejected"
	// AlarmLimit: there is more behind the name than is asked for.
	AlarmLimit AlarmKind = "limit"
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
	// WayOut is what ends the alarm.
	WayOut WayOut `json:"way_out"`
}

// WayOut is what ends an alarm. Its words are for the caller to choose.
type WayOut struct {
	Kind WayOutKind `json:"kind"`
	// Name is the policy's name. The addresses are those to list in the policy,
	// under Owner, if they are right; "" is the trusted.
	Name      string       `json:"name"`
	Owner     string       `json:"owner,omitempty"`
	Addresses []netip.Addr `json:"addresses,omitempty"`
}

// WayOutKind says what to do.
type WayOutKind string

// The ways out.
const (
	CheckName       WayOutKind = "check-name"        // look at what is behind it, and list the addresses if they are right
	RemoveName      WayOutKind = "remove-name"       // take it out of the policy
	AcceptLarge     WayOutKind = "accept-large"      // accept its large answers
	ListAddresses   WayOutKind = "list-addresses"    // list the addresses, if they are right
	CompareServers  WayOutKind = "compare-servers"   // ask another name server
	FindWrongServer WayOutKind = "find-wrong-server" // find out which name server is wrong; list the addresses if they are right
	AskRegularly    WayOutKind = "ask-regularly"     // have names asked for regularly
	LimitName       WayOutKind = "limit-name"        // see what is behind it; list its networks instead
	RepairServer    WayOutKind = "repair-server"     // repair the name server
)

// A name is gone for good after this many answers in a row that say so, over at
// least this time.
const (
	goneTimes = 3
	goneTime  = time.Hour
)

// Alarms returns what stands now, sorted by the policy's names. It is pure.
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
				Text: "no address that can be believed", WayOut: k.believe(),
			})
		}
		alarms = append(alarms, k.contradicted()...)
		alarms = append(alarms, k.stale(settings.StaleAlarm, now, gone)...)
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
		Text:   fmt.Sprintf("without %s it would have no address, so that stays", AddressList(list)),
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
		alarm.Text = fmt.Sprintf("%s, in %d answers in a row; its addresses stay", a.Error, a.Gone)
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

// believe says how to allow what is rejected, if there is a way.
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

// list is a way out that lists addresses in the policy.
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
		Text:   fmt.Sprintf("one answer has %s in the place of what is known, another has not; they wait for a second answer", AddressList(list)),
		WayOut: k.list(FindWrongServer, list),
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
			Text:   fmt.Sprintf("no good answer for %d h; its addresses stay as they were", d/time.Hour),
			WayOut: WayOut{Kind: RepairServer, Name: k.Name},
		})
	}
	slices.SortFunc(alarms, func(a, b Alarm) int { return compareQuestions(Question{a.Name, a.Type}, Question{b.Name, b.Type}) })
	return alarms
}
