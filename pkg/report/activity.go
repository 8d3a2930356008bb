package report

import (
	"maps"
	"time"

	"github.com/ringfence/ringfence/pkg/activity"
	"github.com/ringfence/ringfence/pkg/fence"
)

// Activity is the object that report prints: who was dropped over a time.
type Activity struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	// Mode is enforce or monitor, or none if there is no fence now.
	Mode string `json:"mode"`
	// Counted says that all packets were counted. Else there were at least those of dropped:
	// what the daemon has looked at, and what the kernel keeps of the last day.
	Counted bool `json:"counted"`
	// Dropped and Allowed are packets by reason.
	Dropped map[string]uint64 `json:"dropped"`
	Allowed map[string]uint64 `json:"allowed"`
	// Step is how many seconds each of Times is long.
	Step  int64       `json:"step"`
	Times []TimeSpan  `json:"times"`
	Hosts []Source    `json:"sources"`
	More  MoreSources `json:"more"`
	Tools []Tool      `json:"tools"`
	// Called are the users that were called or registered.
	Called  []Named `json:"called"`
	Methods []Named `json:"methods"`
	// Providers are allowed now.
	Providers   []Provider   `json:"providers"`
	Suggestions []Suggestion `json:"suggestions"`
	// Counters are the packets since the table was made.
	Counters map[string]uint64 `json:"counters"`
	// At is about a moment, null if none was asked for.
	At *Answer `json:"at"`
}

// TimeSpan is a part of the time.
type TimeSpan struct {
	Time    time.Time         `json:"time"`
	Dropped map[string]uint64 `json:"dropped"`
	Allowed map[string]uint64 `json:"allowed"`
}

// Source is who was dropped, with what most of his packets were.
type Source struct {
	Address   string     `json:"address"`
	Packets   uint64     `json:"packets"`
	First     *time.Time `json:"first"` // null if not known
	Last      time.Time  `json:"last"`
	Reason    string     `json:"reason"`
	Protocol  string     `json:"protocol"`
	Port      int        `json:"port"`
	Method    string     `json:"method"`
	UserAgent string     `json:"user_agent"`
	Called    string     `json:"called"`
	Signature string     `json:"signature"`
	// Several says that he has called several users, of which called is one.
	Several bool `json:"several_called"`
	// Around says that his packets came before and after the time, and perhaps not in it.
	Around bool `json:"around,omitempty"`
}

// MoreSources are those that are not listed.
type MoreSources struct {
	Sources int `json:"sources"`
	// AtLeast says that there were more than could be counted.
	AtLeast bool `json:"at_least"`
	// Packets are those of sources whose addresses were not kept.
	Packets uint64 `json:"packets"`
}

// Tool is what packets were sent with: a scanner that a signature names, or what the
// packets say.
type Tool struct {
	Signature string `json:"signature"`
	UserAgent string `json:"user_agent"`
	Packets   uint64 `json:"packets"`
}

// Named is a name with its packets.
type Named struct {
	Name    string `json:"name"`
	Packets uint64 `json:"packets"`
}

// Suggestion is a source that may be one to let in.
type Suggestion struct {
	Address string `json:"address"`
	Text    string `json:"text"`
	WayOut  string `json:"way_out"`
}

// Answer says whether something that rang was a ghost call.
type Answer struct {
	Time    time.Time        `json:"time"`
	Verdict activity.Verdict `json:"verdict"`
	Text    string           `json:"text"`
}

// ActivityOf makes the object of an activity.
func ActivityOf(a *fence.Activity) Activity {
	status := StatusOf(a.Now)
	r := Activity{
		Since: a.Since, Until: a.Until, Mode: status.Mode, Counted: a.Counted, Dropped: a.Dropped, Allowed: a.Allowed,
		Step: int64(a.Step / time.Second), Times: []TimeSpan{}, Hosts: []Source{}, Tools: []Tool{}, Suggestions: []Suggestion{},
		More:   MoreSources{a.Others, a.Uncounted, a.Unnamed},
		Called: named(a.Called), Methods: named(a.Methods), Providers: status.Providers, Counters: status.Counters,
	}
	for _, b := range a.Bars {
		r.Times = append(r.Times, TimeSpan(b))
	}
	for _, s := range a.Sources {
		r.Hosts = append(r.Hosts, sourceOf(s))
	}
	for _, t := range a.Tools {
		r.Tools = append(r.Tools, Tool(t))
	}
	for _, s := range a.Suggestions {
		r.Suggestions = append(r.Suggestions, Suggestion{s.Address.String(), s.Text, s.WayOut})
	}
	if a.Answer != nil {
		answer := Answer(*a.Answer)
		r.At = &answer
	}
	return r
}

func sourceOf(s activity.Source) Source {
	r := Source{
		Address: s.Address.String(), Packets: s.Packets, Last: s.Last, Reason: s.Reason, Protocol: s.Protocol, Port: int(s.Port),
		Method: s.Method, UserAgent: s.UserAgent, Called: s.Called, Signature: s.Signature, Several: s.Users > 1, Around: s.Around,
	}
	if !s.First.IsZero() {
		r.First = &s.First
	}
	return r
}

func named(list []activity.Ranked) []Named {
	names := []Named{}
	for _, n := range list {
		names = append(names, Named(n))
	}
	return names
}

// Total is how many packets there are.
func Total(packets map[string]uint64) (n uint64) {
	for p := range maps.Values(packets) {
		n += p
	}
	return n
}
