package cli

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// hostileCapture has a message whose headers are made to harm who reads them.
func hostileCapture(t *testing.T, path string) {
	t.Helper()
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	labtest.Must(t, w.WriteFileHeader(65535, layers.LinkTypeRaw))
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IP{198, 51, 100, 7}, DstIP: net.IP{192, 0, 2, 5}}
	message := "INVITE sip:\x1b]0;x\x07@pbx SIP/2.0\r\nUser-Agent: \x1b[2J\xff\u202eevil\t" + strings.Repeat("x", 5000) + "\r\n\r\n"
	packet := gopacket.NewSerializeBuffer()
	labtest.Must(t, gopacket.SerializeLayers(packet, gopacket.SerializeOptions{FixLengths: true}, ip, &layers.UDP{SrcPort: 5060, DstPort: 5060}, gopacket.Payload(message)))
	labtest.Must(t, w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Now(), CaptureLength: len(packet.Bytes()), Length: len(packet.Bytes())}, packet.Bytes()))
	labtest.Must(t, os.WriteFile(path, b.Bytes(), 0o600))
}

// TestReplayInMemory: a policy needs nothing in force, what the capture holds does no
// harm, and names of which nothing is remembered are reported.
func TestReplayInMemory(t *testing.T) {
	m := newInMemory(t)
	file := filepath.Join(m.folder, "x.pcap")
	hostileCapture(t, file)
	labtest.Must(t, os.WriteFile(filepath.Join(m.folder, "policy.yaml"), []byte("version: 1\nproviders: [{name: acme, registrars: [sip.acme.example]}]\n"), 0o600))
	for _, form := range []string{"text", "json"} {
		status, out, errs := m.run(t.Context(), "replay", file, "-o", form)
		if status != 0 || errs != "" {
			t.Fatalf("exit status %d\n%s%s", status, out, errs)
		}
		if strings.ContainsAny(out, "\x1b\x07\u202e") || !utf8.ValidString(out) || len(out) > 3000 {
			t.Errorf("it prints what does harm: %q", out)
		}
		for _, says := range []string{"198.51.100.7", "sip.acme.example", "evil"} {
			if !strings.Contains(out, says) {
				t.Errorf("it does not say %s:\n%s", says, out)
			}
		}
	}
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"replay"}, "needs one file"},
		{[]string{"replay", filepath.Join(m.folder, "policy.yaml")}, "it is no capture"},
		{[]string{"replay", filepath.Join(m.folder, "none")}, "no such file"},
		{[]string{"replay", file, "--own", "x"}, "--own x: it is not an address"},
	} {
		if status, out, errs := m.run(t.Context(), test.args...); status != 1 || out != "" || !strings.Contains(errs, test.says) {
			t.Errorf("%q: exit status %d\n%s%s", test.args, status, out, errs)
		}
	}
}
