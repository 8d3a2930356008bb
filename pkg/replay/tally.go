// Package replay says what a table would have done with the packets of a capture, by
// their sources, and which sources it would silence although they got good answers.
//
// It is pure, and needs memory for sources but not for packets.
package replay

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/ringfence/ringfence/pkg/capture"
	"github.com/ringfence/ringfence/pkg/judge"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/signature"
	"github.com/ringfence/ringfence/pkg/sip"
)

// The limits of what is remembered of a capture. A flood of forged sources must not hide
// those that got an answer, so these have a limit of their own.
const (
	mostFlows = 65_536
	mostPairs = 65_536
	// mostText is how much of a message is kept that no signature is about: rules ask how it
	// begins.
	mostText = 16
	// registerMethod is what a REGISTER begins with, to the letter.
	registerMethod = "REGISTER "
	// mostMethods is how many methods of a source are named.
	mostMethods = 4
)

// Tally collects the packets of a capture.
type Tally struct {
	reader   *capture.Judge
	udp, tcp []uint16
	messages bool

	flows map[flow]*sent
	// asked are those who have sent a request that can be accepted, with their peers, and
	// good the sources of answers that have accepted one.
	asked, before map[pair]bool // the newest, and those before them
	good          map[pair]Good
	// Where unknown sources may only register: registering says of the last REGISTER of each
	// whether the rules would let it pass, and registered since when it is let in.
	registering map[peer]signature.Mark
	registered  map[peer]time.Time
	// Roaming is how registered phones are told apart, and for how long they are let in.
	Roaming Roaming
	// Packets are all, SIP those to or from fenced ports, and Untold those to fenced ports
	// whose sources there was no room for.
	Packets, SIP, Untold int
	First, Last          time.Time
}

// flow is what the rules distinguish packets by, and their destination.
type flow struct {
	source, destination netip.Addr
	protocol            ruleset.Protocol
	port                uint16
	class               ruleset.Class
	shape               judge.Shape
	signature           string
	// Where the rules look at messages: whether it is a REGISTER, or has no payload.
	register, empty bool
	// registered says that its source had been let in because it has registered.
	registered bool
}

// sent is what the packets of a flow were.
type sent struct {
	packets           int
	first, last       time.Time
	methods           []string
	userAgent, called string
	message           []byte
}

// Good are good answers: what they have accepted, and what has given them.
type Good struct {
	Registered, Call bool
	Agent            string
}

// Any reports whether there are any.
func (g Good) Any() bool { return g.Registered || g.Call }

// And adds others.
func (g Good) And(o Good) Good {
	return Good{g.Registered || o.Registered, g.Call || o.Call, cmp.Or(g.Agent, o.Agent)}
}

// Roaming is how registered phones are told apart: by their ports too, or by their addresses
// alone; and for how long each is let in.
type Roaming struct {
	ByPort bool
	Life   time.Duration
}

type pair struct{ from, to netip.Addr }

// peer is who has registered with whom; without a port, every port of the address has.
type peer struct {
	pair
	port uint16
}

func (t *Tally) peer(from netip.AddrPort, to netip.Addr) peer {
	p := peer{pair: pair{from.Addr().Unmap(), to}}
	if t.Roaming.ByPort {
		p.port = from.Port()
	}
	return p
}

// NewTally returns a tally for packets to certain ports, of which classifier says
// what they are taken for. With messages, the rules look at messages themselves.
func NewTally(classifier *capture.Judge, udp, tcp []uint16, messages bool) *Tally {
	return &Tally{
		reader: classifier, udp: udp, tcp: tcp, messages: messages,
		flows: map[flow]*sent{}, asked: map[pair]bool{}, good: map[pair]Good{},
		registering: map[peer]signature.Mark{}, registered: map[peer]time.Time{},
	}
}

// Add adds the next packet.
func (t *Tally) Add(p capture.Packet) {
	t.Packets++
	if t.First.IsZero() || p.Time.Before(t.First) {
		t.First = p.Time
	}
	if p.Time.After(t.Last) {
		t.Last = p.Time
	}
	to, from := t.fenced(p.Protocol, p.Destination.Port()), t.fenced(p.Protocol, p.Source.Port())
	if !to && !from {
		return
	}
	t.SIP++
	source, destination := p.Source.Addr().Unmap(), p.Destination.Addr().Unmap()
	head := sip.Read(p.Payload)
	switch {
	case head.Method == "INVITE" || head.Method == "REGISTER":
		if len(t.asked) >= mostPairs {
			t.asked, t.before = map[pair]bool{}, t.asked
		}
		t.asked[pair{source, destination}] = true
	case head.Method == "" && (t.asked[pair{destination, source}] || t.before[pair{destination, source}]):
		t.answer(pair{source, destination}, p)
	}
	if to {
		t.add(p, source, destination, head)
	}
}

