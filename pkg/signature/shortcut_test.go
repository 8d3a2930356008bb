package signature_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/signature"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
)

// TestShortcuts: a shortcut leads to the same state as walking byte by byte, in any
// case of letters, and skips no event on the way.
func TestShortcuts(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, a := range append(lists(t), compiled(t, signaturetest.Many(1000))) {
		table := a.Table()
		if table.Event-table.Shortcut != uint16(len(table.Shortcuts)) || len(table.Shortcuts) > signature.MaxShortcuts {
			t.Errorf("states from %d to %d have %d shortcuts", table.Shortcut, table.Event, len(table.Shortcuts))
		}
		for i, s := range table.Shortcuts {
			if len(s.Text) > signature.MaxShortcut || strings.ContainsAny(s.Text, " \t\r\nABCDEFGHIJKLMNOPQRSTUVWXYZ") {
				t.Errorf("the text of shortcut %d is %q", i, s.Text)
			}
			for range 3 {
				state := table.Shortcut + uint16(i)
				for j := range len(s.Text) {
					if state >= table.Event {
						t.Errorf("shortcut %d (%q) passes state %d", i, s.Text, state)
						break
					}
					state = table.Next[int(state)*signature.MaxClasses+int(table.Classes[otherCase(r, s.Text[j])])]
				}
				if state != s.To {
					t.Errorf("shortcut %d (%q) leads to %d, walking leads to %d", i, s.Text, s.To, state)
				}
			}
		}
	}
}

// otherCase returns a letter in random case, and other bytes unchanged.
func otherCase(r *rand.Rand, b byte) byte {
	if 'a' <= b && b <= 'z' && r.IntN(2) == 0 {
		return b - 'a' + 'A'
	}
	return b
}

// TestWhereShortcutsAre: where values begin alike, shortcuts begin after the common
// part.
func TestWhereShortcutsAre(t *testing.T) {
	a := compiled(t, []signature.Signature{
		{Name: "scanner", Header: "User-Agent", Match: signature.Contains, Value: "friendly-scanner", Class: signature.Ban},
		{Name: "request", Header: "User-Agent", Match: signature.Contains, Value: "friendly-request", Class: signature.Ban},
		{Name: "long", Header: "Subject", Match: signature.Prefix, Value: "abcdefghijklmnopqrstuvwxyz", Class: signature.Ban},
	})
	got := map[string]bool{}
	for _, s := range a.Table().Shortcuts {
		got[s.Text] = true
	}
	for _, want := range []string{"ser-agent:", "riendly-", "canner", "equest", "ubject:", "bcdefghijklmnopq", "rstuvwxyz"} {
		if !got[want] {
			t.Errorf("there is no shortcut %q among %v", want, got)
		}
	}
}
