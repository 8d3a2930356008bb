package nft_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/nft"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// TestReadOthers: what other programs' rules look for and do.
func TestReadOthers(t *testing.T) {
	h := labtest.Host(t, "pbx")
	labtest.Rules(t, h, `
table inet ringfence { chain prerouting { type filter hook prerouting priority raw - 10; udp dport 5060 drop; }
}
table inet filter {
	ct helper sip5060 { type "sip" protocol udp; }
	set open { type inet_service; elements = { 80, 5061 }; }
	chain input {
		type filter hook input priority filter; policy drop;
		tcp dport { 22, 5060 } accept
		udp dport 5060-5070 reject
		udp dport != 5060 accept
		udp dport @open drop
		meta mark & 0x03000000 == 0x01000000 accept
		meta mark 0x12345678 accept
		ip saddr 192.0.2.1 accept
	}
	chain marks { meta mark set meta mark & 0xfffffff0 | 0x5; meta mark set 0x04000000; meta mark set ct mark; }
}
table ip raw { chain early { type filter hook prerouting priority -400; udp dport 5060 notrack; udp dport { 5000-5100, 6000 } drop; }
}
table ip divert { chain proxy { type filter hook prerouting priority mangle; udp dport 7000 tproxy to :5060; tcp dport 7001 tproxy to 127.0.0.1:5061 accept; }
	chain rewrite { type filter hook prerouting priority -140; udp dport 9000 udp dport set 5060; udp sport 9000 udp sport set 5060; }
}
table netdev edge { chain in { type filter hook ingress device lo priority 0; udp dport 5060 drop; }
}
`)
	var others ruleset.Others
	labtest.In(t, h, func() (err error) { others, err = nft.ReadOthers(t.Context()); return err })
	var got []string
	for _, c := range others.Chains {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s: %s %d drops %t", c.Table, c.Name, c.Hook, c.Priority, c.Drops)))
		for _, r := range c.Rules {
			got = append(got, fmt.Sprintf("  %v drops %t accepts %t marks %x untracked %t%s", r.Ports, r.Drops, r.Accepts, r.Marks, r.Untracked, proxied(r)))
		}
	}
	want := []string{
		"inet filter input: input 0 drops true",
		"  [[22 22] [5060 5060]] drops false accepts true marks 0 untracked false",
		"  [[5060 5070]] drops true accepts false marks 0 untracked false",
		"  [] drops false accepts true marks 0 untracked false",
		"  [[80 80] [5061 5061]] drops true accepts false marks 0 untracked false",
		"  [] drops false accepts true marks 3000000 untracked false",
		"  [] drops false accepts true marks 12345678 untracked false",
		"  [] drops false accepts true marks 0 untracked false",
		"inet filter marks:  0 drops false",
		"  [] drops false accepts false marks f untracked false",
		"  [] drops false accepts false marks 4000000 untracked false",
		"  [] drops false accepts false marks 0 untracked false",
		"ip raw early: prerouting -400 drops false",
		"  [[5060 5060]] drops false accepts false marks 0 untracked true",
		"  [[5000 5100] [6000 6000]] drops true accepts false marks 0 untracked false",
		"ip divert proxy: prerouting -150 drops false",
		"  [[7000 7000]] drops false accepts false marks 0 untracked false proxied 5060",
		"  [[7001 7001]] drops false accepts true marks 0 untracked false proxied 5061",
		"ip divert rewrite: prerouting -140 drops false",
		"  [[9000 9000]] drops false accepts false marks 0 untracked false proxied 5060",
		"  [] drops false accepts false marks 0 untracked false",
		"netdev edge in: ingress 0 drops false",
		"  [[5060 5060]] drops true accepts false marks 0 untracked false",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"sip5060 of table inet filter"}, others.SIPHelpers); diff != "" {
		t.Error(diff)
	}
}

func proxied(r ruleset.OtherRule) string {
	if r.Proxied == 0 {
		return ""
	}
	return fmt.Sprintf(" proxied %d", r.Proxied)
}

// TestReadOthersOfIPTables: the rules of iptables-nft.
func TestReadOthersOfIPTables(t *testing.T) {
	labtest.Need(t, "iptables-nft")
	h := labtest.Host(t, "pbx")
	labtest.Run(t, h, "iptables-nft", "-A", "INPUT", "-p", "udp", "--dport", "5060", "-j", "DROP")
	labtest.Run(t, h, "iptables-nft", "-t", "mangle", "-A", "PREROUTING", "-j", "MARK", "--set-xmark", "0x1000000/0xf000000")
	labtest.Run(t, h, "iptables-nft", "-A", "FORWARD", "-p", "udp", "-m", "multiport", "--dports", "5061,6000:6010", "-j", "ACCEPT")
	labtest.Run(t, h, "iptables-nft", "-A", "FORWARD", "-p", "udp", "-m", "multiport", "--sports", "7000", "-j", "ACCEPT")
	labtest.Run(t, h, "iptables-nft", "-t", "raw", "-A", "PREROUTING", "-p", "udp", "--dport", "5062", "-j", "CT", "--notrack")
	labtest.Run(t, h, "iptables-nft", "-t", "mangle", "-A", "PREROUTING", "-p", "udp", "--dport", "7000", "-j", "TPROXY", "--on-port", "5060")
	labtest.Run(t, h, "ip6tables-nft", "-t", "mangle", "-A", "PREROUTING", "-p", "udp", "--dport", "7000", "-j", "TPROXY", "--on-port", "5061")
	var others ruleset.Others
	labtest.In(t, h, func() (err error) { others, err = nft.ReadOthers(t.Context()); return err })
	for _, port := range []uint16{5060, 5061} {
		if !slices.ContainsFunc(others.Chains, func(c ruleset.OtherChain) bool {
			return slices.ContainsFunc(c.Rules, func(r ruleset.OtherRule) bool { return r.Proxied == port && r.Meets([]uint16{7000}) })
		}) {
			t.Errorf("no rule hands packets to the server on port %d: %+v", port, others)
		}
	}
	for port, want := range map[uint16]bool{5061: true, 6005: true, 6011: false, 7000: false} {
		accepts := slices.ContainsFunc(others.Chains, func(c ruleset.OtherChain) bool {
			return slices.ContainsFunc(c.Rules, func(r ruleset.OtherRule) bool { return r.Accepts && r.Meets([]uint16{port}) })
		})
		if accepts != want {
			t.Errorf("port %d is accepted: %t, want %t", port, accepts, want)
		}
	}
	if !slices.ContainsFunc(others.Chains, func(c ruleset.OtherChain) bool {
		return slices.ContainsFunc(c.Rules, func(r ruleset.OtherRule) bool { return r.Untracked && r.Meets([]uint16{5062}) })
	}) {
		t.Errorf("no rule takes packets out of connection tracking: %+v", others)
	}
	drops, marks := false, uint32(0)
	for _, c := range others.Chains {
		for _, r := range c.Rules {
			drops = drops || r.Drops && r.Meets([]uint16{5060})
			marks |= r.Marks
		}
	}
	if !drops || marks != 0x0f000000 {
		t.Errorf("drops SIP: %t, marks %x: %+v", drops, marks, others)
	}
}
