package notice

import (
	"strings"
	"unicode/utf8"
)

// Fold breaks a line at spaces so that no part is longer than width, unless it is a
// single word, and indents all parts after the first.
func Fold(line string, width int, indent string) string {
	var folded strings.Builder
	for utf8.RuneCountInString(line) > width {
		start := len(line) - len(strings.TrimLeft(line, " "))
		within := string([]rune(line)[:width+1])
		at := strings.LastIndex(within, " ")
		if at <= start {
			next := strings.Index(line[start:], " ")
			if next < 0 {
				break
			}
			at = start + next
		}
		folded.WriteString(strings.TrimRight(line[:at], " ") + "\n")
		line = indent + strings.TrimLeft(line[at:], " ")
	}
	folded.WriteString(line)
	return folded.String()
}
