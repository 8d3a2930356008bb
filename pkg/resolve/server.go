package resolve

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// udpSize is what fits through every network without fragments (DNS flag day
// 2020).
const udpSize = 1232

// server is one name server.
type server struct {
	address string
	at      netip.AddrPort
	network string // "udp", or "tcp" if it is asked by nothing else
	dial    Dial
	*health
}

// health is what is remembered of a server while a client lives.
type health struct {
	// failures counts the questions in a row that the server left unanswered; a
	// server that fails goes to the end of the list.
	failures atomic.Int32
	// plain says that the server answers only without EDNS0.
	plain atomic.Bool
}

func newServer(a netip.AddrPort, tcp bool) *server {
	s := &server{address: a.String(), at: a, network: "udp", dial: new(net.Dialer).DialContext, health: &health{}}
	if tcp {
		s.network = "tcp"
	}
	return s
}

// byTCP is the server as it is asked by TCP.
func (s *server) byTCP() *server {
	return &server{address: s.address, at: s.at, network: "tcp", dial: s.dial, health: s.health}
}

// form is what has come of one form of a question.
type form struct {
	answer Answer
	err    error
	// edns says that the reply shows that the server knows EDNS0.
	edns bool
}

// clean says that nothing about the reply could be better without EDNS0. Some
// servers that do not know it say that there is nothing.
func (f form) clean() bool { return f.err == nil && (f.edns || len(f.answer.Records) > 0) }

// ask asks the server with EDNS0 and, if that is answered by silence or in any way
// that a server may have that has not heard of it, without.
func (s *server) ask(ctx context.Context, q Question, silence time.Duration) (Answer, error) {
	if s.plain.Load() {
		f := s.askAs(ctx, q, false)
		return f.answer, f.err
	}
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	first := make(chan form, 1)
	go func() { first <- s.askAs(asking, q, true) }()
	silent := time.NewTimer(silence)
	defer silent.Stop()
	var with form
	heard := false
	select {
	case with = <-first:
		if with.clean() {
			return with.answer, nil
		}
		if f, ok := errors.AsType[*Failure](with.err); ok && f.Kind == Unreachable {
			return Answer{}, with.err
		}
		heard = true
	case <-silent.C:
	}
	second := make(chan form, 1)
	go func() { second <- s.askAs(asking, q, false) }()
	for {
		select {
		case with = <-first:
			heard = true
			if with.clean() {
				return with.answer, nil
			}
		case without := <-second:
			if without.err == nil {
				s.plain.Store(true)
				return without.answer, nil
			}
			if !heard {
				with = <-first
			}
			return better(with, without)
		}
	}
}

// better is the form of the two that failed, or are doubtful, that says more.
func better(with, without form) (Answer, error) {
	f, failed := errors.AsType[*Failure](with.err)
	if failed && (f.Kind == Timeout || f.Kind == Unreachable) {
		return without.answer, without.err
	}
	return with.answer, with.err
}

// askAs asks once, by TCP too if the answer does not fit into UDP.
func (s *server) askAs(ctx context.Context, q Question, edns bool) form {
	return s.heard(q, func() (*dns.Msg, error) {
		m := newMessage(q, edns)
		reply, err := s.exchange(ctx, s.network, m, q)
		if err == nil && reply.Truncated && s.network == "udp" {
			reply, err = s.exchange(ctx, "tcp", m, q)
			if err != nil {
				err = &Failure{q, Truncated, fmt.Sprintf("the answer of %s does not fit into UDP, and TCP failed (%v)", s.address, err)}
			}
		}
		return reply, err
	})
}

func newMessage(q Question, edns bool) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(q.Name), wireTypes[q.Type])
	if edns {
		m.SetEdns0(udpSize, false)
	}
	return m
}

// heard is what the server's reply says.
func (s *server) heard(q Question, exchange func() (*dns.Msg, error)) (f form) {
	defer func() {
		// What a name server sends must not be able to end the program.
		if r := recover(); r != nil {
			f = form{err: &Failure{q, Malformed, fmt.Sprintf("the answer of %s cannot be read (%v)", s.address, r)}}
		}
	}()
	reply, err := exchange()
	if err != nil {
		return form{err: err}
	}
	f.edns = reply.IsEdns0() != nil
	if !soundOPT(reply) {
		f.err = &Failure{q, Malformed, s.address + " answers with a wrong OPT record"}
		return f
	}
	switch reply.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError:
		f.answer = Answer{Records: records(reply.Answer), NoName: reply.Rcode == dns.RcodeNameError, Cut: reply.Truncated, Server: s.address}
	case dns.RcodeServerFailure:
		f.err = &Failure{q, ServFail, s.address + " answers SERVFAIL"}
	case dns.RcodeRefused:
		f.err = &Failure{q, Refused, s.address + " answers REFUSED"}
	default:
		f.err = &Failure{q, Malformed, fmt.Sprintf("%s answers %s", s.address, rcodeText(reply.Rcode))}
	}
	return f
}

