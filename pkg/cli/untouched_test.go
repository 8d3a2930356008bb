package cli_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// sawAll notes, behind all rules at two hooks, the marks of packets.
const sawAll = `table inet saw {
	set early { typeof udp sport . udp dport . meta mark; flags dynamic; size 65535; }
	set late { typeof udp sport . udp dport . meta mark; flags dynamic; size 65535; }
	chain prerouting {
		type filter hook prerouting priority 500
		update @early { udp sport . udp dport . meta mark }
	}
	chain input {
		type filter hook input priority 500
		update @late { udp sport . udp dport . meta mark }
	}
}
`

// markSeen reads the marks that were noted, by hook, source and destination port.
func markSeen(t *testing.T, h *lab.Namespace) map[string]uint32 {
	t.Helper()
	seen := map[string]uint32{}
	for _, set := range []string{"early", "late"} {
		_, elements, _ := strings.Cut(labtest.Run(t, h, "nft", "-nn", "list", "set", "inet", "saw", set), "elements = {")
		elements, _, _ = strings.Cut(elements, "}")
		for element := range strings.SplitSeq(elements, ",") {
			f := strings.Split(strings.TrimSpace(element), " . ")
			if len(f) != 3 {
				continue
			}
			mark, err := strconv.ParseUint(f[2], 0, 32)
			labtest.Must(t, err)
			seen[set+" "+f[0]+" to "+f[1]] = uint32(mark)
		}
		labtest.Run(t, h, "nft", "flush", "set", "inet", "saw", set)
	}
	return seen
}

// receiver gets every UDP packet that the host delivers, with its headers.
type receiver struct{ fd int }

func newReceiver(t *testing.T, h *lab.Namespace) *receiver {
	t.Helper()
	r := &receiver{}
	labtest.In(t, h, func() (err error) {
		r.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
		if err == nil {
			err = unix.SetsockoptTimeval(r.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 120})
		}
		return err
	})
	t.Cleanup(func() { unix.Close(r.fd) })
	return r
}

// until returns the packets up to the one from a source port, by source and destination
// port.
func (r *receiver) until(t *testing.T, last int) map[string]string {
	t.Helper()
	packets := map[string]string{}
	buf := make([]byte, 65536)
	for {
		n, _, err := unix.Recvfrom(r.fd, buf, 0)
		if err != nil {
			t.Fatalf("the last packet does not come: %v", err)
		}
		from, to := binary.BigEndian.Uint16(buf[20:]), binary.BigEndian.Uint16(buf[22:])
		clear(buf[4:6])   // the sender's number of the packet
		clear(buf[10:12]) // the checksum of it
		packets[fmt.Sprintf("%d to %d", from, to)] = string(buf[:n])
		if int(from) == last {
			return packets
		}
	}
}

// fencedPort is the only one of the policy, otherPorts are some of the rest.
const fencedPort = 5060

var otherPorts = []int{1, 53, 5059, 5061, 9000, 65535}

// randomRules are tables of other programs that change packets, at random priorities. On
// packets to the fenced port they leave ringfence's bits of the mark alone.
func randomRules(r *rand.Rand, bits uint32) string {
	var b strings.Builder
	hooks := []string{"prerouting", "prerouting", "input"}
	for i := range 1 + r.IntN(4) {
		fmt.Fprintf(&b, "table inet other%d {\n\tchain c {\n\t\ttype filter hook %s priority %d\n", i, hooks[r.IntN(len(hooks))], -450+r.IntN(900))
		for range 1 + r.IntN(6) {
			port, mask, value := fencedPort, r.Uint32()|bits, r.Uint32()&^bits
			if r.IntN(2) == 0 {
				port, mask, value = otherPorts[r.IntN(len(otherPorts))], r.Uint32(), r.Uint32()
			}
			action := fmt.Sprintf("meta mark set meta mark & 0x%x ^ 0x%x", mask, value)
			switch r.IntN(5) {
			case 0:
				action = fmt.Sprintf("ip dscp set 0x%x", r.IntN(64))
			case 1:
				action = fmt.Sprintf("ip ttl set %d", 2+r.IntN(250))
			}
			fmt.Fprintf(&b, "\t\tmeta l4proto udp ip version 4 udp dport %d %s\n", port, action)
		}
		b.WriteString("\t}\n}\n")
	}
	return b.String()
}

