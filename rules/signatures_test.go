package rules

import (
	"slices"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/signature"
)

func shipped(t *testing.T) []Signature {
	t.Helper()
	lists, err := SignatureLists()
	if err != nil {
		t.Fatal(err)
	}
	var all []Signature
	for _, list := range lists {
		if list.Checked == "" {
			t.Errorf("list %s does not say when it was checked", list.Name)
		}
		all = append(all, list.Signatures...)
	}
	return all
}

func compiled(s Signature) signature.Signature {
	var all []signature.Condition
	for _, c := range s.Conditions() {
		all = append(all, signature.Condition{Header: c.Header, Match: signature.Match(c.Match()), Value: c.Value()})
	}
	return signature.New(s.Name, signature.Class(s.Class), all...)
}

// TestEachIsRecognised makes the automaton of everything, on and off: a request
// with a signature's own text is named after it, and after no other one.
func TestEachIsRecognised(t *testing.T) {
	var list []signature.Signature
	for _, s := range shipped(t) {
		list = append(list, compiled(s))
	}
	a, err := signature.Compile(list, nil)
	if err != nil {
		t.Fatal(err)
	}
	if a.Sieve().EveryHeader {
		t.Error("some signature is too short for the sieve")
	}
	for _, s := range list {
		message := "OPTIONS sip:a SIP/2.0\r\n"
		for _, c := range s.Conditions() {
			message += c.Header + ": " + c.Value + "\r\n"
		}
		message += "\r\n"
		if s.Header == signature.RequestLine {
			message = strings.TrimSuffix(s.Value, " SIP/2.0") + " SIP/2.0\r\n\r\n"
			if s.Match == signature.Contains {
				message = "INVITE " + message
			}
		}
		if got := a.Match([]byte(message)); got.Signature != s.Name || (got.Mark == signature.Scanner) != (s.Class == signature.Ban) {
			t.Errorf("%+v: %v", s, got)
		}
	}
}

// TestUsualList holds the list against the User-Agents that all such lists have.
func TestUsualList(t *testing.T) {
	classes := map[string]string{}
	for _, s := range shipped(t) {
		if !s.Off && s.Header == "user-agent" {
			classes[strings.ToLower(s.Value())] = s.Class
		}
	}
	for value, class := range map[string]string{
		"sipcli/": "ban", "Gulp": "label", "sipvicious": "ban", "sipv": "label", "sip-scan": "ban", "smap": "ban",
		"sipsak": "label", "friendly-request": "ban", "friendly-scanner": "ban", "sundayddr": "ban",
		"VaxIPUserAgent": "ban", "VaxSIPUserAgent": "ban", "iWarsip": "ban", "iWar": "ban", "siparmyknife": "ban",
		"Test Agent": "label", "SIVuS": "ban", "pplsip": "ban", "Nmap NSE": "ban",
	} {
		if got := classes[strings.ToLower(value)]; got != class {
			t.Errorf("User-Agent %q is of class %q, want %q", value, got, class)
		}
	}
}

