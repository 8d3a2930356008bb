package signature

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

// known reports whether the sieve finds a text at each alignment, with other bytes
// around it.
func (s *Sieve) known(text string) error {
	for before := range group {
		message := []byte(strings.Repeat("\x01", before) + text + "\x01\x01\x01\x01")
		found := false
		for at := 0; at+group <= len(message); at += group {
			g := binary.LittleEndian.Uint32(message[at:]) | 0x20202020
			if slot := g * s.Multiplier >> s.Shift; s.Groups[slot] == g {
				found = true
				if names := int(s.Names[slot]); names > 0 && at != before+names-1 {
					return fmt.Errorf("%q is found at %d, not as byte %d of a name", text, at-before, names-1)
				}
			}
		}
		if !found {
			return fmt.Errorf("%q is not found behind %d bytes", text, before)
		}
	}
	return nil
}

// partsOf are the parts of valid signatures.
func partsOf(list ...Signature) []part {
	parts, _, err := divide(list)
	if err != nil {
		panic(err)
	}
	return parts
}

func contains(header, value string) Signature {
	return Signature{Name: value, Header: header, Match: Contains, Value: value, Class: Ban}
}

func TestSieveKnowsTexts(t *testing.T) {
	s, sieved := newSieve(partsOf(
		contains("from", `"sipvicious"`), contains("via", "seven77"), contains("user-agent", "friendly scanners"),
		contains("x", "a b c longest1 d"),
	), []string{"Yealink"})
	if s.EveryHeader || s.RequestLine {
		t.Fatalf("%+v", s)
	}
	for _, text := range []string{`"sipvicious"`, "seven77", "friendly", "FRIENDLY", "longest1", "\nuser-agent", "\nUser-Agent"} {
		if err := s.known(text); err != nil {
			t.Error(err)
		}
	}
	if !sieved("from") || !sieved("user-agent") {
		t.Error("a header's values are not all known by their text")
	}
}

func TestWhatTheSieveCannotTell(t *testing.T) {
	prefix := func(header, value string) Signature { s := contains(header, value); s.Match = Prefix; return s }
	for _, test := range []struct {
		signature                         Signature
		everyHeader, requestLine, unknown bool
	}{
		// Too short, but its header's name is not.
		{contains("user-agent", "short6"), false, false, true},
		{prefix("user-agent", "x"), false, false, false},
		{contains("server", "x"), false, false, true},
		// Too short, and the header has a compact form or a short name.
		{contains("from", "short6"), true, true, false},
		{prefix("call-id", "x"), true, true, false},
		{contains("x-abc", "x"), true, true, false},
		{contains("from", "short6 short6"), true, true, false},
		// The request line has no name.
		{contains(RequestLine, "seven77"), false, false, false},
		{contains(RequestLine, "short6"), false, true, true},
		{prefix(RequestLine, "OPTIONS sip:nm"), false, true, false},
	} {
		s, sieved := newSieve(partsOf(test.signature), nil)
		if s.EveryHeader != test.everyHeader || s.RequestLine != test.requestLine || !test.everyHeader && sieved(header(test.signature.Header)) == test.unknown {
			t.Errorf("%+v: every header %v, request line %v, known %v", test.signature, s.EveryHeader, s.RequestLine, sieved(header(test.signature.Header)))
		}
	}
}

// TestSharedGroup: if a group may be part of a header's name or of a value, the whole
// header is read.
func TestSharedGroup(t *testing.T) {
	s, _ := newSieve(partsOf(contains("from", "user-agent"), Signature{Name: "x", Header: "user-agent", Match: Exact, Value: "x", Class: Ban}), nil)
	if err := s.known("user-agent"); err != nil {
		t.Error(err)
	}
	if err := s.known("\nuser-agent"); err != nil {
		t.Error(err)
	}
}

// TestFullSieve: if there is no room in the sieve, every header is read.
func TestFullSieve(t *testing.T) {
	var list []Signature
	for i := range 5_000 {
		list = append(list, contains("from", fmt.Sprintf("%08x%08x", uint32(i)*2654435761, uint32(i)*2246822519)))
	}
	s, sieved := newSieve(partsOf(list...), nil)
	if !s.EveryHeader || s.Groups != nil || sieved("from") {
		t.Errorf("5,000 texts fit into %d slots", len(s.Groups))
	}
	s, _ = newSieve(partsOf(list[:400]...), nil)
	if s.EveryHeader {
		t.Error("400 texts do not fit")
	}
	for _, signature := range list[:400] {
		if err := s.known(signature.Value); err != nil {
			t.Error(err)
		}
	}
}
