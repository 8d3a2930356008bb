package signature

import "strings"

// registerMethod is what a REGISTER begins with, to the letter.
const registerMethod = "REGISTER "

// OfRegister is what the classifier says of a packet with a payload, of which it would say
// the mark elsewhere, where unknown sources may only register. What is behind the headers
// of a REGISTER may be another request, so they have to be the end of it: servers find
// one there, whatever the headers say. Lines end with a line feed, perhaps behind a
// carriage return; some servers take a carriage return alone for the end of one.
func OfRegister(payload []byte, m Mark) Mark {
	text := string(textOf(payload))
	if m != Allowed && m != None || !strings.HasPrefix(text, registerMethod) {
		return m
	}
	if len(text) != len(payload) || !isRequest([]byte(text)) {
		return Followed
	}
	line, rest := cutLine(text)
	if strings.Contains(line, "\r") {
		return Followed
	}
	ends := false
	for line != "" {
		// Where there is no line any more, the headers do not end.
		if line, rest = cutLine(rest); strings.ContainsAny(line, "\r\x00") {
			return Followed
		}
		ends = ends || endsRegistration(line)
	}
	switch {
	case rest != "":
		return Followed
	case ends:
		return Unregister
	}
	return m
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
		if len(line) < len(name) || lower(line[:len(name)]) != name {
			continue
		}
		found := line[len(name):]
		trimmed := strings.TrimLeft(found, " \t")
		return trimmed == value && len(found)-len(trimmed) <= mostBlanks
	}
	return false
}
