package signature_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/signature"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
)

func compiled(t testing.TB, list []signature.Signature, required ...string) *signature.Automaton {
	t.Helper()
	a, err := signature.Compile(list, required)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// agree compares the two matchers on a message.
func agree(t testing.TB, a *signature.Automaton, message []byte) signature.Result {
	t.Helper()
	got, explained := a.Match(message), a.Explain(message)
	if got != explained.Result {
		t.Fatalf("the automaton finds %v, comparing strings finds %v in\n%q\n%+v", got, explained.Result, message, explained.Findings)
	}
	return got
}

// request returns an OPTIONS with additional headers.
func request(headers ...string) string {
	return "OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\n" + strings.Join(append(headers, ""), "\r\n") + "Max-Forwards: 70\r\n\r\n"
}

func TestMatch(t *testing.T) {
	a := compiled(t, signaturetest.Few())
	for _, test := range []struct{ name, message, want string }{
		{"as it comes", request("User-Agent: friendly-scanner"), "scanner"},
		{"in odd case", request("uSER-aGENT: FRIENDLY-scanner"), "scanner"},
		{"in the middle of the value", request("User-Agent: a friendly-scanner 2"), "scanner"},
		{"without white space", request("User-Agent:friendly-scanner"), "scanner"},
		{"white space before the colon", request("User-Agent \t : friendly-scanner"), "scanner"},
		{"a line break before the colon", request("User-Agent\r\n : friendly-scanner"), "scanner"},
		{"more of them", request("User-Agent \n \r\n\t\r : friendly-scanner"), "scanner"},
		{"the next line before the colon", request("User-Agent\r\n: friendly-scanner"), ""},
		{"a carriage return before the colon", request("User-Agent\r: friendly-scanner"), ""},
		{"a line break within the name", request("User-\r\n Agent: friendly-scanner"), ""},
		{"a line break and a word before the colon", request("User-Agent\r\n x: friendly-scanner"), ""},
		{"value on the next line", request("User-Agent:\r\n friendly-scanner"), "scanner"},
		{"value two lines on", request("User-Agent:\r\n \r\n\tfriendly-scanner"), "scanner"},
		{"line feeds only", strings.ReplaceAll(request("User-Agent: friendly-scanner"), "\r", ""), "scanner"},
		{"as the first header", "OPTIONS sip:a SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n", "scanner"},
		{"cut behind the value", "OPTIONS sip:a SIP/2.0\r\nUser-Agent: friendly-scanner", "scanner"},
		{"cut within the value", "OPTIONS sip:a SIP/2.0\r\nUser-Agent: friendly-scanne", ""},
		{"line breaks before the request line", "\r\n\r\n" + request("User-Agent: friendly-scanner"), "scanner"},
		{"many line breaks", strings.Repeat("\r\n", 500) + request("User-Agent: friendly-scanner"), "scanner"},
		{"white space before the request line", "\r\n \t\r\n " + request("User-Agent: friendly-scanner"), "scanner"},
		{"much white space behind the version", strings.Replace(request("User-Agent: friendly-scanner"), "SIP/2.0", "SIP/2.0"+strings.Repeat(" ", 500), 1), "scanner"},
		{"nothing but white space", strings.Repeat(" \r\n", 900), ""},
		{"white space behind the version", strings.Replace(request("User-Agent: friendly-scanner"), "/2.0\r", "/2.0 \t \r", 1), "scanner"},
		{"version in lower case", strings.Replace(request("User-Agent: friendly-scanner"), "SIP/2.0", "sip/2.0", 1), "scanner"},

		{"in another header", request("Subject: we block friendly-scanner"), ""},
		{"in another header, folded", request("Subject: we block\r\n friendly-scanner", "X: y"), ""},
		{"in a header whose name begins alike", request("User-Agents: friendly-scanner"), ""},
		{"in a header whose name ends alike", request("X-User-Agent: friendly-scanner"), ""},
		{"in a line that goes on with another header", request("Subject: x\r\n User-Agent: friendly-scanner"), ""},
		{"in a line that goes on with the request line", "OPTIONS sip:a SIP/2.0\r\n User-Agent: friendly-scanner\r\n\r\n", ""},
		{"white space inside the name", request("User- Agent: friendly-scanner"), ""},
		{"in the body", request() + "User-Agent: friendly-scanner\r\n", ""},
		{"in a body behind a line feed", strings.ReplaceAll(request(), "\r", "") + "User-Agent: friendly-scanner\n", ""},
		{"in a body that begins a segment", "User-Agent: friendly-scanner\r\n\r\n", ""},
		{"in a segment out of the middle", "=z9hG4bK1\r\nUser-Agent: friendly-scanner\r\n\r\n", ""},
		{"in a response", "SIP/2.0 200 OK\r\nUser-Agent: friendly-scanner\r\n\r\n", ""},
		{"in a response that ends like a request line", "SIP/2.0 200 SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n", ""},
		{"a method that begins like a response", strings.Replace(request("User-Agent: friendly-scanner"), "OPTIONS", "SIP/2.0OPTIONS", 1), "scanner"},
		{"a method that is a version", strings.Replace(request("User-Agent: friendly-scanner"), "OPTIONS", "SIP/2.0", 1), "scanner"},
		{"a value behind a carriage return", request("User-Agent:\rfriendly-scanner"), "scanner"},
		{"a value behind what looks like a header", request("User-Agent: X: y\rfriendly-scanner"), "scanner"},
		{"a value behind more of them", request("User-Agent: X: y\rZ\r\rW: friendly-scanner"), "scanner"},
		{"a value behind another line", request("User-Agent: x\r\nfriendly-scanner"), ""},
		{"a value behind a carriage return, and a line before", request("User-Agent: x\r\ny\rfriendly-scanner"), ""},
		{"a value behind a header that is looked at", request("User-Agent:\rFrom: friendly-scanner"), ""},
		{"a prefix behind a carriage return", request("User-Agent:\rsipcli/v1.8"), "sipcli"},
		{"exact, behind a carriage return", request("User-Agent:\rsmap"), "smap"},
		{"exact, over a carriage return", request("User-Agent: Test\rAgent"), "agent"},
		{"another version", strings.Replace(request("User-Agent: friendly-scanner"), "SIP/2.0\r", "SIP/3.0\r", 1), "scanner"},
		{"a version that only begins with 2.0", strings.Replace(request("User-Agent: friendly-scanner"), "SIP/2.0\r", "SIP/2.00\r", 1), "scanner"},
		{"a version with more behind it", strings.Replace(request("User-Agent: friendly-scanner"), "SIP/2.0\r", "SIP/2.0/UDP\r", 1), "scanner"},
		{"NUL behind the version", strings.Replace(request("User-Agent: friendly-scanner"), "SIP/2.0\r", "SIP/2.0\x00\r", 1), "scanner"},
		{"a word behind the version", strings.Replace(request("User-Agent: friendly-scanner"), "SIP/2.0\r", "SIP/2.0 x\r", 1), "scanner"},
		{"white space within the version", strings.Replace(request("User-Agent: friendly-scanner"), "SIP/2.0\r", "SIP / \t2.0\r", 1), "scanner"},
		{"the version on the next line", strings.Replace(request("User-Agent: friendly-scanner"), " SIP/2.0\r", "\r\n SIP/2.0\r", 1), "scanner"},
		{"a Via header that begins a segment", "Via: SIP/2.0/UDP 192.0.2.9\r\nUser-Agent: friendly-scanner\r\n\r\n", ""},
		{"a version without white space before it", "OPTIONS sip:aSIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n", ""},
		{"NUL and line breaks before the request line", "\x00\x00\r\n\x00 \t\r\n" + request("User-Agent: friendly-scanner"), "scanner"},
		{"more line breaks than are read of a message", strings.Repeat("\r\n", 1100) + request("User-Agent: friendly-scanner"), "scanner"},
		{"carriage returns only", strings.ReplaceAll(request("User-Agent: friendly-scanner"), "\n", ""), "scanner"},
		{"a carriage return behind the request line", strings.Replace(request("User-Agent: friendly-scanner"), "\r\n", "\r", 1), "scanner"},
		{"behind a carriage return", request("X: y\rUser-Agent: friendly-scanner"), "scanner"},
		{"before a carriage return", request("User-Agent: friendly-scanner\rX: y"), "scanner"},
		{"line feeds before carriage returns", strings.ReplaceAll(request("User-Agent: friendly-scanner"), "\r\n", "\n\r"), "scanner"},
		{"two carriage returns and a line feed", strings.ReplaceAll(request("User-Agent: friendly-scanner"), "\r\n", "\r\r\n"), "scanner"},
		{"folded behind a carriage return", request("User-Agent:\r friendly-scanner"), "scanner"},
		{"HTTP", "GET / HTTP/1.1\r\nUser-Agent: friendly-scanner\r\n\r\n", ""},
		{"keep-alive", "\r\n\r\n", ""},
		{"nothing", "", ""},
		{"request line without a line feed", "OPTIONS sip:a SIP/2.0", ""},
		{"behind 2,048 bytes", request("X: "+strings.Repeat("x", 2048), "User-Agent: friendly-scanner"), ""},
		{"just before 2,048 bytes", request("X: "+strings.Repeat("x", 1900), "User-Agent: friendly-scanner"), "scanner"},

		{"exact", request("User-Agent: smap"), "smap"},
		{"exact, white space behind it", request("User-Agent: smap \t"), "smap"},
		{"exact, at the end of the packet", "OPTIONS sip:a SIP/2.0\r\nUser-Agent: smap\r\n", "smap"},
		{"exact, cut before the line's end", "OPTIONS sip:a SIP/2.0\r\nUser-Agent: smap", ""},
		{"exact, before a carriage return", request("User-Agent: smap\rX: y"), "smap"},
		{"exact, before a carriage return and more", request("User-Agent: smap\r 2"), ""},
		{"exact, before two carriage returns and more", request("User-Agent: smap\r\r\n 2"), ""},
		{"exact, and more", request("User-Agent: smapper"), ""},
		{"exact, and more on the next line", request("User-Agent: smap\r\n 0.6"), ""},
		{"exact, and an empty next line", request("User-Agent: smap\r\n \r\n \t"), "smap"},
		{"exact, over two lines", request("User-Agent: Test\r\n\tagent"), "agent"},
		{"exact, more white space", request("User-Agent: Test \t Agent"), "agent"},
		{"exact, less white space", request("User-Agent: TestAgent"), ""},
		{"white space in what is contained", request("User-Agent: the latest \t agents of mine"), "agents"},
		{"prefix", request("User-Agent: sipcli/v1.8"), "sipcli"},
		{"prefix, not at the beginning", request("User-Agent: a sipcli/v1.8"), ""},
		{"a prefix and a longer one of class ban", request("User-Agent: sipsaks"), "sipsaks"},
		{"a prefix and the whole", request("User-Agent: sipsak"), "sipsak"},
		{"bytes of UTF-8", request("User-Agent: h\xc3\xa9ros\xff"), "eight"},
		{"bytes of UTF-8 in another case", request("User-Agent: H\xc3\x89ros\xff"), ""},
		{"NUL inside", request("User-Agent: friendly\x00scanner"), ""},
		{"NUL before", request("User-Agent: \x00friendly-scanner"), "scanner"},

		{"display name", request(`From: "sipvicious"<sip:x@y>`), "vicious"},
		{"display name, compact", request(`f:"SIPvicious"<sip:x@y>`), "vicious"},
		{"display name in another header", request(`Contact: "sipvicious"<sip:x@y>`), ""},
		{"signature of a compact header", request("From: <sip:100@1.1.1.1>"), "hundred"},
		{"contact, compact", request("M : sip:123@1.1.1.1"), "contact"},
		{"subject, compact", request("s: performance test"), "performance"},
		{"request line", "OPTIONS sip:nm SIP/2.0\r\n\r\n", "probe"},
		{"request line, more white space", "options  sip:nm\tSIP/2.0 \r\n\r\n", "probe"},
		{"part of the request line", "INVITE sip:thisisthecanary@192.0.2.1 SIP/2.0\r\n\r\n", "canary"},
		{"in a header of that name", request("Request-Line: OPTIONS sip:nm SIP/2.0"), ""},
		{"of the request line, in a header", request("To: sip:thisisthecanary@192.0.2.1"), ""},
		{"prefix of the request line", "OPTIONS sip:nmap.example SIP/2.0\r\n\r\n", "options"},

		{"two conditions", request("v: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK-d87543-1", "User-Agent: VOIP"), "dialer"},
		{"two conditions, the other way round", request("user-agent : voip\r\n ", "Via:\r\n x;BRANCH=z9hG4bK-d87543-1"), "dialer"},
		{"two conditions, other headers between", request("v: x;branch=z9hG4bK-d87543-1", "Subject: x", "From: y", "User-Agent: VOIP"), "dialer"},
		{"the first of two conditions", request("User-Agent: VOIP"), ""},
		{"the second of two conditions", request("v: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK-d87543-1"), ""},
		{"two conditions, one in another header", request("Subject: x;branch=z9hG4bK-d87543-1", "User-Agent: VOIP"), ""},
		{"two conditions, one with more", request("v: x;branch=z9hG4bK-d87543-1", "User-Agent: VOIP 1"), ""},
		{"two conditions, one with more on the next line", request("v: x;branch=z9hG4bK-d87543-1", "User-Agent: VOIP\r\n 1"), ""},
		{"two conditions, one in the body", request("User-Agent: VOIP") + "Via: x;branch=z9hG4bK-d87543-1\r\n", ""},
		{"two conditions, one behind what is read", request("User-Agent: VOIP", "X: "+strings.Repeat("x", 2048), "v: x;branch=z9hG4bK-d87543-1"), ""},
		{"a condition of two signatures", request("Subject: Perf ormance", "User-Agent: VOIP"), "counted"},
		{"of two signatures with several conditions, the one that bans", request("Subject: Perf ormance", "v: x;branch=z9hG4bK-d87543-", "User-Agent: VOIP"), "dialer"},
		{"a ban of one condition before one of several", request("v: x;branch=z9hG4bK-d87543-", "User-Agent: VOIP", `f: "sipvicious"`), "vicious"},
		{"several conditions that ban behind a label", request("Subject: Performance Test", "v: x;branch=z9hG4bK-d87543-", "User-Agent: VOIP"), "dialer"},
		{"a label of one condition before one of several", request("Subject: Performance Test", "User-Agent: VOIP", "Subject: Perf ormance"), "performance"},
		{"the request line and a header, one a label by itself", "OPTIONS sip:nmap SIP/2.0\r\nUser-Agent: sipsak\r\n\r\n", "prober"},
		{"the whole request line and two headers", "INVITE sip:nm SIP/2.0\r\nTo: <sip:nm2@nm2>\r\nFrom: <sip:nm@nm>\r\n\r\n", "exactly"},
		{"the whole request line and one of two headers", "INVITE sip:nm SIP/2.0\r\nTo: <sip:nm2@nm2>\r\n\r\n", ""},
		{"one header twice", request("m: x;tag=3206", "m: sip:nm"), "twice"},
		{"one header, both conditions", request("m: sip:nm;tag=3206"), "twice"},

		{"a ban behind a label", request("User-Agent: sipsak", `From: "sipvicious"`), "vicious"},
		{"a ban before a label", request(`From: "sipvicious"`, "User-Agent: sipsak"), "vicious"},
		{"the first of two bans", request(`From: "sipvicious"`, "User-Agent: friendly-scanner"), "vicious"},
		{"the first of two labels", request("Subject: Performance Test", "User-Agent: sipsak"), "performance"},
		{"the second User-Agent", request("User-Agent: x", "User-Agent: friendly-scanner"), "scanner"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := agree(t, a, []byte(test.message)); got.Signature != test.want {
				t.Errorf("%q matches %q, want %q", test.message, got.Signature, test.want)
			}
		})
	}
}

