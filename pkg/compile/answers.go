package compile

import (
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// What answers begin with: that of a PBX which accepts a REGISTER, and that of one which
// refuses it for what the client has sent (401, 403, 404 and others).
const (
	acceptedText = "SIP/2.0 200 "
	refusedText  = "SIP/2.0 40"
	// acceptedLine is the whole line. A segment of TCP may begin in the middle of an answer,
	// with what the client has chosen: a refusal repeats parts of the request. But no such
	// part holds the end of a line, other than before a blank.
	acceptedLine = "SIP/2.0 200 OK\r\n"
)

// answers looks at what the PBX answers to those who have sent a REGISTER. It sees
// packets when they leave, behind every translation: so it is the same for a PBX on this
// host and for one behind it.
func (t table) answers(chains map[string]ruleset.Chain) {
	leaving := ruleset.Chain{Stage: ruleset.Leaving}
	translates := t.host.Forwards || t.host.Translates
	if !translates {
		leaving.Rules = t.otherPorts(true)
	}
	chains["answers"] = leaving
	all := login{family{table: t, chains: chains, chain: "answers"}}
	both := []login{all, all}
	both[1].v6 = true
	asking := func(f login, first ...ruleset.Statement) {
		f.rule(append(first, f.askers(true), f.to(ruleset.Goto, "answered"))...)
	}
	for _, f := range both {
		asking(f, ruleset.SourcePort{Set: "ports"})
		f.answered()
	}
	if !translates {
		return
	}
	// The PBX's port may be fenced and the one that is translated to it not.
	ports := map[ruleset.Protocol][]uint16{ruleset.UDP: t.policy.Ports.UDP, ruleset.TCP: t.policy.Ports.TCP}
	for _, protocol := range []ruleset.Protocol{ruleset.UDP, ruleset.TCP} {
		for _, port := range ports[protocol] {
			all.rule(ruleset.Translated, ruleset.Reply, ruleset.RepliedFrom{Protocol: protocol, Port: port},
				ruleset.Verdict{Kind: ruleset.Goto, Chain: "answers_dnat"})
		}
	}
	for _, f := range both {
		f.chain = "answers_dnat"
		asking(f)
	}
}

// answered judges an answer to somebody who has sent a REGISTER.
func (f login) answered() {
	f = f.on("answered")
	f.rule(ruleset.Transport{Protocol: ruleset.TCP}, f.to(ruleset.Goto, "answered_tcp"))
	f.rule(ruleset.Text{Offset: udpHeader, Text: acceptedText}, f.to(ruleset.Goto, "login"))
	tcp := f.on("answered_tcp")
	for words := leastWords; words <= mostWords; words++ {
		line := []ruleset.Statement{ruleset.TCPHeader{Words: words}, ruleset.Text{Offset: wordBytes * words, Text: acceptedLine}}
		for _, blank := range []string{" ", "\t"} {
			folded := ruleset.Text{Offset: wordBytes*words + len(acceptedLine), Text: blank}
			tcp.rule(append(line[:2:2], folded, ruleset.Verdict{Kind: ruleset.Return})...)
		}
		behind := ruleset.Reaches{Offset: wordBytes*words + len(acceptedLine)}
		tcp.rule(append(line, behind, f.to(ruleset.Goto, "login"))...)
	}
	f.on("login").accepted()
	if f.guesses() {
		f.rule(ruleset.Text{Offset: udpHeader, Text: refusedText}, f.to(ruleset.Goto, "refused"))
		tcp.eachTCP(refusedText, f.to(ruleset.Goto, "refused"))
		f.refused()
	}
}

// accepted takes note of a login.
func (f login) accepted() {
	peer := f.peer(true)
	if f.answersElsewhere() {
		// Who reads answers at other ports than he asks from is no phone there.
		f.rule(f.outside(peer, "asking"), ruleset.Verdict{Kind: ruleset.Return})
	}
	if f.hears() {
		// The answer may be one to another request.
		mixed := []ruleset.Statement{f.in(peer, "other"), ruleset.Verdict{Kind: ruleset.Return}}
		if f.registers() {
			mixed = append([]ruleset.Statement{f.outside(peer, "phones")}, mixed...)
		} else {
			// Who was known before stays it, so that what a busy caller is refused is no guess.
			f.rule(f.in(peer, "other"), f.in(f.address(true), "known"), f.learn(f.address(true), "known", knownFor))
		}
		f.rule(mixed...)
	}
	if f.registers() {
		if f.classifies() {
			left := f.on("left")
			f.rule(f.in(peer, "leaving"), f.to(ruleset.Goto, "left"))
			left.rule(f.forget(peer, "phones"))
		}
		f.rule(f.learn(peer, "phones", f.policy.Roaming.Life))
	}
	if f.guesses() {
		f.rule(f.forget(f.address(true), "failing"))
		f.rule(f.forget(f.place(true), "tries"))
		f.rule(f.forget(f.place(true), "stale"))
		f.rule(f.learn(f.address(true), "known", knownFor))
	}
}

// outside matches a peer that is not in the family's set of a kind.
func (f login) outside(p ruleset.Peer, kind string) ruleset.Statement {
	return ruleset.PeerIn{Peer: p, Not: true, Set: f.set(kind)}
}

// office is how many times as often as from one port those at an address may fail at
// once. Each phone fails once, before it knows what the PBX asks for, and when the power
// comes back all those of an office do.
const office = 5

// mixed is how many times as often as that those at an address may be refused who also send
// other requests, because these may be what is refused: busy callers, and phones that ask for
// a sign of life. One phone that does neither, and logs in, makes the address known.
const mixed = 10

// refused bans who fails to log in too often: from one port, or from all ports of an
// address.
func (f login) refused() {
	g := f.policy.Guessing
	refused := f.on("refused")
	refused.rule(f.in(f.address(true), "known"), f.to(ruleset.Goto, "refused_known"))
	ban := f.learn(f.address(true), "banned", f.policy.Bans.Duration)
	// The one that is too much is the last of them.
	tries := f.often(f.place(true), "tries", g.Failures-1, g.Within)
	failing := f.often(f.address(true), "failing", office*g.Failures-1, office*g.Within)
	mixing := f.often(f.address(true), "mixing", mixed*office*g.Failures-1, office*g.Within)
	unprotected := f.outside(f.address(true), "protected")
	refused.rule(f.in(f.peer(true), "other"), f.to(ruleset.Goto, "refused_other"))
	refused.rule(unprotected, tries, ban)
	refused.rule(unprotected, failing, ban)
	f.on("refused_other").rule(unprotected, mixing, ban)

	known := f.on("refused_known")
	known.rule(f.outside(f.peer(true), "other"), tries, f.learn(f.place(true), "stale", staleFor))
}