// TestRealDevicesAreNeverBanned holds the list against what honest phones, PBXs
// and gateways send.
func TestRealDevicesAreNeverBanned(t *testing.T) {
	devices := []string{
		"Yealink SIP-T46S 66.85.0.5", "Grandstream GXP2170 1.0.11.3", "PolycomVVX-VVX_411-UA/5.9.6.2327", "Cisco-SIPGateway/IOS-12.x",
		"Cisco-CUCM12.5", "Linksys/SPA942-6.1.5(a)", "snom760/8.9.3.80", "3CXPhoneSystem 18.0.6", "3CXPhone 6.0.26523.0", "FPBX-16.0.40(18.18.0)",
		"Asterisk PBX 18.10.0", "FreePBX", "Zoiper rv2.10.19.2", "Z 3.15.40006 rv2.8.30", "Linphone/3.6.1 (eXosip2/4.1.0)", "X-Lite release 5.0.1",
		"eyeBeam release 3006o", "CSipSimple_hammerhead-19/r2457", "MicroSIP/3.21.3", "PortSIP VoIP SDK 11.2", "Ozeki VoIP SIP SDK", "MizuPhone",
		"sipsorcery_v6.0.6", "SipClient", "Sipura/SPA3000-3.1.7", "FreeSWITCH-mod_sofia/1.10.7", "kamailio (5.6.1 (x86_64/linux))", "OpenSIPS (3.2.9 (x86_64/linux))",
		"Bria 5 release 5.8.3", "Gulpilil 1.0", "Gigaset N510 IP PRO/42.258", "AVM FRITZ!Box 7590 154.07.57", "sipgate", "SIPPER for PhonerLite", "SIPScope", "smapper 2",
	}
	for _, s := range shipped(t) {
		if s.Header != "user-agent" || len(s.All) > 0 {
			continue // TestScannersAreRecognised has those with several conditions
		}
		value := strings.ToLower(s.Value())
		for _, device := range devices {
			d := strings.ToLower(device)
			matches := map[string]bool{"contains": strings.Contains(d, value), "prefix": strings.HasPrefix(d, value), "exact": d == value}[s.Match()]
			if matches && (s.Class == "ban" || !s.Off) {
				t.Errorf("%s (%s %q, class %s) matches %q", s.Name, s.Match(), s.Value(), s.Class, device)
			}
		}
	}
	// These are not even to be counted.
	for _, never := range []string{"cisco", "linksys", "polycom", "yealink", "grandstream"} {
		if slices.ContainsFunc(shipped(t), func(s Signature) bool { return strings.Contains(strings.ToLower(s.Value()), never) }) {
			t.Errorf("the list names %s, whose devices are everywhere", never)
		}
	}
}

// TestOffIsLabel: what is off by default would hit honest people, so switching it
// on only counts.
func TestOffIsLabel(t *testing.T) {
	for _, s := range shipped(t) {
		if s.Off && s.Class != "label" && s.Name != "nmap-probe" {
			t.Errorf("%s is off, and of class %s", s.Name, s.Class)
		}
	}
}

func TestBrokenSignatures(t *testing.T) {
	const rest = ", class: ban, source: s, note: n}"
	for _, test := range []struct{ entry, want string }{
		{"{name: a, header: user-agent, exact: x" + rest, ""},
		{"{name: A, header: user-agent, exact: x" + rest, `signature 1 (A): name is "A", want lower-case letters, digits and hyphens`},
		{"{name: a, header: f, exact: x" + rest, `signature 1 (a): header is "f", want a header's long name in lower case`},
		{"{name: a, header: From, exact: x" + rest, `signature 1 (a): header is "From", want a header's long name in lower case`},
		{"{name: a, header: from" + rest, "signature 1 (a): want one of contains, prefix and exact"},
		{"{name: a, header: from, exact: x, prefix: x" + rest, "signature 1 (a): want one of contains, prefix and exact"},
		{"{name: a, header: from, contains: seven77" + rest, `signature 1 (a): contains is "seven77", want at least 8 characters, or prefix or exact`},
		{"{name: a, header: from, prefix: 'x '" + rest, `signature 1 (a): "x " has white space at its ends`},
		{"{name: a, header: from, exact: x, class: bann, source: s, note: n}", `signature 1 (a): class is "bann", want ban or label`},
		{"{name: a, header: from, exact: x, class: ban, source: s}", "signature 1 (a): want a source and a note"},
		{"{name: a, header: from, exact: x, all: [{header: to, exact: y}, {header: from, exact: y}]" + rest, "signature 1 (a): want either all, or a header"},
		{"{name: a, all: [{header: to, exact: y}]" + rest, "signature 1 (a): want at least two conditions under all"},
		{"{name: a, header: from, exact: x" + rest + "\n- {name: a, header: to, exact: x" + rest, "signature 2 (a): signature 1 has the same name"},
	} {
		_, err := readSignatures("broken", []byte("checked: now\nsignatures:\n- "+test.entry+"\n"))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s\n got %s\nwant %s", test.entry, got, test.want)
		}
	}
	if _, err := readSignatures("broken", []byte("signatures:\n- {name: a, regexp: x}\n")); err == nil || !strings.Contains(err.Error(), "regexp") {
		t.Errorf("an unknown key was read: %v", err)
	}
}
