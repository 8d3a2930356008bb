package cli_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// TestFastOpen: a SYN that carries a request (RFC 7413) is judged as any other packet.
func TestFastOpen(t *testing.T) {
	t.Parallel()
	eachBackend(t, testFastOpen)
}

func testFastOpen(t *testing.T) {
	t.Helper()
	pbx, outside := newPair(t)
	labtest.Must(t, pbx.Set("ipv4/tcp_fastopen", "519"))   // also without a cookie
	labtest.Must(t, outside.Set("ipv4/tcp_fastopen", "5")) // also without a cookie
	requests := listenTCP(t, pbx)
	send := func(from, agent string) {
		t.Helper()
		labtest.In(t, outside, func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				return err
			}
			t.Cleanup(func() { unix.Close(fd) })
			source, destination := unix.SockaddrInet4{Addr: [4]byte(net.ParseIP(from).To4())}, unix.SockaddrInet4{Addr: [4]byte{203, 0, 113, 1}, Port: 5060}
			if err := unix.Bind(fd, &source); err != nil {
				return err
			}
			err = unix.Sendto(fd, lab.Message("OPTIONS", from, "203.0.113.1", agent), unix.MSG_FASTOPEN, &destination)
			if errors.Is(err, unix.EINPROGRESS) {
				return errors.New("the kernel does not send data with the SYN")
			}
			return err
		})
	}
	const scanner, other, known = "friendly-scanner", "Other phone", knownPhone
	stage := 0
	arrive := func(want ...string) {
		t.Helper()
		// What was dropped in an earlier stage may be sent again.
		stage++
		name := func(agent string) string { return fmt.Sprintf("%s %d", agent, stage) }
		for _, agent := range []string{scanner, other, known} {
			send("203.0.113.66", name(agent))
		}
		send("203.0.113.5", name("the provider"))
		var wanted []string
		for _, agent := range append(want, "the provider") {
			wanted = append(wanted, name(agent))
		}
		for _, got := range requests(t, wanted) {
			if strings.HasSuffix(got, name("")) && !slices.Contains(wanted, got) {
				t.Errorf("there arrived %q, want only %q", got, wanted)
			}
		}
	}
	arrive(scanner, other, known)
	s := newSite(t, pbx, linksPolicy)
	s.must(t, 0, "apply")
	arrive()
	s.write(t, linksPolicy+"unknown: {action: accept}\nbans: {duration: 0s}\n")
	s.must(t, 0, "apply")
	arrive(other, known)
	s.write(t, linksPolicy+"unknown: {action: accept, require_user_agent: [Known phone]}\nbans: {duration: 0s}\n")
	s.must(t, 0, "apply")
	arrive(known)
}

// listenTCP listens on the SIP port and returns the User-Agents of the requests, up to when
// all of those have come that have to.
func listenTCP(t *testing.T, h *lab.Namespace) func(t *testing.T, wanted []string) []string {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_FASTOPEN, 64) }), err)
	}}
	var l net.Listener
	labtest.In(t, h, func() (err error) {
		l, err = config.Listen(t.Context(), "tcp", "203.0.113.1:5060")
		return err
	})
	t.Cleanup(func() { l.Close() })
	agents := make(chan string, 64)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 4096)
				if n, err := c.Read(buf); err == nil { // of a dropped request none comes
					_, agent, _ := strings.Cut(string(buf[:n]), "User-Agent: ")
					agent, _, _ = strings.Cut(agent, "\r\n")
					agents <- agent
				}
			}()
		}
	}()
	return func(t *testing.T, wanted []string) (got []string) {
		t.Helper()
		timeout := time.After(time.Until(labtest.Deadline()))
		for slices.ContainsFunc(wanted, func(w string) bool { return !slices.Contains(got, w) }) {
			select {
			case agent := <-agents:
				got = append(got, agent)
			case <-timeout:
				t.Fatalf("there arrived %q, want %q", got, wanted)
			}
		}
		return got
	}
}

