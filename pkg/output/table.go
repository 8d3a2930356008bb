package output

import (
	"bufio"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Table prints aligned columns: write writes rows, with tabs between the cells. To a
// Writer with a width, the last cell of a row is folded, together with others that leave
// no room for it.
func Table(w io.Writer, write func(w io.Writer)) {
	width := 0
	if to, ok := w.(*Writer); ok {
		width = to.Width
	}
	buffer := bufio.NewWriterSize(w, tableBuffer)
	defer buffer.Flush()
	t := &aligner{to: buffer}
	defer func() {
		_ = t.flush() // what fails is known to the writer
	}()
	if width <= 0 {
		write(t)
		return
	}
	var text strings.Builder
	write(&text)
	var rows [][]string
	for line := range strings.Lines(text.String()) {
		rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	fit(rows, width)
	widths := columns(rows)
	for _, row := range rows {
		writeRow(t, row, widths, width)
	}
}

const (
	gap         = 2        // between columns
	tableBuffer = 64 << 10 // there may be very many rows
	// leastLast is the room that the last cell of a row gets.
	leastLast = 24
)

// columns are the widths of the columns of cells that others follow.
func columns(rows [][]string) []int {
	var widths []int
	for _, row := range rows {
		for i, cell := range row[:len(row)-1] {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], length(cell))
		}
	}
	return widths
}

// fit joins the last columns until the last cell of the longest row has room: nothing is
// lost, and the first column, mostly an address, stays as it is.
func fit(rows [][]string, width int) {
	for {
		widths := columns(rows)
		room := width
		for _, n := range widths {
			room -= n + gap
		}
		if len(widths) == 0 || room >= leastLast {
			return
		}
		last := len(widths)
		for i, row := range rows {
			if len(row) > last {
				rows[i] = append(slices.Clone(row[:last-1]), strings.TrimRight(row[last-1]+strings.Repeat(" ", gap)+row[last], " "))
			}
		}
	}
}

// writeRow writes a row in as many lines as its last cell needs.
func writeRow(w io.Writer, row []string, widths []int, width int) {
	last := len(row) - 1
	room := width
	for _, n := range widths[:last] {
		room -= n + gap
	}
	indent := ""
	if last == 0 {
		indent = strings.Repeat(" ", len(row[0])-len(strings.TrimLeft(row[0], " "))+gap)
	}
	lines := strings.Split(Fold(row[last], max(room, 1), indent), "\n")
	_, _ = io.WriteString(w, strings.Join(append(slices.Clone(row[:last]), lines[0]), "\t")+"\n")
	for _, line := range lines[1:] {
		_, _ = io.WriteString(w, strings.Repeat("\t", last)+line+"\n")
	}
}

// length is how many characters of a text are seen.
func length(text string) int { return utf8.RuneCountInString(Visible(text)) }

// Fold breaks a line at spaces so that no part is longer than width, unless it is a
// single word, and indents all parts after the first.
func Fold(line string, width int, indent string) string {
	if width <= 0 || length(line) <= width {
		return line
	}
	start := len(line) - len(strings.TrimLeft(line, " "))
	current, rest := line[:start], line[start:]
	empty := true
	var folded strings.Builder
	for rest != "" {
		// The space before a word may be the gap between two columns.
		word := strings.TrimLeft(rest, " ")
		space := len(rest) - len(word)
		word, _, _ = strings.Cut(word, " ")
		rest = rest[space+len(word):]
		switch {
		case word == "":
		case empty || length(current)+space+length(word) <= width:
			current += strings.Repeat(" ", space) + word
		default:
			folded.WriteString(current + "\n")
			current = indent + word
		}
		empty = false
	}
	folded.WriteString(current)
	return folded.String()
}

// Paragraph prints a text behind a label. To a Writer with a width it is folded, with all
// lines below the first.
func Paragraph(w io.Writer, label, text string) {
	indent := strings.Repeat(" ", length(label))
	text = Escape(text)
	if to, ok := w.(*Writer); ok && to.Width > length(label) {
		text = strings.ReplaceAll(Fold(text, to.Width-length(label), ""), "\n", "\n"+indent)
	}
	_, _ = io.WriteString(w, label+text+"\n") // what fails is known to the writer
}
