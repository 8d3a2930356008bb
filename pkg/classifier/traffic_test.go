package classifier_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/classifier"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
)

const (
	pbx4, outside4 = "192.0.2.10", "192.0.2.200"
	pbx6, outside6 = "2001:db8::10", "2001:db8::200"
)

// pair is a PBX, and a host outside.
func pair(t testing.TB) (pbx, outside *lab.Namespace) {
	t.Helper()
	needBPF(t)
	pbx, outside = labtest.Host(t, "pbx"), labtest.Host(t, "outside")
	labtest.Link(t,
		lab.End{Host: pbx, Interface: "eth0", Addresses: []string{pbx4 + "/24", pbx6 + "/64"}},
		lab.End{Host: outside, Interface: "eth0", Addresses: []string{outside4 + "/24", outside6 + "/64"}})
	return pbx, outside
}

// answer takes in what comes by UDP and TCP to port 5060, so that scanners go on.
func answer(t *testing.T, h *lab.Namespace) {
	t.Helper()
	for _, address := range []string{pbx4, pbx6} {
		sink, err := h.Listen(t.Context(), net.JoinHostPort(address, "5060"))
		labtest.Must(t, err)
		t.Cleanup(func() { sink.Close() })
		var listener net.Listener
		labtest.In(t, h, func() (err error) {
			listener, err = net.Listen("tcp", net.JoinHostPort(address, "5060"))
			return err
		})
		t.Cleanup(func() { listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					io.Copy(io.Discard, conn)
				}()
			}
		}()
	}
}

// TestRealScanners runs the tools themselves and wants each one named.
func TestRealScanners(t *testing.T) {
	l := loaded(t, signaturetest.Shipped())
	scans := []struct {
		name, command string
		names         []string // the first must be counted, the others may
	}{
		{"svmap", "svmap -p 5060 PBX4", []string{"sipvicious-callee"}},
		{"svmap with INVITE", "svmap -p 5060 -m INVITE PBX4", []string{"sipvicious-callee"}},
		{"svmap, compact", "svmap -p 5060 -c PBX4", []string{"sipvicious-callee"}},
		{"svmap, IPv6", "svmap -p 5060 -6 PBX6", []string{"sipvicious-callee"}},
		{"svwar", "svwar -p 5060 -m INVITE -e 100-105 PBX4", []string{"friendly-scanner"}},
		{"svcrack", "svcrack -p 5060 -u 100 -r 1-20 PBX4", []string{"svcrack-tag", "friendly-scanner"}},
		{"sipsak", "sipsak -s sip:100@PBX4:5060", []string{"alias", "sipsak", "sipsak-address"}},
		{"sipsak by TCP", "sipsak -E tcp -s sip:100@PBX4:5060", []string{"alias", "sipsak", "sipsak-address"}},
		{"nmap", "nmap -n -Pn -sU -p 5060 --script sip-methods PBX4", []string{"nmap", "nmap-address"}},
		{"nmap by TCP", "nmap -n -Pn -sT -p 5060 --script sip-methods PBX4", []string{"nmap", "nmap-address"}},
		{"nmap, IPv6", "nmap -6 -n -Pn -sU -p 5060 --script sip-methods PBX6", []string{"nmap", "nmap-address"}},
		{"nmap by TCP, IPv6", "nmap -6 -n -Pn -sT -p 5060 --script sip-methods PBX6", []string{"nmap", "nmap-address"}},
		{"nmap, users", "nmap -n -Pn -sU -p 5060 --script sip-enum-users --script-args sip-enum-users.padding=4,sip-enum-users.minext=100,sip-enum-users.maxext=103 PBX4", []string{"nmap", "nmap-address"}},
		{"sipp", "sipp -sn uac -m 1 -nostdin -timeout 3 -i OUTSIDE4 PBX4:5060", []string{"sipp-address", "sipp-subject"}},
		{"sipp by TCP", "sipp -sn uac -m 1 -t t1 -nostdin -timeout 3 -i OUTSIDE4 PBX4:5060", []string{"sipp-address", "sipp-subject"}},
		{"sipp, IPv6", "sipp -sn uac -m 1 -nostdin -timeout 3 -i OUTSIDE6 [PBX6]:5060", []string{"sipp-address", "sipp-subject"}},
	}
	var group sync.WaitGroup
	for _, scan := range scans {
		pbx, outside := pair(t)
		answer(t, pbx)
		change(t, pbx, fresh(t, l), "eth0")
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		args := strings.Fields(strings.NewReplacer("PBX4", pbx4, "PBX6", pbx6, "OUTSIDE4", outside4, "OUTSIDE6", outside6).Replace(scan.command))
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Dir, cmd.WaitDelay = t.TempDir(), time.Second
		labtest.Must(t, outside.Start(cmd))
		group.Go(func() {
			ended := make(chan struct{})
			go func() {
				cmd.Wait() // a scanner that finds nobody may say so by its status
				close(ended)
			}()
			// Some would go on for minutes.
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for on := true; on && hits(t, pbx)[scan.names[0]] == 0; {
				select {
				case <-ended:
					on = false
				case <-tick.C:
				}
			}
			cancel()
			<-ended
			found := hits(t, pbx)
			t.Logf("%s: %v", scan.name, found)
			if found[scan.names[0]] == 0 {
				t.Errorf("%s was not counted as %s, but as %v", scan.name, scan.names[0], found)
			}
			for name := range found {
				if !slices.Contains(scan.names, name) {
					t.Errorf("%s was counted as %s too", scan.name, name)
				}
			}
		})
	}
	group.Wait()
}

