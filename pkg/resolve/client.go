package resolve

import (
	"cmp"
	"context"
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

// The limits of one question.
const (
	serverTimeout = 2 * time.Second
	serverTries   = 2
	// udpSize is a size that passes all networks without fragments (DNS flag day 2020).
	udpSize = 1232
)

// Client asks name servers. It uses neither search domains nor a cache.
type Client struct {
	servers []*server

	mu sync.Mutex
	// answered says which server answered each question, and last which one answered
	// most recently. Again needs them.
	answered map[Question]*server
	last     *server
}

// Dial opens a connection to a name server, as net.Dialer's DialContext does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

type server struct {
	address string
	timeout time.Duration
	dial    Dial
	// failures counts how many questions in a row the server did not answer. A server
	// that fails is asked last.
	failures atomic.Int32
}

// NewClient returns a client for the given servers, the first one preferred.
func NewClient(servers []netip.AddrPort) *Client {
	c := &Client{answered: map[Question]*server{}}
	for _, s := range servers {
		c.servers = append(c.servers, &server{address: s.String(), timeout: serverTimeout, dial: new(net.Dialer).DialContext})
	}
	return c
}

// Through makes the client open its connections with dial, and returns the client.
func (c *Client) Through(dial Dial) *Client {
	for _, s := range c.servers {
		s.dial = dial
	}
	return c
}

// SystemServers reads the name servers of a file such as /etc/resolv.conf.
func SystemServers(path string) ([]netip.AddrPort, error) {
	config, err := dns.ClientConfigFromFile(path)
	if err != nil {
		return nil, fmt.Errorf("read name servers: %w", err)
	}
	var servers []netip.AddrPort
	for _, s := range config.Servers {
		if a, err := netip.ParseAddr(s); err == nil {
			servers = append(servers, netip.AddrPortFrom(a, 53))
		}
	}
	return servers, nil
}

// Lookup asks the servers in turn until one answers. That a name does not exist is an
// answer too. Lookup is a Lookup.
func (c *Client) Lookup(ctx context.Context, q Question) (Answer, error) {
	if len(c.servers) == 0 {
		return Answer{}, &Failure{q, Unreachable, "there is no name server to ask"}
	}
	var failure error
	for range serverTries {
		for _, s := range c.byHealth() {
			answer, err := s.ask(ctx, q, "udp")
			if err == nil {
				s.failures.Store(0)
				c.mu.Lock()
				c.answered[q], c.last = s, s
				c.mu.Unlock()
				return answer, nil
			}
			if ctx.Err() != nil {
				return Answer{}, &Failure{q, Timeout, "no answer within the time limit for all questions"}
			}
			if f, ok := errors.AsType[*Failure](err); ok && (f.Kind == Timeout || f.Kind == Unreachable) {
				s.failures.Add(1)
			}
			failure = err
		}
	}
	return Answer{}, failure
}

// Again asks a question a second time, in another way than Lookup did: it asks another
// server or, if none answers, the same one by TCP, where an answer is hard to forge.
// For a question that Lookup was not asked, it avoids the server that answered the
// others. Again is a Lookup.
func (c *Client) Again(ctx context.Context, q Question) (Answer, error) {
	c.mu.Lock()
	first := c.answered[q]
	if first == nil {
		first = c.last
	}
	c.mu.Unlock()
	if first == nil {
		return c.Lookup(ctx, q)
	}
	for _, s := range c.byHealth() {
		if s == first {
			continue
		}
		if answer, err := s.ask(ctx, q, "udp"); err == nil {
			return answer, nil
		}
	}
	if ctx.Err() != nil {
		return Answer{}, &Failure{q, Timeout, "no second answer within the time limit for all questions"}
	}
	return first.ask(ctx, q, "tcp")
}

func (c *Client) byHealth() []*server {
	servers := slices.Clone(c.servers)
	failures := map[*server]int32{} // read once, because other goroutines change them
	for _, s := range servers {
		failures[s] = s.failures.Load()
	}
	slices.SortStableFunc(servers, func(a, b *server) int { return cmp.Compare(failures[a], failures[b]) })
	return servers
}

var wireTypes = map[Type]uint16{
	A: dns.TypeA, AAAA: dns.TypeAAAA, CNAME: dns.TypeCNAME, SRV: dns.TypeSRV, NAPTR: dns.TypeNAPTR,
}

// ask asks one server once. It uses TCP too if the answer does not fit into UDP, and
// leaves EDNS0 out if the server does not support it.
func (s *server) ask(ctx context.Context, q Question, network string) (Answer, error) {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(q.Name), wireTypes[q.Type])
	m.SetEdns0(udpSize, false)
	reply, err := s.exchange(ctx, network, m, q)
	if err == nil && reply.Rcode == dns.RcodeFormatError {
		m.Extra = nil
		reply, err = s.exchange(ctx, network, m, q)
	}
	if err == nil && reply.Truncated && network == "udp" {
		reply, err = s.exchange(ctx, "tcp", m, q)
		if err != nil {
			return Answer{}, &Failure{q, Truncated, fmt.Sprintf("the answer of %s does not fit into UDP, and TCP failed (%v)", s.address, err)}
		}
	}
	if err != nil {
		return Answer{}, err
	}
	switch reply.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError:
		return Answer{Records: records(reply.Answer), NoName: reply.Rcode == dns.RcodeNameError, Cut: reply.Truncated}, nil
	case dns.RcodeServerFailure:
		return Answer{}, &Failure{q, ServFail, s.address + " answers SERVFAIL"}
	case dns.RcodeRefused:
		return Answer{}, &Failure{q, Refused, s.address + " answers REFUSED"}
	}
	return Answer{}, &Failure{q, Malformed, fmt.Sprintf("%s answers %s", s.address, dns.RcodeToString[reply.Rcode])}
}

