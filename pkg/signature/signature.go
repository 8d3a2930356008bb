// Package signature recognises SIP scanners by what they write into the headers
// of their requests. It turns any number of signatures into one automaton that
// reads a message once, and says for a packet which signature it matches.
//
// What the automaton answers is defined twice: by the table that Compile makes,
// which the kernel walks too, and by Explain, which takes the message apart line
// by line and compares strings. Tests hold the two against each other.
//
// The package is pure. Which signatures there are, which of them are switched
// on, and what happens to a packet that matches, is decided elsewhere.
package signature

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Signature recognises a scanner by one header of a request.
type Signature struct {
	Name   string
	Header string // in any case; RequestLine for the line before the headers
	Match  Match
	// Value is compared without regard to the case of ASCII letters. Any white
	// space in it stands for any white space in the header (RFC 3261 section
	// 7.3.1), a line break that a space follows included.
	Value string
	Class Class
}

// RequestLine stands in place of a header for the request line (RFC 3261
// section 7.1).
const RequestLine = "request-line"

// Match is how a value is compared with a header's.
type Match string

// The ways to match. White space at both ends of the header's value is no part
// of it.
const (
	Contains Match = "contains"
	Prefix   Match = "prefix"
	Exact    Match = "exact"
)

// Class is what a match is worth.
type Class string

// The classes. Whoever matches a signature of class Ban is a scanner; one of
// class Label is only counted.
const (
	Ban   Class = "ban"
	Label Class = "label"
)

// Limits of what is looked at.
const (
	// MaxLength is how many bytes of a message are read, from its first text on. What
	// follows them is not there.
	MaxLength = 2048
	// MaxName is how many bytes a signature's name may have.
	MaxName = 64
)

// Mark is what the classifier writes on a packet.
type Mark uint8

// The marks, by the value that rules in the kernel compare with.
const (
	Scanner    Mark = 1 // it matches a signature of class Ban
	Allowed    Mark = 2 // its User-Agent is one of those required
	NotAllowed Mark = 3 // a User-Agent is required, and it shows none of those
	None       Mark = 4 // nothing is known against it
	Unread     Mark = 5 // there was no time to read it
)

func (m Mark) String() string {
	switch m {
	case Scanner:
		return "scanner"
	case Allowed:
		return "allowed User-Agent"
	case NotAllowed:
		return "no allowed User-Agent"
	case Unread:
		return "not read"
	}
	return "none"
}

// Result is what a packet was found to be.
type Result struct {
	Mark Mark
	// Signature is the name of the signature that matched, "" for none: of class
	// Ban the one whose match ends first in the message, else of class Label the
	// one whose match ends first; among those that end at the same byte, the one
	// that was given first.
	Signature string
}

var (
	token = regexp.MustCompile("^[A-Za-z0-9.!%*_+`'~-]+$") // RFC 3261 section 25.1
	space = regexp.MustCompile(`[ \t]+`)
)

// Check says what is wrong with a signature, if anything.
func (s Signature) Check() error {
	switch {
	case s.Name == "":
		return errors.New("a signature without a name")
	case len(s.Name) > MaxName:
		return fmt.Errorf("signature %q: a name has at most %d bytes", s.Name, MaxName)
	case !token.MatchString(s.Header):
		return fmt.Errorf("signature %q: %q is no header's name", s.Name, s.Header)
	case s.Match != Contains && s.Match != Prefix && s.Match != Exact:
		return fmt.Errorf("signature %q: match is %q, want contains, prefix or exact", s.Name, s.Match)
	case s.Class != Ban && s.Class != Label:
		return fmt.Errorf("signature %q: class is %q, want ban or label", s.Name, s.Class)
	}
	if err := checkValue(s.Value); err != nil {
		return fmt.Errorf("signature %q: %w", s.Name, err)
	}
	return nil
}

func checkValue(value string) error {
	switch {
	case value == "":
		return errors.New("an empty value would match everybody")
	case strings.Trim(value, " \t") != value:
		return fmt.Errorf("%q has white space at its ends, which no header's value has", value)
	}
	for i := range len(value) {
		if value[i] < ' ' && value[i] != '\t' || value[i] == 0x7f {
			return fmt.Errorf("%q has a control character at byte %d", value, i+1)
		}
	}
	return nil
}

// normal is a value as it is compared: in lower case, white space as one space.
func normal(value string) string { return lower(space.ReplaceAllString(value, " ")) }

func lower(s string) string {
	b := []byte(s)
	for i := range b {
		b[i] = fold(b[i])
	}
	return string(b)
}

// fold puts ASCII letters into lower case and leaves all other bytes alone, those
// of UTF-8 too.
func fold(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}

func isBlank(b byte) bool { return b == ' ' || b == '\t' }

// isSpace includes the carriage return.
func isSpace(b byte) bool { return isBlank(b) || b == '\r' }
