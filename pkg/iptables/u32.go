package iptables

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// What is behind the beginning of the transport header is compared by xt_u32, in words of
// four bytes. A word that is not there whole does not match, so none may reach behind what
// is asked for.
//
// With IPv4 the transport header begins where the length in the first byte says. With
// IPv6 it is only found where no other header is before it: what has one does not match,
// and neither does a fragment. Fragments of TCP with IPv4 do not match either: what one
// of them holds says nothing of the whole segment.
const (
	u32Match  = "-m u32 --u32 "
	u32And    = "&&"
	header4   = "0x0>>0x16&0x3c@"
	header6   = 40
	wholeTCP4 = "0x4&0x3fff=0x0"

	fragmentMatch = u32Match + `"0x4&0x3fff=0x1:0x3fff"`

	nextIsTCP6  = "0x3&0xff=0x6"
	nextIsUDP6  = "0x3&0xff=0x11"
	anyWord     = "0x0:0xffffffff"
	wordsOfTCP  = 12 // where TCP's header has its length
	lengthShift = ">>0x1c"
	wordBytes   = 4
)

// at is a word at a place behind the beginning of the transport header.
func (e encoder) at(offset int) string {
	if e.v6 {
		return fmt.Sprintf("0x%x", header6+offset)
	}
	return fmt.Sprintf(header4+"0x%x", offset)
}

// bytes adds a statement about bytes of the packet. Those behind each other are one match.
func (e encoder) bytes(p *parts, s ruleset.Statement) {
	guard := ""
	if e.v6 {
		guard = nextIsUDP6 + u32And
	}
	var tests []string
	switch s := s.(type) {
	case ruleset.TCPHeader:
		p.only(ruleset.TCP)
		if guard = wholeTCP4 + u32And; e.v6 {
			guard = nextIsTCP6 + u32And
		}
		tests = []string{e.at(wordsOfTCP) + lengthShift + fmt.Sprintf("=0x%x", s.Words)}
	case ruleset.Text:
		tests = e.text(s)
	case ruleset.Reaches:
		tests = []string{e.at(s.Offset-wordBytes+1) + "=" + anyWord}
	}
	text := strings.Join(tests, u32And) + `"`
	if n := len(p.matches); n > 0 && strings.HasPrefix(p.matches[n-1], u32Match) {
		p.matches[n-1] = strings.TrimSuffix(p.matches[n-1], `"`) + u32And + text
		return
	}
	p.match(u32Match + `"` + guard + text)
}

// text compares the words of a text. The last one may hold bytes of the one before.
func (e encoder) text(s ruleset.Text) []string {
	if n := len(s.Text); n < wordBytes {
		return []string{fmt.Sprintf("%s&0x%x=0x%x", e.at(s.Offset+n-wordBytes), uint64(1)<<(8*n)-1, number32(s.Text))}
	}
	var tests []string
	for at := 0; at < len(s.Text); at += wordBytes {
		from := min(at, len(s.Text)-wordBytes)
		tests = append(tests, fmt.Sprintf("%s=0x%x", e.at(s.Offset+from), number32(s.Text[from:from+wordBytes])))
	}
	return tests
}

// number32 is a word, or a part of one, as a number.
func number32(text string) (n uint32) {
	for _, b := range []byte(text) {
		n = n<<8 | uint32(b)
	}
	return n
}

// u32 reads a match of bytes.
func (d decoder) u32(word string) (list []ruleset.Statement, ok bool) {
	inside, begins := strings.CutPrefix(word, `"`)
	inside, ends := strings.CutSuffix(inside, `"`)
	if !begins || !ends {
		return nil, false
	}
	for i, test := range strings.Split(inside, u32And) {
		if i == 0 && (test == wholeTCP4 || test == nextIsTCP6 || test == nextIsUDP6) {
			continue
		}
		if list, ok = d.test(list, test); !ok {
			return nil, false
		}
	}
	return list, len(list) > 0
}

// test reads one comparison, and adds to the statements before it.
func (d decoder) test(list []ruleset.Statement, test string) ([]ruleset.Statement, bool) {
	place, value, ok := strings.Cut(test, "=")
	if !ok {
		return nil, false
	}
	if !d.v6 {
		if place, ok = strings.CutPrefix(place, header4); !ok {
			return nil, false
		}
	}
	place, mask, masked := strings.Cut(place, "&")
	place, shifted := strings.CutSuffix(place, lengthShift)
	at, err := strconv.ParseUint(place, 0, 16)
	offset := int(at)
	if d.v6 {
		offset -= header6
	}
	if err != nil || shifted && masked {
		return nil, false
	}
	if value == anyWord {
		return append(list, ruleset.Reaches{Offset: offset + wordBytes - 1}), !shifted && !masked
	}
	n, err := strconv.ParseUint(value, 0, 32)
	switch {
	case err != nil:
		return nil, false
	case shifted:
		return append(list, ruleset.TCPHeader{Words: int(n)}), offset == wordsOfTCP
	case masked:
		length := map[string]int{"0xff": 1, "0xffff": 2, "0xffffff": 3}[mask]
		return append(list, ruleset.Text{Offset: offset + wordBytes - length, Text: textOf(n, length)}), length > 0
	}
	return withWord(list, offset, textOf(n, wordBytes)), true
}

// withWord adds a word to the text before it, if it continues that one.
func withWord(list []ruleset.Statement, offset int, word string) []ruleset.Statement {
	if n := len(list); n > 0 {
		s, ok := list[n-1].(ruleset.Text)
		if had := s.Offset + len(s.Text) - offset; ok && had >= 0 && had < wordBytes && len(s.Text)%wordBytes == 0 {
			s.Text += word[had:]
			return append(list[:n-1:n-1], s)
		}
	}
	return append(list, ruleset.Text{Offset: offset, Text: word})
}

// textOf is the text of so many bytes that a number stands for.
func textOf(n uint64, length int) string {
	b := make([]byte, length)
	for i := range b {
		b[length-1-i] = byte(n >> (8 * i))
	}
	return string(b)
}
