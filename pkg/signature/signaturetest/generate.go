// Package signaturetest makes messages and signatures for tests of matching.
package signaturetest

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/ringfence/ringfence/pkg/signature"
)

// Few returns signatures that overlap: one's value within another's, the same value in
// several headers, white space, 8-bit bytes, short values, several conditions that are
// also signatures of their own, or conditions of others.
func Few() []signature.Signature {
	ban, label := signature.Ban, signature.Label
	return []signature.Signature{
		one("scanner", "User-Agent", signature.Contains, "friendly-scanner", ban),
		one("smap", "user-agent", signature.Exact, "smap", ban),
		one("sip", "user-agent", signature.Exact, "sip", label),
		one("sipcli", "user-agent", signature.Prefix, "sipcli/", ban),
		one("sipsak", "user-agent", signature.Prefix, "sipsak", label),
		one("sipsaks", "user-agent", signature.Prefix, "sipsaks", ban),
		one("agent", "user-agent", signature.Exact, "Test Agent", ban),
		one("agents", "user-agent", signature.Contains, "st  agents", label),
		one("vicious", "from", signature.Contains, `"sipvicious"`, ban),
		one("hundred", "f", signature.Contains, "sip:100@1.1.1.1", ban),
		one("hundreds", "to", signature.Contains, "sip:100@1.1.1.1", label),
		one("quoted", "to", signature.Prefix, `"sipvicious"`, ban),
		one("contact", "contact", signature.Exact, "sip:123@1.1.1.1", ban),
		one("tag", "m", signature.Contains, ";tag=3206210844", label),
		one("performance", "subject", signature.Exact, "Performance Test", label),
		one("canary", signature.RequestLine, signature.Contains, "sip:thisisthecanary@", ban),
		one("probe", signature.RequestLine, signature.Exact, "OPTIONS sip:nm SIP/2.0", ban),
		one("options", signature.RequestLine, signature.Prefix, "OPTIONS sip:nm", label),
		one("eight", "user-agent", signature.Contains, "h\xc3\xa9ros\xff", label),
		several("dialer", ban, is("user-agent", signature.Exact, "VOIP"), is("v", signature.Contains, "branch=z9hG4bK-d87543-")),
		several("counted", label, is("User-Agent", signature.Exact, "voip"), is("subject", signature.Prefix, "Perf ormance")),
		several("prober", ban, is(signature.RequestLine, signature.Prefix, "OPTIONS sip:nm"), is("user-agent", signature.Prefix, "sipsak")),
		several("exactly", ban, is(signature.RequestLine, signature.Exact, "INVITE sip:nm SIP/2.0"), is("from", signature.Exact, "<sip:nm@nm>"), is("to", signature.Contains, "<sip:nm2@nm2>")),
		several("twice", label, is("contact", signature.Contains, ";tag=3206"), is("contact", signature.Prefix, "sip:nm")),
	}
}

func several(name string, class signature.Class, all ...signature.Condition) signature.Signature {
	return signature.Signature{Name: name, Class: class, All: all}
}

func is(header string, match signature.Match, value string) signature.Condition {
	return signature.Condition{Header: header, Match: match, Value: value}
}

func one(name, header string, match signature.Match, value string, class signature.Class) signature.Signature {
	return signature.Signature{Name: name, Header: header, Match: match, Value: value, Class: class}
}

// Short returns signatures some of which are too short for the sieve.
func Short() []signature.Signature {
	return append(Few(),
		one("short", "via", signature.Contains, "nm", signature.Label),
		one("bits", "call-id", signature.Exact, "50000", signature.Ban))
}

