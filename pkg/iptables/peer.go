package iptables

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// What a set keeps of a peer has the protocol beside the port (hash:ip,port): a phone that
// has registered by UDP is let in by UDP.
//
// A limit is kept by a set that counts: it lets so many packets pass in a time that
// begins with the first of them, and as many again in the next one. Two lines do that.
// The first one counts a packet of a peer that is there and matches what is too much; the
// second one adds a peer, and with it the first packet. Nothing happens to what finds no
// room in the set.

// sides are the parts of a packet that a set is asked for.
func sides(p ruleset.Peer) string {
	side := "src"
	if p.Answer {
		side = "dst"
	}
	if p.Port {
		return side + "," + side
	}
	return side
}

// parseSides reads them.
func parseSides(text string, v6 bool) (p ruleset.Peer, ok bool) {
	for _, p := range []ruleset.Peer{{}, {Port: true}, {Answer: true}, {Answer: true, Port: true}} {
		if p.V6 = v6; sides(p) == text {
			return p, true
		}
	}
	return p, false
}

const (
	addTarget    = "-j SET --add-set "
	deleteTarget = "-j SET --del-set "
	countAbove   = "--packets-gt"
)

// peer adds a statement about a peer or an answer.
func (e encoder) peer(p *parts, s ruleset.Statement) error {
	switch s := s.(type) {
	case ruleset.PeerIn:
		p.match(fmt.Sprintf("-m set %s--match-set %s %s", not(s.Not), setName(s.Set), sides(s.Peer)))
	case ruleset.Learn:
		return p.learn(s)
	case ruleset.Forget:
		return p.act(deleteTarget + setName(s.Set) + " " + sides(s.Peer))
	case ruleset.SourcePort:
		if s.Set != portSet {
			return fmt.Errorf("no ports of set %s", s.Set)
		}
		return e.portSet(p, sourcePorts)
	case ruleset.RepliedFrom:
		p.only(s.Protocol)
		n := len(p.matches)
		if n == 0 || p.matches[n-1] != translatedReply {
			return fmt.Errorf("%q is not of a translated reply", s)
		}
		p.matches[n-1] = repliedFrom(s.Port)
	case ruleset.Transport:
		p.only(s.Protocol)
	case ruleset.Opening:
		p.only(ruleset.TCP)
		p.match(openingMatch)
	case ruleset.Fragment:
		p.match(fragmentMatch)
	case ruleset.TCPHeader, ruleset.Text, ruleset.Reaches:
		e.bytes(p, s)
	default:
		return p.plain(s)
	}
	return nil
}

const (
	sourcePorts      = "--sports"
	destinationPorts = "--dports"
	openingMatch     = "-m tcp --tcp-flags SYN,ACK SYN"
	translatedReply  = "-m conntrack --ctstate DNAT --ctdir REPLY"
	originalPort     = "--ctorigdstport"
)

// repliedFrom matches translated replies by a port. iptables has no place behind the
// translation of sources: the port of a packet is the one before it there, and the one
// behind it is what the connection was opened to. So this match finds what SourcePort
// finds in nftables, and SourcePort what this one does; a fence has rules for both.
func repliedFrom(port uint16) string {
	return fmt.Sprintf("-m conntrack --ctstate DNAT %s %d --ctdir REPLY", originalPort, port)
}

// only has the rule match one protocol.
func (p *parts) only(protocol ruleset.Protocol) {
	if len(p.services) == 0 {
		p.services = []service{{protocol: "-p " + string(protocol)}}
	}
}

// act sets what the rule does.
func (p *parts) act(target string) error {
	if p.target != "" {
		return fmt.Errorf("iptables has no form for %q behind %q", target, p.target)
	}
	p.target = target
	return nil
}

// learn adds the peer to a set, or counts it there.
func (p *parts) learn(s ruleset.Learn) error {
	n, err := seconds(s.For)
	if err != nil {
		return err
	}
	add := fmt.Sprintf("%s%s %s", addTarget, setName(s.Set), sides(s.Peer))
	if s.Over == (ruleset.Limit{}) {
		return p.act(fmt.Sprintf("%s --exist --timeout %d", add, n))
	}
	if s.For < time.Second || s.Over.Burst == 0 || p.counting != "" || s.Over != ruleset.NewLimit(s.Over.Burst, s.For) {
		return fmt.Errorf("iptables has no form for %q", s)
	}
	p.uncounted = slices.Clone(p.matches)
	p.counting = fmt.Sprintf("%s --timeout %d", add, n)
	p.match(fmt.Sprintf("-m set --match-set %s %s %s %d", setName(s.Set), sides(s.Peer), countAbove, s.Over.Burst))
	return nil
}

// withCounting adds to the line of a limit the one that begins to count.
func (p *parts) withCounting(lines []string) ([]string, error) {
	if p.counting == "" {
		return lines, nil
	}
	if len(lines) != 1 {
		return nil, fmt.Errorf("a limit takes one line, not %d", len(lines))
	}
	begin := *p
	begin.matches, begin.target, begin.counting = p.uncounted, p.counting, ""
	return append(lines, begin.lines()...), nil
}