// fresh loads a program anew, so that its counters are its own.
func fresh(t *testing.T, l *classifier.Loaded) *classifier.Loaded {
	t.Helper()
	again, err := l.Load()
	labtest.Must(t, err)
	t.Cleanup(again.Close)
	return again
}

const scenario = `<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="scanner"><send><![CDATA[
OPTIONS sip:pbx@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:x@[local_ip]>;tag=[call_number]
To: <sip:pbx@[remote_ip]>
Call-ID: [call_id]
CSeq: 1 OPTIONS
User-Agent: [field0]
Max-Forwards: 70
Content-Length: 0

]]></send></scenario>
`

// TestUserAgentsOfTheList has sipp send each User-Agent of the list, and wants each
// counted as often as it was sent.
func TestUserAgentsOfTheList(t *testing.T) {
	l := loaded(t, signaturetest.Shipped())
	folder := t.TempDir()
	labtest.Must(t, os.WriteFile(filepath.Join(folder, "scanner.xml"), []byte(scenario), 0o644))
	agents, want := "SEQUENTIAL\n", map[string]uint64{}
	for _, s := range signaturetest.Shipped() {
		if s.Header == "user-agent" {
			agents += s.Value + ";\n"
			want[s.Name] = 1
		}
	}
	labtest.Must(t, os.WriteFile(filepath.Join(folder, "agents.csv"), []byte(agents), 0o644))
	for _, by := range []struct{ name, transport, from, to string }{
		{"UDP", "u1", outside4, pbx4 + ":5060"},
		{"TCP", "t1", outside4, pbx4 + ":5060"},
		{"UDP by IPv6", "u1", outside6, "[" + pbx6 + "]:5060"},
		{"TCP by IPv6", "t1", outside6, "[" + pbx6 + "]:5060"},
	} {
		t.Run(by.name, func(t *testing.T) {
			t.Parallel()
			pbx, outside := pair(t)
			answer(t, pbx)
			change(t, pbx, fresh(t, l), "eth0")
			// One at a time, so that TCP puts each into a segment of its own.
			cmd := exec.CommandContext(t.Context(), "sipp", "-sf", filepath.Join(folder, "scanner.xml"), "-inf", filepath.Join(folder, "agents.csv"),
				"-m", strconv.Itoa(len(want)), "-r", "100", "-t", by.transport, "-i", by.from, "-nostdin", "-timeout", "20", by.to)
			cmd.Dir = t.TempDir()
			labtest.Must(t, outside.Start(cmd))
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, hits(t, pbx)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// watch counts packets by their mark, and by the port that they come from, before
// anything else sees them, and drops them.
const watch = `table inet watch {
	counter marked { }
	counter unmarked { }
	counter benign_marked { }
	counter benign_unmarked { }
	chain prerouting {
		type filter hook prerouting priority raw - 20; policy accept;
		meta l4proto != { tcp, udp } accept
		th sport 6002 meta mark & 0x0f000000 != 0x00000000 counter name benign_marked drop
		th sport 6002 counter name benign_unmarked drop
		th sport 6000 meta mark & 0x0f000000 == 0x01000000 counter name marked drop
		th sport 6000 counter name unmarked drop
	}
}
`

var packets = regexp.MustCompile(`counter (\w+) \{\s+packets (\d+)`)

// watched are the counters of watch.
func watched(t testing.TB, h *lab.Namespace) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, found := range packets.FindAllStringSubmatch(labtest.Run(t, h, "nft", "list", "table", "inet", "watch"), -1) {
		counts[found[1]], _ = strconv.Atoi(found[2])
	}
	return counts
}

// transmit puts frames onto an interface as they are.
func transmit(t testing.TB, h *lab.Namespace, link string, frames ...[]byte) {
	t.Helper()
	labtest.In(t, h, func() error {
		i, err := net.InterfaceByName(link)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, frame := range frames {
			if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: i.Index}); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestOnTheWire sends frames that no tool sends, and looks at the marks that rules
// see.
func TestOnTheWire(t *testing.T) {
	scan := []byte(signaturetest.Svmap)
	l := loaded(t, signaturetest.Shipped())
	pbx, outside := pair(t)
	labtest.Rules(t, pbx, watch)
	change(t, pbx, l, "eth0")
	var mac net.HardwareAddr
	labtest.In(t, pbx, func() error {
		link, err := net.InterfaceByName("eth0")
		if err == nil {
			mac = link.HardwareAddr
		}
		return err
	})
	tagged := func(frame []byte, tag uint16) []byte {
		return append(append(append([]byte{}, frame[:12]...), byte(vlanType>>8), byte(vlanType&0xff), byte(tag>>8), byte(tag)), frame[12:]...)
	}
	v4, v6 := ipv4(udp, nil, datagram(5060, scan)), ipv6(udp, datagram(5060, scan))
	count := 0
	for name, frame := range map[string][]byte{
		"IPv4":                             ethernet(ipv4Type, v4),
		"IPv6":                             ethernet(ipv6Type, v6),
		"IPv4 options":                     ethernet(ipv4Type, ipv4(udp, []byte{1, 1, 1, 0}, datagram(5060, scan))),
		"IPv4, TCP":                        ethernet(ipv4Type, ipv4(tcp, nil, segment(5060, make([]byte, 12), scan))),
		"IPv6, hop-by-hop and destination": ethernet(ipv6Type, ipv6(tcp, segment(5060, nil, scan), padded(0, 8), padded(60, 8))),
		"priority-tagged, IPv4":            tagged(ethernet(ipv4Type, v4), 5<<13),
		"priority-tagged, IPv6":            tagged(ethernet(ipv6Type, v6), 5<<13),
	} {
		copy(frame, mac)
		transmit(t, outside, "eth0", frame)
		count++
		until(t, name, func() bool { return watched(t, pbx)["marked"] == count })
	}
	if got := watched(t, pbx); got["unmarked"] != 0 {
		t.Errorf("%v", got)
	}
}

// TestTun: an interface whose frames are the packets themselves, as those of PPP
// and of VPNs are.
func TestTun(t *testing.T) {
	l := loaded(t, signaturetest.Shipped())
	pbx := labtest.Host(t, "pbx")
	labtest.Rules(t, pbx, watch)
	var device *os.File
	labtest.In(t, pbx, func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		var request struct {
			name  [unix.IFNAMSIZ]byte
			flags uint16
			_     [22]byte
		}
		copy(request.name[:], "tun0")
		request.flags = unix.IFF_TUN | unix.IFF_NO_PI
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(&request))); errno != 0 {
			return fmt.Errorf("make tun0: %w", errno)
		}
		device = os.NewFile(uintptr(fd), "tun0")
		return nil
	})
	defer device.Close()
	labtest.Run(t, pbx, "ip", "addr", "add", "192.0.2.2/24", "dev", "tun0")
	labtest.Run(t, pbx, "ip", "link", "set", "tun0", "up")
	change(t, pbx, l, "tun0")
	for _, packet := range [][]byte{
		ipv4(udp, nil, datagram(5060, []byte(signaturetest.Svmap))), ipv6(tcp, segment(5060, nil, []byte(signaturetest.Svmap))),
	} {
		_, err := device.Write(packet)
		labtest.Must(t, err)
	}
	until(t, "both packets", func() bool { return watched(t, pbx)["marked"] == 2 })
	if got := hits(t, pbx); got["sipvicious-callee"] != 2 {
		t.Errorf("counted was %v", got)
	}
}

// until waits until something is so.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("not so after 10 s: %s", what)
		}
	}
}

