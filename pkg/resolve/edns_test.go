package resolve_test

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/ringfence/ringfence/pkg/resolve"
)

// disliking answers questions with EDNS0 by the handler, nil is not at all, and others
// as it should. It counts both.
type disliking struct {
	ill dns.HandlerFunc

	mu          sync.Mutex
	with, plain int
}

func (d *disliking) handle(w dns.ResponseWriter, q *dns.Msg) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if q.IsEdns0() == nil {
		d.plain++
		answer("sip.example. 300 IN A 192.0.2.1")(w, q)
		return
	}
	d.with++
	if d.ill != nil {
		d.ill(w, q)
	}
}

// TestServersThatDislikeEDNS0 are asked without it, and from then on at once.
func TestServersThatDislikeEDNS0(t *testing.T) {
	inAnswer := func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Answer = append(m.Answer, q.IsEdns0())
		m.Extra = append(m.Extra, &dns.A{Hdr: dns.RR_Header{Name: "sip.example.", Rrtype: dns.TypeA, Class: dns.ClassINET}, A: []byte{192, 0, 2, 1}})
		w.WriteMsg(m)
	}
	twice := func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Extra = append(m.Extra, q.IsEdns0(), q.IsEdns0())
		w.WriteMsg(m)
	}
	owned := func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		opt := q.IsEdns0()
		opt.Hdr.Name = "sip.example."
		m.Extra = append(m.Extra, opt)
		w.WriteMsg(m)
	}
	badVersion := func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.SetEdns0(512, false)
		m.Rcode = dns.RcodeBadVers
		w.WriteMsg(m)
	}
	cut := func(w dns.ResponseWriter, q *dns.Msg) {
		packed, err := new(dns.Msg).SetReply(q).Pack()
		if err != nil {
			panic(err)
		}
		packed[7] = 1 // there is an answer, and it is missing
		w.Write(packed)
	}
	for name, ill := range map[string]dns.HandlerFunc{
		"FORMERR": rcode(dns.RcodeFormatError), "NOTIMP": rcode(dns.RcodeNotImplemented), "SERVFAIL": rcode(dns.RcodeServerFailure),
		"REFUSED": rcode(dns.RcodeRefused), "NXDOMAIN": rcode(dns.RcodeNameError), "no record": answer(), "BADVERS": badVersion,
		"OPT as an answer": inAnswer, "two OPT": twice, "OPT of a name": owned, "half an answer": cut, "silence": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &disliking{ill: ill}
			c := client(serve(t, d.handle, nil))
			if ill == nil {
				c.SetTimeout(8 * time.Second)
			}
			for range 3 {
				got, err := c.Lookup(t.Context(), question)
				if err != nil || len(got.Records) != 1 {
					t.Fatalf("got %v, %v", got, err)
				}
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.with != 1 || d.plain != 3 {
				t.Errorf("asked %d times with EDNS0 and %d times without", d.with, d.plain)
			}
		})
	}
}

// TestSlowAndDeadServers: neither keeps the answer of another from being heard, and an
// answer that comes after the next server was asked counts.
func TestSlowAndDeadServers(t *testing.T) {
	t.Parallel()
	silent := func(dns.ResponseWriter, *dns.Msg) {}
	late := func(w dns.ResponseWriter, q *dns.Msg) {
		time.AfterFunc(3*time.Second, func() { answer("sip.example. 300 IN A 192.0.2.1")(w, q) })
	}
	for name, handlers := range map[string][]dns.HandlerFunc{
		"three dead ones first": {silent, silent, silent, answer("sip.example. 300 IN A 192.0.2.1")},
		"one that is late":      {late},
		"a late and a dead one": {late, silent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var servers []netip.AddrPort
			for _, h := range handlers {
				servers = append(servers, serve(t, h, nil))
			}
			got, err := resolve.NewClient(resolve.ServersAt(servers)).Lookup(t.Context(), question)
			if err != nil || len(got.Records) != 1 {
				t.Errorf("got %v, %v", got, err)
			}
			if want := fmt.Sprint(servers[len(servers)-1]); name == "three dead ones first" && got.Server != want {
				t.Errorf("%s has answered, want %s", got.Server, want)
			}
		})
	}
}

// TestTCPOnly: with use-vc, UDP is of no use.
func TestTCPOnly(t *testing.T) {
	udp := func(dns.ResponseWriter, *dns.Msg) { t.Error("asked by UDP") }
	server := serve(t, udp, answer("sip.example. 300 IN A 192.0.2.1"))
	c := resolve.NewClient(resolve.Servers{Addresses: []netip.AddrPort{server}, TCP: true, Timeout: 2 * time.Minute})
	if got, err := c.Lookup(t.Context(), question); err != nil || len(got.Records) != 1 {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestFailuresNameEachServer and what it has answered.
func TestFailuresNameEachServer(t *testing.T) {
	closed, ill := closedPort(t), serve(t, rcode(dns.RcodeServerFailure), nil)
	_, err := client(closed, ill).Lookup(t.Context(), question)
	want := fmt.Sprintf("servfail: no name server listens on %s; %s answers SERVFAIL", closed, ill)
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
