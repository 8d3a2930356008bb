package output

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// JSON writes one object, indented, and in ASCII as far as it is not printable. Bytes that
// are not UTF-8 become U+FFFD.
func JSON(w io.Writer, v any) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	if _, err := w.Write(jsonEscaped(text.Bytes())); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// JSONList writes a list as JSON does, one object after the other: it may be long.
func JSONList[T any](w io.Writer, list iter.Seq[T]) error {
	b := bufio.NewWriter(w)
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetIndent("  ", "  ")
	e.SetEscapeHTML(false)
	before := "[\n  "
	for v := range list {
		text.Reset()
		if err := e.Encode(v); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
		_, _ = b.WriteString(before) // what fails is returned by Flush
		_, _ = b.Write(jsonEscaped(bytes.TrimSuffix(text.Bytes(), []byte("\n"))))
		before = ",\n  "
	}
	end := "\n]\n"
	if text.Len() == 0 {
		end = "[]\n"
	}
	_, _ = b.WriteString(end)
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// JSONLine writes one object as one line.
func JSONLine(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err == nil {
		_, err = w.Write(append(jsonEscaped(text), '\n'))
	}
	if err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// jsonEscaped escapes what is not printable. Outside of strings JSON has only printable
// ASCII and line feeds.
func jsonEscaped(text []byte) []byte {
	if isPlain(string(text), "\n") {
		return text
	}
	var b bytes.Buffer
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch high, low := utf16.EncodeRune(r); {
		case r == '\n' || unicode.IsPrint(r):
			b.Write(text[:size])
		case high != unicode.ReplacementChar:
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		text = text[size:]
	}
	return b.Bytes()
}
