package resolve_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/ringfence/ringfence/pkg/resolve"
)

// serve runs a name server on the loopback interface, by UDP and, if tcp is not
// nil, by TCP.
func serve(t *testing.T, udp, tcp dns.HandlerFunc) netip.AddrPort {
	t.Helper()
	for {
		packets, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if tcp != nil {
			listener, err := net.Listen("tcp4", packets.LocalAddr().String())
			if errors.Is(err, syscall.EADDRINUSE) { // the port is free by UDP only
				packets.Close()
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			startServer(t, &dns.Server{Listener: listener, Handler: tcp})
		}
		startServer(t, &dns.Server{PacketConn: packets, Handler: udp})
		return netip.MustParseAddrPort(packets.LocalAddr().String())
	}
}

// client waits so long for each server that only one that never answers fails,
// on a busy machine too.
func client(servers ...netip.AddrPort) *resolve.Client {
	c := resolve.NewClient(resolve.ServersAt(servers))
	c.SetTimeout(2 * time.Minute)
	return c
}

func startServer(t *testing.T, s *dns.Server) {
	t.Helper()
	ready := make(chan struct{})
	s.NotifyStartedFunc = func() { close(ready) }
	go s.ActivateAndServe()
	<-ready
	t.Cleanup(func() { s.Shutdown() })
}

// answer replies with records in zone file form.
func answer(lines ...string) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		for _, line := range lines {
			rr, err := dns.NewRR(line)
			if err != nil {
				panic(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		w.WriteMsg(m)
	}
}

func rcode(code int) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetRcode(q, code)
		w.WriteMsg(m)
	}
}

func truncated(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Truncated = true
	w.WriteMsg(m)
}

var question = resolve.Question{Name: "sip.example", Type: resolve.A}

func TestClient(t *testing.T) {
	good := answer("SIP.example. 300 IN A 192.0.2.1")
	for _, test := range []struct {
		name     string
		udp, tcp dns.HandlerFunc
		want     string
		failure  resolve.Kind
		text     string
		// listens says that the client waits for something better to come.
		listens bool
	}{
		{name: "an address", udp: good, want: "192.0.2.1 (TTL 300 s)"},
		{name: "no record", udp: answer(), want: ""},
		{name: "no such name", udp: rcode(dns.RcodeNameError), want: "NXDOMAIN"},
		{name: "an alias", udp: answer("sip.example. 300 IN CNAME Edge.Net.", "edge.net. 60 IN A 192.0.2.1"), want: "edge.net 192.0.2.1 (TTL 60 s)"},
		{name: "truncated", udp: truncated, tcp: good, want: "192.0.2.1 (TTL 300 s)"},
		{name: "a class of its own", udp: answer("sip.example. 300 CH A 192.0.2.1"), want: ""},
		{name: "a server that has not heard of EDNS0", udp: func(w dns.ResponseWriter, q *dns.Msg) {
			if q.IsEdns0() != nil {
				rcode(dns.RcodeFormatError)(w, q)
				return
			}
			good(w, q)
		}, want: "192.0.2.1 (TTL 300 s)"},

		{name: "truncated, and TCP is refused", udp: truncated, failure: resolve.Truncated, text: "the answer of SERVER does not fit into UDP, and TCP failed (unreachable: no name server listens on SERVER)"},
		{name: "SERVFAIL", udp: rcode(dns.RcodeServerFailure), failure: resolve.ServFail, text: "SERVER answers SERVFAIL"},
		{name: "REFUSED", udp: rcode(dns.RcodeRefused), failure: resolve.Refused, text: "SERVER answers REFUSED"},
		{name: "NOTIMP", udp: rcode(dns.RcodeNotImplemented), failure: resolve.Malformed, text: "SERVER answers NOTIMP"},
		{name: "another question", udp: func(w dns.ResponseWriter, q *dns.Msg) {
			other := q.Copy()
			other.Question[0].Name = "evil.example."
			answer("evil.example. 300 IN A 6.6.6.6")(w, other)
		}, listens: true, failure: resolve.Malformed, text: "SERVER answers another question"},
		{name: "another type", udp: func(w dns.ResponseWriter, q *dns.Msg) {
			other := q.Copy()
			other.Question[0].Qtype = dns.TypeAAAA
			answer()(w, other)
		}, listens: true, failure: resolve.Malformed, text: "SERVER answers another question"},
		{name: "no question at all", udp: func(w dns.ResponseWriter, q *dns.Msg) {
			m := new(dns.Msg)
			m.SetReply(q)
			m.Question = nil
			w.WriteMsg(m)
		}, listens: true, failure: resolve.Malformed, text: "SERVER answers another question"},
		{name: "half an answer", udp: func(w dns.ResponseWriter, q *dns.Msg) {
			m := new(dns.Msg)
			m.SetReply(q)
			m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: "sip.example.", Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(6, 6, 6, 6)})
			packed, err := m.Pack()
			if err != nil {
				panic(err)
			}
			w.Write(packed[:len(packed)-3])
		}, failure: resolve.Malformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := serve(t, test.udp, test.tcp)
			c := client(server)
			if test.listens {
				t.Parallel()
				c = resolve.NewClient(resolve.ServersAt([]netip.AddrPort{server}))
			}
			got, err := c.Lookup(t.Context(), question)
			if test.failure != "" {
				f, ok := errors.AsType[*resolve.Failure](err)
				if !ok || f.Kind != test.failure || f.Question != question {
					t.Fatalf("got %#v", err)
				}
				if text := strings.ReplaceAll(f.Text, server.String(), "SERVER"); test.text != "" && text != test.text {
					t.Errorf("got %q, want %q", text, test.text)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var texts []string
			if got.NoName {
				texts = append(texts, "NXDOMAIN")
			}
			for _, r := range got.Records {
				texts = append(texts, r.String())
			}
			if strings.Join(texts, " ") != test.want {
				t.Errorf("got %q, want %q", texts, test.want)
			}
		})
	}
}

