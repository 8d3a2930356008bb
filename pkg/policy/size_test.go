package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/policy"
)

// large writes a policy of n lines in the middle.
func large(before string, n int, line func(i int) string) string {
	var b strings.Builder
	b.WriteString(before)
	for i := range n {
		b.WriteString(line(i))
	}
	return b.String()
}

func prefixLine(i int) string {
	return fmt.Sprintf("  - %d.%d.%d.0/25\n", 20+i>>16, i>>8&255, i&255)
}

// TestLargePolicies: what is too large to be read is refused in one line, and what is
// not takes no more than a moment, whatever is wrong in it. (If the work grew with the
// square of the size, this test would not end.)
func TestLargePolicies(t *testing.T) {
	const acme = "version: 1\nproviders:\n- name: acme\n"
	for _, test := range []struct {
		name, policy, want string
		mistakes           int
	}{
		{
			"registrars", large(acme+"  registrars:\n", 100_000, func(i int) string { return fmt.Sprintf("  - sip%d.acme.example\n", i) }),
			"1:1: the policy has 100000 names, and no more than 10000 are asked for", 1,
		},
		{
			"hosts", large("version: 1\ntrusted:\n  hosts:\n", 100_000, func(i int) string { return fmt.Sprintf("  - h%d.acme.example\n", i) }),
			"1:1: the policy has 100000 names, and no more than 10000 are asked for", 1,
		},
		{"prefixes", large(acme+"  addresses:\n", 700_000, prefixLine), "1:1: the policy has 700004 lines and list entries, and no more than 250000 are read", 1},
		{"fewer prefixes", large(acme+"  addresses:\n", 100_000, prefixLine), "", 0},
		{"bytes", "version: 1\n#" + strings.Repeat("x", 16<<20), "1:1: the policy is larger than 16 MiB", 1},
		{"mistakes", large(acme+"  addresses:\n", 100_000, func(int) string { return "  - x\n" }), `5:5: "x" is not an IP address or prefix`, 100_000},
		{
			"allowed and banned", large(large(acme+"  addresses:\n", 100_000, prefixLine)+"bans:\n  addresses:\n", 100_000, prefixLine),
			"5:5: 20.0.0.0/25 is allowed here and banned in line 100007 (20.0.0.0/25): remove one of them", 200_000,
		},
		{
			"all banned by each", large(large(acme+"  addresses:\n", 100_000, func(int) string { return "  - 192.0.2.0/25\n" })+"bans:\n  addresses:\n", 100_000, func(int) string { return "  - 192.0.2.0/24\n" }),
			"5:5: 192.0.2.0/25 is allowed here and banned in line 100007 (192.0.2.0/24): remove one of them", 200_000,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := policy.Parse("p", strings.NewReader(test.policy), policy.Available{})
			mistakes, _ := errors.AsType[policy.Mistakes](err)
			switch {
			case len(mistakes) != test.mistakes || (err == nil) != (test.mistakes == 0):
				t.Errorf("%d mistakes, want %d (%.200v)", len(mistakes), test.mistakes, err)
			case err != nil && !strings.HasPrefix(err.Error(), "p:"+test.want):
				t.Errorf("got %.200s, want %s", err, test.want)
			}
		})
	}
}
