package cli_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

const pbxPolicy = `version: 1
providers:
  - name: acme
    registrars: [sip.acme.example]
dns:
  servers: [` + nameServer + `]
`

// scans are what real scanners and careless tools do to a SIP port.
var scans = []struct {
	name    string
	v6      bool
	command string // HOST and PORT are the victim's, MY4 and MY6 the scanner's own addresses
}{
	{"svmap", false, "svmap -p PORT HOST"},
	{"svmap with INVITE", false, "svmap -p PORT -m INVITE HOST"},
	{"svmap, IPv6", true, "svmap -p PORT -6 HOST"},
	{"svwar", false, "svwar -p PORT -m INVITE -e 100-105 HOST"},
	{"svcrack", false, "svcrack -p PORT -u 100 -r 1-20 HOST"},
	{"sipsak", false, "sipsak -H MY4 -s sip:100@HOST:PORT"},
	{"sipsak by TCP", false, "sipsak -H MY4 -E tcp -s sip:100@HOST:PORT"},
	{"nmap", false, "nmap -n -Pn -sU -p PORT --script sip-methods HOST"},
	{"nmap by TCP", false, "nmap -n -Pn -sT -p PORT --script sip-methods HOST"},
	{"nmap, IPv6", true, "nmap -6 -n -Pn -sU -p PORT --script sip-methods HOST"},
	{"nmap by TCP, IPv6", true, "nmap -6 -n -Pn -sT -p PORT --script sip-methods HOST"},
	{"sipp", false, "sipp -sn uac -m 1 -nostdin HOST:PORT"},
	{"sipp by TCP", false, "sipp -sn uac -m 1 -t t1 -nostdin HOST:PORT"},
	{"sipp, IPv6", true, "sipp -sn uac -m 1 -nostdin -i MY6 [HOST]:PORT"},
	{"sipp by TCP, IPv6", true, "sipp -sn uac -m 1 -t t1 -nostdin -i MY6 [HOST]:PORT"},
}

// scanners are one stranger a scan, each with addresses of its own, so that it is
// known whose packets are received.
type scanners struct {
	hosts  []*lab.Namespace
	v4, v6 []string
	// port4 and port6 are where the victim can be reached from outside.
	victim4, victim6 string
	port4, port6     string
	// last is how long each tries to get through the fence, if it does not give up.
	last time.Duration
}

func newScanners(t *testing.T, w *world) *scanners {
	t.Helper()
	s := &scanners{victim4: pbx4, victim6: pbx6, port4: "5060", port6: "5060", last: 8 * time.Second}
	for i := range scans {
		h, a, b := w.stranger(t, i)
		s.hosts, s.v4, s.v6 = append(s.hosts, h), append(s.v4, a), append(s.v6, b)
	}
	return s
}

// scan runs all of them side by side, each until it has done enough, and returns
// how many packets and connections of each the listener has received.
func (s *scanners) scan(t *testing.T, e *lab.Listener, enough func(i int) bool) []int {
	t.Helper()
	var group sync.WaitGroup
	for i, scan := range scans {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		victim, port := s.victim4, s.port4
		if scan.v6 {
			victim, port = s.victim6, s.port6
		}
		args := strings.Fields(strings.NewReplacer("HOST", victim, "PORT", port, "MY4", s.v4[i], "MY6", s.v6[i]).Replace(scan.command))
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Dir = t.TempDir()
		cmd.WaitDelay = time.Second
		labtest.Must(t, s.hosts[i].Start(cmd))
		group.Go(func() {
			cmd.Wait() // a scanner that finds nobody may say so by its status
		})
		group.Go(func() {
			defer cancel()
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			// What it has sent before it ended may still be under way.
			for deadline := labtest.Deadline(); !enough(i) && time.Now().Before(deadline); {
				<-tick.C
			}
		})
	}
	group.Wait()
	var heard []int
	for i := range scans {
		heard = append(heard, e.From(s.v4[i], s.v6[i]))
	}
	return heard
}

// compare scans without a fence, lets it be put up, and scans again: all of them
// must get through the first time, or the test says nothing, and none the second.
func (s *scanners) compare(t *testing.T, hear func() *lab.Listener, fence func()) {
	t.Helper()
	e := hear()
	open := s.scan(t, e, func(i int) bool { return e.From(s.v4[i], s.v6[i]) > 0 })
	// What is still under way from the first time is not heard by the second listener.
	labtest.Must(t, e.Close())
	fence()
	for _, h := range s.hosts {
		labtest.Rules(t, h, departures)
	}
	e = hear()
	begin := time.Now()
	fenced := s.scan(t, e, func(i int) bool { return time.Since(begin) > s.last && s.sent(t, i) > 0 })
	labtest.Must(t, e.Close())
	for i, scan := range scans {
		sent := s.sent(t, i)
		t.Logf("%-20s %3d packets arrive without a fence; with it %d of %d", scan.name, open[i], fenced[i], sent)
		if open[i] == 0 {
			t.Errorf("%s does not even arrive without a fence", scan.name)
		}
		if fenced[i] != 0 {
			t.Errorf("%s got through the fence", scan.name)
		}
		if sent == 0 {
			t.Errorf("%s has not tried to get through the fence", scan.name)
		}
	}
}