func (s *server) exchange(ctx context.Context, network string, m *dns.Msg, q Question) (*dns.Msg, error) {
	reply, err := s.exchangeRaw(ctx, network, m)
	netErr, isNet := errors.AsType[net.Error](err)
	switch {
	case isNet && netErr.Timeout():
		return nil, &Failure{q, Timeout, fmt.Sprintf("%s does not answer", s.address)}
	case errors.Is(err, unix.ECONNREFUSED):
		return nil, &Failure{q, Unreachable, fmt.Sprintf("no name server listens on %s", s.address)}
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EPERM):
		return nil, &Failure{q, Unreachable, fmt.Sprintf("%s cannot be reached (%v)", s.address, errors.Unwrap(err))}
	case err != nil:
		return nil, &Failure{q, Malformed, fmt.Sprintf("%s: %v", s.address, err)}
	case len(reply.Question) != 1 || !strings.EqualFold(reply.Question[0].Name, m.Question[0].Name) ||
		reply.Question[0].Qtype != m.Question[0].Qtype:
		return nil, &Failure{q, Malformed, s.address + " answers another question"}
	}
	return reply, nil
}

// exchangeRaw does the library's exchange and ends it when the context ends: the
// library only uses the context's deadline.
func (s *server) exchangeRaw(ctx context.Context, network string, m *dns.Msg) (*dns.Msg, error) {
	dialing, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	conn, err := s.dial(dialing, network, s.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	client := dns.Client{Net: network, Timeout: s.timeout}
	reply, _, err := client.ExchangeWithConnContext(ctx, m, &dns.Conn{Conn: conn})
	return reply, err
}

// records returns the records of an answer whose types matter here.
func records(list []dns.RR) []Record {
	var records []Record
	for _, rr := range list {
		h := rr.Header()
		if h.Class != dns.ClassINET {
			continue
		}
		r := Record{Owner: plainName(h.Name), TTL: time.Duration(h.Ttl) * time.Second}
		if r.TTL > longestTTL {
			r.TTL = 0 // RFC 2181 section 8: a TTL with the highest bit set counts as 0
		}
		switch rr := rr.(type) {
		case *dns.A:
			r.Type = A
			r.Address, _ = netip.AddrFromSlice(rr.A.To4())
		case *dns.AAAA:
			r.Type = AAAA
			r.Address, _ = netip.AddrFromSlice(rr.AAAA.To16())
		case *dns.CNAME:
			r.Type, r.Target = CNAME, plainName(rr.Target)
		case *dns.SRV:
			r.Type, r.Target = SRV, plainName(rr.Target)
			r.Priority, r.Weight, r.Port = rr.Priority, rr.Weight, rr.Port
		case *dns.NAPTR:
			r.Type, r.Target = NAPTR, plainName(rr.Replacement)
			r.Priority, r.Weight = rr.Order, rr.Preference
			r.Flags, r.Service, r.Regexp = rr.Flags, rr.Service, rr.Regexp
		default:
			continue
		}
		records = append(records, r)
	}
	return records
}

// plainName writes a name in the form of a Question.
func plainName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
