//go:build linux

package resolve_test

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"github.com/ringfence/ringfence/pkg/resolve"
)

// unhurriedClient asks as the service does.
func unhurriedClient(servers ...netip.AddrPort) *resolve.Client {
	return resolve.NewClient(resolve.Servers{Addresses: servers, Unhurried: true})
}

// TestUnhurried: questions that are in no hurry are all answered, by ports that few of them
// share, on which each has a number of its own, and not by what is forged.
func TestUnhurried(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(at, func(t *testing.T) {
			conn, err := net.ListenPacket("udp", at)
			if err != nil {
				t.Skip("this machine has no such loopback address: ", err)
			}
			testUnhurried(t, conn)
		})
	}
}

func testUnhurried(t *testing.T, conn net.PacketConn) {
	const n, perPort = 300, 16
	var mu sync.Mutex
	ids := map[int]map[uint16]bool{} // of each port
	server := serveRaw(t, conn, func(conn net.PacketConn, to net.Addr, q *dns.Msg) {
		from := to.(*net.UDPAddr).Port
		mu.Lock()
		if ids[from] == nil {
			ids[from] = map[uint16]bool{}
		}
		ids[from][q.Id] = true
		mu.Unlock()
		forged := reply(q, q.Question[0].Name, "6.6.6.6")
		forged.Id++
		send(conn, to, forged)
		forged = reply(q, "evil.example.", "6.6.6.6")
		forged.Question[0].Name = "evil.example."
		send(conn, to, forged)
		send(conn, to, reply(q, q.Question[0].Name, "192.0.2.1"))
	})
	c := unhurriedClient(server)
	var asking sync.WaitGroup
	for i := range n {
		asking.Go(func() {
			got, err := c.Lookup(t.Context(), resolve.Question{Name: fmt.Sprintf("r%d.example", i), Type: resolve.A})
			if err != nil || len(got.Records) != 1 || got.Records[0].Address.String() != "192.0.2.1" {
				t.Errorf("question %d: got %v, %v", i, got.Records, err)
			}
		})
	}
	asking.Wait()
	mu.Lock()
	defer mu.Unlock()
	for port, seen := range ids {
		if len(seen) > perPort {
			t.Errorf("%d questions came from port %d", len(seen), port)
		}
	}
	if len(ids) < n/perPort || len(ids) == n {
		t.Errorf("%d questions came from %d ports", n, len(ids))
	}
}

// TestUnhurriedAsksOn: what is no clear answer is asked for as it is when it is in a hurry.
func TestUnhurriedAsksOn(t *testing.T) {
	good := answer("sip.example. 300 IN A 192.0.2.1")
	old := func(w dns.ResponseWriter, q *dns.Msg) { // has not heard of EDNS0, and says that there is nothing
		if q.IsEdns0() != nil {
			answer()(w, q)
			return
		}
		good(w, q)
	}
	for name, servers := range map[string][]netip.AddrPort{
		"truncated":       {serve(t, truncated, good)},
		"without EDNS0":   {serve(t, old, nil)},
		"the next server": {serve(t, rcode(dns.RcodeServerFailure), nil), serve(t, good, nil)},
		"nobody listens":  {closedPort(t), serve(t, good, nil)},
		"silence":         {serve(t, func(dns.ResponseWriter, *dns.Msg) {}, nil), serve(t, good, nil)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := unhurriedClient(servers...).Lookup(t.Context(), question)
			if err != nil || len(got.Records) != 1 || got.Records[0].Address.String() != "192.0.2.1" {
				t.Errorf("got %v, %v", got.Records, err)
			}
		})
	}
}
