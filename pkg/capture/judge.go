package capture

import (
	"net/netip"
	"slices"

	"github.com/ringfence/ringfence/pkg/signature"
)

// Class is what a packet is taken for, in a word.
type Class string

// The classes.
const (
	Scanner    Class = "scanner"     // it matches a signature of class ban
	Counted    Class = "counted"     // it matches one of class label
	Allowed    Class = "allowed"     // it shows a required User-Agent
	NotAllowed Class = "not allowed" // a User-Agent is required, and it shows none
	Nothing    Class = "none"        // nothing is known against it
	// The others are not looked at.
	OtherPort     Class = "other port"     // it is not to a SIP port of the policy
	Fragment      Class = "fragment"       // it is not the first fragment of a packet
	OtherProtocol Class = "other protocol" // it is neither UDP nor TCP
)

// Classes are all classes, in the order in which they are listed.
var Classes = []Class{Scanner, NotAllowed, Counted, Allowed, Nothing, OtherPort, Fragment, OtherProtocol}

// Judge says what the classifier takes the packets of a capture for, one after the
// other.
type Judge struct {
	// Registers says that unknown sources may only register, so that a REGISTER has to be
	// all that is in its packet.
	Registers bool

	automaton *signature.Automaton
	udp, tcp  []uint16
	// allowed are connections whose last request was allowed: segments of TCP that
	// have no beginning belong to it.
	allowed map[flow]bool
}

type flow struct{ source, destination netip.AddrPort }

// mostConnections is how many connections are remembered.
const mostConnections = 65_536

// NewJudge returns a judge for packets to certain ports.
func NewJudge(automaton *signature.Automaton, udp, tcp []uint16) *Judge {
	return &Judge{automaton: automaton, udp: udp, tcp: tcp, allowed: map[flow]bool{}}
}

// Verdict is what a packet is taken for, and why.
type Verdict struct {
	Class       Class
	Explanation signature.Explanation
}

// Judge judges the next packet.
func (j *Judge) Judge(p Packet) Verdict {
	ports := j.udp
	switch p.Protocol {
	case "udp":
	case "tcp":
		ports = j.tcp
	default:
		if p.Fragment {
			return Verdict{Class: Fragment}
		}
		return Verdict{Class: OtherProtocol}
	}
	if !slices.Contains(ports, p.Destination.Port()) {
		return Verdict{Class: OtherPort}
	}
	v := Verdict{Nothing, j.automaton.Explain(p.Payload)}
	result := &v.Explanation.Result
	if j.automaton.RequiresUserAgent() {
		j.remember(p, v.Explanation)
		if !v.Explanation.Request {
			result.Mark = j.other(p, v.Explanation)
		}
	}
	if j.Registers {
		of := signature.OfRegister
		if p.Protocol == "tcp" {
			of = signature.OfRegisterByTCP
		}
		result.Mark = of(p.Payload, p.Partly, result.Mark)
		if p.Urgent && slices.Contains([]signature.Mark{signature.None, signature.Allowed, signature.Unregister}, result.Mark) {
			result.Mark = signature.Followed // what is read is another text
		}
	}
	switch {
	case result.Mark == signature.Scanner:
		v.Class = Scanner
	case result.Mark == signature.NotAllowed:
		v.Class = NotAllowed
	case result.Signature != "":
		v.Class = Counted
	case result.Mark == signature.Allowed:
		v.Class = Allowed
	}
	return v
}

// remember remembers a connection of TCP by its last request.
func (j *Judge) remember(p Packet, e signature.Explanation) {
	if p.Protocol == "tcp" && e.Request {
		if len(j.allowed) >= mostConnections {
			clear(j.allowed) // as the classifier forgets some
		}
		j.allowed[flow{p.Source, p.Destination}] = e.Result.Mark == signature.Allowed
	}
}

// other is what a packet is that is no request where a User-Agent is required.
func (j *Judge) other(p Packet, e signature.Explanation) signature.Mark {
	switch {
	case e.Response:
		return signature.None
	case p.Partly:
		return signature.NotAllowed // the rest of a request may come in another fragment
	case e.Empty, p.Protocol == "udp" && len(p.Payload) < signature.ShortDatagram, j.allowed[flow{p.Source, p.Destination}]:
		return signature.None
	}
	return signature.NotAllowed
}
