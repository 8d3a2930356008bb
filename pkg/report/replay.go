package report

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/replay"
	"github.com/ringfence/ringfence/pkg/site"
)

// Replay is the object that replay prints.
type Replay struct {
	Packets int `json:"packets"`
	// SIP counts the packets to or from fenced ports, Untold those of sources for which
	// there was no room.
	SIP     int              `json:"sip"`
	Untold  int              `json:"untold"`
	Own     []string         `json:"own"` // the addresses of this side
	Sources []ReplayedSource `json:"sources"`
	// Silenced are the addresses of sources that got good answers, or gave some, and would
	// be dropped, and Lines what the policy lacks for them.
	Silenced []string `json:"silenced"`
	Text     string   `json:"text"` // says how many of whom
	Lines    []string `json:"lines"`
	// Unknown are names of which no address is remembered.
	Unknown []string `json:"unknown_names"`
	// Error says why not all of the capture was read, null if it was.
	Error *string `json:"error"`
}

// ReplayedSource is what came from one address.
type ReplayedSource struct {
	Address   string    `json:"address"`
	Packets   int       `json:"packets"`
	Dropped   int       `json:"dropped"` // of these, or would be in monitor mode
	Verdict   string    `json:"verdict"` // about most of those that are dropped, or else of all
	By        string    `json:"by"`
	Reason    string    `json:"reason"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	Methods   []string  `json:"methods"`
	UserAgent string    `json:"user_agent"`
	Called    string    `json:"called"`
	Signature string    `json:"signature"`
	// Registered says that its registration was accepted, Called that a call of it was, and
	// Answered that it has accepted what this side sent.
	Registered bool `json:"registered"`
	CallTaken  bool `json:"call_accepted"`
	Answered   bool `json:"answered"`
	Bans       bool `json:"banned"` // it would be banned for what it sent
}

// ReplayOf makes the object of a replay; damaged is why not all was read.
func ReplayOf(r fence.Replayed, now time.Time, damaged error) Replay {
	list := Replay{
		Packets: r.Packets, SIP: r.SIP, Untold: r.Untold, Own: []string{}, Sources: []ReplayedSource{}, Silenced: []string{},
		Lines: linesOf(r.Propose()), Unknown: append([]string{}, r.Unknown...),
	}
	for _, a := range r.Own {
		list.Own = append(list.Own, a.String())
	}
	for _, s := range r.Sources {
		w := WhyOf(s.Answer, now)
		list.Sources = append(list.Sources, ReplayedSource{
			Address: w.Address, Packets: s.Packets, Dropped: s.Dropped, Verdict: w.Verdict, By: w.By, Reason: w.Reason,
			First: s.First, Last: s.Last,
			Methods: append([]string{}, s.Methods...), UserAgent: s.UserAgent, Called: s.Called, Signature: s.Signature,
			Registered: s.Got.Registered, CallTaken: s.Got.Call, Answered: s.Gave.Any(), Bans: s.Bans,
		})
		if s.Silenced() {
			list.Silenced = append(list.Silenced, w.Address)
		}
	}
	list.Text = silencedText(r)
	if damaged != nil {
		list.Error = new(damaged.Error())
	}
	return list
}

// mostNamed is how many servers a sentence names.
const mostNamed = 3

// silencedText says who would be silenced, "" for nobody.
func silencedText(r fence.Replayed) string {
	var parts []string
	p := r.Propose()
	if n := len(p.Phones); n > 0 {
		parts = append(parts, fmt.Sprintf("%d of your phones", n))
	}
	for _, servers := range p.Servers {
		of := "a provider that the policy lacks"
		if servers.Provider != "" {
			of = servers.Provider
		}
		names := make([]string, 0, mostNamed)
		for _, a := range servers.List[:min(len(servers.List), mostNamed)] {
			names = append(names, a.String())
		}
		text := fmt.Sprintf("%s, which looks like a server of %s", strings.Join(names, ", "), of)
		if more := len(servers.List) - mostNamed; more > 0 {
			text = fmt.Sprintf("%s and %d more, which look like servers of %s", strings.Join(names, ", "), more, of)
		} else if len(names) > 1 {
			text = fmt.Sprintf("%s, which look like servers of %s", strings.Join(names, ", "), of)
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return ""
	}
	would := "would be silenced"
	if r.Monitor {
		would = "would be silenced in mode enforce"
	}
	if len(p.Servers) > 0 { // the comma ends what they look like
		would = ", " + would
	} else {
		would = " " + would
	}
	return strings.Join(parts, ", and ") + would
}

// linesOf are what to add to a policy.
func linesOf(p replay.Proposal) []string {
	lines := []string{}
	if len(p.Phones) > 0 {
		lines = append(lines, "trusted:", "  addresses: "+listText(p.Phones))
	}
	for i, s := range p.Servers {
		if i == 0 {
			lines = append(lines, "providers:")
		}
		switch {
		case s.Preset:
			lines = append(lines, "  - preset: "+s.Provider)
		case s.Provider != "":
			lines = append(lines, "  - name: "+s.Provider, "    addresses: "+listText(s.List))
		default:
			lines = append(lines, "  - name: my-provider", "    addresses: "+listText(s.List))
		}
	}
	return lines
}

// listText writes addresses as a list in YAML, which JSON is a part of.
func listText(list []netip.Addr) string {
	texts := make([]string, len(list))
	for i, a := range list {
		texts[i] = a.String()
		if a.Is6() {
			quoted, _ := json.Marshal(texts[i]) // a text always can be
			texts[i] = string(quoted)
		}
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

// VerdictText says in a few words what becomes of the packets of a source.
func VerdictText(a site.Answer, some bool) string {
	text := "allowed: " + a.Reason
	switch {
	case a.WouldDrop:
		text = "would be dropped: " + a.Reason
	case !a.Allowed:
		text = "dropped: " + a.Reason
	case len(a.By) > 0 && a.Reason != "unknown":
		text = "allowed by " + strings.Join(a.By, ", ")
	}
	if some {
		text = "some " + text
	}
	return text
}