// departures counts what a scanner sends to a SIP port.
const departures = `table inet departures {
	counter sent { }
	chain output {
		type filter hook output priority filter; policy accept;
		meta l4proto { tcp, udp } th dport { 5060, 15060 } counter name "sent"
	}
}
`

// sent is how many packets a scanner has sent to a SIP port.
func (s *scanners) sent(t *testing.T, i int) int {
	out, err := labtest.TryInput(t, s.hosts[i], "", "nft", "list", "counter", "inet", "departures", "sent")
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	_, count, _ := strings.Cut(out, "packets ")
	n := 0
	fmt.Sscan(count, &n)
	return n
}

// TestScannersAndProvider puts a fence round a PBX on this host: real scanners
// reach nothing, and the provider, who is known by NAPTR and SRV only, gets
// every call through.
func TestScannersAndProvider(t *testing.T) {
	t.Parallel()
	eachBackend(t, testScannersAndProvider)
}

func testScannersAndProvider(t *testing.T) {
	t.Helper()
	t.Parallel()
	w := newWorld(t)
	named(t, w.provider, nameServer, map[string]string{"acme.example": zoneAcme, "net.example": zoneNet})
	s := newSite(t, w.pbx, pbxPolicy)
	newScanners(t, w).compare(t, func() *lab.Listener { return listen(t, w.pbx, 5060, pbx4, pbx6) }, func() { s.must(t, 0, "apply") })

	// The provider's calls, from each address that the zone gives.
	for _, call := range []struct{ name, from, to, transport string }{
		{"IPv4", edge1, pbx4, "u1"},
		{"IPv4, behind an alias", edge2, pbx4, "u1"},
		{"IPv4 by TCP", edge1, pbx4, "t1"},
		{"IPv6", edge6, pbx6, "u1"},
		{"IPv6 by TCP", edge6, pbx6, "t1"},
	} {
		t.Run("calls by "+call.name, func(t *testing.T) {
			calls(t, w.provider, call.from, w.pbx, call.to, net.JoinHostPort(call.to, "5060"), call.transport)
		})
	}
	t.Run("no call from the provider's other hosts", func(t *testing.T) {
		e := listen(t, w.pbx, 5060, pbx4)
		sendPacket(t, w.provider, providerForeverOut, pbx4, 5060)
		sendPacket(t, w.provider, edge1, pbx4, 5060)
		until(t, "the registrar's packet", func() bool { return e.From(edge1) == 1 })
		if n := e.From(providerForeverOut); n != 0 {
			t.Errorf("%d packets from an address that no record names", n)
		}
	})
}

// calls makes 20 calls with sipp, each of which has to complete. The callee
// listens on port 5060 of its own address; the caller dials another one where
// there is a router between them.
func calls(t *testing.T, caller *lab.Namespace, from string, callee *lab.Namespace, at, dial, transport string) {
	t.Helper()
	server := exec.CommandContext(t.Context(), "sipp", "-sn", "uas", "-i", at, "-p", "5060", "-t", transport, "-nostdin")
	server.Dir = t.TempDir()
	labtest.Must(t, callee.Start(server))
	defer func() {
		server.Process.Kill()
		server.Wait()
	}()
	until(t, "sipp listens", func() bool { return listens(t, callee, transport) })
	client := exec.CommandContext(t.Context(), "sipp", "-sn", "uac", "-i", from, "-p", "5060", "-t", transport,
		"-m", "20", "-r", "50", "-nostdin", "-timeout", "120", dial)
	client.Dir = t.TempDir()
	var out strings.Builder
	client.Stdout, client.Stderr = &out, &out
	labtest.Must(t, caller.Start(client))
	if err := client.Wait(); err != nil {
		t.Errorf("not all 20 calls completed: %v\n%s", err, out.String())
	}
}

// listens reports whether some program of the host has port 5060.
func listens(t *testing.T, h *lab.Namespace, transport string) bool {
	t.Helper()
	if strings.HasPrefix(transport, "t") {
		return listensAt(t, h, "tcp", 5060)
	}
	return listensAt(t, h, "udp", 5060)
}

// listensAt reports whether a program of the host waits at a port: by TCP for
// connections, by UDP for packets from anybody. Sockets of connections, and those
// of programs that have ended (TIME_WAIT), may have the same port.
func listensAt(t *testing.T, h *lab.Namespace, protocol string, port int) (found bool) {
	t.Helper()
	waits := map[string]string{"tcp": "0A", "udp": "07"}[protocol] // TCP_LISTEN, TCP_CLOSE
	labtest.In(t, h, func() error {
		for _, f := range []string{protocol, protocol + "6"} {
			sockets, err := os.ReadFile("/proc/thread-self/net/" + f)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(sockets)) {
				fields := strings.Fields(line) // number, own address, other's address, state …
				found = found || len(fields) > 3 && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) && fields[3] == waits
			}
		}
		return nil
	})
	return found
}

// sendPacket sends one UDP packet.
func sendPacket(t *testing.T, from *lab.Namespace, fromAddress, to string, port int) {
	t.Helper()
	source, err := labtest.NewSource(from, net.JoinHostPort(fromAddress, "0"), net.JoinHostPort(to, fmt.Sprint(port)), []byte("INVITE sip:100@pbx SIP/2.0\r\n\r\n"))
	labtest.Must(t, err)
	defer source.Close()
	labtest.Must(t, source.Burst(1))
}
