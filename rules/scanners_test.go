package rules

import (
	_ "embed"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/signature"
)

// makers are 150 makers of phones, gateways, PBXs and software for them.
//
//go:embed testdata/makers.txt
var makers string

func switchedOn(t *testing.T) *signature.Automaton {
	t.Helper()
	var list []signature.Signature
	for _, s := range shipped(t) {
		if !s.Off {
			list = append(list, compiled(s))
		}
	}
	a, err := signature.Compile(list, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// with returns a request with some headers.
func with(headers ...string) []byte {
	return []byte("OPTIONS sip:100@192.0.2.5 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.66:5060;branch=z9hG4bK1;rport\r\nMax-Forwards: 70\r\n" +
		strings.Join(headers, "\r\n") + "\r\nContent-Length: 0\r\n\r\n")
}

// TestScannersAreRecognised sends what each tool sends, and beside it what comes close
// to it and is none.
func TestScannersAreRecognised(t *testing.T) {
	const list = "INVITE, REGISTER, ACK, CANCEL, BYE, NOTIFY, REFER, OPTIONS, INFO, SUBSCRIBE, UPDATE, PRACK, MESSAGE"
	a := switchedOn(t)
	for _, test := range []struct{ header, want string }{
		{"From: sip:mtfj9g@203.0.113.66:5060;tag=70c00e8c", "metasploit-tag"},
		{"From: 100 <sip:tvf90t@203.0.113.66:5060>;tag=70c00e8c", "metasploit-tag"},
		{"To: 100 <sip:100@203.0.113.66:5060>;tag=70c00e8c", ""},
		{`From: "The Metasploit has you"<sip:192.0.2.9>`, "metasploit-spoof"},
		{`From: "SIPDROID";tag=6ggpetxo`, "sipdroid-enum"},
		{`From: "Sipdroid" <sip:100@192.0.2.9>;tag=6ggpetxo`, ""},
		{"User-Agent: Sipdroid/2.4 beta/GT-I9100", ""},
		{"Allow: " + list, "sippts-allow"},
		{"Allow: " + strings.ReplaceAll(list, " ", ""), "sippts-allow-old"},
		{"Allow: " + list + ", PUBLISH", ""},
		{"Allow: " + strings.TrimSuffix(list, ", MESSAGE"), ""},
		{"User-Agent: Viproy Penetration Testing Kit - Test Agent", "viproy"},
		{"User-Agent: sipptk", "sipptk"},
		{"From: OpenVASVT <sip:openvasvt@203.0.113.66:5060>;tag=114041459", "openvas"},
		{"From: <sip:gbnvt@203.0.113.66:5060>;tag=114041459", "greenbone"},
		{"User-Agent: friendly scanner", "friendly-scanner-space"},
		{"User-Agent: SIPp/3.7", "sipp-version"},
		{"User-Agent: SIPPER for PhonerLite", ""},
		{"User-Agent: SipReg", "sipreg"},
		{"User-Agent: SipRegistrar 2", ""},
		{"User-Agent: VOIP", ""},
		{"User-Agent: VOIP\r\nVia: SIP/2.0/UDP 203.0.113.66:49618;branch=z9hG4bK-d87543-987333414-1--d87543-;rport", "voip-d87543"},
		{"v: SIP/2.0/UDP 203.0.113.66:49618;branch=z9hG4bK-d87543-987333414-1--d87543-;rport\r\nUser-Agent: voip", "voip-d87543"},
		{"Via: SIP/2.0/UDP 203.0.113.66:49618;branch=z9hG4bK-d87543-987333414-1--d87543-;rport\r\nUser-Agent: X-Lite release 1103d", ""},
		{"Via: SIP/2.0/UDP 203.0.113.66:49618;branch=z9hG4bK-d8754z-987333414-1--d8754z-;rport\r\nUser-Agent: VOIP", ""},
		{"Via: SIP/2.0/UDP 203.0.113.66:49618;branch=z9hG4bK-d87543-987333414-1--d87543-;rport\r\nUser-Agent: VOIP phone", ""},
		{"Subject: branch=z9hG4bK-d87543-\r\nUser-Agent: VOIP", ""},
	} {
		if got := a.Match(with(test.header)); got.Signature != test.want {
			t.Errorf("%s: %v, want %q", test.header, got, test.want)
		}
	}
}

// TestMakersAreNeverBanned holds the list against what 150 makers may write, alone, and
// before and behind other words.
func TestMakersAreNeverBanned(t *testing.T) {
	a := switchedOn(t)
	list := strings.Split(strings.TrimSpace(makers), "\n")
	if len(list) < 150 {
		t.Errorf("the list has %d makers", len(list))
	}
	seen := map[string]bool{}
	for _, maker := range list {
		if seen[maker] {
			t.Errorf("%s is listed twice", maker)
		}
		seen[maker] = true
		for _, agent := range []string{maker, maker + "/1.0", maker + " SIP Phone 2.3.4", "SIP " + maker, strings.ToUpper(maker) + "-VoIP"} {
			if got := a.Match(with("User-Agent: "+agent, `From: "`+maker+`" <sip:100@192.0.2.9>;tag=1`)); got.Mark == signature.Scanner {
				t.Errorf("%q is taken for %s", agent, got.Signature)
			}
		}
	}
}
