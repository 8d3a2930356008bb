package sip_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ringfence/ringfence/pkg/sip"
)

const svmap = "OPTIONS sip:100@203.0.113.10 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK-1234;rport\r\n" +
	"Max-Forwards: 70\r\nTo: \"sipvicious\"<sip:100@1.1.1.1>\r\nFrom: \"sipvicious\"<sip:100@1.1.1.1>;tag=63623030\r\n" +
	"User-Agent: friendly-scanner\r\nCall-ID: 12345\r\nContact: sip:100@198.51.100.7:5060\r\nCSeq: 1 OPTIONS\r\nAccept: application/sdp\r\nContent-Length: 0\r\n\r\n"

func TestRead(t *testing.T) {
	for _, test := range []struct {
		name, message string
		want          sip.Head
	}{
		{"svmap", svmap, sip.Head{Method: "OPTIONS", UserAgent: "friendly-scanner", Called: "100"}},
		{"cut off inside a header", svmap[:strings.Index(svmap, "er-Agent")], sip.Head{Method: "OPTIONS", Called: "100"}},
		{"cut off inside the User-Agent", svmap[:strings.Index(svmap, "-scanner")], sip.Head{Method: "OPTIONS", UserAgent: "friendly", Called: "100"}},
		{
			"a phone registers", "REGISTER sip:pbx.example SIP/2.0\r\nTo: <sip:201@pbx.example>\r\nUser-Agent: Yealink SIP-T46S 66.85.0.5\r\n\r\n",
			sip.Head{Method: "REGISTER", UserAgent: "Yealink SIP-T46S 66.85.0.5", Called: "201"},
		},
		{"short names", "REGISTER sip:pbx.example SIP/2.0\r\nt: <sip:202@pbx.example>\r\n\r\n", sip.Head{Method: "REGISTER", Called: "202"}},
		{"a number", "INVITE tel:+442071234567;phone-context=x SIP/2.0\r\nUser-Agent: x\r\n\r\n", sip.Head{Method: "INVITE", UserAgent: "x", Called: "+442071234567"}},
		{"line feeds alone", "INVITE sip:9001@a SIP/2.0\nUser-agent : y\n\n", sip.Head{Method: "INVITE", UserAgent: "y", Called: "9001"}},
		{"carriage returns alone", "INVITE sip:9001@a SIP/2.0\rUser-agent: y\r\r", sip.Head{Method: "INVITE", UserAgent: "y", Called: "9001"}},
		{"a folded header", "INVITE sip:9001@a SIP/2.0\r\nUser-Agent: y\r\n z\r\n\r\n", sip.Head{Method: "INVITE", UserAgent: "y z", Called: "9001"}},
		{"an empty line first", "\x00\r\n\r\nINVITE sip:9001@a SIP/2.0\r\n\r\n", sip.Head{Method: "INVITE", Called: "9001"}},
		{"lines that are no header", "INVITE sip:9001@a SIP/2.0\r\nnonsense\r\n: x\r\nUser-Agent: y\r\n\r\n", sip.Head{Method: "INVITE", UserAgent: "y", Called: "9001"}},
		{"no URI", "INVITE ::: SIP/2.0\r\nTo: \"x\" <sip:7@a>\r\nUser-Agent: y\r\n\r\n", sip.Head{Method: "INVITE", UserAgent: "y", Called: "7"}},
		{"a broken To", "INVITE sip:a SIP/2.0\r\nTo: \"<<<\r\nUser-Agent: y\r\n\r\n", sip.Head{Method: "INVITE", UserAgent: "y"}},
		{"a header of the body", "INVITE sip:9@a SIP/2.0\r\nTo: x\r\n\r\nUser-Agent: y\r\n", sip.Head{Method: "INVITE", Called: "9"}},
		{"bytes that are no text", "INVITE sip:\xff@a SIP/2.0\r\nUser-Agent: \xfe\xfe\r\n\r\n", sip.Head{Method: "INVITE", UserAgent: "\uFFFD", Called: "\uFFFD"}},
		{"a long User-Agent", "INVITE sip:9@a SIP/2.0\r\nUser-Agent: " + strings.Repeat("y", 1000) + "\r\n\r\n", sip.Head{Method: "INVITE", UserAgent: strings.Repeat("y", 256), Called: "9"}},
		{"a response", "SIP/2.0 200 OK\r\nUser-Agent: y\r\n\r\n", sip.Head{}},
		{"keep-alive", "\r\n\r\n", sip.Head{}},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", sip.Head{}},
		{"nothing", "", sip.Head{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := sip.Read([]byte(test.message)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(svmap))
	f.Add([]byte("INVITE sip:[::1 SIP/2.0\r\nTo: \"\\\r\nt:<sip:@;?\r\n\r\n"))
	f.Fuzz(func(t *testing.T, message []byte) {
		h := sip.Read(message)
		for _, text := range []string{h.Method, h.UserAgent, h.Called} {
			if !utf8.ValidString(text) || len(text) > sip.MaxText {
				t.Errorf("got %q", text)
			}
		}
	})
}

// TestClean: whatever was sent is valid text of a limited length, and nothing is cut
// inside a character.
func TestClean(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"Yealink SIP-T46S", "Yealink SIP-T46S"},
		{"a\xffb", "a\uFFFDb"},
		{strings.Repeat("a", 300), strings.Repeat("a", 256)},
		{strings.Repeat("a", 255) + "ä", strings.Repeat("a", 255)},
		{strings.Repeat("\xff\xfe", 300), "\uFFFD"},
	} {
		if got := sip.Clean(test.text); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add(strings.Repeat("\xffa", 200))
	f.Fuzz(func(t *testing.T, text string) {
		if got := sip.Clean(text); !utf8.ValidString(got) || len(got) > sip.MaxText {
			t.Errorf("got %q", got)
		}
	})
}
