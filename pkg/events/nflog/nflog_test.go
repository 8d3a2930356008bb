package nflog_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/events"
	"github.com/ringfence/ringfence/pkg/events/nflog"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m, nil)) }

// dropAll drops and logs what comes to the ports, as the rules of ringfence do.
const dropAll = `table inet test {
	chain prerouting {
		type filter hook prerouting priority raw - 10; policy accept;
		meta l4proto { tcp, udp, sctp, dccp, udplite } th dport { 5060, 5061 } log prefix "unknown" group 5060 snaplen 1024 drop
	}
}
`

const (
	pbx4, outside4 = "192.0.2.10", "192.0.2.200"
	pbx6, outside6 = "2001:db8::10", "2001:db8::200"
)

// fenced returns a PBX that drops all SIP, and a host outside.
func fenced(t testing.TB) (pbx, outside *lab.Namespace) {
	t.Helper()
	pbx, outside = labtest.Host(t, "pbx"), labtest.Host(t, "outside")
	labtest.Link(t,
		lab.End{Host: pbx, Interface: "eth0", Addresses: []string{pbx4 + "/24", pbx6 + "/64"}},
		lab.End{Host: outside, Interface: "eth0", Addresses: []string{outside4 + "/24", outside6 + "/64"}})
	labtest.Rules(t, pbx, dropAll)
	return pbx, outside
}

// listener collects what a reader hands out.
type listener struct {
	*nflog.Reader
	mu    sync.Mutex
	drops []events.Drop
}

// listen reads until the test ends.
func listen(t testing.TB, h *lab.Namespace) *listener {
	t.Helper()
	l := &listener{}
	labtest.In(t, h, func() (err error) {
		l.Reader, err = nflog.Open()
		return err
	})
	p, err := catalog.Parse("policy.yaml", []byte("version: 1\nproviders: [{name: a, addresses: [203.0.113.5]}]\n"))
	labtest.Must(t, err)
	automaton, err := catalog.AutomatonOf(p)
	labtest.Must(t, err)
	l.Signature = func(message []byte) string { return automaton.Match(message).Signature }
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := l.Read(ctx, l.take); err != nil {
			t.Errorf("read: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
		l.Close()
	})
	return l
}

func (l *listener) take(d events.Drop) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drops = append(l.drops, d)
}

// find returns a packet that is of a kind.
func (l *listener) find(is func(events.Drop) bool) (events.Drop, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.drops {
		if is(d) {
			return d, true
		}
	}
	return events.Drop{}, false
}

// TestRealScanners: what the tools send is named by its method, User-Agent, called user and
// signature, over both families.
func TestRealScanners(t *testing.T) {
	labtest.Need(t, "svmap", "svcrack", "sipsak", "sipp")
	for _, test := range []struct {
		command string
		want    events.Drop
	}{
		{"svmap -p 5060 " + pbx4, events.Drop{Method: "OPTIONS", UserAgent: "friendly-scanner", Called: "100", Signature: "sipvicious-callee"}},
		{"svmap -p 5060 -m INVITE -6 " + pbx6, events.Drop{Method: "INVITE", UserAgent: "friendly-scanner", Called: "100", Signature: "sipvicious-callee"}},
		{"svcrack -p 5060 -u 200 -r 1-20 " + pbx4, events.Drop{Method: "REGISTER", UserAgent: "friendly-scanner", Called: "200", Signature: "svcrack-tag"}},
		{"sipsak -H " + outside4 + " -s sip:900@" + pbx4 + ":5060", events.Drop{Method: "OPTIONS", UserAgent: "sipsak 0.9.8.1", Called: "900", Signature: "sipsak-address"}},
		{"sipp -sn uac -m 1 -nostdin -s 00442071234567 -i " + outside4 + " " + pbx4 + ":5060", events.Drop{Method: "INVITE", Called: "00442071234567", Signature: "sipp-address"}},
		{"sipp -sn uac -m 1 -nostdin -t t1 -i " + outside6 + " [" + pbx6 + "]:5060", events.Drop{Protocol: "tcp"}}, // the beginning of a connection
	} {
		t.Run(strings.Fields(test.command)[0], func(t *testing.T) {
			pbx, outside := fenced(t)
			l := listen(t, pbx)
			args := strings.Fields(test.command)
			cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
			cmd.Dir, cmd.WaitDelay = t.TempDir(), time.Second
			labtest.Must(t, outside.Start(cmd))
			defer func() {
				cmd.Process.Kill()
				cmd.Wait()
			}()
			want := test.want
			if want.Protocol == "" {
				want.Protocol = "udp"
			}
			want.Port, want.Reason, want.Interface = 5060, "unknown", "eth0"
			want.Source = netip.MustParseAddr(outside4)
			if strings.Contains(test.command, pbx6) {
				want.Source = netip.MustParseAddr(outside6)
			}
			var got events.Drop
			labtest.Until(t, fmt.Sprintf("%s is reported as %+v", args[0], want), func() bool {
				_, found := l.find(func(d events.Drop) bool {
					got = d
					got.Time, got.SourcePort = time.Time{}, 0
					return got == want
				})
				return found || t.Failed()
			})
		})
	}
}