// TestSimultaneousOpen: where answers are let in, the SYN of somebody whom this host calls
// at the same moment is one (RFC 9293 section 3.5), and that of anybody else is none.
func TestSimultaneousOpen(t *testing.T) {
	t.Parallel()
	eachBackend(t, testSimultaneousOpen)
}

func testSimultaneousOpen(t *testing.T) {
	t.Helper()
	pbx, outside := newPair(t)
	s := newSite(t, pbx, linksPolicy+"unknown: {allow_replies: true}\n")
	s.must(t, 0, "apply")
	// The called one hears nothing of it, so that its own SYN is the first that comes back.
	labtest.Rules(t, outside, "table inet deaf { chain c { type filter hook input priority 0; ip daddr 203.0.113.66 tcp flags syn / syn,ack drop; }; }")
	calling := func(h *lab.Namespace, from, to string) int {
		t.Helper()
		var fd int
		labtest.In(t, h, func() (err error) {
			if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
				return err
			}
			t.Cleanup(func() { unix.Close(fd) })
			bound := unix.SockaddrInet4{Addr: [4]byte(net.ParseIP(from).To4()), Port: 5060}
			if err := os.NewSyscallError("bind", unix.Bind(fd, &bound)); err != nil {
				return err
			}
			err = unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte(net.ParseIP(to).To4()), Port: 5060})
			if errors.Is(err, unix.EINPROGRESS) {
				return nil
			}
			return err
		})
		return fd
	}
	state := func(fd int) uint8 {
		info, err := unix.GetsockoptTCPInfo(fd, unix.SOL_TCP, unix.TCP_INFO)
		labtest.Must(t, err)
		return info.State
	}
	const established = 1
	mine := calling(pbx, "203.0.113.1", "203.0.113.66")
	stranger := calling(outside, "203.0.113.67", "203.0.113.1")
	theirs := calling(outside, "203.0.113.66", "203.0.113.1")
	until(t, "the connection that both have opened", func() bool { return state(mine) == established && state(theirs) == established })
	if state(stranger) == established {
		t.Error("somebody who was not called has a connection")
	}
	if n := s.status(t).Counters["dropped_unknown"]; n == 0 {
		t.Error("no SYN of somebody who was not called was dropped")
	}
}

// TestExpectations: connection tracking reads SIP on a router and lets the registrar's
// calls through to the phone behind it; nobody else's.
func TestExpectations(t *testing.T) {
	t.Parallel()
	eachBackend(t, testExpectations)
}

func testExpectations(t *testing.T) {
	t.Helper()
	o := newOffice(t)
	labtest.Rules(t, o.pbx, `table ip helpers {
	ct helper sip { type "sip" protocol udp; }
	chain prerouting { type filter hook prerouting priority 0; udp dport 5060 ct helper set "sip"; }
}`)
	s := newSite(t, o.pbx, routerPolicyBase+"interfaces: [eth0]\n")
	s.must(t, 0, "apply")
	registers(t, o, edge1, phone4)
	// The phone has registered from its port 5060, which is translated to the same.
	e := listen(t, o.phone, 5060, phone4)
	stranger, v4, _ := o.stranger(t, 1)
	send := func(from *lab.Namespace, address, port string) {
		t.Helper()
		labtest.Must(t, from.Send(t.Context(), "udp", address, net.JoinHostPort(phoneOutside, port), lab.Message("OPTIONS", address, phoneOutside, "phone")))
	}
	for range 3 {
		send(stranger, v4, "5060")
		send(stranger, v4, forwardedPort)
	}
	send(o.provider, edge1, forwardedPort)
	until(t, "the registrar's packet", func() bool { return e.From(edge1) > 0 })
	if n := e.From(v4); n != 0 {
		t.Errorf("%d packets of a stranger reached the phone", n)
	}
}