// inSet reads a match of a set.
func (d decoder) inSet(w *words) (ruleset.Statement, bool) {
	negated := w.take("!")
	w.take("--match-set")
	name, ours := strings.CutPrefix(w.next(), setPrefix)
	p, ok := parseSides(w.next(), d.v6)
	if w.take(countAbove) {
		n, err := strconv.ParseUint(w.next(), 10, 32)
		return ruleset.Learn{Peer: p, Set: name, Over: ruleset.Limit{Burst: uint32(n)}}, ours && ok && err == nil
	}
	if !p.Answer && !p.Port {
		return ruleset.Source{V6: d.v6, Not: negated, Set: name}, ours && ok
	}
	return ruleset.PeerIn{Peer: p, Not: negated, Set: name}, ours && ok
}

// adding reads a target that adds a peer to a set.
func (d decoder) adding(w *words) ([]ruleset.Statement, bool) {
	set := strings.TrimPrefix(w.next(), setPrefix)
	p, ok := parseSides(w.next(), d.v6)
	again := w.take("--exist")
	w.take("--timeout")
	lifetime, err := lifetimeIn(w)
	ok = ok && err == nil
	switch {
	case !again:
		return []ruleset.Statement{ruleset.Note{V6: d.v6, Set: set, For: lifetime}}, ok
	case p.Answer || p.Port:
		return []ruleset.Statement{ruleset.Learn{Peer: p, Set: set, For: lifetime}}, ok
	}
	return []ruleset.Statement{ruleset.Ban{V6: d.v6, Set: set, For: lifetime}}, ok
}

// deleting reads a target that takes a peer out of a set.
func (d decoder) deleting(w *words) ([]ruleset.Statement, bool) {
	set := strings.TrimPrefix(w.next(), setPrefix)
	p, ok := parseSides(w.next(), d.v6)
	return []ruleset.Statement{ruleset.Forget{Peer: p, Set: set}}, ok
}

// connection reads a match of a tracked connection.
func (d decoder) connection(w *words, protocol ruleset.Protocol) ([]ruleset.Statement, bool) {
	var statements []ruleset.Statement
	if w.take("--ctstate DNAT") {
		statements = append(statements, ruleset.Translated)
	}
	replied, port := w.take(originalPort), uint64(0)
	if replied {
		var err error
		if port, err = strconv.ParseUint(w.next(), 10, 16); err != nil {
			return nil, false
		}
	}
	if w.take("--ctdir ORIGINAL") {
		statements = append(statements, ruleset.Original)
	} else if w.take("--ctdir REPLY") {
		statements = append(statements, ruleset.Reply)
	}
	if replied {
		statements = append(statements, ruleset.RepliedFrom{Protocol: protocol, Port: uint16(port)})
	}
	return statements, len(statements) > 0
}

// addPorts reads the ports of a line.
func (i *item) addPorts(text string, protocol ruleset.Protocol) bool {
	for port := range strings.SplitSeq(text, ",") {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return false
		}
		i.ports = append(i.ports, ruleset.Element{Protocol: protocol, Port: uint16(n)})
	}
	return true
}

// withProtocol adds a match of the protocol, unless one of the statements is about it.
func withProtocol(statements []ruleset.Statement, protocol ruleset.Protocol) []ruleset.Statement {
	isAbout := func(s ruleset.Statement) bool {
		switch s.(type) {
		case ruleset.RepliedFrom, ruleset.TCPHeader, ruleset.Opening:
			return true
		}
		return false
	}
	if protocol == "" || slices.ContainsFunc(statements, isAbout) {
		return statements
	}
	return append([]ruleset.Statement{ruleset.Transport{Protocol: protocol}}, statements...)
}

// limitIn returns the limit that a line has. How long it counts is in the next line.
func limitIn(matched []ruleset.Statement, next []string) (limit ruleset.Learn, ok bool) {
	for _, s := range matched {
		if limit, ok = s.(ruleset.Learn); ok {
			break
		}
	}
	if !ok || len(next) == 0 {
		return limit, ok
	}
	w := words(strings.Fields(next[0]))
	for len(w) > 1 {
		w.next()
	}
	if lifetime, err := lifetimeIn(&w); err == nil && lifetime > 0 {
		limit.For, limit.Over = lifetime, ruleset.NewLimit(limit.Over.Burst, lifetime)
	}
	return limit, ok
}

// limited reads a rule of two lines that keep a limit.
func (d decoder) limited(first item, limit ruleset.Learn, lines []string) (ruleset.Rule, int) {
	foreign := ruleset.ForeignRule(lines[0])
	statements := first.make([]item{first})
	if limit.For == 0 || statements == nil || len(lines) < 2 {
		return foreign, 1
	}
	for i, s := range statements {
		if _, ok := s.(ruleset.Learn); ok {
			statements[i] = limit
			break
		}
	}
	rule := ruleset.NewRule(statements...)
	written, err := encoder{v6: d.v6, ports: first.ports, stage: d.stage}.rule(rule)
	if err != nil || !slices.Equal(written, lines[:2]) || !d.learn(first.ports, statements) {
		return foreign, 1
	}
	return rule, 2
}