// TestEveryCompactForm looks for the same value in each header that has a compact
// form.
func TestEveryCompactForm(t *testing.T) {
	// RFC 3261, 3515, 3841, 3892, 4028, 4474, 6665; IANA registry.
	for long, short := range map[string]string{
		"Accept-Contact": "a", "Referred-By": "b", "Content-Type": "c", "Request-Disposition": "d", "Content-Encoding": "e", "From": "f",
		"Call-ID": "i", "Reject-Contact": "j", "Supported": "k", "Content-Length": "l", "Contact": "m", "Identity-Info": "n", "Event": "o",
		"Refer-To": "r", "Subject": "s", "To": "t", "Allow-Events": "u", "Via": "v", "Session-Expires": "x", "Identity": "y",
	} {
		a := compiled(t, []signature.Signature{{Name: "it", Header: long, Match: signature.Exact, Value: "scanner", Class: signature.Ban}})
		for _, name := range []string{long, short, strings.ToUpper(short)} {
			if got := agree(t, a, []byte(request(name+": scanner"))); got.Signature != "it" {
				t.Errorf("a signature of header %s does not match %s", long, name)
			}
		}
		if got := agree(t, a, []byte(request("z: scanner", "User-Agent: scanner"))); got.Signature != "" {
			t.Errorf("a signature of header %s matches another header", long)
		}
	}
}

