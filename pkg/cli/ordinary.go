package cli

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/signature"
)

// ordinary is a request as any honest phone sends it.
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

// leastContains is how many characters a signature should have that may stand
// anywhere in a header: an INVITE holds some 150 random letters, and fewer of them
// are a given text by chance.
const leastContains = 8

// leastPrefix is the same for a header's beginning.
const leastPrefix = 3

// hitsHonest says which of a policy's own signatures honest phones match as well.
func hitsHonest(p *policy.Policy) []string {
	var warnings []string
	for _, s := range p.Signatures.Deny {
		own := signature.Signature{Name: s.Name, Header: s.Header, Match: signature.Match(s.Match), Value: s.Value, Class: signature.Ban}
		automaton, err := signature.Compile([]signature.Signature{own}, nil)
		if err != nil {
			continue // whoever compiles all of them says so
		}
		if found := automaton.Explain([]byte(ordinary)).Findings; len(found) > 0 {
			text := strings.TrimSpace(ordinary[found[0].From:found[0].To])
			warnings = append(warnings, fmt.Sprintf("signatures.deny: %s matches what honest phones send (%s: %q): they are taken for scanners", s.Name, s.Header, text))
			continue
		}
		switch n := utf8.RuneCountInString(s.Value); {
		case s.Match == policy.Contains && n < leastContains:
			warnings = append(warnings, fmt.Sprintf("signatures.deny: %s looks for only %s anywhere in a header, and an honest phone may send those too: write prefix or exact, or at least %d",
				s.Name, count(n, "character"), leastContains))
		case s.Match == policy.Prefix && n < leastPrefix:
			warnings = append(warnings, fmt.Sprintf("signatures.deny: %s looks for only %s that a header begins with, and an honest phone may send those too: write exact, or at least %d",
				s.Name, count(n, "character"), leastPrefix))
		}
	}
	return warnings
}
