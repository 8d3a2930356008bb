package cli_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// kamailioConfig logs which packets it takes for requests of a scanner, by their source
// port and the port that they came to. 5099 is not fenced.
const kamailioConfig = `debug=0
log_stderror=yes
fork=yes
children=1
disable_tcp=yes
listen=udp:203.0.113.1:5060
listen=udp:203.0.113.1:5099
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "textops.so"
request_route {
	if ($ua =~ "friendly-scanner") { xlog("L_ALERT", "SEEN $Rp $sp\n"); }
	if ($ua == "the end") { xlog("L_ALERT", "SEEN $Rp 0\n"); }
	drop;
}
`

// kamailio is a real server behind the fence.
type kamailio struct{ seen chan [2]int } // ports: where to, where from

func startKamailio(t *testing.T, h *lab.Namespace) *kamailio {
	t.Helper()
	labtest.Need(t, "kamailio")
	folder := t.TempDir()
	config := filepath.Join(folder, "kamailio.cfg")
	labtest.Must(t, os.WriteFile(config, []byte(kamailioConfig), 0o644))
	cmd := exec.CommandContext(t.Context(), "kamailio", "-DD", "-E", "-f", config, "-w", folder, "-Y", folder, "-P", filepath.Join(folder, "pid"))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // with which it ends its processes
	k := &kamailio{seen: make(chan [2]int, 1024)}
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	labtest.Must(t, h.Start(cmd))
	go func() {
		defer close(k.seen)
		for lines := bufio.NewScanner(r); lines.Scan(); {
			var p [2]int
			if _, line, ok := strings.Cut(lines.Text(), "SEEN "); ok {
				if n, _ := fmt.Sscan(line, &p[0], &p[1]); n == 2 {
					k.seen <- p
				}
			}
		}
	}()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait()
		w.Close()
	}()
	t.Cleanup(func() { <-ended })
	until(t, "kamailio listens", func() bool { return listensAt(t, h, "udp", 5060) && listensAt(t, h, "udp", 5099) })
	return k
}

// firstDisguise is the source port of the first of a round.
const firstDisguise = 30_000

// hear sends messages to both ports and returns, for each port, which of them the server
// has taken for a scanner's.
func (k *kamailio) hear(t *testing.T, outside *lab.Namespace, messages [][]byte) (open, fenced map[int]bool) {
	t.Helper()
	open, fenced = map[int]bool{}, map[int]bool{}
	end := bytes.ReplaceAll(disguisable, []byte("friendly-scanner"), []byte("the end"))
	labtest.In(t, outside, func() error {
		for i, m := range append(messages, end) {
			c, err := net.ListenPacket("udp", fmt.Sprintf("203.0.113.66:%d", firstDisguise+i))
			if err != nil {
				return err
			}
			defer c.Close()
			for _, port := range []int{5099, 5060} {
				if _, err := c.WriteTo(m, &net.UDPAddr{IP: net.ParseIP("203.0.113.1"), Port: port}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	for ends := 0; ends < 2; {
		p, ok := <-k.seen
		switch {
		case !ok:
			t.Fatal("kamailio has ended")
		case p[1] == 0:
			ends++
		case p[0] == 5060:
			fenced[p[1]-firstDisguise] = true
		default:
			open[p[1]-firstDisguise] = true
		}
	}
	return open, fenced
}

var disguisable = []byte("OPTIONS sip:100@203.0.113.1 SIP/2.0\r\n" +
	"Via: SIP/2.0/UDP 203.0.113.66:5060;branch=z9hG4bKx;rport\r\n" +
	"Max-Forwards: 70\r\n" +
	"From: \"x\" <sip:100@203.0.113.66>;tag=1\r\n" +
	"To: <sip:100@203.0.113.1>\r\n" +
	"Call-ID: a@b\r\n" +
	"CSeq: 1 OPTIONS\r\n" +
	"User-Agent: friendly-scanner\r\n" +
	"Content-Length: 0\r\n\r\n")

// oddities are what is put into a message where a parser may stumble over it.
var oddities = []string{
	"\x00", "\r", "\n", "\r\n", "\r\r\n", "\n\r", "\t", " ", "  ", "\r\n ", "\r\n\t", "\n ", "\r ", "\xa0", "\x0b", "\x0c", "\xff", "\xef\xbb\xbf",
	"\\", "%", ":", ";", ",", "\"", "<", ">", "(", ")", "@", "=", "/", "SIP/2.0", "junk\r\n", "\r\n\r\n", "User-Agent", "User-Agent:", "User-Agent: phone\r\n",
	strings.Repeat(" ", 300), strings.Repeat("\r\n", 100), strings.Repeat("\r\n ", 40), strings.Repeat("\x00", 50), "X: y\r", "X:\r\n",
}

// disguise changes a message in a few places, most often near what is looked for.
func disguise(r *rand.Rand) []byte {
	m := bytes.Clone(disguisable)
	for range 1 + r.IntN(3) {
		at := r.IntN(len(m) + 1)
		switch r.IntN(4) {
		case 0:
			at = r.IntN(min(len(m), 50)) // the request line
		case 1, 2:
			if agent := bytes.Index(m, []byte("User-Agent")); agent > 0 {
				at = min(agent-3+r.IntN(36), len(m))
			}
		}
		odd := []byte(oddities[r.IntN(len(oddities))])
		switch r.IntN(6) {
		case 0:
			end := min(len(m), at+1+r.IntN(3))
			m = append(m[:at:at], m[end:]...)
		case 1:
			end := min(len(m), at+1)
			m = append(append(m[:at:at], odd...), m[end:]...)
		case 2:
			for i := at; i < min(len(m), at+20); i++ {
				m[i] = swapCase(m[i])
			}
		default:
			m = append(append(m[:at:at], odd...), m[at:]...)
		}
	}
	return m
}

func swapCase(b byte) byte {
	if 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' {
		return b ^ 0x20
	}
	return b
}

// twoHeaders are messages in which a carriage return alone stands before a header that
// signatures are about. To pjsip that is another header, to Kamailio a part of the one
// before: the automaton goes with pjsip there.
var twoHeaders = regexp.MustCompile(`(?i)\r(user-agent|from|f|to|t|contact|m|via|v|call-id|i|subject|s)[ \t]*:`)

// TestDisguises sends a scanner's request in many disguises to a real Kamailio: what that
// takes for the scanner's where nothing is fenced does not reach it behind the fence.
func TestDisguises(t *testing.T) {
	t.Parallel()
	pbx, outside := newPair(t)
	k := startKamailio(t, pbx)
	s := newSite(t, pbx, linksPolicy+"unknown: {action: accept}\nbans: {duration: 0s}\nports: {udp: [5060], tcp: [5060]}\n")
	s.must(t, 0, "apply")
	// The beginning of a message that is longer than a packet is read, not the rest: see
	// Limits in README.md.
	const packet = 1400
	r := rand.New(rand.NewPCG(1, 1))
	sent, understood := 0, 0
	for range labtest.Count(8, 1000) {
		var messages [][]byte
		for range 100 {
			if m := disguise(r); len(m) < packet && !twoHeaders.Match(m) {
				messages = append(messages, m)
			}
		}
		open, fenced := k.hear(t, outside, messages)
		sent, understood = sent+len(messages), understood+len(open)
		for i := range fenced {
			t.Errorf("Kamailio takes this for the scanner's, and the classifier does not:\n%q", messages[i])
		}
	}
	t.Logf("of %d disguises Kamailio understands %d", sent, understood)
	if understood < sent/10 {
		t.Errorf("of %d disguises Kamailio understands only %d: this is no test", sent, understood)
	}
}