// Many returns n signatures that no real message matches, in a mixture like that of the
// shipped ones: seven of ten are about the User-Agent, and most of those about its
// beginning.
func Many(n int) []signature.Signature {
	r := rand.New(rand.NewPCG(1, 2))
	headers := []string{"user-agent", "user-agent", "user-agent", "user-agent", "user-agent", "user-agent", "user-agent", "from", "contact", "via"}
	var list []signature.Signature
	for i := range n {
		s := signature.Signature{
			Name:   fmt.Sprintf("signature-%d", i),
			Header: headers[i%len(headers)],
			Match:  []signature.Match{signature.Prefix, signature.Exact, signature.Prefix, signature.Exact, signature.Contains}[r.IntN(5)],
			Class:  []signature.Class{signature.Ban, signature.Ban, signature.Ban, signature.Label}[r.IntN(4)],
			Value:  word(r, 3+r.IntN(8)),
		}
		if s.Header != "user-agent" || s.Match == signature.Contains {
			s.Match, s.Value = signature.Contains, word(r, 8+r.IntN(8))
		}
		list = append(list, s)
	}
	return list
}

func word(r *rand.Rand, n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
	var b strings.Builder
	for range n {
		b.WriteByte(letters[r.IntN(len(letters))])
	}
	return b.String()
}

// Mutant makes a message of the texts that the signatures look for and of what makes
// them hard to find: folded lines, odd case, compact forms, white space, bare line
// feeds, 8-bit bytes, NUL, a missing end or beginning.
func Mutant(r *rand.Rand, list []signature.Signature) []byte {
	m := mutation{r, list}
	var b strings.Builder
	if r.IntN(12) == 0 {
		b.WriteString(m.pick("\r\n", "\r\n\r\n", "\n", strings.Repeat("\r\n", r.IntN(70)), strings.Repeat(" ", r.IntN(9)), "\r\n \t\r", "\x00", "\x00\r\n\x00 ", strings.Repeat("\r\n", r.IntN(2000)), "x\r\n"))
	}
	first, headers := m.conjunction()
	if first == "" {
		first = m.firstLine() + m.eol()
	}
	b.WriteString(first)
	for range r.IntN(9) {
		b.WriteString(m.header())
	}
	b.WriteString(headers)
	if r.IntN(2) == 0 {
		b.WriteString(m.pick("\r\n", "\n") + m.pick("v=0\r\n", "OPTIONS sip:nm SIP/2.0\r\n") + "User-Agent: " + m.value() + "\r\n\r\n")
	}
	message := []byte(b.String())
	switch r.IntN(6) {
	case 0:
		message = message[:r.IntN(len(message)+1)]
	case 1:
		message = message[r.IntN(len(message)+1):]
	case 2:
		if len(message) > 0 {
			message[r.IntN(len(message))] = byte(r.IntN(256))
		}
	}
	return message
}

// mutation writes parts of messages that may match the signatures of a list.
type mutation struct {
	r    *rand.Rand
	list []signature.Signature
}

func (m mutation) pick(of ...string) string { return of[m.r.IntN(len(of))] }

func (m mutation) eol() string {
	return m.pick("\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r\r\n", " \r\n", "\r", "\n\r")
}

func (m mutation) gap() string {
	return m.pick(" ", " ", " ", "", "  ", "\t", "\r\n ", "\n\t", " \r\n \t", " \r\n \r\n ", "\r", "\x00")
}

// twist changes the case of some letters, or one space.
func (m mutation) twist(s string) string {
	b := []byte(s)
	for i := range b {
		switch m.r.IntN(12) {
		case 0:
			b[i] ^= 0x20
		case 1:
			if b[i] == ' ' {
				return string(b[:i]) + m.gap() + string(b[i+1:])
			}
		}
	}
	return string(b)
}

// condition is one of any of the signatures.
func (m mutation) condition() signature.Condition {
	all := m.list[m.r.IntN(len(m.list))].Conditions()
	return all[m.r.IntN(len(all))]
}

