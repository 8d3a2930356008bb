package signature

import (
	"strings"
	"unicode/utf8"
)

// ordinary is a request as any phone sends it.
const ordinary = "INVITE sip:100@pbx.example.com;transport=udp SIP/2.0\r\n" +
	"Via: SIP/2.0/UDP 192.0.2.9:5060;rport;branch=z9hG4bK776asdhds\r\n" +
	"Via: SIP/2.0/TCP 192.0.2.9:5060;branch=z9hG4bK776asdhds\r\n" +
	"Via: SIP/2.0/TLS 192.0.2.9:5061;branch=z9hG4bK776asdhds\r\n" +
	"Max-Forwards: 70\r\n" +
	"From: \"100\" <sip:100@pbx.example.com>;tag=1928301774\r\n" +
	"To: <sip:100@pbx.example.com>\r\n" +
	"Call-ID: a84b4c76e66710@192.0.2.9\r\n" +
	"CSeq: 314159 INVITE\r\n" +
	"Contact: <sip:100@192.0.2.9:5060;transport=udp;ob>;expires=3600\r\n" +
	"Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, SUBSCRIBE, NOTIFY, INFO, PUBLISH, PRACK, UPDATE, MESSAGE\r\n" +
	"Supported: replaces, timer, 100rel, path, outbound\r\n" +
	"Expires: 3600\r\n" +
	"Event: presence\r\n" +
	"Accept: application/sdp\r\n" +
	"Content-Type: application/sdp\r\n" +
	"Content-Length: 0\r\n\r\n"

// Lint is what Check finds in a signature that phones may match as well.
type Lint struct {
	// Text is the part of an ordinary request that the signature matches, "" if it
	// matches none.
	Text string
	// Length is how many characters the signature has and Least how many one that
	// is compared in this way should have, both 0 if Length is enough.
	Length, Least int
}

// leastContains is how many characters a signature should have that may be
// anywhere in a header: an INVITE holds some 150 random letters, and fewer of them
// are a given text by chance.
const leastContains = 8

// leastPrefix is the same for a header's beginning.
const leastPrefix = 3

// Check says what in a signature makes ordinary phones match it; false if it finds
// nothing. One that does not compile is not looked at: Compile says why.
func Check(s Signature) (Lint, bool) {
	automaton, err := Compile([]Signature{s}, nil)
	if err != nil {
		return Lint{}, false
	}
	if found := automaton.Explain([]byte(ordinary)).Findings; len(found) > 0 {
		return Lint{Text: strings.TrimSpace(ordinary[found[0].From:found[0].To])}, true
	}
	n := utf8.RuneCountInString(s.Value)
	switch {
	case s.Match == Contains && n < leastContains:
		return Lint{Length: n, Least: leastContains}, true
	case s.Match == Prefix && n < leastPrefix:
		return Lint{Length: n, Least: leastPrefix}, true
	}
	return Lint{}, false
}
