package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Unknown says what happens to a packet to a SIP port from any other source.
type Unknown struct {
	Action           Action
	Rate             Rate // how many REGISTERs a source may send, with ActionRegister
	AllowReplies     bool
	RequireUserAgent []string
}

// Action is what happens to packets of unknown sources.
type Action string

// The actions.
const (
	ActionDrop Action = "drop"
	// ActionRegister drops all but REGISTER, and lets in who has registered.
	ActionRegister Action = "register"
	ActionAccept   Action = "accept"
)

// Accepts reports whether unknown sources may send whatever they like.
func (u Unknown) Accepts() bool { return u.Action == ActionAccept }

// Registers reports whether unknown sources may register, and nothing else before they
// have.
func (u Unknown) Registers() bool { return u.Action == ActionRegister }

// Admits reports whether anything that unknown sources send passes.
func (u Unknown) Admits() bool { return u.Accepts() || u.Registers() }

// Rate is how often something may happen: Count times in each Per.
type Rate struct {
	Count uint32
	Per   time.Duration // a second, a minute or an hour
}

// String writes the rate as it is in a policy: 20/min.
func (r Rate) String() string {
	for _, u := range rateUnits {
		if u.per == r.Per {
			return fmt.Sprintf("%d/%s", r.Count, u.names[0])
		}
	}
	return fmt.Sprintf("%d/%s", r.Count, DurationText(r.Per))
}

// mostRate is the largest count of a rate.
const mostRate = 1_000_000

var rateUnits = []struct {
	names []string
	per   time.Duration
}{
	{[]string{"s", "sec", "second"}, time.Second},
	{[]string{"min", "m", "minute"}, time.Minute},
	{[]string{"h", "hour"}, time.Hour},
}

var rateForm = expression(`^([0-9]{1,7})/([a-z]+)$`)

// ParseRate reads a rate such as 20/min.
func ParseRate(text string) (Rate, error) {
	found := rateForm().FindStringSubmatch(text)
	if found != nil {
		n, err := strconv.ParseUint(found[1], 10, 32)
		for _, u := range rateUnits {
			if err == nil && n > 0 && n <= mostRate && slices.Contains(u.names, found[2]) {
				return Rate{Count: uint32(n), Per: u.per}, nil
			}
		}
	}
	return Rate{}, fmt.Errorf("%q: write a number from 1 to %d for each s, min or h, such as 20/min", text, mostRate)
}

// Guessing says when an unknown source that fails to log in is banned, for as long as
// bans last. It means nothing where the action is drop.
type Guessing struct {
	Failures uint32 // 0 = never
	Within   time.Duration
}

// Roaming says how sources are let in that have registered. It means nothing where the
// action is another one.
type Roaming struct {
	Life  time.Duration // how long a registration that was accepted lets in
	Match RoamingMatch
}

// RoamingMatch says what of a source must be as it was when it registered.
type RoamingMatch string

// The matches.
const (
	MatchAddressPort RoamingMatch = "address-port"
	MatchAddress     RoamingMatch = "address"
)

type guessingFile struct {
	Failures scalar `yaml:"failures"`
	Within   scalar `yaml:"within"`
}

type roamingFile struct {
	Life  scalar `yaml:"life"`
	Match scalar `yaml:"match"`
}

