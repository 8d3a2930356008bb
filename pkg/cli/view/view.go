// Package view has the text forms of what commands print for people: tables, lines and
// paragraphs. What commands print for programs is in pkg/report.
package view

import (
	"strings"

	"github.com/ringfence/ringfence/pkg/output"
)

// Alarm colours what needs attention.
func Alarm(text string) string { return output.Paint(output.Red, text) }

// Line makes one line of a text.
func Line(text string) string { return strings.ReplaceAll(strings.TrimSpace(text), "\n", "; ") }
