package site

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/judge"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/signature"
)

// Question is about a packet from an address. What it leaves open, Why fills in.
type Question struct {
	Address   netip.Addr
	Protocol  ruleset.Protocol
	Port      uint16
	Interface string // by which it comes in
	UserAgent string
	// Packet is what is known of a packet that was seen, nil for one that was not. Of the
	// source of one that was seen nothing is guessed.
	Packet *Seen
}

// Seen is a packet that was seen.
type Seen struct {
	Class     ruleset.Class // what the classifier takes it for, where it reads
	Signature string        // that it matches
	Shape     judge.Shape
	Message   []byte
	// Registered says that the PBX had accepted a registration of its source before.
	Registered bool
}

// Live is the table in the kernel, and what is known beside it.
type Live struct {
	// Table has also the elements of its dynamic sets.
	Table     *ruleset.State
	Automaton *signature.Automaton // nil if the classifier has none
	// ByHand are the addresses that are allowed by hand, Banned those that are banned for
	// a time.
	ByHand, Banned []Temporary
	Phones         []Registered
	Lately         *Lately // what was dropped of the address lately, nil for nothing
	Former         *Former // when the address was allowed before, nil if that is not known
	// Origins are those of the site, nil if they are not needed again.
	Origins *ruleset.Origins
	// Preset names the preset that has an address, "" for none.
	Preset func(netip.Addr) string
}

// Temporary is an address that is banned, or allowed by hand, for a time.
type Temporary struct {
	Address netip.Addr
	Left    time.Duration // 0 = without end
	Why     string        // who did it, "" for a rule
}

// Registered is a phone that is let in because the PBX has accepted its registration.
type Registered struct {
	Address netip.Addr
	Port    uint16 // 0 = every port
	Left    time.Duration
}

// Lately is what was dropped of one address.
type Lately struct {
	Packets                              uint64
	First, Last                          time.Time
	Reason                               string
	Method, UserAgent, Called, Signature string // of the last packet that could be read
}

// Guess is what a dropped source may be.
type Guess string

// The guesses.
const (
	Nobody  Guess = ""
	Scanner Guess = "scanner"
	Phone   Guess = "phone"
	Server  Guess = "server" // a provider's
)

// Answer says what becomes of such a packet.
type Answer struct {
	Question
	judge.Verdict
	// Reason is that of the verdict: the counter without allowed_ or dropped_; or
	// "no_fence", "port" or "interface" if no rule judges the packet; "foreign" if that of
	// another program does.
	Reason string
	// WouldDrop says that it only passes because of monitor mode.
	WouldDrop bool
	By        []string         // who lets it in, or which part of the policy decides
	Origins   []ruleset.Origin // where its address comes from
	Seen      time.Time        // when an answer of a name server last had it, zero if it is not of a name
	Missing   time.Time        // since when no answer has it
	Temporary *Temporary       // the ban, or what was done by hand
	Phone     *Registered      // that it is
	Guessing  bool             // who fails to log in is banned
	Ways      []string         // by which answers leave
	Required  []string         // what a User-Agent must begin with
	Signature string           // that the User-Agent matches
	Fenced    []uint16         // the ports that are, of the protocol
	Lately    *Lately
	Former    string // how an unknown one was allowed before, or nearly is, "" if it is neither
	Guess     Guess  // of a dropped one
	Provider  string // that has a neighbour of the address
	Preset    string
}

