package nft_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/nft"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// TestOtherPortAsNftListsIt: nft 1.1 lists the comparison of the destination port without
// what its mask leaves out, and it stays the same rule when that is loaded again.
func TestOtherPortAsNftListsIt(t *testing.T) {
	h := labtest.Host(t, "pbx")
	for bits := 1; bits <= 16; bits++ {
		whole := ruleset.OtherPort{Bits: bits, Port: uint16(5060 >> (16 - bits) << (16 - bits))}
		listed := fmt.Sprintf("@th,16,%d != 0x%x return", bits, 5060>>(16-bits))
		if got := readRule(t, h, listed); got != whole.String()+" return" {
			t.Errorf("%q is read as %q, not as %q", listed, got, whole)
		}
	}
}

// TestNotOtherPort: what looks like it and does something else is a rule of another program.
func TestNotOtherPort(t *testing.T) {
	h := labtest.Host(t, "pbx")
	for _, text := range []string{
		"@th,16,15 0x9e2 return", "@th,16,15 > 0x9e2 return", "@th,17,15 != 0x13c4 return", "@th,16,17 != 0x2788 return", "@th,24,8 != 0xc4 return",
		"@nh,16,15 != 0x9e2 return", "@th,0,15 != 0x9e2 return", "@th,0,16 != 0x13c4 return", "th dport & 0xf0f0 != 0x1040 return", "@th,15,16 != 0x13c4 return",
	} {
		if got := readRule(t, h, text); got != "" {
			t.Errorf("%q is read as %q", text, got)
		}
	}
}

// readRule returns how a rule that another program has written is read: "" if it is none
// that ringfence writes.
func readRule(t *testing.T, h *lab.Namespace, text string) string {
	t.Helper()
	labtest.Rules(t, h, "flush ruleset; table inet ringfence { chain sip { "+text+"; }; }")
	var state *ruleset.State
	labtest.In(t, h, func() (err error) {
		state, err = new(nft.Kernel).Observe(t.Context())
		return err
	})
	rules := state.Chains["sip"].Rules
	if len(rules) != 1 {
		t.Fatalf("%q: %d rules are read", text, len(rules))
	}
	if len(rules[0].Statements()) == 0 {
		return ""
	}
	return strings.TrimSpace(rules[0].String())
}
