// Package signature recognises SIP scanners by the headers of their requests. It
// compiles a list of signatures into one automaton, which reads a message once and
// reports the signature that it matches.
//
// The result is computed in two ways: with the table that Compile makes, which the
// kernel uses too, and by Explain, which splits the message into lines and compares
// strings. Tests compare the two.
//
// The package is pure. Which signatures there are, which of them are switched on, and
// what happens to a packet that matches is decided elsewhere.
package signature

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// Signature recognises a scanner by one header of a request, or by several.
type Signature struct {
	Name   string
	Header string // in any case; RequestLine for the line before the headers
	Match  Match
	// Value is compared without regard to the case of ASCII letters. Any white space in
	// it matches any white space in the header (RFC 3261 section 7.3.1), also a line
	// break followed by a space.
	Value string
	Class Class
	// All are the conditions of a signature with more than one, which must all be
	// true of a request. Header, Match and Value are empty then.
	All []Condition
}

// Condition is what a signature wants of a header. The fields are as those of
// Signature.
type Condition struct {
	Header string
	Match  Match
	Value  string
}

// New returns a signature with one condition or several.
func New(name string, class Class, conditions ...Condition) Signature {
	if len(conditions) == 1 {
		c := conditions[0]
		return Signature{Name: name, Header: c.Header, Match: c.Match, Value: c.Value, Class: class}
	}
	return Signature{Name: name, Class: class, All: conditions}
}

// Conditions are what the signature wants: one condition, or those in All.
func (s Signature) Conditions() []Condition {
	if len(s.All) > 0 {
		return s.All
	}
	return []Condition{{s.Header, s.Match, s.Value}}
}

// RequestLine is the name to use for the request line instead of a header's name (RFC
// 3261 section 7.1).
const RequestLine = "request-line"

// Match is how a value is compared with a header's.
type Match string

// The ways to match. White space at the ends of the header's value is ignored.
const (
	Contains Match = "contains"
	Prefix   Match = "prefix"
	Exact    Match = "exact"
)

// Class is what a match means.
type Class string

// The classes. The sender of a message that matches a signature of class Ban is a
// scanner. Matches of class Label are only counted.
const (
	Ban   Class = "ban"
	Label Class = "label"
)

// Limits.
const (
	// MaxLength is how many bytes of a message are read, from its first text on. What
	// follows them is not there.
	MaxLength = 2048
	// MaxName is the largest length of a signature's name in bytes.
	MaxName = 64
)

// Mark is what the classifier writes into a packet's mark.
type Mark uint8

// The marks. The values are those that the rules in the kernel compare with.
const (
	Scanner    Mark = 1 // it matches a signature of class Ban
	Allowed    Mark = 2 // its User-Agent is one of those required
	NotAllowed Mark = 3 // a User-Agent is required, and it shows none of those
	None       Mark = 4 // nothing is known against it
	Unread     Mark = 5 // there was no time to read it
	// These take the place of Allowed and None where unknown sources may only register.
	Unregister Mark = 6 // a REGISTER that ends a registration
	Followed   Mark = 7 // a REGISTER that is not all that is in the packet
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
	case Unregister:
		return "end of a registration"
	case Followed:
		return "more than a REGISTER"
	}
	return "none"
}

// Result is the classification of a packet.
type Result struct {
	Mark Mark
	// Signature is the name of the signature that matched, "" for none. One of class
	// Ban takes precedence over one of class Label. Within a class it is the signature
	// whose match ends first in the message; of those that end at the same byte, the
	// one that was given first. A signature with several conditions matches at the end
	// of the message, after all others of its class; the first one given counts.
	Signature string
}

var (
	token = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile("^[A-Za-z0-9.!%*_+`'~-]+$") }) // RFC 3261 section 25.1
	space = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[ \t]+`) })
)

// Check returns what is wrong with a signature, or nil.
func (s Signature) Check() error {
	switch {
	case s.Name == "":
		return errors.New("a signature without a name")
	case len(s.Name) > MaxName:
		return fmt.Errorf("signature %q: a name has at most %d bytes", s.Name, MaxName)
	case s.Class != Ban && s.Class != Label:
		return fmt.Errorf("signature %q: class is %q, want ban or label", s.Name, s.Class)
	case len(s.All) > 0 && s.Header+string(s.Match)+s.Value != "":
		return fmt.Errorf("signature %q: it has a header of its own beside those of its conditions", s.Name)
	}
	for _, c := range s.Conditions() {
		if err := c.check(); err != nil {
			return fmt.Errorf("signature %q: %w", s.Name, err)
		}
	}
	return nil
}

func (c Condition) check() error {
	switch {
	case !token().MatchString(c.Header):
		return fmt.Errorf("%q is not the name of a header", c.Header)
	case c.Match != Contains && c.Match != Prefix && c.Match != Exact:
		return fmt.Errorf("match is %q, want contains, prefix or exact", c.Match)
	}
	return checkValue(c.Value)
}

func checkValue(value string) error {
	switch {
	case value == "":
		return errors.New("an empty value would match every message")
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

// normal returns a value in the form in which it is compared: in lower case, with one
// space for any white space.
func normal(value string) string { return lower(space().ReplaceAllString(value, " ")) }

func lower(s string) string {
	b := []byte(s)
	for i := range b {
		b[i] = fold(b[i])
	}
	return string(b)
}

// fold turns ASCII letters into lower case and leaves all other bytes alone, those of
// UTF-8 too.
func fold(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}

func isBlank(b byte) bool { return b == ' ' || b == '\t' }

// isSpace includes the carriage return.
func isSpace(b byte) bool { return isBlank(b) || b == '\r' }
