// Package judge says what a table does with a packet, and by which rule. It interprets
// the rules as the kernel does, so that a question about a packet needs no packet.
//
// It is pure. What only the kernel knows of a packet, such as the way back to its source
// and its connection, is part of the question.
package judge

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Shape says which part of a whole packet a packet is. The rules see fragments unless
// connection tracking has put them together before.
type Shape int

// The shapes.
const (
	Whole Shape = iota
	// First is the first fragment of several.
	First
	// Later is another one: it shows no ports.
	Later
	// Headless is the first fragment of an IPv6 packet whose extension headers go on in
	// the next one.
	Headless
)

// Packet is a packet that comes in. The zero value of each field but the addresses is what
// most packets have.
type Packet struct {
	Source netip.Addr
	// Protocol is "" for one that has no ports.
	Protocol   ruleset.Protocol
	Port       uint16 // it is sent to
	SourcePort uint16
	// Interface is the one that rules see it come in by.
	Interface string
	Shape     Shape
	// Class is what the classifier has said of it, Unclassified if it has not seen it.
	Class ruleset.Class
	// Message is its payload. By TCP, a packet without one opens a connection.
	Message []byte
	// Often says that its source sends more than any limit allows.
	Often bool

	// NoWayBack says that no route to the source leaves by the interface.
	NoWayBack bool
	// NotUnicast says that the source cannot be a single host elsewhere: it is a
	// broadcast address, a multicast one, or this host's own.
	NotUnicast bool
	// Reply says that the packet answers one of this host or its network.
	Reply bool
	// Translated is the port that another program's rules send it to, 0 for none.
	Translated uint16
}

// Place is where a rule is.
type Place struct {
	Chain string
	Index int // from 0
	Text  string
}

// Verdict is what becomes of a packet.
type Verdict struct {
	Allowed bool
	// Judged says that a rule has decided. Without one the packet passes: it is not to
	// what is fenced.
	Judged bool
	// Counter is the one that names the reason, "allowed_provider" or "dropped_unknown". In
	// monitor mode a packet of the latter passes. Counters are all that count it.
	Counter  string
	Counters []string
	// Rule is the one that decided: that which counts by Counter, if there is one. Set with
	// Element is what of the source's address led to it; Set is "" if no set did.
	Rule    Place
	Set     string
	Element ruleset.Element
	// Bans are the sets that the source was put into.
	Bans []string
}

// stages are those at which packets are judged, in the order of their way.
var stages = []ruleset.Stage{ruleset.BeforeTracking, ruleset.AfterTracking, ruleset.BeforeFilter}

// Judge says what becomes of a packet. The elements of dynamic sets count if the state
// has them, sorted, which it has not after an observation. An error says which part of the table
// is not understood: another program has put it there.
func Judge(s *ruleset.State, p Packet) (Verdict, error) {
	w := walk{state: s, packet: p, class: p.Class, verdict: Verdict{Allowed: true}}
	w.packet.Source = p.Source.WithZone("").Unmap()
	if !s.Exists || strings.Contains(s.Flags, "dormant") {
		return w.verdict, nil
	}
	for name, c := range s.Chains {
		if c.Stage != "" && c.Stage != ruleset.Leaving && !slices.Contains(stages, c.Stage) || c.Foreign != "" {
			return w.verdict, fmt.Errorf("judge a packet: chain %s is another program's", name)
		}
	}
	for _, stage := range stages {
		if stage == ruleset.BeforeFilter && p.Translated != 0 {
			w.packet.Port = p.Translated
		}
		for name, c := range s.Chains {
			if c.Stage != stage {
				continue
			}
			if _, err := w.chain(name, basis{}, 0); err != nil {
				return w.verdict, fmt.Errorf("judge a packet: %w", err)
			}
			if !w.verdict.Allowed {
				return w.verdict, nil
			}
		}
	}
	return w.verdict, nil
}

// walk is a packet on its way through the chains.
type walk struct {
	state   *ruleset.State
	packet  Packet
	class   ruleset.Class
	verdict Verdict
	at      Place // the rule that it is at
	counted Place // the one that has named the reason
}

// basis is the element that has led a packet somewhere.
type basis struct {
	set     string
	element ruleset.Element
}

// deepest is how many jumps the kernel allows, NFT_JUMP_STACK_SIZE.
const deepest = 16

// chain takes the packet through a chain. It reports whether a rule has ended the
// packet's way through this base chain.
func (w *walk) chain(name string, by basis, depth int) (ended bool, err error) {
	c, ok := w.state.Chains[name]
	if !ok || depth > deepest {
		return false, fmt.Errorf("chain %s cannot be reached", name)
	}
	for i, r := range c.Rules {
		statements := r.Statements()
		if statements == nil {
			return false, fmt.Errorf("rule %d of chain %s is another program's: %s", i+1, name, r.Shown())
		}
		w.at = Place{name, i, r.Shown()}
		v, led, err := w.rule(statements, by)
		if err != nil {
			return false, fmt.Errorf("rule %d of chain %s: %w", i+1, name, err)
		}
		switch {
		case v == nil:
		case v.Kind == ruleset.Return:
			return false, nil
		case v.Kind == ruleset.Goto:
			return w.chain(v.Chain, led, depth+1)
		case v.Kind == ruleset.Jump:
			if ended, err := w.chain(v.Chain, led, depth+1); ended || err != nil {
				return ended, err
			}
		default:
			w.verdict.Allowed, w.verdict.Judged = v.Kind != ruleset.Drop, true
			w.verdict.Rule = cmp.Or(w.counted, w.at)
			w.verdict.Set, w.verdict.Element = led.set, led.element
			return true, nil
		}
	}
	return false, nil
}