// TestOtherProtocols: raw packets to a port of SIP are reported with their protocol and
// port.
func TestOtherProtocols(t *testing.T) {
	pbx, outside := fenced(t)
	l := listen(t, pbx)
	for protocol, number := range map[string]string{"sctp": "132", "dccp": "33", "udplite": "136"} {
		labtest.Run(t, outside, "python3", "-c", `
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, int(sys.argv[1]))
s.sendto(struct.pack("!HHIIIII", 4000, 5061, 8, 0, 5 << 24, 0, 0), (sys.argv[2], 0))
`, number, pbx4)
		labtest.Until(t, protocol+" is reported", func() bool {
			_, found := l.find(func(d events.Drop) bool { return d.Protocol == protocol && d.Port == 5061 && d.SourcePort == 4000 })
			return found
		})
	}
}

// TestSecondListener: a group has one listener, and the second one gets an error.
func TestSecondListener(t *testing.T) {
	pbx, _ := fenced(t)
	listen(t, pbx)
	labtest.In(t, pbx, func() error {
		if _, err := nflog.Open(); !errors.Is(err, nflog.ErrTaken) {
			t.Errorf("got %v", err)
		}
		return nil
	})
}

// TestForeignPrefix: other rules may log to the group, too; what is no word of ours is left
// out.
func TestForeignPrefix(t *testing.T) {
	pbx, outside := fenced(t)
	labtest.Rules(t, pbx, `table inet other {
	chain a {
		type filter hook prerouting priority raw - 20; policy accept;
		udp dport 5060 log prefix "Other Program: " group 5060
	}
}
`)
	l := listen(t, pbx)
	from := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + i)}) }
	labtest.Must(t, labtest.Forge(outside, pbx4+":5060", []byte("OPTIONS sip:1@a SIP/2.0\r\n\r\n"), 5, from))
	labtest.Until(t, "the last packet is reported", func() bool {
		_, found := l.find(func(d events.Drop) bool { return d.Source == from(4) })
		return found
	})
	if _, found := l.find(func(d events.Drop) bool { return d.Reason != "unknown" }); found {
		t.Error("a packet with another prefix was taken")
	}
}

// TestFlood: of more packets than a reader looks at in a second, the rest is lost and
// counted, and the reader goes on.
func TestFlood(t *testing.T) {
	pbx, outside := fenced(t)
	l := listen(t, pbx)
	const packets = 40_000
	source := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	last := 0
	reported := func(what string, last4 byte) {
		labtest.Until(t, what, func() bool {
			from := netip.AddrFrom4([4]byte{192, 0, 2, last4})
			last++
			labtest.Must(t, labtest.Forge(outside, pbx4+":5060", []byte("x"), 1, func(int) netip.Addr { return from }))
			_, found := l.find(func(d events.Drop) bool { return d.Source == from })
			return found
		})
	}
	// Until the neighbour's address is known, hardly any packets of a flood leave.
	reported("a packet before the flood is reported", 98)
	labtest.Must(t, labtest.Forge(outside, pbx4+":5060", make([]byte, 900), packets, source))
	reported("a packet after the flood is reported", 99)
	lost := l.Lost()
	l.mu.Lock()
	taken := len(l.drops)
	l.mu.Unlock()
	t.Logf("%d packets: %d taken, %d lost", packets, taken, lost)
	if taken == 0 || lost == 0 || uint64(taken)+lost > uint64(packets+last) {
		t.Errorf("%d packets: %d taken, %d lost", packets, taken, lost)
	}
}