// lists returns automata of various kinds.
func lists(t testing.TB) []*signature.Automaton {
	return []*signature.Automaton{
		compiled(t, signaturetest.Few()),
		compiled(t, signaturetest.Short()),
		compiled(t, signaturetest.Few(), "Yealink", "sipsak", "h\xc3\xa9ros"),
		compiled(t, signaturetest.Shipped()),
		compiled(t, signaturetest.Many(300)),
		compiled(t, nil),
		compiled(t, nil, "a b"),
	}
}

// TestAutomatonAgreesWithStrings compares the two matchers on messages that are hard
// for both.
func TestAutomatonAgreesWithStrings(t *testing.T) {
	for i, a := range lists(t) {
		of := a.Signatures()
		if len(of) == 0 {
			of = signaturetest.Few()
		}
		r := rand.New(rand.NewPCG(3, uint64(i)))
		matched := map[string]int{}
		n := labtest.Count(5_000, 1_000_000)
		if i == 0 {
			n *= 4
		}
		for range n {
			matched[agree(t, a, signaturetest.Mutant(r, of)).Signature]++
		}
		if i > 0 {
			continue
		}
		// Unless each signature matched sometimes, the test proves little.
		for _, s := range a.Signatures() {
			if matched[s.Name] == 0 {
				t.Errorf("no message matched %s: %v", s.Name, matched)
			}
		}
	}
}

