package cli_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// proxying are rules of other programs that have to do with a server on a SIP port. at is
// the chain that the alarm names, "" for none: they let in no stranger. A rule that begins
// with a program's name is a command.
var proxying = []struct{ name, rules, at string }{
	{"nft, TPROXY", "table ip divert { chain c { type filter hook prerouting priority mangle; udp dport 7000 tproxy to :5060; }; }", "chain c of table ip divert"},
	{"nft, TPROXY before the fence", "table ip divert { chain c { type filter hook prerouting priority -400; udp dport 7000 tproxy to :5060; }; }", "chain c of table ip divert"},
	{"nft, TPROXY of all ports", "table inet divert { chain c { type filter hook prerouting priority mangle; meta l4proto tcp tproxy ip6 to :5061; }; }", "chain c of table inet divert"},
	{"nft, TPROXY in a chain of its own", `table inet divert { chain to_pbx { meta l4proto udp tproxy ip to :5060 accept; }
		chain c { type filter hook prerouting priority mangle; udp dport 7000-7010 jump to_pbx; }; }`, "chain to_pbx of table inet divert"},
	{"nft, TPROXY by maps", `table ip divert { chain to_pbx { udp dport { 7000, 5060 } tproxy to :udp dport map { 7000 : 5060, 7001 : 80 }; }
		chain c { type filter hook prerouting priority mangle; iifname vmap { "eth0" : jump to_pbx }; }; }`, "chain to_pbx of table ip divert"},
	{"nft, the port is written", "table ip edit { chain c { type filter hook prerouting priority -140; udp dport 7000 udp dport set 5060; }; }", "chain c of table ip edit"},
	{"nft, bytes are written", "table ip edit { chain c { type filter hook input priority -140; udp dport 7000 @th,16,16 set 5060; }; }", "chain c of table ip edit"},
	{"nft, both ports are written", "table inet edit { chain c { type filter hook prerouting priority 0; udp dport 7000 @th,0,32 set 0x13c413c4; }; }", "chain c of table inet edit"},
	{"nft, bytes behind the network header", "table ip edit { chain c { type filter hook prerouting priority 0; udp dport 7000 @nh,176,16 set 5060; }; }", "chain c of table ip edit"},
	{"nft, a port is written by a map", "table ip6 edit { chain c { type filter hook prerouting priority 0; tcp dport set tcp dport map { 7000 : 5060 }; }; }", "chain c of table ip6 edit"},
	{"iptables-nft -j TPROXY", "iptables-nft -t mangle -A PREROUTING -p udp --dport 7000 -j TPROXY --on-port 5060", "chain PREROUTING of table ip mangle"},
	{"ip6tables-nft -j TPROXY", "ip6tables-nft -t mangle -A PREROUTING -p tcp -m multiport --dports 7000,7001 -j TPROXY --on-port 5060", "chain PREROUTING of table ip6 mangle"},
	{"iptables-legacy -j TPROXY", "iptables-legacy -t mangle -A PREROUTING -p udp --dport 7000 -j TPROXY --on-port 5060", "chain PREROUTING of iptables-legacy -t mangle"},
	{"ip6tables-legacy -j TPROXY", "ip6tables-legacy -t mangle -A PREROUTING -p udp --dport 7000 -j TPROXY --on-port 5060", "chain PREROUTING of ip6tables-legacy -t mangle"},

	{"another server", "table ip divert { chain c { type filter hook prerouting priority mangle; udp dport 7000 tproxy to :3128; udp dport 7001 udp dport set 7002; }; }", ""},
	{"a fenced port", "table ip divert { chain c { type filter hook prerouting priority mangle; udp dport { 5060, 5061 } tproxy to :5060; }; }", ""},
	{"a listed port", "table ip divert { chain c { type filter hook prerouting priority mangle; udp dport 9999 tproxy to :5060; udp dport 9999 udp dport set 5060; }; }", ""},
	{"written before the fence", "table ip edit { chain c { type filter hook prerouting priority -400; udp dport 7000 udp dport set 5060; }; }", ""},
	{"written at the ingress", "table netdev edit { chain c { type filter hook ingress device eth0 priority 0; udp dport 7000 udp dport set 5060; }; }", ""},
	{"what leaves", "table ip edit { chain c { type filter hook output priority 0; udp dport 7000 udp dport set 5060; }; }", ""},
	{"what is forwarded, and nothing is", "table ip edit { chain c { type filter hook forward priority 0; udp dport 7000 udp dport set 5060; }; }", ""},
	{"the source port", "table ip edit { chain c { type filter hook prerouting priority 0; udp sport 7000 udp sport set 5060; }; }", ""},
	{"only trusted sources", "table ip divert { chain c { type filter hook prerouting priority mangle; ip saddr { 192.168.1.0/24, 203.0.113.5 } udp dport 7000 tproxy to :5060; }; }", ""},
	{"strangers are gone before", "table ip divert { chain c { type filter hook prerouting priority mangle; ip saddr != 192.168.0.0/16 return; udp dport 7000 tproxy to :5060; }; }", ""},
	{"another interface", `table ip divert { chain c { type filter hook prerouting priority mangle; iifname { "lo", "lan*" } udp dport 7000 tproxy to :5060; }; }`, ""},
	{"no way leads there", "table ip divert { chain to_pbx { udp dport 7000 udp dport set 5060; }; chain c { type filter hook output priority 0; jump to_pbx; }; }", ""},
	{"a protocol that is not fenced there", "table ip divert { chain c { type filter hook prerouting priority mangle; tcp dport 7000 tproxy to :5062; }; }", ""},
	{"an empty set", "table ip divert { set s { type inet_service; }; chain c { type filter hook prerouting priority mangle; udp dport @s tproxy to :5060; }; }", ""},
	{"iptables-nft, from the LAN", "iptables-nft -t mangle -A PREROUTING -i lan0 -p udp --dport 7000 -j TPROXY --on-port 5060", ""},
	{"iptables-legacy, from the LAN", "iptables-legacy -t mangle -A PREROUTING -s 192.168.1.0/24 -p udp --dport 7000 -j TPROXY --on-port 5060", ""},
	{"iptables-legacy, another server", "iptables-legacy -t mangle -A PREROUTING -p udp --dport 7000 -j TPROXY --on-port 3128", ""},
	{"iptables-legacy, strangers are gone", "iptables-legacy -t mangle -N P;iptables-legacy -t mangle -A PREROUTING -i lan+ -g P;iptables-legacy -t mangle -A P -p udp -j TPROXY --on-port 5060", ""},
	{"iptables-legacy, a fenced port", "iptables-legacy -t mangle -A PREROUTING -p udp --dport 5060 -j TPROXY --on-port 5060", ""},
}