func TestClientAsksAsItShould(t *testing.T) {
	questions := make(chan *dns.Msg, 10) // asked again without EDNS0
	server := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		questions <- q.Copy()
		answer()(w, q)
	}, nil)
	if _, err := client(server).Lookup(t.Context(), resolve.Question{Name: "_sip._udp.sip.example", Type: resolve.SRV}); err != nil {
		t.Fatal(err)
	}
	asked := <-questions
	if asked.Question[0].Name != "_sip._udp.sip.example." || asked.Question[0].Qtype != dns.TypeSRV || !asked.RecursionDesired {
		t.Errorf("asked %v", asked)
	}
	if edns := asked.IsEdns0(); edns == nil || edns.UDPSize() != 1232 {
		t.Errorf("EDNS0 is %v", edns)
	}
}

// TestSeveralServers: the next one is asked when one fails, and one that has
// failed is asked last from then on.
func TestSeveralServers(t *testing.T) {
	var ill, well atomic.Int32
	counting := func(n *atomic.Int32, h dns.HandlerFunc) dns.HandlerFunc {
		return func(w dns.ResponseWriter, q *dns.Msg) { n.Add(1); h(w, q) }
	}
	closed := closedPort(t)
	first := serve(t, counting(&ill, rcode(dns.RcodeServerFailure)), nil)
	second := serve(t, counting(&well, answer("sip.example. 300 IN A 192.0.2.1")), nil)
	c := client(closed, first, second)
	for range 5 {
		got, err := c.Lookup(t.Context(), question)
		if err != nil || len(got.Records) != 1 {
			t.Fatalf("%v %v", got, err)
		}
	}
	if ill.Load() != 10 || well.Load() != 5 { // with EDNS0 and without
		t.Errorf("the server that fails was asked %d times, the other %d", ill.Load(), well.Load())
	}
	_, err := client(closed).Lookup(t.Context(), question)
	if f, ok := errors.AsType[*resolve.Failure](err); !ok || f.Kind != resolve.Unreachable {
		t.Errorf("a closed port is %v", err)
	}
	if _, err := resolve.NewClient(resolve.Servers{}).Lookup(t.Context(), question); err == nil || !strings.Contains(err.Error(), "no name server to ask") {
		t.Errorf("no server at all is %v", err)
	}
}

// closedPort is at an address that no other server of these tests gets a port of.
func closedPort(t *testing.T) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return netip.MustParseAddrPort(c.LocalAddr().String())
}

// TestClientEndsWithItsContext: a question to a server that never answers ends with the
// context of the caller. (This client waits an hour for a server, so the test
// does not end if it is not cancelled.)
func TestClientEndsWithItsContext(t *testing.T) {
	arrived := make(chan struct{}, 10)
	server := serve(t, func(dns.ResponseWriter, *dns.Msg) { arrived <- struct{}{} }, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		c := resolve.NewClient(resolve.ServersAt([]netip.AddrPort{server}))
		c.SetTimeout(time.Hour)
		_, err := c.Lookup(ctx, question)
		ended <- err
	}()
	<-arrived
	cancel()
	if f, ok := errors.AsType[*resolve.Failure](<-ended); !ok || f.Kind != resolve.Timeout {
		t.Errorf("got %v", f)
	}
}