// TestNoPacketSlipsThroughASwap swaps programs while a scanner and a phone send as
// fast as they can: each of the scanner's packets must be marked, and none of the
// phone's.
func TestNoPacketSlipsThroughASwap(t *testing.T) {
	swaps := labtest.Count(300, 3000)
	shipped := signaturetest.Shipped()
	programs := []*classifier.Loaded{loaded(t, shipped), loaded(t, shipped[1:])}
	pbx, outside := pair(t)
	labtest.Rules(t, pbx, watch)
	change(t, pbx, programs[0], "eth0")
	scanner, err := outside.Send(outside4+":6000", pbx4+":5060", []byte(signaturetest.Svmap))
	labtest.Must(t, err)
	defer scanner.Close()
	phone, err := outside.Send(outside4+":6002", pbx4+":5060", []byte(signaturetest.Invite))
	labtest.Must(t, err)
	defer phone.Close()

	stop := make(chan struct{})
	var group sync.WaitGroup
	sent := 0
	start := time.Now()
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := errors.Join(scanner.Burst(32), phone.Burst(32)); err != nil {
				t.Error(err)
				return
			}
			sent += 32
			runtime.Gosched()
		}
	})
	labtest.In(t, pbx, func() error {
		for i := range swaps {
			c, err := classifier.Begin(programs[(i+1)%2], []string{"eth0"})
			if err != nil {
				return err
			}
			finish := c.Finish
			if i%10 == 9 {
				finish = c.Undo
			}
			if err := finish(); err != nil {
				return err
			}
		}
		return nil
	})
	close(stop)
	group.Wait()
	until(t, "all packets", func() bool {
		got := watched(t, pbx)
		return got["marked"]+got["unmarked"] == sent && got["benign_marked"]+got["benign_unmarked"] == sent
	})
	got := watched(t, pbx)
	t.Logf("%d swaps, %d packets of each in %.1f s: %d of the scanner's unmarked, %d of the phone's marked",
		swaps, sent, time.Since(start).Seconds(), got["unmarked"], got["benign_marked"])
	if got["unmarked"] != 0 || got["benign_marked"] != 0 || sent == 0 {
		t.Errorf("%v", got)
	}
}