func (c *checker) unknown(f unknownFile, engine Engine) Unknown {
	words := []string{string(ActionDrop), string(ActionRegister), string(ActionAccept)}
	u := Unknown{
		Action:           Action(choice(&c.scalars, f.Action, "unknown.action", words...)),
		AllowReplies:     c.flag(f.AllowReplies, "unknown.allow_replies"),
		RequireUserAgent: c.words(f.RequireUserAgent, "User-Agent"),
		Rate:             c.rate(f.Rate, "unknown.rate", Rate{Count: 20, Per: time.Minute}),
	}
	if !u.Registers() && f.Rate.written() {
		c.mistake(f.Rate, "unknown.rate needs unknown.action: register: with %s no REGISTER is counted", u.Action)
	}
	if len(u.RequireUserAgent) == 0 {
		return u
	}
	at := f.RequireUserAgent[0]
	if !u.Admits() {
		c.mistake(at, "require_user_agent needs unknown.action: accept or register: with drop no unknown source passes, whatever its User-Agent")
	} else if !slices.Contains(c.available.Engines, EngineBPF) {
		c.mistake(at, "require_user_agent needs the classifier, which this version does not have: remove it")
	} else if engine == EngineOff || engine == EngineString {
		c.mistake(at, "require_user_agent needs the classifier: do not set signatures.engine to %s", engine)
	}
	return u
}

// longestInSet is how long ipset keeps an element at most, in whole days.
const longestInSet = 24 * 24 * time.Hour

// inSets finds times that are too long for the sets of iptables.
func (c *checker) inSets(f *file, p *Policy) {
	if !strings.HasPrefix(string(p.Backend), string(BackendIPTables)) {
		return
	}
	for _, t := range []struct {
		written scalar
		key     string
		time    time.Duration
	}{{f.Bans.Duration, "bans.duration", p.Bans.Duration}, {f.Roaming.Life, "roaming.life", p.Roaming.Life}} {
		if t.time > longestInSet {
			c.mistake(t.written, "%s is %s, and over iptables it is at most %dd: that is as long as ipset keeps an address", t.key, t.written.text, longestInSet/(24*time.Hour))
		}
	}
}

// guessing reads when guessers are banned. It must be called after unknown and bans.
func (c *checker) guessing(f guessingFile, p *Policy) Guessing {
	g := Guessing{
		Failures: uint32(c.number(f.Failures, "guessing.failures", 10, 0, 1000)),
		Within:   c.duration(f.Within, "guessing.within", time.Minute, time.Second, 24*time.Hour),
	}
	if g.Within%time.Second != 0 {
		c.mistake(f.Within, "guessing.within is %s: write whole seconds", f.Within.text)
	}
	written := firstWritten(f.Failures, f.Within)
	if g.Failures == 1 {
		c.mistake(f.Failures, "guessing.failures is 1: every phone is refused once before it sends its password; write 2 or more, or 0 for never")
	}
	switch {
	case !p.Unknown.Admits():
		if written.written() {
			c.mistake(written, "guessing needs unknown.action: accept or register: with drop no unknown source can log in")
		}
	case g.Failures > 0 && p.Bans.Duration == 0 && written.written():
		c.mistake(written, "guessing bans for bans.duration, which is 0s: set that, or guessing.failures to 0")
	}
	return g
}

// roaming reads how those are let in that have registered. It must be called after
// unknown.
func (c *checker) roaming(f roamingFile, p *Policy) Roaming {
	r := Roaming{
		Life:  c.duration(f.Life, "roaming.life", time.Hour, 10*time.Second, 366*24*time.Hour),
		Match: RoamingMatch(choice(&c.scalars, f.Match, "roaming.match", string(MatchAddressPort), string(MatchAddress))),
	}
	if written := firstWritten(f.Life, f.Match); written.written() && !p.Unknown.Registers() {
		c.mistake(written, "roaming needs unknown.action: register: with %s nobody is let in for having registered", p.Unknown.Action)
	}
	return r
}

// firstWritten is the one of two values that comes first in the file.
func firstWritten(a, b scalar) scalar {
	if !a.written() || b.written() && (b.line < a.line || b.line == a.line && b.col < a.col) {
		return b
	}
	return a
}

func (c *scalars) rate(s scalar, key string, byDefault Rate) Rate {
	if !s.written() {
		return byDefault
	}
	r, err := ParseRate(s.text)
	if err != nil {
		c.mistake(s, "%s is %v", key, err)
		return byDefault
	}
	return r
}