// TestOtherPacketsAreUntouched puts random rules of other programs before and behind the
// fence, and sends packets of many kinds to many ports. To the ports that are not fenced
// they look at every hook as they do without a fence; what passes
// to the fenced one has the other bits of its mark and all else, and ringfence's bits are clear.
func TestOtherPacketsAreUntouched(t *testing.T) {
	t.Parallel()
	pbx, outside := newPair(t)
	labtest.Rules(t, pbx, sawAll)
	s := newSite(t, pbx, linksPolicy)
	payloads := [][]byte{lab.Message("OPTIONS", "203.0.113.66", "203.0.113.1", "friendly-scanner"), lab.Message("OPTIONS", "203.0.113.66", "203.0.113.1", "phone"), []byte("\r\n\r\n"), []byte("x")}
	all := newReceiver(t, pbx)
	send := func() (marks map[string]uint32, packets map[string]string) {
		t.Helper()
		from := 20_000
		for _, sender := range []string{"203.0.113.66", "203.0.113.5"} {
			for _, port := range append([]int{fencedPort}, otherPorts...) {
				for _, payload := range payloads {
					onEth0().withPort(port).post(t, outside, sender, from, payload)
					from++
				}
			}
		}
		onEth0().post(t, outside, "203.0.113.5", from, payloads[1])
		packets = all.until(t, from)
		return markSeen(t, pbx), packets
	}
	unknown := []string{"", "mode: monitor\n", "unknown: {action: accept}\nbans: {duration: 0s}\n", "unknown: {action: accept, require_user_agent: [phone]}\nbans: {duration: 0s}\n"}
	r := rand.New(rand.NewPCG(2, 2+uint64(labtest.Part())))
	compared := 0
	for round := range labtest.Count(4, 400) {
		bits := uint32(0xf) << r.IntN(29)
		rules := randomRules(r, bits)
		labtest.Rules(t, pbx, rules)
		wantMarks, want := send()
		policy := fmt.Sprintf("%sinterfaces: [eth0]\nports: {udp: [%d], tcp: [%[2]d]}\nsignatures: {mark: 0x%08x}\n%s", linksPolicy, fencedPort, bits, unknown[round%len(unknown)])
		s.write(t, policy)
		s.must(t, 0, "apply")
		gotMarks, got := send()
		isFenced := func(packet string) bool { return strings.HasSuffix(packet, fmt.Sprintf(" to %d", fencedPort)) }
		for packet, w := range wantMarks {
			switch g, arrived := gotMarks[packet]; {
			case !isFenced(packet) && (g != w || !arrived):
				t.Errorf("packet %s has mark %#x, without the fence %#x", packet, g, w)
			case isFenced(packet) && arrived && (g&^bits != w&^bits || g&bits != 0):
				t.Errorf("packet %s has mark %#x, without the fence %#x", packet, g, w)
			}
		}
		for packet, w := range want {
			g, arrived := got[packet]
			if arrived {
				compared++
			}
			if g != w && (arrived || !isFenced(packet)) {
				t.Errorf("packet %s is\n%q, without the fence\n%q", packet, g, w)
			}
		}
		s.must(t, 0, "down")
		if t.Failed() {
			t.Fatalf("policy:\n%s\nother rules:\n%s", policy, rules)
		}
		for i := range 4 {
			labtest.TryInput(t, pbx, "", "nft", "delete", "table", "inet", fmt.Sprintf("other%d", i))
		}
	}
	if compared == 0 {
		t.Error("no packet was compared")
	}
	labtest.Report(t, "P3", "packets beside random rules of other programs", compared, "all look as without the fence, but for the bits of the mark that are ringfence's on the fenced port")
}
