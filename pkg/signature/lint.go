package signature

import (
	"strings"
	"unicode/utf8"
)

// ordinary is a request as any phone might send it.
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

// Lint is what Check finds in a signature that ordinary phones may match.
type Lint struct {
	// Of is the condition that this is about. Of several, all are as bad.
	Of Condition
	// Text is the part of an ordinary request that the signature matches, "" if it
	// matches none.
	Text string
	// Length is the number of characters of the signature, and Least the number that a
	// signature with its way of matching should have. Both are 0 if it is long enough.
	Length, Least int
}

// leastContains is the least number of characters for a signature that may match
// anywhere in a header: an INVITE has some 150 random letters, and a shorter text may
// be among them by chance.
const leastContains = 8

// leastPrefix is the same for the beginning of a header.
const leastPrefix = 3

// Check reports what makes ordinary phones match a signature, and false if it finds
// nothing. It accepts signatures that do not compile: Compile reports those.
func Check(s Signature) (Lint, bool) {
	automaton, err := Compile([]Signature{s}, nil)
	if err != nil {
		return Lint{}, false
	}
	if found := automaton.Explain([]byte(ordinary)).Findings; len(found) > 0 {
		return Lint{Of: s.Conditions()[0], Text: strings.TrimSpace(ordinary[found[0].From:found[0].To])}, true
	}
	var lint Lint
	for _, c := range s.Conditions() {
		n := utf8.RuneCountInString(c.Value)
		switch {
		case c.Match == Contains && n < leastContains:
			lint = Lint{Of: c, Length: n, Least: leastContains}
		case c.Match == Prefix && n < leastPrefix:
			lint = Lint{Of: c, Length: n, Least: leastPrefix}
		default:
			return Lint{}, false // one that is long enough is enough
		}
	}
	return lint, true
}
