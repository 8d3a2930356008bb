package output_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/ringfence/ringfence/pkg/output"
)

// evil are texts that a terminal, a reader or a parser must not get as they are.
var evil = []string{
	"plain", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "one\ntwo", "a\tb", "over\rwritten", "\x00", "\x7f", "\u009b31m", "\u202eback", "\xff\xfe", "\u2028",
	"\U000e0001tag", "é→…漢", "\x1b", strings.Repeat("word ", 60), "\"quoted\" \\n", "\xe2\x82", "\ufffd",
}

// harmless reports what is wrong with a text that goes to a terminal.
func harmless(text string) error {
	if !utf8.ValidString(text) {
		return fmt.Errorf("%q is not UTF-8", text)
	}
	for _, r := range text {
		if !unicode.IsPrint(r) && r != '\n' {
			return fmt.Errorf("%q has %q", text, r)
		}
	}
	return nil
}

func add(f *testing.F) {
	for _, text := range evil {
		f.Add(text, 7)
	}
}

func FuzzEscape(f *testing.F) {
	add(f)
	f.Fuzz(func(t *testing.T, text string, _ int) {
		got := output.Escape(text)
		if err := harmless(got); err != nil || strings.Contains(got, "\n") {
			t.Errorf("%q is escaped as %q: %v", text, got, err)
		}
		var b bytes.Buffer
		output.Printf(&b, "%s %v %-9v %s %q\n", text, errors.New(text), stringer(text), named(text), text)
		if err := harmless(b.String()); err != nil || strings.Count(b.String(), "\n") != 1 {
			t.Errorf("%q is printed as %q: %v", text, b.String(), err)
		}
	})
}

type (
	stringer string
	named    string
)

func (s stringer) String() string { return string(s) }

