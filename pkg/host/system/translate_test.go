package system_test

import (
	"testing"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// TestTranslates: chains that change the destination are found in tables of every family,
// and others are not taken for such.
func TestTranslates(t *testing.T) {
	h := labtest.Host(t, "h")
	for _, test := range []struct {
		rules string
		want  bool
	}{
		{"", false},
		{"table inet filter { chain c { type filter hook prerouting priority dstnat; }; }", false},
		{"table ip nat { chain c { type nat hook postrouting priority srcnat; }; }", false},
		{"table ip nat { chain c { type nat hook output priority -100; }; }", false},
		{"table ip nat { chain c { type nat hook prerouting priority dstnat; }; }", true},
		{"table ip6 nat { chain c { type nat hook prerouting priority dstnat; }; }", true},
		{"table inet theirs { chain c { type nat hook prerouting priority -90; }; }", true},
	} {
		labtest.Rules(t, h, "flush ruleset; "+test.rules)
		if got := read(t, h).Translates; got != test.want {
			t.Errorf("%q: translates %t", test.rules, got)
		}
	}
}

// TestTranslatesByLegacy: the table nat of iptables-legacy is found.
func TestTranslatesByLegacy(t *testing.T) {
	labtest.Need(t, "iptables-legacy", "ip6tables-legacy")
	for _, program := range []string{"iptables-legacy", "ip6tables-legacy"} {
		h := labtest.Host(t, "h")
		labtest.Run(t, h, program, "-w", "-t", "nat", "-A", "PREROUTING", "-p", "udp", "--dport", "15060", "-j", "REDIRECT", "--to-ports", "5060")
		if !read(t, h).Translates {
			t.Errorf("the table of %s is not found", program)
		}
	}
}