// conjunction writes, now and then, what a signature with several conditions wants,
// sometimes without one of them.
func (m mutation) conjunction() (first, headers string) {
	s := m.list[m.r.IntN(len(m.list))]
	if len(s.All) == 0 {
		return "", ""
	}
	left := m.r.IntN(3 * len(s.All))
	for _, i := range m.r.Perm(len(s.All)) {
		switch c := s.All[i]; {
		case i == left:
		case c.Header != signature.RequestLine:
			before := ""
			if c.Match == signature.Contains {
				before = m.pick("", "x", " ")
			}
			headers += m.twist(c.Header) + ":" + m.gap() + before + m.twist(c.Value) + m.eol()
		case strings.HasSuffix(c.Value, " SIP/2.0"):
			first = m.twist(c.Value) + m.eol()
		default:
			first = m.twist(c.Value) + m.pick("", "x") + " SIP/2.0" + m.eol()
		}
		if m.r.IntN(4) == 0 {
			headers += m.header()
		}
	}
	return first, headers
}

func (m mutation) value() string {
	s := m.condition()
	v := s.Value
	switch m.r.IntN(8) {
	case 0:
		v = v[:m.r.IntN(len(v)+1)]
	case 1:
		v = v[m.r.IntN(len(v)):]
	case 2:
		v += m.pick("x", " x", ";lr", "\xff", m.gap())
	case 3:
		v = m.pick("x", `"`, "<", m.gap(), word(m.r, m.r.IntN(9))) + v
	case 4:
		v = word(m.r, m.r.IntN(40))
	case 5:
		v += m.gap() + m.condition().Value
	case 6:
		// Another header's name inside the value, where the sieve may find it.
		v = word(m.r, m.r.IntN(9)) + m.pick(" ", "", "\t") + s.Header + ": " + v
	}
	if m.r.IntN(2) == 0 {
		v = m.twist(v)
	}
	return v
}

func (m mutation) firstLine() string {
	switch m.r.IntN(12) {
	case 0:
		return "SIP/2.0 200 OK" + m.pick("", " SIP/2.0")
	case 1:
		return word(m.r, m.r.IntN(20))
	case 2, 3:
		return m.value()
	case 4:
		return "A b SIP/2.0" + strings.Repeat(m.pick(" ", "\t", "\r"), m.r.IntN(70))
	}
	return m.pick("OPTIONS ", "INVITE ", "register ") + m.pick("sip:100@192.0.2.1", "sip:nm", "sip:"+m.value(), "tel:+1", "") +
		m.pick(" SIP/2.0", " SIP/2.0", " SIP/2.0", " sip/2.0", "\tSIP/2.0 ", "SIP/2.0", " SIP/3.0", " SIP/2.00", " SIP/2.0\x00", " SIP / 2.0", "\r\n SIP/2.0", " SIP/2.0 x", " SIP/2.0/UDP x", " SIP/2.0/UDP",
			" SIP / SIP/2.0", " SIP/ 2/2 \t", "\r SIP\r\n\t/\r 2", " SIP/x", " SI SIP/9/ ")
}

// header writes one header, sometimes after the end of the headers or after a very long
// one.
func (m mutation) header() string {
	var b strings.Builder
	if m.r.IntN(40) == 0 {
		b.WriteString(m.pick("\r\n", "\n", "\r", "\r\r\n", " \r\n", "\x00\n"))
	}
	if m.r.IntN(60) == 0 {
		b.WriteString("Max-Forwards: " + strings.Repeat("7", 1900) + m.eol())
	}
	if m.r.IntN(60) == 0 {
		// Longer than anything real.
		b.WriteString(m.pick("From: ", "To: ", "Max-Forwards: ", "User-Agent: ") + strings.Repeat(m.value()+m.pick(" ", "\r\n ", ","), m.r.IntN(60)) + m.eol())
	}
	name := m.pick("User-Agent", "From", "f", "To", "t", "Via", "v", "Contact", "m", "Subject", "s", "Call-ID", "i", "Max-Forwards", "x", "User-Agen", "User-Agents", "")
	b.WriteString(m.twist(name) + m.pick("", "", "", " ", "\t ", "\r", "\n ", "\r\n\t \r\n ", " \r ") + m.pick(":", ":", ":", ":", ":", "") + m.gap() + m.value() + m.eol())
	return b.String()
}