const proxiedPolicy = linksPolicy + "interfaces: [eth0]\nports: {udp: [5060, 5061, 5062, 9999], tcp: [5060, 5061]}\ntrusted: {addresses: [192.168.0.0/16]}\n"

// put loads rules of another program, and removes all others.
func put(t *testing.T, h *lab.Namespace, rules string) {
	t.Helper()
	for _, program := range []string{"iptables-legacy", "ip6tables-legacy", "iptables-nft", "ip6tables-nft"} {
		labtest.Run(t, h, "sh", "-c", program+" -t mangle -F; "+program+" -t mangle -X")
	}
	for _, table := range []string{"ip divert", "inet divert", "ip edit", "ip6 edit", "inet edit", "netdev edit"} {
		labtest.Rules(t, h, "table "+table+" {}; delete table "+table)
	}
	if program, _, _ := strings.Cut(rules, " "); !strings.Contains(program, "tables") {
		labtest.Rules(t, h, rules)
		return
	}
	for command := range strings.SplitSeq(rules, ";") {
		words := strings.Fields(command)
		labtest.Run(t, h, words[0], words[1:]...)
	}
}

// TestProxied: a rule of another program that hands strangers' packets to a server on a
// fenced port is an alarm, and one that hands none of theirs is none.
func TestProxied(t *testing.T) {
	t.Parallel()
	labtest.Need(t, "iptables-legacy", "iptables-nft")
	pbx, _ := newPair(t)
	s := newSite(t, pbx, proxiedPolicy)
	s.must(t, 0, "apply")
	for _, test := range proxying {
		put(t, pbx, test.rules)
		status := 0
		if test.at != "" {
			status = 4
		}
		// Without and with what the refresh has found, and again.
		for _, command := range []string{"status", "refresh", "status"} {
			args := []string{command}
			if command == "status" {
				args = append(args, "--check")
			}
			if o := s.run(t, args...); o.status != status {
				t.Errorf("%s: %s: %+v", test.name, command, o)
			}
		}
		alarms := s.status(t).Alarms
		switch {
		case test.at == "" && len(alarms) > 0, test.at != "" && len(alarms) != 1:
			t.Errorf("%s: %+v", test.name, alarms)
		case test.at != "" && (alarms[0].Name != test.at || !strings.Contains(alarms[0].Text, "on port 506") ||
			!strings.Contains(alarms[0].WayOut, "list these ports under ports")):
			t.Errorf("%s: %+v", test.name, alarms)
		}
	}
	put(t, pbx, "")
	s.must(t, 0, "status", "--check")
	labtest.Report(t, "P16", "rules of other programs that hand strangers to a fenced server", len(proxying), "alarm where strangers get in, and only there")
}