// FuzzWriter: it does not matter where a text is divided.
func FuzzWriter(f *testing.F) {
	add(f)
	f.Fuzz(func(t *testing.T, text string, at int) {
		var whole, parts bytes.Buffer
		for out, list := range map[*bytes.Buffer][]string{&whole: {text}, &parts: divided(text, at)} {
			w := output.NewWriter(out, out)
			w.Terminal = true
			for _, part := range list {
				if n, err := io.WriteString(w, part); n != len(part) || err != nil {
					t.Fatalf("wrote %d of %d bytes: %v", n, len(part), err)
				}
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if err := harmless(strings.ReplaceAll(whole.String(), "\t", "")); err != nil {
			t.Error(err)
		}
		if whole.String() != parts.String() {
			t.Errorf("%q is written as %q, and in parts as %q", text, whole.String(), parts.String())
		}
	})
}

// divided cuts a text into parts of so many bytes.
func divided(text string, size int) []string {
	size = max(1, size%9)
	var parts []string
	for len(text) > size {
		parts, text = append(parts, text[:size]), text[size:]
	}
	return append(parts, text)
}

func FuzzJSON(f *testing.F) {
	add(f)
	f.Fuzz(func(t *testing.T, text string, _ int) {
		var b bytes.Buffer
		if err := output.JSON(&b, map[string]string{text: text}); err != nil {
			t.Fatal(err)
		}
		if err := harmless(b.String()); err != nil {
			t.Error(err)
		}
		var back map[string]string
		if err := json.Unmarshal(b.Bytes(), &back); err != nil {
			t.Fatalf("%q: %v", b.String(), err)
		}
		want := strings.ToValidUTF8(text, "\ufffd")
		if utf8.ValidString(text) && back[text] != want {
			t.Errorf("%q is read back as %q", text, back)
		}
	})
}

// TestJSONList: a list that is written one object after the other is as one that is written
// at once.
func TestJSONList(t *testing.T) {
	type object struct {
		Text string   `json:"text"`
		List []string `json:"list"`
	}
	list := []object{{"a\u202e", nil}, {"b", []string{"c", "\x1b<&"}}, {}}
	for n := range len(list) + 1 {
		var want, got bytes.Buffer
		if err := errors.Join(output.JSON(&want, list[:n]), output.JSONList(&got, slices.Values(list[:n]))); err != nil || got.String() != want.String() {
			t.Errorf("%d objects: %v, got\n%s\nwant\n%s", n, err, got.String(), want.String())
		}
	}
}

// FuzzTable: on a terminal of 80 columns no line is longer, unless a single word is.
func FuzzTable(f *testing.F) {
	add(f)
	f.Fuzz(func(t *testing.T, text string, n int) {
		var b bytes.Buffer
		out := output.NewWriter(&b, &b)
		out.Width = 80
		output.Table(out, func(w io.Writer) {
			for i := range 2 + n%3 {
				output.Printf(w, "%s\t%s\t%d\t%s\n", strings.Repeat("a", i*20), text, i, text)
			}
			output.Printf(w, "%s\n", text)
		})
		if err := harmless(b.String()); err != nil {
			t.Error(err)
		}
		words := strings.Fields(output.Escape(text))
		for line := range strings.Lines(b.String()) {
			longest := 0
			for _, word := range words {
				longest = max(longest, utf8.RuneCountInString(word))
			}
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 && longest <= 24 {
				t.Errorf("%d characters: %q", n, line)
			}
		}
	})
}

// TestColours: only what this program paints is coloured, and only at a terminal.
func TestColours(t *testing.T) {
	text := output.Paint(output.Red, "bad") + " \x1b[32mgood\x1b[0m " + output.Return()
	for terminal, want := range map[bool]string{
		true:  "\x1b[31mbad\x1b[0m \\x1b[32mgood\\x1b[0m \r",
		false: "bad \\x1b[32mgood\\x1b[0m ",
	} {
		var b bytes.Buffer
		w := output.NewWriter(&b, &b)
		w.Terminal = terminal
		for _, part := range divided(text, 5) {
			io.WriteString(w, part)
		}
		w.Flush()
		if b.String() != want {
			t.Errorf("got %q, want %q", b.String(), want)
		}
	}
}

func TestTable(t *testing.T) {
	rows := func(w io.Writer) {
		fmt.Fprintln(w, "203.0.113.5\tsip.acme.example\tSRV _sip._udp -> edge.with-a-long-name.carrier.example A\tseen 3 min ago, missing from answers since 2026-01-02 03:04:05")
		fmt.Fprintln(w, "2001:db8:113:1234:5678:9abc:def0:1234\tshort\tA\tseen 3 min ago")
		fmt.Fprintln(w, "a line that has only one cell, and is longer than a terminal of eighty columns, is folded too")
	}
	for width, want := range map[int]string{
		0: `203.0.113.5                            sip.acme.example  SRV _sip._udp -> edge.with-a-long-name.carrier.example A  seen 3 min ago, missing from answers since 2026-01-02 03:04:05
2001:db8:113:1234:5678:9abc:def0:1234  short             A                                                         seen 3 min ago
a line that has only one cell, and is longer than a terminal of eighty columns, is folded too
`,
		80: `203.0.113.5                            sip.acme.example  SRV _sip._udp ->
                                       edge.with-a-long-name.carrier.example A
                                       seen 3 min ago, missing from answers
                                       since 2026-01-02 03:04:05
2001:db8:113:1234:5678:9abc:def0:1234  short  A  seen 3 min ago
a line that has only one cell, and is longer than a terminal of eighty columns,
  is folded too
`,
	} {
		var b bytes.Buffer
		out := output.NewWriter(&b, &b)
		out.Width = width
		output.Table(out, rows)
		if b.String() != want {
			t.Errorf("at %d columns got\n%s\nwant\n%s", width, b.String(), want)
		}
	}
}

func TestHandler(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(output.NewHandler(&b, "ringfence", slog.LevelInfo)).With("unit", "x")
	log.Warn("the table was corrected", "by", "nft\x1b[31m\n(pid 7)", "way_out", "", "changed", 2)
	log.Info("ready")
	log.Debug("hidden")
	const want = "ringfence: warning: the table was corrected (unit: x, by: nft\\x1b[31m\\n(pid 7), changed: 2)\nringfence: ready (unit: x)\n"
	if b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}