// TestCutAnywhere cuts off the end or the beginning of messages at every byte, as TCP
// segments do.
func TestCutAnywhere(t *testing.T) {
	messages := [][]byte{[]byte(signaturetest.Svmap), []byte(signaturetest.Invite), []byte(request("User-Agent: Test\r\n  Agent ", "s: x\r\n"))}
	for _, m := range signaturetest.Torture() {
		messages = append(messages, m.Bytes)
	}
	for _, a := range []*signature.Automaton{compiled(t, signaturetest.Few()), compiled(t, signaturetest.Short(), "Provider", "SIPimp")} {
		for _, m := range messages {
			for i := 0; i < len(m); i += labtest.Count(3, 1) {
				agree(t, a, m[:i])
				agree(t, a, m[i:])
			}
		}
	}
}

func FuzzMatch(f *testing.F) {
	automata := lists(f)
	r := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		f.Add(signaturetest.Mutant(r, signaturetest.Short()))
	}
	for _, m := range signaturetest.Torture() {
		f.Add(m.Bytes)
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		for _, a := range automata {
			agree(t, a, message)
		}
	})
}

// TestTorture runs RFC 4475's messages against the shipped list. None of them is a
// scanner's. With a scanner's User-Agent put in, all requests are, however odd they
// look, and nothing else is.
func TestTorture(t *testing.T) {
	a := compiled(t, signaturetest.Shipped())
	none := map[string]bool{ // no requests
		"unreason": true, "noreason": true, "scalarlg": true, "bigcode": true, "bcast": true,
	}
	messages := signaturetest.Torture()
	if len(messages) != 49 {
		t.Errorf("%d messages, the RFC has 49", len(messages))
	}
	for _, m := range messages {
		if got := agree(t, a, m.Bytes); got != (signature.Result{Mark: signature.None}) {
			t.Errorf("%s: %v", m.Name, got)
		}
		first, rest, _ := strings.Cut(string(m.Bytes), "\r\n")
		got := agree(t, a, []byte(first+"\r\nuser-AGENT \t:\r\n  Friendly-Scanner\r\n"+rest))
		if want := !none[m.Name]; (got.Mark == signature.Scanner) != want {
			t.Errorf("%s with a scanner's User-Agent: %v", m.Name, got)
		}
	}
}

