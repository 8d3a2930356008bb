package compile

import (
	"time"

	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// How long things about peers are remembered.
const (
	// askingFor is how long an answer to a REGISTER may take: the client's transaction
	// ends then (timer F, RFC 3261 section 17.1.2.2).
	askingFor = 32 * time.Second
	// knownFor is how long an address is known from which somebody has logged in. Failures
	// from there are most likely a wrong password, and not guesses.
	knownFor = 24 * time.Hour
	// staleFor is how long a known peer is slowed down that fails to log in, and slowFor the
	// time for which what it sends is counted.
	staleFor = time.Hour
	slowFor  = time.Minute
	// slowly is how often a known peer that fails to log in may try in that time: a phone
	// whose password was corrected needs two requests.
	slowly = 2
)

// mostPeers is how many peers of a family can be in each set at once.
const mostPeers = 65535

// What messages begin with, to the letter: other spellings are dropped.
const (
	registerText = "REGISTER "
	responseText = "SIP/2.0 "
)

// The place of a message behind the beginning of a transport header: of UDP's, and of
// TCP's with its length in words, which is from leastWords to mostWords.
const (
	udpHeader  = 8
	wordBytes  = 4
	leastWords = 5
	mostWords  = 15
)

// registers reports whether unknown sources are let in that register.
func (t table) registers() bool { return t.policy.Unknown.Registers() }

// guesses reports whether unknown sources are banned that fail to log in.
func (t table) guesses() bool { return BansGuessers(t.policy) }

// BansGuessers reports whether the rules for a policy ban unknown sources that fail to log
// in.
func BansGuessers(p *policy.Policy) bool {
	return p.Unknown.Admits() && !p.Monitor && p.Guessing.Failures > 0 && p.Bans.Duration > 0
}

// listens reports whether what is answered to unknown sources is looked at. Nothing is if
// all that they send is dropped, because nobody reads the User-Agent that is required.
func (t table) listens() bool {
	unread := len(t.policy.Unknown.RequireUserAgent) > 0 && !t.classifies()
	return (t.registers() || t.guesses()) && !unread
}

// mixes reports whether unknown sources, or phones, may send other requests than REGISTER
// whose answers could be taken for those to it.
func (t table) mixes() bool { return t.guesses() || t.policy.Monitor }

// login compiles what lets those in who log in, and bans those who guess.
type login struct{ family }

// peer is who has sent a packet, or is sent an answer, as phones are told apart.
func (f login) peer(answer bool) ruleset.Peer {
	return ruleset.Peer{V6: f.v6, Answer: answer, Port: !f.registers() || f.policy.Roaming.Match == policy.MatchAddressPort}
}

// place is the same with the port, and address without.
func (f login) place(answer bool) ruleset.Peer {
	return ruleset.Peer{V6: f.v6, Answer: answer, Port: true}
}

func (f login) address(answer bool) ruleset.Peer { return ruleset.Peer{V6: f.v6, Answer: answer} }

// in matches a peer against the family's set of a kind.
func (f family) in(p ruleset.Peer, kind string) ruleset.Statement {
	if !p.Answer && !p.Port {
		return f.from(kind)
	}
	return ruleset.PeerIn{Peer: p, Set: f.set(kind)}
}

func (f family) learn(p ruleset.Peer, kind string, life time.Duration) ruleset.Learn {
	return ruleset.Learn{Peer: p, Set: f.set(kind), For: life}
}

// often matches a peer that meets the rule more often than so many times in a time, after
// which as many are allowed again.
func (f login) often(p ruleset.Peer, kind string, times uint32, within time.Duration) ruleset.Learn {
	s := f.learn(p, kind, within)
	s.Over = ruleset.NewLimit(times, within)
	return s
}

func (f login) forget(p ruleset.Peer, kind string) ruleset.Forget {
	return ruleset.Forget{Peer: p, Set: f.set(kind)}
}

// on continues in a chain of the family.
func (f family) on(chain string) family {
	f.chain = f.set(chain)
	return f
}

func (f login) on(chain string) login { return login{f.family.on(chain)} }

// to leads to that chain.
func (f family) to(kind ruleset.VerdictKind, chain string) ruleset.Verdict {
	return ruleset.Verdict{Kind: kind, Chain: f.set(chain)}
}

// peerSets are the sets of what the rules learn of peers, besides others. One that rules
// only ask, because nobody gets as far as where they learn, is there all the same, and
// keeps what it has learned before.
func (t table) peerSets(chains map[string]ruleset.Chain, others map[string]ruleset.Set) map[string]ruleset.Set {
	sets := map[string]ruleset.Set{}
	add := func(p ruleset.Peer, name string, limited bool) {
		if _, other := others[name]; !other && name != "" {
			sets[name] = ruleset.Set{Key: keyOf(p), Timeout: true, Dynamic: true, Size: mostPeers, Limited: limited || sets[name].Limited}
		}
	}
	for _, c := range chains {
		for _, r := range c.Rules {
			for _, s := range r.Statements() {
				switch s := s.(type) {
				case ruleset.Learn:
					add(s.Peer, s.Set, s.Over != (ruleset.Limit{}))
				case ruleset.PeerIn:
					add(s.Peer, s.Set, false)
				case ruleset.Forget:
					add(s.Peer, s.Set, false)
				case ruleset.Source:
					add(ruleset.Peer{V6: s.V6}, s.Set, false)
				}
			}
		}
	}
	return sets
}

// keyOf is the type of a set of such peers.
func keyOf(p ruleset.Peer) ruleset.Key {
	switch {
	case p.V6 && p.Port:
		return ruleset.IPv6Peer
	case p.V6:
		return ruleset.IPv6
	case p.Port:
		return ruleset.IPv4Peer
	}
	return ruleset.IPv4
}

// phones lets in who has registered. It comes before bans: the ban of a scanner, or of a
// guesser, must not shut out a phone behind the same address.
func (f login) phones() {
	f.rule(f.in(f.peer(false), "phones"), f.to(ruleset.Goto, "from_phones"))
	phone := f.on("from_phones")
	if f.classifies() {
		phone.ban(f.mark(ruleset.Scanner))
		phone.count("dropped_signature", f.mark(ruleset.Scanner))
	}
	phone.texts()
	if !phone.userAgents() {
		return
	}
	again := f.to(ruleset.Goto, "again")
	phone.rule(ruleset.Transport{Protocol: ruleset.UDP}, ruleset.Text{Offset: udpHeader, Text: registerText}, again)
	phone.rule(ruleset.Transport{Protocol: ruleset.TCP}, f.to(ruleset.Goto, "phones_tcp"))
	tcp := f.on("phones_tcp")
	tcp.eachTCP(registerText, again)
	for _, f := range []login{phone, tcp} {
		if f.mixes() {
			f.rule(f.askers(false), f.learn(f.peer(false), "other", askingFor))
		}
		f.count("allowed_registered")
	}

	register := f.on("again")
	register.slowly()
	register.ask()
	register.count("allowed_registered")
}

// eachTCP adds a rule for segments that begin with a text, for each length of the header.
func (f login) eachTCP(text string, end ruleset.Verdict) {
	for words := leastWords; words <= mostWords; words++ {
		f.rule(ruleset.TCPHeader{Words: words}, ruleset.Text{Offset: wordBytes * words, Text: text}, end)
	}
}

// ask remembers who has sent a REGISTER, until it is answered.
func (f login) ask() {
	if f.classifies() && f.registers() {
		// What ends a registration is answered like what begins one.
		stays := f.mark(ruleset.Unregister)
		stays.Not = true
		f.rule(f.mark(ruleset.Unregister), f.learn(f.peer(false), "leaving", askingFor))
		f.rule(stays, f.forget(f.peer(false), "leaving"))
	}
	f.rule(f.learn(f.peer(false), "asking", askingFor))
	if f.answersElsewhere() {
		f.rule(f.learn(f.address(false), "asked", askingFor))
	}
}

// answersElsewhere reports whether answers to other ports than the REGISTER came from have to
// be looked at. A client may name another one (Via without rport, RFC 3581), and a guesser
// who reads what comes there must be counted all the same.
func (f login) answersElsewhere() bool { return f.guesses() && f.peer(false).Port }

// askers are those to whom answers are looked at.
func (f login) askers(answer bool) ruleset.Statement {
	if f.answersElsewhere() {
		return f.in(f.address(answer), "asked")
	}
	return f.in(f.peer(answer), "asking")
}

// slowly drops what a known peer sends too often whose logins fail.
func (f login) slowly() {
	if !f.guesses() {
		return
	}
	f.count("dropped_rate", f.in(f.place(false), "stale"), f.often(f.place(false), "slow", slowly, slowFor))
}

// strangers lets those who are not known send a REGISTER, and nothing else. By TCP what has
// no payload passes too: connections begin and end with it.
func (f login) strangers() {
	f.rule(ruleset.Transport{Protocol: ruleset.UDP}, f.to(ruleset.Goto, "strangers_udp"))
	f.rule(ruleset.Transport{Protocol: ruleset.TCP}, f.to(ruleset.Goto, "strangers_tcp"))
	f.count("dropped_unknown")

	udp := f.on("strangers_udp")
	udp.rule(ruleset.Text{Offset: udpHeader, Text: registerText}, f.to(ruleset.Goto, "register"))
	udp.listen()
	udp.count("dropped_method")

	tcp := f.on("strangers_tcp")
	// What is behind the header may be in another fragment, which no rule sees.
	fragment := ruleset.Statement(ruleset.Fragment{})
	if f.v6 {
		fragment = ruleset.FirstFragment{}
	}
	tcp.count("dropped_method", fragment)
	tcp.eachTCP(registerText, f.to(ruleset.Goto, "register"))
	tcp.listen()
	for words := leastWords; words <= mostWords; words++ {
		header := ruleset.TCPHeader{Words: words}
		tcp.count("dropped_method", header, ruleset.Reaches{Offset: wordBytes * words})
		tcp.rule(header, f.to(ruleset.Goto, "strangers_empty"))
	}
	tcp.count("dropped_method") // nobody knows what such a segment holds
	empty := f.on("strangers_empty")
	if f.classifies() {
		empty.count("dropped_method", f.mark(ruleset.Followed)) // what follows may be read otherwise than it is written
	}
	empty.count("dropped_rate", ruleset.Opening{}, f.tooOften())
	empty.count("allowed_unknown")

	if f.hears() {
		f.heard()
	}
	register := f.on("register")
	if f.policy.Monitor {
		// What follows would drop it, and it passes all the same, and is answered.
		register.ask()
	}
	register.read()
	if !register.userAgents() {
		return
	}
	register.slowly()
	register.count("dropped_rate", f.tooOften())
	if !f.policy.Monitor {
		register.ask()
	}
	register.count("allowed_unknown")
}

// tooOften matches what a source sends beyond the policy's rate.
func (f login) tooOften() ruleset.Learn {
	return f.often(f.address(false), "rate", f.policy.Unknown.Rate.Count, f.policy.Unknown.Rate.Per)
}

// read drops a REGISTER of which the classifier has not said what it should have: another
// program is in its way, and scanners must not come in by that.
func (f login) read() {
	if !f.classifies() {
		return
	}
	// A message behind the first one in a packet may be any request.
	f.count("dropped_method", f.mark(ruleset.Followed))
	if len(f.host.Classified) == 0 || len(f.policy.Unknown.RequireUserAgent) > 0 {
		return // or userAgents drops it
	}
	unread := f.on("unread")
	unread.chains[unread.chain] = ruleset.Chain{Rules: f.unseen(f.dropIn("dropped_unknown"))}
	f.rule(f.mark(ruleset.Unclassified), f.to(ruleset.Jump, "unread"))
}

// hears reports whether other requests than REGISTER pass, so that their answers could be
// taken for those to a REGISTER.
func (f login) hears() bool {
	return f.registers() && f.policy.Monitor || f.guesses() && !f.registers()
}

// listen takes note of what passes.
func (f login) listen() {
	if f.hears() {
		f.rule(f.to(ruleset.Jump, "heard"))
	}
}

// heard is where what passes goes by: it remembers who has sent a REGISTER, and who
// another request. An answer to the latter says nothing of a login. Neither do answers
// of theirs, and what is too short for a request.
func (f login) heard() {
	const shortest = len(responseText)
	heard := f.on("heard")
	heard.rule(ruleset.Transport{Protocol: ruleset.TCP}, f.to(ruleset.Goto, "heard_tcp"))
	heard.rule(ruleset.Text{Offset: udpHeader, Text: registerText}, f.to(ruleset.Goto, "heard_register"))
	heard.rule(ruleset.Text{Offset: udpHeader, Text: responseText}, ruleset.Verdict{Kind: ruleset.Return})
	heard.rule(ruleset.Reaches{Offset: udpHeader + shortest}, f.to(ruleset.Goto, "heard_other"))

	tcp := f.on("heard_tcp")
	tcp.eachTCP(registerText, f.to(ruleset.Goto, "heard_register"))
	for words := leastWords; words <= mostWords; words++ {
		tcp.rule(ruleset.TCPHeader{Words: words}, ruleset.Reaches{Offset: wordBytes*words + shortest}, f.to(ruleset.Goto, "heard_other"))
	}

	register := f.on("heard_register")
	register.slowly()
	register.ask()
	other := f.on("heard_other")
	other.rule(f.learn(f.peer(false), "other", askingFor))
}