// Why says what the table does with a packet, and why. The site is that of the newest
// generation. An error says that another program has put into the table what is not
// understood.
func (s *Site) Why(live Live, q Question) (Answer, error) {
	completeQuestion(s, &q)
	a := Answer{Question: q, Lately: live.Lately, Ways: s.Host.WaysTo(q.Address)}
	a.Fenced = s.Policy.Ports.UDP
	if q.Protocol != ruleset.UDP {
		a.Fenced = s.Policy.Ports.TCP
	}
	p := judge.Packet{
		Source: q.Address, Protocol: q.Protocol, Port: q.Port, Interface: q.Interface, NotUnicast: q.Address.IsMulticast(),
		NoWayBack: len(s.Host.Interfaces) > 0 && !slices.Contains(a.Ways, q.Interface) && !q.Address.IsLinkLocalUnicast(),
	}
	a.read(s, live, &p)
	a.Guessing = compile.BansGuessers(s.Policy)
	if phone := registered(live.Phones, q.Address); phone != nil && q.Packet == nil {
		a.Phone, p.SourcePort = phone, phone.Port
	}
	table := live.Table
	if q.Packet != nil && q.Packet.Registered {
		table = withPhone(table, q.Address)
	}
	var err error
	if a.Verdict, err = judge.Judge(table, p); err != nil {
		return a, err
	}
	a.Reason = strings.TrimPrefix(strings.TrimPrefix(a.Counter, "allowed_"), "dropped_")
	a.WouldDrop = a.Allowed && strings.HasPrefix(a.Counter, "dropped_")
	switch {
	case !live.Table.Exists:
		a.Reason = "no_fence"
	case !a.Judged && !slices.Contains(a.Fenced, q.Port):
		a.Reason = "port"
	case !a.Judged:
		a.Reason = "interface"
	case a.Counter == "":
		a.Reason = ReasonForeign // every rule of the fence that decides counts
	}
	explainAnswer(s, &a, live)
	return a, nil
}

// completeQuestion fills in the first fenced port, and the interface by which answers leave.
func completeQuestion(s *Site, q *Question) {
	ports := s.Policy.Ports
	if q.Protocol == "" {
		q.Protocol = ruleset.UDP
		if len(ports.UDP) == 0 || q.Port != 0 && !slices.Contains(ports.UDP, q.Port) && slices.Contains(ports.TCP, q.Port) {
			q.Protocol = ruleset.TCP
		}
	}
	of := ports.TCP
	if q.Protocol == ruleset.UDP {
		of = ports.UDP
	}
	if q.Port == 0 && len(of) > 0 {
		q.Port = of[0]
	}
	if q.Interface != "" {
		return
	}
	q.Interface, _ = s.Entrance(q.Address)
}

// Entrance is the interface by which packets of an address come in: the one by which
// answers to it leave; a fenced one, if there are several or it is not known. It reports
// whether such packets can come from outside at all: those of an own address cannot.
func (s *Site) Entrance(a netip.Addr) (name string, outside bool) {
	outside = true
	for _, i := range s.Host.Interfaces {
		outside = outside && !slices.ContainsFunc(i.Addresses, func(own netip.Prefix) bool { return own.Addr() == a })
	}
	ways := s.Host.WaysTo(a)
	if len(ways) == 0 {
		ways = s.FencedInterfaces()
	}
	for _, way := range ways {
		if name == "" || !compile.Fences(s.Policy, s.Host, name) {
			name = way
		}
	}
	return name, outside && name != ""
}

// read says what the classifier says of the packet, as far as the question has it.
func (a *Answer) read(s *Site, live Live, p *judge.Packet) {
	a.Required = s.Policy.Unknown.RequireUserAgent
	_, reads := live.Table.Classifier[a.Interface]
	if seen := a.Packet; seen != nil {
		p.Message, p.Shape, a.Signature = seen.Message, seen.Shape, seen.Signature
		if reads {
			p.Class = seen.Class
		}
		return
	}
	if live.Automaton == nil {
		return
	}
	head := "INVITE sip:100@192.0.2.1 SIP/2.0\r\nUser-Agent: "
	p.Message = []byte(head + strings.NewReplacer("\r", " ", "\n", " ").Replace(a.UserAgent) + "\r\n\r\n")
	result := live.Automaton.Match(p.Message)
	a.Signature = result.Signature
	if reads && slices.Contains(a.Fenced, a.Port) {
		p.Class = ruleset.Class(result.Mark)
	}
}

// explainAnswer finds what has led to the verdict.
func explainAnswer(s *Site, a *Answer, live Live) {
	switch a.Counter {
	case "allowed_provider", "allowed_trusted":
		allowedBy(s, a, live.Origins)
	case "allowed_by_hand":
		a.By, a.Temporary = []string{"hand"}, temporary(live.ByHand, a.Address)
	case "dropped_banned":
		a.By, a.Temporary = []string{"ban"}, temporary(live.Banned, a.Address)
	case "dropped_blocked":
		a.By = []string{"bans.addresses"}
	case "dropped_spoofed":
		a.By = []string{"reverse path"}
	case "dropped_signature":
		a.By = []string{a.Signature}
	case "":
		if a.Reason == ReasonForeign {
			a.By = []string{"another program"}
		}
	default:
		a.By = []string{policyKeys[a.Counter]}
	}
	if a.Packet == nil && a.Reason != ReasonForeign && (!a.Allowed || a.WouldDrop) {
		guessSource(s, a, live)
	}
}