// rule evaluates a rule up to the first statement that does not match. It returns its
// verdict, nil for none, and the element that has led to it.
func (w *walk) rule(statements []ruleset.Statement, by basis) (*ruleset.Verdict, basis, error) {
	for _, statement := range statements {
		switch s := statement.(type) {
		case ruleset.Verdict:
			return &s, by, nil
		case ruleset.Count:
			w.count(string(s))
			continue
		case ruleset.SetMark:
			w.class = s.Class
			continue
		case ruleset.Ban:
			if w.packet.Source.Is6() != s.V6 {
				return nil, by, nil
			}
			w.verdict.Bans = append(w.verdict.Bans, s.Set)
			continue
		case ruleset.Learn:
			if !w.learns(s) {
				return nil, by, nil
			}
			continue
		case ruleset.Passive, ruleset.Forget:
			continue
		case ruleset.PeerIn:
			element, in := w.peer(s)
			if !in {
				return nil, by, nil
			}
			if !s.Not {
				by = basis{s.Set, element}
			}
			continue
		case ruleset.Source:
			element, in := w.source(s)
			if !in {
				return nil, by, nil
			}
			if s.Set != "" && !s.Not {
				by = basis{s.Set, element}
			}
			continue
		}
		matches, err := w.matches(statement)
		if err != nil || !matches {
			return nil, by, err
		}
	}
	return nil, by, nil
}

// count notes a counter. The last one that allows or drops names the reason.
func (w *walk) count(name string) {
	w.verdict.Counters = append(w.verdict.Counters, name)
	if strings.HasPrefix(name, "dropped_") || strings.HasPrefix(name, "allowed_") && name != "allowed_scanner" {
		w.verdict.Counter, w.counted = name, w.at
	}
}

// source compares the source's address. The element is the one that holds it.
func (w *walk) source(s ruleset.Source) (ruleset.Element, bool) {
	a := w.packet.Source
	if a.Is6() != s.V6 {
		return ruleset.Element{}, false
	}
	if s.Set == "" {
		return ruleset.Element{}, slices.ContainsFunc(s.In, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	elements := w.state.Sets[s.Set].Elements
	from := func(e ruleset.Element, a netip.Addr) int { return e.From.Compare(a) }
	behind, found := slices.BinarySearchFunc(elements, a, from)
	if found {
		behind++
	}
	if behind > 0 && a.Compare(elements[behind-1].To) <= 0 {
		return elements[behind-1], !s.Not
	}
	return ruleset.Element{}, s.Not
}

// matches reports whether the packet matches a statement that changes nothing.
func (w *walk) matches(statement ruleset.Statement) (bool, error) {
	p := &w.packet
	fragments := p.Source.Is6() && (p.Shape == First || p.Shape == Headless)
	switch s := statement.(type) {
	case ruleset.InInterface:
		is := p.Interface == s.Name
		if prefix, ok := strings.CutSuffix(s.Name, "*"); ok {
			is = strings.HasPrefix(p.Interface, prefix)
		}
		return is != s.Not, nil
	case ruleset.IPv6Packet:
		return p.Source.Is6(), nil
	case ruleset.SourceNetwork:
		return s.Contains(p.Source), nil
	case ruleset.ReversePathMissing:
		return p.NoWayBack, nil
	case ruleset.Unicast:
		return !p.NotUnicast, nil
	case ruleset.FirstFragment:
		return fragments, nil
	case ruleset.HasTransport:
		return p.Shape != Headless, nil
	case ruleset.OtherPort:
		// Answers are not judged here.
		return p.Shape != Later && p.Shape != Headless && !s.Source && s.Matches(p.Port), nil
	case ruleset.Destination:
		return w.destination(s), nil
	case ruleset.Mark:
		return (w.class == s.Class) != s.Not, nil
	case ruleset.Payload:
		return bytes.Contains(bytes.ToLower(p.Message), bytes.ToLower([]byte(s))), nil
	case ruleset.Connection:
		switch s {
		case ruleset.Translated:
			return p.Translated != 0, nil
		case ruleset.Reply:
			return p.Reply, nil
		case ruleset.Original:
			return !p.Reply, nil
		}
	}
	return w.inside(statement)
}

// destination compares the port that the packet is sent to.
func (w *walk) destination(s ruleset.Destination) bool {
	p := &w.packet
	if p.Shape == Later || p.Shape == Headless {
		return false
	}
	elements := s.In
	if s.Set != "" {
		elements = w.state.Sets[s.Set].Elements
	}
	return slices.ContainsFunc(elements, func(e ruleset.Element) bool {
		return e.Foreign == "" && !e.From.IsValid() && e.Protocol == p.Protocol && e.Port == p.Port
	})
}
