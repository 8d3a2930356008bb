package resolve_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/ringfence/ringfence/pkg/resolve"
)

// rawServer answers each question by a function that may send anything.
func rawServer(t *testing.T, answer func(conn net.PacketConn, to net.Addr, q *dns.Msg)) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveRaw(t, conn, answer)
}

// serveRaw answers what comes to a socket.
func serveRaw(t *testing.T, conn net.PacketConn, answer func(conn net.PacketConn, to net.Addr, q *dns.Msg)) netip.AddrPort {
	t.Helper()
	var running sync.WaitGroup
	running.Go(func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			q := new(dns.Msg)
			if q.Unpack(buf[:n]) == nil {
				answer(conn, from, q)
			}
		}
	})
	t.Cleanup(func() { conn.Close(); running.Wait() })
	return netip.MustParseAddrPort(conn.LocalAddr().String())
}

func reply(q *dns.Msg, name, address string) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.ParseIP(address)}}
	return m
}

func send(conn net.PacketConn, to net.Addr, m *dns.Msg) {
	if packed, err := m.Pack(); err == nil {
		conn.WriteTo(packed, to)
	}
}

// TestForgedAnswers: ten thousand answers that are not to the question, or have another
// id, come before the true one.
func TestForgedAnswers(t *testing.T) {
	const forged = "6.6.6.6"
	server := rawServer(t, func(conn net.PacketConn, to net.Addr, q *dns.Msg) {
		for i := range 10_000 {
			m := reply(q, "sip.example.", forged)
			m.Id = q.Id + 1 + uint16(i)
			send(conn, to, m)
			if i%100 == 0 {
				time.Sleep(time.Millisecond) // so that the socket's buffer takes all
			}
		}
		for _, change := range []func(m *dns.Msg){
			func(m *dns.Msg) { m.Response = false },
			func(m *dns.Msg) { m.Question[0].Name = "evil.example." },
			func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA },
			func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS },
			func(m *dns.Msg) { m.Question = nil },
			func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) },
			func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify },
		} {
			m := reply(q, "sip.example.", forged)
			change(m)
			send(conn, to, m)
		}
		conn.WriteTo([]byte{byte(q.Id >> 8), byte(q.Id)}, to)
		send(conn, to, reply(q, "sip.example.", "192.0.2.1"))
	})
	got, err := client(server).Lookup(t.Context(), question)
	if err != nil || len(got.Records) != 1 || got.Records[0].Address.String() != "192.0.2.1" {
		t.Errorf("got %v, %v", got.Records, err)
	}
}

// TestAnswersOfOthers: only the server that was asked is listened to.
func TestAnswersOfOthers(t *testing.T) {
	other, err := net.ListenPacket("udp4", "127.0.0.3:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	server := rawServer(t, func(conn net.PacketConn, to net.Addr, q *dns.Msg) {
		send(other, to, reply(q, "sip.example.", "6.6.6.6"))
		send(conn, to, reply(q, "sip.example.", "192.0.2.1"))
	})
	got, err := client(server).Lookup(t.Context(), question)
	if err != nil || len(got.Records) != 1 || got.Records[0].Address.String() != "192.0.2.1" {
		t.Errorf("got %v, %v", got.Records, err)
	}
}

// TestIdsAndPortsAreRandom: neither is the same twice more often than chance has it,
// nor the one of before plus a little.
func TestIdsAndPortsAreRandom(t *testing.T) {
	const n = 200
	var mu sync.Mutex
	var ids, ports []int
	server := rawServer(t, func(conn net.PacketConn, to net.Addr, q *dns.Msg) {
		mu.Lock()
		ids, ports = append(ids, int(q.Id)), append(ports, to.(*net.UDPAddr).Port)
		mu.Unlock()
		send(conn, to, reply(q, "sip.example.", "192.0.2.1"))
	})
	c := client(server)
	for range n {
		if _, err := c.Lookup(t.Context(), question); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for what, list := range map[string][]int{"ids": ids, "ports": ports} {
		seen, near := map[int]bool{}, 0
		for i, v := range list {
			seen[v] = true
			if i > 0 && v-list[i-1] >= 0 && v-list[i-1] < 8 {
				near++
			}
		}
		if len(seen) < n*9/10 || near > n/10 {
			t.Errorf("of %d %s %d are different, and %d are next to the one before", len(list), what, len(seen), near)
		}
	}
}

// TestMonsters: messages that are made to keep a reader busy end, and nothing of them
// is believed.
func TestMonsters(t *testing.T) {
	loop := func(conn net.PacketConn, to net.Addr, q *dns.Msg) {
		packed, err := new(dns.Msg).SetReply(q).Pack()
		if err != nil {
			return
		}
		packed[7] = 200
		here := len(packed)
		for range 200 { // each name points at itself
			packed = append(packed, 0xc0|byte(here>>8), byte(here), 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 6, 6, 6, 6)
		}
		conn.WriteTo(packed, to)
	}
	if got, err := client(rawServer(t, loop)).Lookup(t.Context(), question); err == nil {
		t.Errorf("a loop of names is %v", got)
	}
	huge := func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Compress = true
		for i := range 4000 {
			m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: "sip.example.", Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(6, 6, byte(i>>8), byte(i))})
		}
		w.WriteMsg(m)
	}
	lookup := client(serve(t, truncated, huge)).Lookup
	results := resolve.Resolve(t.Context(), lookup, []resolve.Target{{Name: "sip.example"}})
	if err := fmt.Sprint(results[0].Roots[0].Err); err != "too large: the answer has 4000 records, more than 64" || len(results[0].Addresses()) > 0 {
		t.Errorf("64 KB of addresses are %s", err)
	}
}

// TestDrip: a server that sends a byte now and then by TCP has no more time than others.
func TestDrip(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	defer running.Wait()
	defer listener.Close()
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				length := binary.BigEndian.AppendUint16(nil, 60000)
				for i := 0; ; i++ {
					if _, err := conn.Write([]byte{length[min(i, 1)]}); err != nil {
						return
					}
					if _, err := io.CopyN(io.Discard, conn, 1); errors.Is(err, io.EOF) {
						return
					}
					time.Sleep(100 * time.Millisecond) // the drip
				}
			})
		}
	})
	server := netip.MustParseAddrPort(listener.Addr().String())
	c := resolve.NewClient(resolve.Servers{Addresses: []netip.AddrPort{server}, TCP: true, Timeout: time.Second})
	_, err = c.Lookup(t.Context(), question)
	if f, ok := errors.AsType[*resolve.Failure](err); !ok || f.Kind != resolve.Timeout || !strings.Contains(f.Text, "does not answer") {
		t.Errorf("got %v", err)
	}
}