// policyKeys are the keys of the policy by which a counter counts.
var policyKeys = map[string]string{
	"allowed_unknown": "unknown.action", "dropped_unknown": "unknown.action", "dropped_method": "unknown.action",
	"allowed_reply": "unknown.allow_replies", "dropped_user_agent": "unknown.require_user_agent", "dropped_rate": "unknown.rate",
	"allowed_registered": "registration",
}

// allowedBy finds where an allowed address comes from.
func allowedBy(s *Site, a *Answer, origins *ruleset.Origins) {
	if a.Set == "" {
		a.By = []string{"trusted"}
		a.Origins = []ruleset.Origin{{Owner: "trusted", Via: "interfaces " + a.Interface}}
		return
	}
	if origins == nil {
		_, now := s.Compile()
		origins = &now
	}
	a.Origins = origins.Of(a.Set, netip.PrefixFrom(a.Address, a.Address.BitLen()))
	missing := true
	for _, o := range a.Origins {
		if !slices.Contains(a.By, o.Owner) {
			a.By = append(a.By, o.Owner)
		}
		known, ok := s.Memory.Find(o.Name, strings.HasPrefix(a.Set, "providers"), a.Address)
		if o.Name == "" || !ok {
			missing = false
			continue
		}
		if known.LastSeen.After(a.Seen) {
			a.Seen = known.LastSeen
		}
		if missing = missing && !known.MissingSince.IsZero(); missing {
			a.Missing = known.MissingSince
		}
	}
	if !missing {
		a.Missing = time.Time{}
	}
}

func temporary(list []Temporary, a netip.Addr) *Temporary {
	if i := slices.IndexFunc(list, func(t Temporary) bool { return t.Address == a }); i >= 0 {
		return &list[i]
	}
	return nil
}

// registered is the phone of an address that has the longest time left.
func registered(list []Registered, a netip.Addr) *Registered {
	var found *Registered
	for i, r := range list {
		if r.Address == a && (found == nil || found.Left < r.Left) {
			found = &list[i]
		}
	}
	return found
}

// guessSource says what a dropped source may be.
func guessSource(s *Site, a *Answer, live Live) {
	if a.Reason == ReasonUnknown {
		a.Former = strings.TrimPrefix(strings.TrimPrefix(unknownText(Judged{LeftOut: leftOut(s)}, Stranger{Address: a.Address, Allowed: live.Former}), "unknown: "), neverAllowed)
	}
	if live.Preset != nil {
		a.Preset = live.Preset(a.Address)
	}
	a.Provider = neighbourOf(s, a.Address)
	switch l := a.Lately; {
	case a.Signature != "" || l != nil && (l.Signature != "" || l.Reason == ReasonSignature):
		a.Guess = Scanner
	case l != nil && slices.Contains([]string{"REGISTER", "SUBSCRIBE", "PUBLISH"}, l.Method): // no provider's server sends these
		a.Guess = Phone
	case a.Preset != "" || a.Provider != "" || l != nil && l.Method == "INVITE":
		a.Guess = Server
	}
}

// neighbourOf names the provider that has an address near a, "" for none.
func neighbourOf(s *Site, a netip.Addr) string {
	bits := 24
	if a.Is6() {
		bits = 48
	}
	near := netip.PrefixFrom(a, bits).Masked()
	for _, p := range s.Policy.Providers {
		if slices.ContainsFunc(p.Addresses, func(l policy.Address) bool { return l.Addr().Is4() == a.Is4() && near.Overlaps(l.Prefix) }) {
			return p.Name
		}
	}
	for _, k := range s.Memory.Names {
		if k.Registrar && len(k.Owners) > 0 {
			for _, known := range k.Addresses {
				if near.Contains(known.Address) {
					return k.Owners[0]
				}
			}
		}
	}
	return ""
}
