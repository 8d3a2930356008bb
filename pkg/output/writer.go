package output

import (
	"bytes"
	"io"
	"os"
	"unicode/utf8"

	"github.com/mattn/go-isatty"
)

// Writer passes text on, with everything escaped that could do harm to a terminal, except
// for line feeds and tabs.
type Writer struct {
	// Wrote says that something was written.
	Wrote bool
	// Width is how many columns there are, 0 for any number.
	Width int
	to    io.Writer
	// Terminal says that people read along. Plain leaves out the colours all the same.
	Terminal, Plain bool
	// rest is the beginning of a character or of a mark that is not complete.
	rest []byte
}

// NewWriter makes a writer to where stream leads: to itself, or by another writer. If that
// is a terminal, it has a width, and marks are shown.
func NewWriter(to, stream io.Writer) *Writer {
	w := &Writer{to: to}
	if f, ok := stream.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		w.Terminal, w.Width, w.Plain = true, width(f), os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb"
	}
	return w
}

// Write writes text. An incomplete character at its end is kept for the next call.
func (w *Writer) Write(text []byte) (int, error) {
	all := append(w.rest, text...)
	whole := len(all) - incomplete(all)
	w.rest = bytes.Clone(all[whole:])
	if err := w.send(string(all[:whole])); err != nil {
		return 0, err
	}
	return len(text), nil
}

// Flush writes what was kept, as it is no beginning of anything.
func (w *Writer) Flush() error {
	rest := string(w.rest)
	w.rest = nil
	return w.send(rest)
}

func (w *Writer) send(text string) error {
	if text == "" {
		return nil
	}
	w.Wrote = true
	const also = "\n\t"
	if !isPlain(text, also) {
		text = w.shown(escape(text, also))
	}
	_, err := io.WriteString(w.to, text)
	return err
}

// shown replaces the marks.
func (w *Writer) shown(text string) string {
	if !w.Terminal {
		return Visible(text)
	}
	var b bytes.Buffer
	for text != "" {
		what, rest, ok := cutMark(text)
		switch {
		case !ok:
			b.WriteByte(text[0])
			rest = text[1:]
		case what == carriageReturn:
			b.WriteByte('\r')
		case !w.Plain:
			b.WriteString("\x1b[" + what + "m")
		}
		text = rest
	}
	return b.String()
}

// longestMark is more than any mark has.
var longestMark = len(mark(carriageReturn)) + 2

// incomplete is how many bytes at the end begin a character or a mark, and do not end it.
func incomplete(text []byte) int {
	if at := bytes.LastIndexByte(text, key[0]); at >= 0 && len(text)-at < longestMark {
		tail := string(text[at:])
		if _, _, whole := cutMark(tail); !whole && (len(tail) < len(key) && key[:len(tail)] == tail || len(tail) >= len(key) && tail[:len(key)] == key) {
			return len(tail)
		}
	}
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if start := text[len(text)-n]; utf8.RuneStart(start) {
			if start >= utf8.RuneSelf && !utf8.FullRune(text[len(text)-n:]) {
				return n
			}
			break
		}
	}
	return 0
}
