package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/demo"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/output"
)

// TestDemoNotices: if the lab does not behave as it should, the demo says where
// and fails.
func TestDemoNotices(t *testing.T) {
	for name, sabotage := range map[string]struct {
		rules, says string
		wait        time.Duration
	}{
		"a call does not arrive": {
			`table inet sabotage {
	chain input {
		type filter hook input priority 0
		ip saddr 203.0.113.0/24 udp dport 5060 drop
	}
}`,
			"PBX    provider  INVITE   UDP              lost           lost  WRONG",
			500 * time.Millisecond, // whatever is lost is waited for
		},
		"a scanner gets through": {
			`table inet sabotage {
	chain before {
		type filter hook prerouting priority -400
		ip6 saddr 2001:db8:2::/64 udp dport 5060 udp dport set 5070
	}
	chain behind {
		type filter hook prerouting priority -200
		udp dport 5070 udp dport set 5060
	}
}`,
			"PBX    scanner   INVITE   UDP, IPv6        arrives        arrives  WRONG",
			2 * time.Minute, // nothing is
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			o := demoOptions(&app{stdout: output.NewWriter(&out, &out), stderr: output.NewWriter(&out, &out), output: "text"}, "", false)
			o.Wait = sabotage.wait
			d, err := demo.New(o)
			t.Cleanup(func() { d.Close() })
			labtest.Must(t, err)
			labtest.Rules(t, d.PBX(), sabotage.rules)
			if _, err := d.Play(t.Context()); err == nil || err.Error() != "the demo had a wrong outcome" {
				t.Errorf("the demo ended with %v", err)
			}
			if !strings.Contains(out.String(), sabotage.says) {
				t.Errorf("the demo does not say %q:\n%s", sabotage.says, out.String())
			}
		})
	}
}
