package iptables_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/iptables"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// TestReadOthers: what rules of other programs in the legacy flavour look for and do.
func TestReadOthers(t *testing.T) {
	h := labtest.Host(t, "pbx")
	read := func() (chains []ruleset.OtherChain) {
		labtest.In(t, h, func() (err error) { chains, err = iptables.ReadOthers(); return err })
		return chains
	}
	if found := read(); len(found) > 0 {
		t.Errorf("nobody has made a table, and there is %+v", found)
	}
	apply(t, h, iptables.Legacy, compiled(t, policies[0], hosts()["plain"]))
	for _, rule := range []string{
		"iptables-legacy -w -N theirs",
		"iptables-legacy -w -P FORWARD DROP",
		"iptables-legacy -w -A INPUT -p udp --dport 5060 -j DROP",
		"iptables-legacy -w -A INPUT -s 192.0.2.1 -p tcp -m multiport --dports 5061,6000:6010 -j ACCEPT",
		"iptables-legacy -w -A INPUT -j theirs",
		"iptables-legacy -w -A theirs -p udp --dport 5000:5100 -j REJECT",
		"iptables-legacy -w -t raw -A PREROUTING -p udp --dport 5062 -j CT --notrack",
		"iptables-legacy -w -t mangle -A PREROUTING -p udp --dport 7000 -j TPROXY --on-port 5060",
		"ip6tables-legacy -w -t mangle -A PREROUTING -p udp --dport 5063 -j MARK --set-xmark 0x1000000/0xf000000",
	} {
		words := strings.Fields(rule)
		labtest.Run(t, h, words[0], words[1:]...)
	}
	var got []string
	for _, c := range read() {
		text := fmt.Sprintf("%s %s: %s %d drops %t", c.Program, c.Name, c.Hook, c.Priority, c.Drops)
		for _, r := range c.Rules {
			if len(r.Ports) > 0 {
				text += fmt.Sprintf("; %v drops %t accepts %t marks %x untracked %t proxied %d", r.Ports, r.Drops, r.Accepts, r.Marks, r.Untracked, r.Proxied)
			}
		}
		if len(c.Rules) > 0 && strings.Contains(text, ";") || c.Drops {
			got = append(got, text)
		}
	}
	want := []string{
		"iptables-legacy -t raw PREROUTING: prerouting -300 drops false; [[5062 5062]] drops false accepts false marks 0 untracked true proxied 0",
		"iptables-legacy -t mangle PREROUTING: prerouting -150 drops false; [[7000 7000]] drops false accepts false marks 0 untracked false proxied 5060",
		"iptables-legacy -t filter INPUT: input 0 drops false; [[5060 5060]] drops true accepts false marks 0 untracked false proxied 0; [[5061 5061] [6000 6010]] drops false accepts true marks 0 untracked false proxied 0",
		"iptables-legacy -t filter FORWARD: forward 0 drops true",
		"iptables-legacy -t filter theirs:  0 drops false; [[5000 5100]] drops true accepts false marks 0 untracked false proxied 0",
		"ip6tables-legacy -t mangle PREROUTING: prerouting -150 drops false; [[5063 5063]] drops false accepts false marks f000000 untracked false proxied 0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
