package nft_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/nft"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// othersRules are rules as other programs and people write them.
var othersRules = []string{
	"accept", "drop", "return", "jump other", "goto other", "counter", "counter drop",
	"ip saddr 9.9.9.9 accept", "ip saddr != 9.9.9.9 drop", "ip saddr 10.0.0.0/8 accept", "ip saddr 10.1.2.0/23 accept", "ip daddr 192.0.2.1 drop",
	"ip6 saddr 2001:db8::1 accept", "ip6 saddr 2001:db8::/32 accept", "ip6 daddr fe80::/10 drop",
	"ip saddr { 192.0.2.1, 192.0.2.7 } accept", "ip saddr 192.0.2.1-192.0.2.9 accept", "ip saddr @some accept", "ip saddr != @some drop",
	"tcp dport 22 accept", "tcp dport { 80, 443 } accept", "udp sport 53 accept", "udp dport 10000-20000 accept", "tcp dport != 22 drop", "udp dport >= 1024 accept",
	"ip saddr 192.0.2.1 udp dport 5060 accept", "ip6 saddr 2001:db8::1 tcp dport 5061 drop", "ip saddr 192.0.2.1 tcp sport 5060 tcp dport 5060 accept",
	"th dport 5060 drop", "meta l4proto udp accept", "meta l4proto { tcp, udp } th dport 5060 drop", "meta nfproto ipv4 drop", "ip protocol gre accept", "ip ttl 1 drop", "ip6 hoplimit 255 accept",
	`iifname "eth0" accept`, `iifname "ppp*" drop`, `iif "lo" accept`, `oifname != "eth1" drop`, `iifname "eth0" ip saddr 192.0.2.1 accept`,
	"meta mark 0x00000001 accept", "meta mark & 0x000000ff == 0x00000001 drop", "meta mark set 0x00000005", "ct mark 0x00000007 accept",
	"meta mark set meta mark & 0xfffffff0", "meta mark set ct mark", "ct mark set meta mark",
	"ct state established,related accept", "ct state invalid drop", "ct state new accept", "ct status dnat accept", "ct direction original accept",
	"ether saddr 02:00:00:00:00:01 accept", "meta skuid 1000 accept",
	`log prefix "seen " drop`, "log", "log group 3", "limit rate 10/second accept", "limit rate over 5/minute drop", "notrack", "reject",
	"fib saddr . iif oif missing drop", "fib daddr type local accept",
	"icmp type 8 accept", "tcp flags fin,syn / fin,syn drop",
	"update @seen { ip saddr timeout 1m }", "add @seen { ip saddr }", `counter name "hits" accept`, "ip saddr vmap @verdicts", "@nh,0,4 0x4 drop", `ip saddr 9.9.9.9 accept comment "mine"`,
}

// TestForeignRulesAreShownAsNft: what another program has put into the table stands in a
// diff as nft lists it, and never as registers.
func TestForeignRulesAreShownAsNft(t *testing.T) {
	t.Parallel()
	h := labtest.Host(t, "pbx")
	script := "table inet ringfence {\n counter hits { }\n set some { type ipv4_addr; flags interval; }\n set seen { type ipv4_addr; flags dynamic,timeout; size 9; }\n" +
		" map verdicts { type ipv4_addr : verdict; }\n chain other { }\n chain mixed {\n" + strings.Join(othersRules, "\n") + "\n }\n}\n"
	labtest.RunInput(t, h, script, "nft", "-f", "-")
	_, listing, _ := strings.Cut(labtest.Run(t, h, "nft", "-n", "list", "chain", "inet", "ringfence", "mixed"), "chain mixed {\n")
	counted := regexp.MustCompile(`counter packets \d+ bytes \d+`)
	var listed []string
	for line := range strings.Lines(listing) {
		if line = strings.TrimSpace(line); line != "}" {
			listed = append(listed, counted.ReplaceAllString(line, "counter"))
		}
	}
	var state *ruleset.State
	labtest.In(t, h, func() (err error) {
		state, err = new(nft.Kernel).Observe(t.Context())
		return err
	})
	got := state.Chains["mixed"].Rules
	if len(got) != len(listed) || len(got) != len(othersRules) {
		t.Fatalf("%d rules were added, nft lists %d, and %d were observed", len(othersRules), len(listed), len(got))
	}
	for i, r := range got {
		text := r.Shown()
		if !slices.Contains([]string{listed[i], othersRules[i]}, text) {
			t.Errorf("a rule of another program is shown as %q, and nft lists %q", text, listed[i])
		}
	}
}
