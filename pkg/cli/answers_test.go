package cli_test

import (
	"encoding/binary"
	"net"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// newRouted is a cloud whose PBX is behind a router with the fence, which translates
// nothing.
func newRouted(t *testing.T) (w *cloud, router *lab.Namespace, to string) {
	t.Helper()
	w = &cloud{pbx: labtest.Host(t, "pbx"), outside: labtest.Host(t, "outside")}
	router = labtest.Host(t, "router")
	labtest.Must(t, router.Forward())
	labtest.Link(t, lab.End{Host: router, Interface: "eth0", Addresses: []string{"203.0.113.2/24"}},
		lab.End{Host: w.outside, Interface: "eth0", Addresses: []string{cloudProvider + "/24", cloudPhone + "/24", cloudOther + "/24"}})
	labtest.Link(t, lab.End{Host: router, Interface: "lan0", Addresses: []string{"198.51.100.1/24"}},
		lab.End{Host: w.pbx, Interface: "eth0", Addresses: []string{"198.51.100.2/24"}})
	labtest.Run(t, w.pbx, "ip", "route", "add", "default", "via", "198.51.100.1")
	labtest.Run(t, w.outside, "ip", "route", "add", "198.51.100.0/24", "via", "203.0.113.2")
	to = "198.51.100.2:5060"
	w.registrar = startRegistrar(t, w.pbx, to)
	w.markers = w.peerTo(t, "udp", cloudProvider, 5060, to)
	return w, router, to
}

// TestLongAnswers: an answer that takes several packets lets its phone in, and no part of
// one that is made of what a stranger has sent lets him in.
func TestLongAnswers(t *testing.T) {
	t.Parallel()
	w, router, to := newRouted(t)
	w.registrar.shape("X: "+strings.Repeat("x", 4000)+"\r\n", 0)
	s := newSite(t, router, cloudPolicy+"unknown: {action: register, rate: 1000/s}\nguessing: {failures: 0}\ninterfaces: [eth0]\n"+
		"signatures: {engine: 'off'}\n") // with it a stranger's REGISTER in fragments is dropped
	s.must(t, 0, "apply")
	for _, network := range []string{"udp", "tcp"} {
		if p := w.peerTo(t, network, cloudPhone, 0, to); !w.registers(t, p) || !w.arrives(t, p, "INVITE") {
			t.Errorf("%s: a phone is not in whose answer is long", network)
		}
	}
	// The second fragment of the refusal begins with what looks like the head of an
	// acceptance.
	const firstFragment = 1480 - 8
	p := w.peerTo(t, "udp", cloudOther, 0x4e21, to)
	head := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, 5060), uint16(p.LocalAddr().(*net.UDPAddr).Port))
	head = append(head, "~~~~SIP/2.0 200 OK\r\n "...)
	text, _ := w.request("REGISTER", bad)
	before := "SIP/2.0 401 Unauthorized\r\nVia: " + header(text, "Via") + "\r\nFrom: "
	from := header(text, "From") + ";x="
	from += strings.Repeat("y", firstFragment-len(before)-len(from)) + string(head)
	text = strings.Replace(text, header(text, "From"), from, 1)
	w.write(t, p, text)
	buf := make([]byte, 65536)
	n, err := p.Read(buf)
	labtest.Must(t, err)
	if got := string(buf[firstFragment : firstFragment+len(head)]); got != string(head) || n < 4000 {
		t.Fatalf("the second fragment of the refusal begins with %q: this is no test", got)
	}
	if w.arrives(t, p, "INVITE") {
		t.Error("a stranger is in by a fragment of his refusal")
	}
}

// TestSplitAnswers: an answer by TCP in two segments lets its phone in if the first of them
// has more than the first line. With less nobody is let in: a segment may begin with what a
// stranger has sent.
func TestSplitAnswers(t *testing.T) {
	t.Parallel()
	w := newCloud(t)
	s := newSite(t, w.pbx, registerPolicy)
	s.must(t, 0, "apply")
	line := len("SIP/2.0 200 OK\r\n")
	for split, want := range map[int]bool{line + 1: true, line + 40: true, line: false, line - 3: false} {
		w.registrar.shape("", split)
		p := w.caller(t, "tcp", cloudPhone, 0)
		text, _ := w.request("REGISTER", good)
		w.write(t, p, text)
		all := ""
		for buf := make([]byte, 1000); !strings.HasSuffix(all, "\r\n\r\n"); {
			n, err := p.Read(buf)
			labtest.Must(t, err)
			all += string(buf[:n])
		}
		w.registrar.shape("", 0)
		if got := w.arrives(t, p, "INVITE"); got != want {
			t.Errorf("the phone is in: %t, want %t, with an answer cut at byte %d", got, want, split)
		}
	}
}