func (t *Tally) fenced(protocol string, port uint16) bool {
	switch ruleset.Protocol(protocol) {
	case ruleset.UDP:
		return slices.Contains(t.udp, port)
	case ruleset.TCP, ruleset.SCTP, ruleset.DCCP, ruleset.UDPLite:
		return slices.Contains(t.tcp, port)
	}
	return false
}

// answer notes a good answer to what was asked. Others send answers to nothing, to be
// taken for a provider.
func (t *Tally) answer(of pair, p capture.Packet) {
	a := sip.ReadAnswer(p.Payload)
	if !a.Good() {
		return
	}
	known, ok := t.good[of]
	if !ok && len(t.good) >= mostPairs {
		return
	}
	if a.Method == "REGISTER" {
		known.Registered = true
		t.accepted(p, of)
	} else {
		known.Call = true
	}
	if known.Agent == "" {
		known.Agent = a.Agent
	}
	t.good[of] = known
	if len(t.flows) >= mostFlows && t.fenced(p.Protocol, p.Source.Port()) {
		// There may have been no room for what was asked.
		f := flow{source: of.to, destination: of.from, port: p.Source.Port(), class: ruleset.Seen}
		f.protocol = ruleset.Protocol(p.Protocol)
		if t.flows[f] == nil {
			t.flows[f] = &sent{packets: 1, first: p.Time, last: p.Time, methods: []string{a.Method}}
		}
	}
}

// add notes a packet to a fenced port.
func (t *Tally) add(p capture.Packet, source, destination netip.Addr, head sip.Head) {
	v := t.reader.Judge(p)
	f := flow{source: source, destination: destination, protocol: ruleset.Protocol(p.Protocol), port: p.Destination.Port()}
	f.class, f.signature = ruleset.Class(v.Explanation.Result.Mark), v.Explanation.Result.Signature
	if p.Partly {
		f.shape = judge.First
	}
	if t.messages {
		f.register, f.empty = bytes.HasPrefix(p.Payload, []byte(registerMethod)), len(p.Payload) == 0
		f.registered = t.registers(p, destination, v.Explanation.Result.Mark)
	}
	s := t.flows[f]
	if s == nil {
		_, got := t.good[pair{destination, source}]
		_, gave := t.good[pair{source, destination}]
		if len(t.flows) >= mostFlows && !got && !gave {
			t.Untold++
			return
		}
		s = &sent{first: p.Time}
		t.flows[f] = s
		switch {
		case t.messages && f.signature != "":
			s.message = slices.Clone(p.Payload[:min(len(p.Payload), signature.MaxLength)])
		case t.messages:
			s.message = slices.Clone(p.Payload[:min(len(p.Payload), mostText)])
		}
	}
	s.packets++
	s.last = p.Time
	if head.Method == "" {
		return
	}
	if !slices.Contains(s.methods, head.Method) && len(s.methods) < mostMethods {
		s.methods = append(s.methods, head.Method)
	}
	s.userAgent, s.called = cmp.Or(head.UserAgent, s.userAgent), cmp.Or(head.Called, s.called)
}

// registers notes a REGISTER, and reports whether its source, or that of another packet, is
// let in because it had registered before.
func (t *Tally) registers(p capture.Packet, to netip.Addr, mark signature.Mark) bool {
	if !t.reader.Registers {
		return false
	}
	from := t.peer(p.Source, to)
	if bytes.HasPrefix(p.Payload, []byte(registerMethod)) {
		if len(t.registering) >= mostPairs {
			clear(t.registering)
		}
		t.registering[from] = mark
	}
	since, ok := t.registered[from]
	return ok && p.Time.Sub(since) < t.Roaming.Life
}

// accepted notes that a REGISTER was accepted, as the rules learn it: of one that they do
// not let pass they see no answer.
func (t *Tally) accepted(p capture.Packet, of pair) {
	from := t.peer(p.Destination, of.from)
	mark, ok := t.registering[from]
	switch {
	case !ok:
	case mark == signature.Unregister:
		delete(t.registered, from)
	case mark == signature.None || mark == signature.Allowed:
		if len(t.registered) >= mostPairs {
			clear(t.registered)
		}
		t.registered[from] = p.Time
	}
}