// TestProxiedIsTold: the service tells of such a rule within seconds, over nftables and both
// flavours of iptables, also of a way to it that comes later, and that it is gone.
func TestProxiedIsTold(t *testing.T) {
	t.Parallel()
	labtest.Need(t, "iptables-legacy", "iptables-nft")
	pbx, outside := newPair(t)
	s := newSite(t, pbx, proxiedPolicy)
	s.must(t, 0, "apply")
	r := serve(t, s)
	for _, test := range proxying {
		if test.at == "" || strings.Contains(test.name, ",") && !strings.Contains(test.name, "written") {
			continue
		}
		said, began := len(r.log()), time.Now()
		put(t, pbx, test.rules)
		r.until(t, "the service tells of "+test.at, func() bool { return strings.Contains(r.log()[said:], test.at+": it hands") })
		labtest.Report(t, "P16", "the service tells of "+test.name, 1, "%.1f s after it came", time.Since(began).Seconds())
		put(t, pbx, "")
		r.until(t, "the service knows that it has gone", func() bool { return !strings.Contains(r.status(), "alarm") })
		s.must(t, 0, "status", "--check")
	}
	labtest.Rules(t, pbx, "table ip divert { chain to_pbx { udp dport 7000 udp dport set 5060; }; chain c { type filter hook prerouting priority 0; }; }")
	s.must(t, 0, "status", "--check")
	labtest.Rules(t, pbx, "add rule ip divert c jump to_pbx")
	r.until(t, "the service tells of the way", func() bool { return strings.Contains(r.log(), "chain to_pbx of table ip divert: it hands") })

	// The alarm is right, and its way out ends it.
	e := listen(t, pbx, 5060, "203.0.113.1")
	sendPacket(t, outside, "203.0.113.66", "203.0.113.1", 7000)
	until(t, "a stranger's packet gets past the fence", func() bool { return e.From("203.0.113.66") == 1 })
	s.write(t, strings.Replace(proxiedPolicy, "9999", "7000", 1))
	s.must(t, 0, "apply")
	s.must(t, 0, "status", "--check")
	sendPacket(t, outside, "203.0.113.67", "203.0.113.1", 7000)
	sendPacket(t, outside, "203.0.113.5", "203.0.113.1", 5060)
	until(t, "the provider's packet", func() bool { return e.From("203.0.113.5") == 1 })
	if e.From("203.0.113.67") > 0 {
		t.Error("the port is listed, and a stranger's packet gets in by it")
	}
	r.end(t)
}
