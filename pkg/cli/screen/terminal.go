package screen

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// What a terminal is asked for: the alternate screen, no cursor, no lines that are broken,
// marks around pastes; and the opposite.
const (
	enter = "\x1b[?1049h" + modes
	modes = "\x1b[?25l\x1b[?7l\x1b[?2004h"
	leave = "\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[?1049l"
	erase = "\x1b[2J"
)

// terminal is a terminal that is filled with lines.
type terminal struct {
	in, out *os.File
	before  *term.State
	drawn   []string // what it shows
	stale   bool     // it may show something else
}

// open gets the terminal ready.
func open(in, out *os.File) (*terminal, error) {
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, fmt.Errorf("make the terminal raw: %w", err)
	}
	t := &terminal{in: in, out: out, before: before, stale: true}
	if _, err := out.WriteString(enter); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// close restores the terminal. One that is gone needs nothing.
func (t *terminal) close() {
	_, _ = t.out.WriteString(leave)
	_ = term.Restore(int(t.in.Fd()), t.before)
}

// renew says that the size may be another, or that the process was stopped and the shell
// has used the terminal. The alternate screen is still there: to ask for it again would
// forget where the cursor was before.
func (t *terminal) renew() {
	_, _ = term.MakeRaw(int(t.in.Fd()))
	_, _ = t.out.WriteString(modes)
	t.stale = true
}

// size is the size of the terminal. One that does not know it gets what is usual.
func (t *terminal) size() size {
	width, height, err := term.GetSize(int(t.out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return size{80, 24}
	}
	return size{width, height}
}

// draw shows lines, which fit. It writes only those that are others than before.
func (t *terminal) draw(lines []string) error {
	var b strings.Builder
	if t.stale {
		b.WriteString(erase)
		t.drawn, t.stale = nil, false
	}
	for i := range max(len(lines), len(t.drawn)) {
		var line, before string
		if i < len(lines) {
			line = lines[i]
		}
		if i < len(t.drawn) {
			before = t.drawn[i]
		}
		if line != before {
			fmt.Fprintf(&b, "\x1b[%d;1H\x1b[2K%s", i+1, line)
		}
	}
	t.drawn = lines
	if b.Len() == 0 {
		return nil
	}
	_, err := t.out.WriteString(b.String())
	return err
}