func rcodeText(rcode int) string {
	if text, ok := dns.RcodeToString[rcode]; ok {
		return text
	}
	return fmt.Sprintf("code %d", rcode)
}

// soundOPT reports whether a reply has at most one OPT record, of the root and in
// the additional section (RFC 6891 section 6.1.1).
func soundOPT(reply *dns.Msg) bool {
	isOPT := func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeOPT }
	if slices.ContainsFunc(reply.Answer, isOPT) || slices.ContainsFunc(reply.Ns, isOPT) {
		return false
	}
	n := 0
	for _, rr := range reply.Extra {
		if isOPT(rr) {
			n++
			if rr.Header().Name != "." {
				return false
			}
		}
	}
	return n <= 1
}

// exchange sends a question and returns the reply to it, or why there is none.
func (s *server) exchange(ctx context.Context, network string, m *dns.Msg, q Question) (*dns.Msg, error) {
	reply, err := s.exchangeRaw(ctx, network, m)
	netErr, isNet := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, errOther):
		return nil, &Failure{q, Malformed, s.address + " answers another question"}
	case isNet && netErr.Timeout(), ctx.Err() != nil && err != nil:
		return nil, &Failure{q, Timeout, s.address + " does not answer"}
	case errors.Is(err, unix.ECONNREFUSED):
		return nil, &Failure{q, Unreachable, "no name server listens on " + s.address}
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EPERM), errors.Is(err, unix.ENODEV):
		return nil, &Failure{q, Unreachable, fmt.Sprintf("there is no way to %s (%v)", s.address, errors.Unwrap(err))}
	case err != nil:
		return nil, &Failure{q, Malformed, fmt.Sprintf("%s: %v", s.address, err)}
	}
	return reply, nil
}

// errOther says that there were replies, and that none was to the question.
var errOther = errors.New("another question is answered")

// exchangeRaw is exchange with the network's own errors. Each question has a socket,
// and so a port, of its own.
func (s *server) exchangeRaw(ctx context.Context, network string, m *dns.Msg) (*dns.Msg, error) {
	conn, err := s.dial(ctx, network, s.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if end, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(end); err != nil {
			return nil, err
		}
	}
	if network != "udp" {
		c := dns.Conn{Conn: conn}
		if err := c.WriteMsg(m); err != nil {
			return nil, err
		}
		reply, err := c.ReadMsg()
		if err == nil && !answers(reply, m) {
			err = errOther
		}
		return reply, err
	}
	packed, err := m.Pack()
	if err == nil {
		_, err = conn.Write(packed)
	}
	if err != nil {
		return nil, err
	}
	return readReply(conn, m)
}

// headerSize is the least that a message has, and maxMessage the most.
const (
	headerSize = 12
	maxMessage = 1 << 16
)

// buffers are for messages that are being read.
var buffers = sync.Pool{New: func() any { return new([maxMessage]byte) }}

// readReply waits for the reply to a question. Whatever else arrives is left aside,
// because anybody can send it; but that something did is worth knowing.
func readReply(conn net.Conn, m *dns.Msg) (*dns.Msg, error) {
	buf := buffers.Get().(*[maxMessage]byte)[:]
	defer buffers.Put((*[maxMessage]byte)(buf))
	others := false
	for {
		n, err := conn.Read(buf)
		if err != nil && others {
			return nil, errOther
		}
		if err != nil {
			return nil, err
		}
		if n < headerSize || binary.BigEndian.Uint16(buf) != m.Id {
			continue
		}
		reply := new(dns.Msg)
		if err := reply.Unpack(buf[:n]); err != nil {
			return nil, err
		}
		if answers(reply, m) {
			return reply, nil
		}
		others = true
	}
}

// answers reports whether a message is a reply to a question.
func answers(reply, m *dns.Msg) bool {
	return reply.Id == m.Id && reply.Response && reply.Opcode == dns.OpcodeQuery && len(reply.Question) == 1 &&
		strings.EqualFold(reply.Question[0].Name, m.Question[0].Name) &&
		reply.Question[0].Qtype == m.Question[0].Qtype && reply.Question[0].Qclass == m.Question[0].Qclass
}
