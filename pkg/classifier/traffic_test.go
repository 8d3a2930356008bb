package classifier_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
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
		th sport 6002 meta mark & 0x0f000000 != 0x04000000 counter name benign_marked drop
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
		labtest.Until(t, name, func() bool { return watched(t, pbx)["marked"] == count })
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
		fd, err := unix.Open(tunDevice(t), unix.O_RDWR|unix.O_CLOEXEC, 0)
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
	labtest.Until(t, "both packets", func() bool { return watched(t, pbx)["marked"] == 2 })
	if got := hits(t, pbx); got["sipvicious-callee"] != 2 {
		t.Errorf("counted was %v", got)
	}
}

// tunDevice is where tun interfaces are made. On a machine without udev nobody
// has made the file before the kernel has loaded tun, and to open it is what
// loads tun.
func tunDevice(t *testing.T) string {
	t.Helper()
	const usual = "/dev/net/tun"
	if _, err := os.Stat(usual); err == nil {
		return usual
	}
	own := filepath.Join(t.TempDir(), "tun")
	labtest.Must(t, unix.Mknod(own, unix.S_IFCHR|0o600, int(unix.Mkdev(10, 200))))
	return own
}

// TestNoPacketSlipsThroughASwap swaps programs while a scanner and a phone send as
// fast as they can: each of the scanner's packets must be marked, and none of the
// phone's.
func TestNoPacketSlipsThroughASwap(t *testing.T) {
	swaps := labtest.Count(300, 3000)
	shipped := signaturetest.Shipped()
	programs := []*classifier.Loaded{loaded(t, shipped), loaded(t, shipped[1:])}
	pbx, outside := pair(t)
	labtest.Rules(t, pbx, strings.ReplaceAll(watch, " drop", " accept"))
	change(t, pbx, programs[0], "eth0")
	labtest.AddNeighbour(t, outside, "eth0", pbx, "eth0", pbx4)
	sink, err := labtest.NewSink(t.Context(), pbx, pbx4+":5060")
	labtest.Must(t, err)
	defer sink.Close()
	scanner, err := labtest.NewSource(outside, outside4+":6000", pbx4+":5060", []byte(signaturetest.Svmap))
	labtest.Must(t, err)
	defer scanner.Close()
	phone, err := labtest.NewSource(outside, outside4+":6002", pbx4+":5060", []byte(signaturetest.Invite))
	labtest.Must(t, err)
	defer phone.Close()

	stop := make(chan struct{})
	var group sync.WaitGroup
	sent := 0
	// Only so many are under way that nothing but the program can lose one.
	arrived := func(n int) bool {
		for deadline := labtest.Deadline(); min(sink.Received(signaturetest.Svmap[0]), sink.Received(signaturetest.Invite[0])) < int64(n); runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Errorf("of %d packets each, %d of the scanner's and %d of the phone's have come", n, sink.Received(signaturetest.Svmap[0]), sink.Received(signaturetest.Invite[0]))
				return false
			}
		}
		return true
	}
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
			if !arrived(sent - 256) {
				return
			}
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
	arrived(sent)
	got := watched(t, pbx)
	t.Logf("%d swaps, %d packets of each in %.1f s: %d of the scanner's unmarked, %d of the phone's marked",
		swaps, sent, time.Since(start).Seconds(), got["unmarked"], got["benign_marked"])
	labtest.Report(t, "P2", "the classifier swapped under two floods", swaps, "%d of a scanner's packets unmarked, of %d", got["unmarked"], sent)
	if got["marked"] != sent || got["unmarked"] != 0 || got["benign_marked"] != 0 || got["benign_unmarked"] != sent || sent == 0 {
		t.Errorf("%v", got)
	}
}

// TestRequiredUserAgent: rules can distinguish requests with an allowed User-Agent, other
// requests, and what is no request.
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
		source, err := labtest.NewSource(outside, outside4+":0", pbx4+":5060", []byte(payload))
		labtest.Must(t, err)
		labtest.Must(t, errors.Join(source.Burst(1), source.Close()))
	}
	want := map[string]int{"scanner": 1, "allowed": 1, "refused": 2, "other": 2}
	labtest.Until(t, "all packets", func() bool {
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
