// Package output writes text, tables, log lines and JSON. What comes from name servers,
// packets, files and other programs may hold anything: nothing that this package writes
// lets it move the cursor of a terminal, begin a line of its own, or spoil a JSON object.
package output

import (
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A mark stands for what only this program may send to a terminal: a colour, or the return
// to the beginning of the line. It begins with a key that nobody can know beforehand, so
// that no text from outside has one.
// It is made without crypto/rand, which starts a timer: a program that may open no more
// files would end there.
var key = fmt.Sprintf("\x1b%016x", rand.Uint64())

const markEnd = 'm'

func mark(what string) string { return key + what + string(markEnd) }

// Colour is a colour of a terminal.
type Colour int

// The colours.
const (
	Red    Colour = 31
	Green  Colour = 32
	Yellow Colour = 33
)

// Paint marks a text as coloured. A Writer shows the colour or leaves it out.
func Paint(c Colour, text string) string {
	return mark(strconv.Itoa(int(c))) + text + mark("0")
}

const carriageReturn = "r"

// Return marks the return to the beginning of the line.
func Return() string { return mark(carriageReturn) }

// cutMark returns what a mark at the beginning of a text stands for, and the rest.
func cutMark(text string) (what, rest string, ok bool) {
	after, ok := strings.CutPrefix(text, key)
	if !ok {
		return "", text, false
	}
	what, rest, ok = strings.Cut(after, string(markEnd))
	return what, rest, ok
}

// Visible is a text without marks.
func Visible(text string) string {
	if !strings.Contains(text, key) {
		return text
	}
	var b strings.Builder
	for text != "" {
		if _, rest, ok := cutMark(text); ok {
			text = rest
			continue
		}
		next := strings.Index(text[1:], key) + 1
		if next == 0 {
			next = len(text)
		}
		b.WriteString(text[:next])
		text = text[next:]
	}
	return b.String()
}

// Escape makes a text that is one line, and harmless to a terminal: whatever is not
// printable is written as in a Go string. Marks stay.
func Escape(text string) string {
	if isPlain(text, "") {
		return text
	}
	return escape(text, "")
}

// isPlain reports whether a text has nothing but printable ASCII and the given bytes.
func isPlain(text, also string) bool { return plainUntil(text, also) == len(text) }

// plainUntil is how long the beginning of a text is that has nothing else.
func plainUntil(text, also string) int {
	for i := range len(text) {
		if b := text[i]; (b < ' ' || b > '~') && strings.IndexByte(also, b) < 0 {
			return i
		}
	}
	return len(text)
}

// escape escapes all but printable characters, marks and the given ones.
func escape(text, also string) string {
	var b strings.Builder
	b.Grow(len(text))
	for text != "" {
		if n := plainUntil(text, also); n > 0 {
			b.WriteString(text[:n])
			text = text[n:]
			continue
		}
		if what, rest, ok := cutMark(text); ok {
			b.WriteString(mark(what))
			text = rest
			continue
		}
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[0])
		case unicode.IsPrint(r) || strings.ContainsRune(also, r):
			b.WriteString(text[:size])
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		text = text[size:]
	}
	return b.String()
}

// Printf is fmt.Fprintf with escaped arguments: what they hold stays in its line and in
// its column. The format itself is not escaped.
func Printf(w io.Writer, format string, args ...any) {
	if false {
		fmt.Fprintf(w, format, args...) // by this vet knows that it has to check the format
	}
	safe := make([]any, len(args))
	for i, a := range args {
		safe[i] = a
		switch a.(type) {
		case string, error, fmt.Stringer:
			safe[i] = argument{a}
		default:
			if reflect.ValueOf(a).Kind() == reflect.String {
				safe[i] = argument{a}
			}
		}
	}
	fmt.Fprintf(w, format, safe...)
}

// argument is a text that is escaped as it is formatted. %q escapes by itself.
type argument struct{ value any }

// Format implements fmt.Formatter.
func (a argument) Format(f fmt.State, verb rune) {
	value := a.value
	if verb == 's' || verb == 'v' {
		value = Escape(fmt.Sprint(value))
	}
	fmt.Fprintf(f, fmt.FormatString(f, verb), value)
}

// Println writes a line of texts.
func Println(w io.Writer, texts ...string) {
	_, _ = io.WriteString(w, Escape(strings.Join(texts, " "))+"\n") // what fails is known to the writer
}
