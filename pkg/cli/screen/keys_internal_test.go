package screen

import (
	"slices"
	"strings"
	"testing"
)

// TestKeys: keys are the same in however many pieces they arrive, and a paste presses none.
func TestKeys(t *testing.T) {
	for typed, want := range map[string]string{
		"bq":                              "b q",
		" \x03":                           "space ctrl+c",
		"\x1b[A\x1b[B\x1bOA\x1bOB":        "up down up down",
		"\x1b[H\x1b[4~\x1b[5~\x1b[6~":     "home end pgup pgdown",
		"\x1b[1;5A\x1b[24~\x1by\x1bOPy":   "other other other other y",
		"\x1b":                            "esc",
		"\x1b\x1b":                        "esc esc",
		"q\x1b[":                          "q other",
		"a\x1b[200~by\x1b[Ab\x1b[201~s":   "a s",
		"é\xff\x01\r":                     "é other other other",
		"\x1b[" + strings.Repeat("1", 90): "",
	} {
		for _, size := range []int{len(typed), 1} {
			var k keys
			var got []string
			for piece := range slices.Chunk([]byte(typed), size) {
				for _, pressed := range k.of(piece) {
					got = append(got, string(pressed))
				}
				if len(k.pending) > longestKey {
					t.Errorf("%q: it keeps %d bytes", typed, len(k.pending))
				}
			}
			for _, pressed := range k.rest() {
				got = append(got, string(pressed))
			}
			if want == "" {
				continue // only kept short
			}
			if got := strings.Join(got, " "); got != want {
				t.Errorf("%q in pieces of %d bytes: %s, want %s", typed, size, got, want)
			}
		}
	}
}
