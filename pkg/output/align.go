package output

import (
	"bytes"
	"io"
	"unicode/utf8"
)

// aligner aligns columns as text/tabwriter does, and takes little more memory than the text
// itself: a column is as wide as the widest of its cells in lines that follow each other.
// Cells end with a tab; what is behind the last tab of a line is in no column.
type aligner struct {
	to   io.Writer
	text bytes.Buffer
}

func (a *aligner) Write(text []byte) (int, error) { return a.text.Write(text) }

// WriteString is Write without a copy.
func (a *aligner) WriteString(text string) (int, error) { return a.text.WriteString(text) }

// flush writes all lines.
func (a *aligner) flush() error {
	text := a.text.Bytes()
	widths := blockWidths(text)
	open, next := []int{}, 0 // of each column, where its width is
	for len(text) > 0 {
		line, rest, _ := bytes.Cut(text, []byte{'\n'})
		whole := text[:len(text)-len(rest)]
		text = rest
		cells := bytes.Count(line, []byte{'\t'})
		open = open[:min(len(open), cells)]
		for len(open) < cells {
			open, next = append(open, next), next+1
		}
		for column := range cells {
			cell, behind, _ := bytes.Cut(whole, []byte{'\t'})
			padding := bytes.Repeat([]byte{' '}, widths[open[column]]-utf8.RuneCount(cell))
			if _, err := a.to.Write(cell); err != nil {
				return err
			}
			if _, err := a.to.Write(padding); err != nil {
				return err
			}
			whole = behind
		}
		if _, err := a.to.Write(whole); err != nil {
			return err
		}
	}
	return nil
}

// blockWidths are the widths of the columns of lines that follow each other, in the order in
// which these columns begin.
func blockWidths(text []byte) []int {
	var widths, open []int
	for len(text) > 0 {
		line, rest, _ := bytes.Cut(text, []byte{'\n'})
		text = rest
		cells := bytes.Count(line, []byte{'\t'})
		open = open[:min(len(open), cells)]
		for column := range cells {
			if column == len(open) {
				open, widths = append(open, len(widths)), append(widths, 0)
			}
			cell, behind, _ := bytes.Cut(line, []byte{'\t'})
			at := open[column]
			widths[at] = max(widths[at], utf8.RuneCount(cell)+gap)
			line = behind
		}
	}
	return widths
}
