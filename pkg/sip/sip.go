// Package sip reads the head of a SIP request that anybody may have sent: what people are
// shown of it. It never fails, and nothing that it returns needs to be made harmless
// again, except for control characters, which pkg/output escapes.
//
// It decides nothing. What is a request to a fence, and what a signature matches, is
// decided by pkg/signature, which reads as generously as the worst server does.
package sip

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/emiago/sipgo/sip"
)

// Head is what is known of a request. What it lacks, or what cannot be read, is "".
type Head struct {
	Method    string
	UserAgent string
	// Called is the user part of the request's URI, or else of To: whom it is about.
	Called string
}

const (
	// MaxText is how many bytes of a text are kept.
	MaxText = 256
	// most is how much of a message is looked at, and mostLines how many lines.
	most      = 4096
	mostLines = 100
)

// Read reads the head of a request, of which the end may be missing. For what is no
// request it is empty.
func Read(message []byte) (h Head) {
	defer func() {
		if recover() != nil { // the library has been fuzzed, but the senders are many
			h = Head{}
		}
	}()
	line, headers := split(message)
	words := strings.Fields(line)
	if len(words) < 3 || !isVersion(words[len(words)-1]) || !isToken(words[0]) || isVersion(words[0]) {
		return Head{}
	}
	h.Method = Clean(words[0])
	parser := sip.NewParser(sip.WithHeadersParsers(nil)) // each header as it is
	text := strings.Join(words[1:len(words)-1], "%20")
	parsed, _, _ := parser.ParseHeaders([]byte(words[0]+" "+text+" SIP/2.0\r\n"+headers+"\r\n"), false)
	request, ok := parsed.(*sip.Request)
	if !ok { // its URI is none
		parsed, _, _ = parser.ParseHeaders([]byte(words[0]+" sip:unknown.invalid SIP/2.0\r\n"+headers+"\r\n"), false)
		if request, ok = parsed.(*sip.Request); !ok {
			return h
		}
	}
	if agent := request.GetHeader("User-Agent"); agent != nil {
		h.UserAgent = Clean(agent.Value())
	}
	h.Called = Clean(called(request))
	return h
}

// called is the user of the request's URI, or of To.
func called(r *sip.Request) string {
	if user := userOf(r.Recipient); user != "" {
		return user
	}
	for _, name := range []string{"To", "t"} {
		to := r.GetHeader(name)
		if to == nil {
			continue
		}
		var uri sip.Uri
		if _, err := sip.ParseAddressValue(to.Value(), &uri, nil); err == nil {
			return userOf(uri)
		}
	}
	return ""
}

// userOf is the user of a URI, or the number of one with the scheme tel.
func userOf(uri sip.Uri) string {
	if strings.EqualFold(uri.Scheme, "tel") {
		number, _, _ := strings.Cut(uri.Raw(), ";")
		return number
	}
	return uri.User
}

// isVersion reports whether a word is a version of SIP, or what servers take for one.
func isVersion(word string) bool {
	return len(word) >= 5 && strings.EqualFold(word[:5], "SIP/2")
}

func isToken(word string) bool {
	for _, c := range []byte(word) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return len(word) <= 32
}

// split returns the request line, and the headers in the form that the library reads:
// each in one line, which ends in CRLF. Lines that are no header are left out.
func split(message []byte) (line, headers string) {
	message = bytes.TrimLeft(message[:min(len(message), most)], "\x00 \t\r\n")
	text := strings.ReplaceAll(strings.ReplaceAll(string(message), "\r\n", "\n"), "\r", "\n")
	lines := strings.SplitN(text, "\n", mostLines)
	var b strings.Builder
	open := false
	for _, l := range lines[1:] {
		if l == "" {
			break // what follows is the body
		}
		folded := l[0] == ' ' || l[0] == '\t'
		switch name, _, ok := strings.Cut(l, ":"); {
		case folded && open:
			b.WriteString(" " + strings.TrimSpace(l))
		case !folded && ok && isToken(strings.TrimSpace(name)):
			if open {
				b.WriteString("\r\n")
			}
			b.WriteString(strings.TrimSpace(l))
			open = true
		}
	}
	if open {
		b.WriteString("\r\n")
	}
	return lines[0], b.String()
}

// Clean makes a text of others one that can be kept: at most MaxText bytes of valid UTF-8.
func Clean(text string) string {
	if len(text) > MaxText {
		end := MaxText
		for end > MaxText-utf8.UTFMax && !utf8.RuneStart(text[end]) {
			end--
		}
		text = text[:end]
	}
	if text = strings.ToValidUTF8(text, "\uFFFD"); len(text) > MaxText {
		return Clean(text)
	}
	return strings.Clone(text) // it may be a part of a packet
}
