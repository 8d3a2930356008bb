package signature

import "strings"

// registerMethod is what a REGISTER begins with, to the letter.
const registerMethod = "REGISTER "

// OfRegister is what the classifier says of a packet with a payload, of which it would say
// the mark elsewhere, where unknown sources may only register. What is behind the headers
// of a REGISTER may be another request, so they have to be the end of it: servers find
// one there, whatever the headers say. Lines end with a line feed, perhaps behind a
// carriage return; some servers take a carriage return alone for the end of one. Of a packet
// that is there only partly, the rest may be anything.
func OfRegister(payload []byte, partly bool, m Mark) Mark {
	text := string(textOf(payload))
	if m != Allowed && m != None || !strings.HasPrefix(text, registerMethod) {
		return m
	}
	if partly || len(text) != len(payload) || !isRequest([]byte(text)) {
		return Followed
	}
	line, rest := cutLine(text)
	if strings.Contains(line, "\r") {
		return Followed
	}
	ends, each := false, contacts{}
	for line != "" {
		// Where there is no line any more, the headers do not end.
		if line, rest = cutLine(rest); strings.ContainsAny(line, "\r\x00") {
			return Followed
		}
		ends = ends || endsRegistration(line)
		each.read(line)
	}
	switch {
	case rest != "":
		return Followed
	case ends, each.end && !each.stay:
		return Unregister
	}
	return m
}

// OfRegisterByTCP says the same of a segment of TCP. Servers repeat parts of a REGISTER when they
// refuse it. A client that reads the refusal in parts can have one begin with any of them; and
// of segments that overlap they read the end of the second alone. So no header may hold what an
// acceptance begins with, a version of SIP, which in Via another slash follows, or be what
// servers take for a request line, and the request line may be no two.
func OfRegisterByTCP(payload []byte, partly bool, m Mark) Mark {
	of := OfRegister(payload, partly, m)
	if of != Unregister && (of != m || m != Allowed && m != None) || !strings.HasPrefix(string(payload), registerMethod) {
		return of
	}
	end := strings.IndexAny(string(payload), "\r\n")
	line, rest := string(payload[:end]), string(payload[end+1:])
	if behind := strings.IndexAny(line[len(registerMethod):], " \t"); behind < 0 || behind >= mostURI || len(line) != len(registerMethod)+behind+len(" SIP/2.0") {
		return Followed
	}
	if holdsVersion(rest) {
		return Followed
	}
	return of
}

// mostURI is how long the URI of a REGISTER may be.
const mostURI = 255

// holdsVersion reports whether headers hold a version of SIP that ends a line or that no slash
// follows.
func holdsVersion(headers string) bool {
	state := uint8(0)
	for i := range len(headers) {
		class := Versions.Classes[headers[i]]
		if state = Versions.Next[state][class]; state == VersionMissing {
			state = Versions.Next[0][class] // another line begins
		}
		if state == VersionFound {
			return true
		}
	}
	const version = "sip/2.0"
	for found, rest := true, lower(headers); found; {
		if _, rest, found = strings.Cut(rest, version); found && !strings.HasPrefix(rest, "/") {
			return true
		}
	}
	return false
}

// cutLine cuts a text behind its first line, which is returned without its end.
func cutLine(text string) (line, rest string) {
	line, rest, found := strings.Cut(text, "\n")
	if !found {
		return line + "\r", "" // as if it ended in the middle
	}
	return strings.TrimSuffix(line, "\r"), rest
}

// mostBlanks is how many blanks may be before a value.
const mostBlanks = 8

// endsRegistration reports whether a header ends a registration (RFC 3261 section 10.2.2).
func endsRegistration(line string) bool {
	for name, value := range map[string]string{"expires:": "0", "contact:": "*", "m:": "*"} {
		if !hasName(line, name) {
			continue
		}
		found := line[len(name):]
		trimmed := strings.TrimLeft(found, " \t")
		return trimmed == value && len(found)-len(trimmed) <= mostBlanks
	}
	return false
}

// contacts are those of a REGISTER, each of which may end by itself: the registration has
// ended if all do.
type contacts struct {
	end, stay  bool // some do
	open, ends bool // a contact is being read, and it ends
	quoted     bool // inside a quoted text
}

// read reads the next line of the headers; the empty one behind them is the last.
func (c *contacts) read(line string) {
	if line == "" || !isBlank(line[0]) {
		c.close()
		c.open, c.quoted = hasName(line, "contact:") || hasName(line, "m:"), false
	}
	for i := 0; c.open && i < len(line); i++ {
		switch b := line[i]; {
		case b == '"' && (i == 0 || line[i-1] != '\\'):
			c.quoted = !c.quoted
		case c.quoted:
		case b == ',':
			c.close()
		case b == '>':
			c.ends = false // what was before belongs to the URI
		case b == ';' || isBlank(b):
			c.ends = c.ends || isZeroExpiry(line[i+1:])
		}
	}
}

// close is where a contact ends and perhaps another one begins.
func (c *contacts) close() {
	c.end = c.end || c.open && c.ends
	c.stay = c.stay || c.open && !c.ends
	c.ends = false
}

// isZeroExpiry reports whether a text begins with the parameter by which a contact ends.
func isZeroExpiry(text string) bool {
	const parameter = "expires="
	if !hasName(text, parameter) || !strings.HasPrefix(text[len(parameter):], "0") {
		return false
	}
	behind := text[len(parameter)+1:]
	return behind == "" || strings.IndexByte(";, \t", behind[0]) >= 0
}

func hasName(text, name string) bool {
	return len(text) >= len(name) && lower(text[:len(name)]) == name
}