// TestRequiredUserAgent: rules can tell requests with an allowed User-Agent from
// others, and both from what is no request.
func TestRequiredUserAgent(t *testing.T) {
	l := loaded(t, signaturetest.Few(), "Yealink")
	pbx, outside := pair(t)
	labtest.Rules(t, pbx, `table inet watch {
	counter scanner { }
	counter allowed { }
	counter refused { }
	counter other { }
	chain prerouting {
		type filter hook prerouting priority raw - 20; policy accept;
		meta l4proto != udp accept
		meta mark & 0x0f000000 == 0x01000000 counter name scanner drop
		meta mark & 0x0f000000 == 0x02000000 counter name allowed drop
		meta mark & 0x0f000000 == 0x03000000 counter name refused drop
		counter name other drop
	}
}
`)
	change(t, pbx, l, "eth0")
	for _, payload := range []string{
		"INVITE sip:a SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n", "INVITE sip:a SIP/2.0\r\nUser-Agent: yealink T46\r\n\r\n",
		"INVITE sip:a SIP/2.0\r\nUser-Agent: other\r\n\r\n", "INVITE sip:a SIP/2.0\r\nTo: x", "SIP/2.0 200 OK\r\nUser-Agent: other\r\n\r\n", "\r\n\r\n",
	} {
		source, err := outside.Send(outside4+":0", pbx4+":5060", []byte(payload))
		labtest.Must(t, err)
		labtest.Must(t, errors.Join(source.Burst(1), source.Close()))
	}
	want := map[string]int{"scanner": 1, "allowed": 1, "refused": 2, "other": 2}
	until(t, "all packets", func() bool {
		n := 0
		for _, count := range watched(t, pbx) {
			n += count
		}
		return n == 6
	})
	if diff := cmp.Diff(want, watched(t, pbx)); diff != "" {
		t.Error(diff)
	}
}