// TestBenignMessages looks for false matches in messages of ordinary devices, whose
// branches, tags and call identifiers are random.
func TestBenignMessages(t *testing.T) {
	a := compiled(t, signaturetest.Shipped())
	r := rand.New(rand.NewPCG(7, 8))
	labels := map[string]int{}
	n := labtest.Count(100_000, 2_000_000)
	for range n {
		m := signaturetest.Benign(r)
		got := a.Match(m)
		if got.Mark != signature.None {
			t.Fatalf("%v in\n%s", got, m)
		}
		labels[got.Signature]++
	}
	delete(labels, "")
	t.Logf("%d messages: none of class ban; of class label %v", n, labels)
}

// TestNoFalseMatch has messages that signatures of other projects match by mistake.
func TestNoFalseMatch(t *testing.T) {
	a := compiled(t, signaturetest.Shipped())
	for _, test := range []struct{ name, message string }{
		{"a subject", request("Subject: we block friendly-scanner", "User-Agent: Yealink SIP-T46S")},
		{"a display name", request(`From: "Gulpilil" <sip:gulpilil@example.com>;tag=1`)},
		{"a call identifier", request("Call-ID: 7hsmap9@192.0.2.1")},
		{"a branch", "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKsipvgulpsmapiWar\r\n\r\n"},
		{"a PBX with a short word in its name", request("User-Agent: 3CXPhoneSystem 18.0.6")},
		{"a body", request("Content-Type: message/sip", "Content-Length: 60") + "OPTIONS sip:100@1 SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n"},
		{"a body that begins a segment", "Content: x\r\nUser-Agent: friendly-scanner\r\n\r\n"},
		{"no User-Agent", "INVITE sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n\r\n"},
		{"keep-alive", "\r\n\r\n"},
		{"half a keep-alive", "\r\n"},
		{"a response", "SIP/2.0 401 Unauthorized\r\nUser-Agent: friendly-scanner\r\n\r\n"},
		{"a provider's call", signaturetest.Invite},
	} {
		if got := agree(t, a, []byte(test.message)); got != (signature.Result{Mark: signature.None}) {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// TestRealScanners has messages of the tools themselves.
func TestRealScanners(t *testing.T) {
	a := compiled(t, signaturetest.Shipped())
	for message, want := range map[string]signature.Result{
		signaturetest.Svmap:                   {Mark: signature.Scanner, Signature: "sipvicious-callee"},
		request("User-Agent: sipsak 0.9.8.1"): {Mark: signature.None, Signature: "sipsak"},
		"OPTIONS sip:nm SIP/2.0\r\nVia: SIP/2.0/TCP nm;branch=foo\r\nFrom: <sip:nm@nm>;tag=root\r\nTo: <sip:nm2@nm2>\r\nCall-ID: 50000\r\n\r\n": {
			Mark: signature.Scanner, Signature: "nmap-address",
		},
	} {
		if got := agree(t, a, []byte(message)); got != want {
			t.Errorf("%v, want %v, in\n%s", got, want, message)
		}
	}
}

func ExampleAutomaton_Match() {
	a, err := signature.Compile([]signature.Signature{
		{Name: "bad-dialer", Header: "User-Agent", Match: signature.Prefix, Value: "BadDialer", Class: signature.Ban},
	}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	r := a.Match([]byte("INVITE sip:100@192.0.2.1 SIP/2.0\r\nuser-agent: baddialer/2\r\n\r\n"))
	fmt.Println(r.Mark, r.Signature)
	// Output: scanner bad-dialer
}