// TestClientTriesTwice: one lost packet is no failure. How long the second answer
// takes depends on how busy the machine is, so a client that has given up too early is
// given longer.
func TestClientTriesTwice(t *testing.T) {
	t.Parallel()
	var err error
	for timeout := 200 * time.Millisecond; timeout < time.Minute; timeout *= 10 {
		var asked atomic.Int32
		server := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
			if asked.Add(1) > 1 {
				answer("sip.example. 300 IN A 192.0.2.1")(w, q)
			}
		}, nil)
		c := resolve.NewClient(resolve.ServersAt([]netip.AddrPort{server}))
		c.SetTimeout(timeout)
		var got resolve.Answer
		if got, err = c.Lookup(t.Context(), question); err == nil {
			if len(got.Records) != 1 {
				t.Errorf("got %v", got)
			}
			return
		}
	}
	t.Error(err)
}

// TestAnswersCannotEndTheProgram: whatever the DNS library makes of an answer.
func TestAnswersCannotEndTheProgram(t *testing.T) {
	results := resolve.Resolve(t.Context(), func(context.Context, resolve.Question) (resolve.Answer, error) {
		panic("index out of range")
	}, []resolve.Target{{Name: "sip.example"}})
	if err := results[0].Roots[0].Err; err == nil || !strings.Contains(err.Error(), "the answer cannot be read (index out of range)") {
		t.Errorf("got %v", err)
	}
}

// TestAgain: the second answer comes from somebody else, or by another way.
func TestAgain(t *testing.T) {
	const honest, lie = "sip.example. 300 IN A 192.0.2.1", "sip.example. 300 IN A 198.51.100.1"
	closed := closedPort(t)
	liar := serve(t, answer(lie), answer(lie))
	for _, test := range []struct {
		name    string
		servers []netip.AddrPort
		want    string
	}{
		{"another server", []netip.AddrPort{liar, serve(t, answer(honest), nil)}, "192.0.2.1"},
		{"another server that fails, and one that does not", []netip.AddrPort{liar, closed, serve(t, rcode(dns.RcodeServerFailure), nil), serve(t, answer(honest), nil)}, "192.0.2.1"},
		{"no other server answers", []netip.AddrPort{liar, closed}, "198.51.100.1"},
		{"one server, by TCP", []netip.AddrPort{serve(t, answer(lie), answer(honest))}, "192.0.2.1"},
		{"one server without TCP", []netip.AddrPort{serve(t, answer(honest), nil)}, "truncated"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := client(test.servers...)
			if _, err := c.Lookup(t.Context(), question); err != nil {
				t.Fatal(err)
			}
			// The question that Lookup was asked, and one that only this answer raises.
			for _, q := range []resolve.Question{question, {Name: "sip.example", Type: resolve.NAPTR}} {
				got, err := c.Again(t.Context(), q)
				if test.want == "truncated" {
					if f, ok := errors.AsType[*resolve.Failure](err); !ok || f.Kind != resolve.Unreachable {
						t.Errorf("%s: got %v, %v", q, got, err)
					}
					continue
				}
				if err != nil || len(got.Records) != 1 || got.Records[0].Address.String() != test.want {
					t.Errorf("%s: got %v, %v, want %s", q, got, err, test.want)
				}
			}
		})
	}
	if _, err := client(liar).Again(t.Context(), question); err != nil {
		t.Errorf("again without a first time: %v", err)
	}
}

// TestTooManyRecordsForAnyMessage: an answer that is cut by TCP too is no whole
// one, however much is accepted.
func TestTooManyRecordsForAnyMessage(t *testing.T) {
	cut := func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		for i := range 100 {
			m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: "sip.example.", Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(192, 0, 2, byte(i))})
		}
		m.Truncated = true
		w.WriteMsg(m)
	}
	server := serve(t, truncated, cut)
	lookup := client(server).Lookup
	for limit, want := range map[int]string{
		64:      "too large: the answer has more than 100 records, more than 64",
		1 << 16: "truncated: the answer does not fit into any message",
	} {
		r := resolve.Resolver{Lookup: lookup, Limit: func(resolve.Target, resolve.Question) int { return limit }}
		roots := r.Resolve(t.Context(), []resolve.Target{{Name: "sip.example"}})[0].Roots
		if got := fmt.Sprint(roots[0].Err); got != want || len(roots[0].Records) > 0 {
			t.Errorf("with a limit of %d: %s, want %s", limit, got, want)
		}
	}
}

// TestTTLs: the highest bit makes a TTL 0 (RFC 2181 section 8).
func TestTTLs(t *testing.T) {
	for ttl, want := range map[uint32]time.Duration{0: 0, 60: time.Minute, 1<<31 - 1: (1<<31 - 1) * time.Second, 1 << 31: 0, 1<<32 - 1: 0} {
		rr := &dns.A{Hdr: dns.RR_Header{Name: "sip.example.", Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ttl}, A: net.IPv4(192, 0, 2, 1)}
		if got := resolve.Records([]dns.RR{rr})[0].TTL; got != want {
			t.Errorf("TTL %d is %s, want %s", ttl, got, want)
		}
	}
}
