package output

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"text/tabwriter"
)

// TestAlignsAsTabwriterDoes compares random tables.
func TestAlignsAsTabwriterDoes(t *testing.T) {
	words := []string{"", "a", "eth0", "192.0.2.1", "grün", "\x1b[31m+", "three words here"}
	for range 5000 {
		var text strings.Builder
		for range rand.IntN(8) {
			for cells := rand.IntN(4); cells > 0; cells-- {
				text.WriteString(words[rand.IntN(len(words))] + "\t")
			}
			text.WriteString(words[rand.IntN(len(words))] + "\n")
		}
		if rand.IntN(5) == 0 {
			text.WriteString("no\tend")
		}
		var want, got bytes.Buffer
		tabs := tabwriter.NewWriter(&want, 0, 0, gap, ' ', 0)
		_, _ = tabs.Write([]byte(text.String()))
		_ = tabs.Flush()
		ours := &aligner{to: &got}
		_, _ = ours.WriteString(text.String())
		_ = ours.flush()
		if want.String() != got.String() {
			t.Fatalf("%q becomes\n%q, want\n%q", text.String(), got.String(), want.String())
		}
	}
}
