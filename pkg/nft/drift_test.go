package nft_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// rule is a rule as nft lists it.
type rule struct{ chain, text, handle string }

var ruleLine = regexp.MustCompile(`^\t\t(.*) # handle (\d+)$`)

// rules are the rules of a listing with handles.
func rules(t *testing.T, listing string) []rule {
	t.Helper()
	var list []rule
	chain := ""
	for line := range strings.Lines(listing) {
		line = strings.TrimRight(line, "\n")
		if name, ok := strings.CutPrefix(line, "\tchain "); ok {
			chain = strings.Fields(name)[0]
		} else if m := ruleLine.FindStringSubmatch(line); m != nil && chain != "" {
			list = append(list, rule{chain, m[1], m[2]})
		}
	}
	if len(list) < 15 {
		t.Fatalf("only %d rules found", len(list))
	}
	return list
}

// replaced is nft's script for another rule in the place of r. (nft 1.0.6 ends
// in a failed assertion when it replaces a rule with ranges in it.)
func replaced(r rule, text string) string {
	return fmt.Sprintf("add rule inet ringfence %s position %s %s\ndelete rule inet ringfence %s handle %s", r.chain, r.handle, text, r.chain, r.handle)
}

var handle = regexp.MustCompile(`(?m) # handle \d+$`)

// blocks are the chains and sets of a listing, sorted, without their handles:
// nft lists them in the order in which they were made.
func blocks(listing string) []string {
	parts := strings.Split(handle.ReplaceAllString(listing, ""), "\n\t}\n")
	for i, p := range parts {
		parts[i] = strings.TrimPrefix(strings.TrimPrefix(p, "table inet ringfence {\n"), "\n")
	}
	slices.Sort(parts)
	return parts
}

// mend checks that a change by another program shows, and that apply mends it.
func (v *vandal) mend(t *testing.T, what, script string) {
	t.Helper()
	v.changes++
	v.nft.Do(t, script)
	p := apply(t, v.host, v.want)
	if p.Empty() || len(p.Changes) == 0 {
		t.Errorf("%s: not seen after\n%s", what, script)
	}
	if p := difference(t, v.host, v.want); !p.Empty() {
		t.Errorf("%s: not mended: %+v", what, p.Changes)
	}
	v.look(t)
	if diff := cmp.Diff(v.golden, blocks(v.listing)); diff != "" {
		t.Errorf("%s: mended to something else: %s", what, diff)
	}
}

// TestEveryChangeOfARuleShows changes each rule in each way that the other
// program nft knows.
func TestEveryChangeOfARuleShows(t *testing.T) {
	t.Parallel()
	substitutions := [][2]string{
		{"goto pass", "accept"},
		{`" drop`, `" accept`},
		{"goto drop_", "jump drop_"},
		{"goto drop_unknown6", "goto drop_signature6"},
		{`" drop`, `" goto pass`},
		{"jump fence", "goto fence"},
		{"goto sip", "jump sip"},
		{`"allowed_provider"`, `"allowed_trusted"`},
		{`counter name "dropped_spoofed" `, ""},
		{"counter name", "counter counter name"},
		{"@providers4", "@trusted4"},
		{"@providers4", "!= @providers4"},
		{"@ports", "!= @ports"},
		{"udp . 5060", "udp . 5062"},
		{"dport", "sport"},
		{"saddr @", "daddr @"},
		{"meta l4proto . th dport @ports", "udp dport 5060"},
		{"10.0.0.0/8", "10.0.0.0/9"},
		{"fe80::/10", "fe80::/11"},
		{"missing", "exists"},
		{"saddr . iif", "daddr . iif"},
		{`"eth0"`, `"eth1"`},
		{`"eth0"`, `"eth*"`},
		{`"ppp*"`, `"ppp"`},
		{"iifname", "iifname !="},
		{"iifname", "oifname"},
		{"ct status dnat", "ct status snat"},
		{"original", "reply"},
		{"direction reply", "direction original"},
		{"accept", "return"},
		{"return", "accept"},
		{"saddr 192.168.1.0/24", "daddr 192.168.1.0/24"},
		{"saddr 192.168.1.0/24", "saddr 192.168.1.0/25"},
		{"saddr 10.1.0.0/23", "saddr 10.1.0.0/22"},
		{"saddr 10.1.0.0/23", "saddr != 10.1.0.0/23"},
		{"fd00:1::/64", "fd00:1::/56"},
		{"fd00:2::/61", "fd00:2::/62"},
		{"frag-off 0", "frag-off 1"},
		{"frag frag-off 0", "frag more-fragments 0"},
		{"!= 255", "!= 254"},
		{"0x01000000", "0x02000000"},
		{"& 0x0f000000 ==", "& 0x0f000001 =="},
		{"0xf0ffffff", "0xffffffff"},
		{"mark & 0x0f000000 ==", "mark & 0x0f000000 !="},
		{"type unicast", "type local"},
		{"!= @protected4", "@protected4"},
		{"update @banned4", "add @banned4"},
		{"timeout 1h", "timeout 2h"},
		{"timeout 1h", ""},
		{"{ ip saddr timeout", "{ ip daddr timeout"},
		{"timeout 1d counter", "timeout 1d"},
		{"timeout 1d", "timeout 2d"},
		{"update @dropped4", "add @dropped4"},
		{"add @log_unknown4", "update @log_unknown4"},
		{"timeout 1m", "timeout 2m"},
		{"@log_unknown4", "@log_spoofed4"},
		{"@dropped4 counter", "!= @dropped4 counter"},
		{`prefix "unknown"`, `prefix "unknown "`},
		{"group 5060", "group 5061"},
		{"snaplen 1024", "snaplen 1025"},
		{" snaplen 1024", ""},
		{"snaplen 1024", "snaplen 1024 queue-threshold 2"},
	}
	// The kernel takes its time for each transaction: several hosts wait at once.
	const hosts = 4
	of := hosts
	if os.Getenv("RINGFENCE_MACHINE") != "" {
		of = 1 // an emulated machine takes minutes for all: there, every fourth rule will do
	}
	for first := range of {
		t.Run(fmt.Sprintf("every %dth rule from %d", hosts, first), func(t *testing.T) {
			t.Parallel()
			v := newVandal(t)
			n := len(rules(t, v.listing))
			for i := first; i < n; i += hosts {
				v.changeRule(t, i, substitutions)
			}
			v.report(t, "each rule changed, moved, deleted, commented")
		})
	}
}

// changeRule makes every change of the rule at a place in the listing.
func (v *vandal) changeRule(t *testing.T, i int, substitutions [][2]string) {
	t.Helper()
	at := func(i int) rule { return rules(t, v.listing)[i] }
	r := at(i)
	in := fmt.Sprintf("chain %s, rule %q: ", r.chain, r.text)
	v.mend(t, in+"deleted", fmt.Sprintf("delete rule inet ringfence %s handle %s", r.chain, r.handle))
	r = at(i)
	v.mend(t, in+"duplicated", fmt.Sprintf("add rule inet ringfence %s position %s %s", r.chain, r.handle, r.text))
	r = at(i)
	v.mend(t, in+"commented", replaced(r, r.text+` comment "mine"`))
	r = at(i)
	v.mend(t, in+"preceded", fmt.Sprintf("insert rule inet ringfence %s position %s meta mark 1", r.chain, r.handle))
	if all := rules(t, v.listing); i+1 < len(all) && all[i+1].chain == all[i].chain {
		r, after := all[i], all[i+1]
		v.mend(t, in+"swapped with the next", fmt.Sprintf("delete rule inet ringfence %s handle %s\nadd rule inet ringfence %s position %s %s",
			r.chain, r.handle, r.chain, after.handle, r.text))
	}
	for _, s := range substitutions {
		r := at(i)
		if changed := strings.Replace(r.text, s[0], s[1], 1); changed != r.text {
			v.mend(t, in+"now "+changed, replaced(r, changed))
		}
	}
}

// TestExpressionsOfOthersShow inserts rules with expressions that the netlink
// library drops or that nobody here writes.
func TestExpressionsOfOthersShow(t *testing.T) {
	t.Parallel()
	v := newVandal(t)
	unknown := 0
	for _, text := range []string{
		"socket transparent 1 accept", "socket mark 1 accept", "rt classid 1 accept", "rt ip nexthop 192.0.2.1 accept",
		`osf name "Linux" accept`, "meta time > 1 accept", "numgen random mod 2 == 1 accept", "jhash ip saddr mod 2 == 1 accept",
		"limit rate 1/second accept", "log prefix \"x\"", "counter", "quota over 1 mbytes accept", "ct count over 5 drop",
		"ct mark 1 accept", "ct zone 1 accept", "exthdr frag exists drop", "ip option rr exists drop", "tcp option maxseg size 100 drop",
		"notrack", "queue num 1 bypass", "reject", "meta mark set 1", "meta nftrace set 1", "ip saddr 192.0.2.1 accept",
		"ip saddr { 192.0.2.1, 192.0.2.2 } accept", "ip saddr . udp dport { 192.0.2.1 . 5060 } accept",
		"udp dport vmap { 5060 : accept }", "udp dport 5060 accept", "@th,64,32 0x4f505449 drop", "udp length > 100 drop",
		"ip ttl 1 drop", "fib saddr type local drop", "meta cgroup 1 accept", "meta skuid 0 accept", "ct id 1 accept",
		"add @banned4 { ip saddr timeout 1h }", "accept", "drop", "goto pass", "jump pass",
	} {
		for _, how := range []string{"insert", "add"} {
			if _, err := v.nft.Try(t, fmt.Sprintf("%s rule inet ringfence fence %s", how, text)); err != nil {
				unknown++
				t.Logf("this kernel or nft does not know %q: %v", text, err)
				break
			}
			v.mend(t, how+" "+text, "")
		}
	}
	v.report(t, "rules of other programs' kinds put between")
	if unknown > 5 {
		t.Errorf("%d kinds of rules are unknown here: this test says too little", unknown)
	}
}

func TestEveryOtherChangeShows(t *testing.T) {
	t.Parallel()
	v := newVandal(t)
	for _, test := range []struct{ name, script string }{
		{"an address is added", "add element inet ringfence providers4 { 9.9.9.9 }"},
		{"a neighbour is added", "add element inet ringfence providers4 { 192.0.2.4 }"},
		{"an address is added, IPv6", "add element inet ringfence trusted6 { 2001:db8:9::/48 }"},
		{"a range is taken out", "delete element inet ringfence providers4 { 203.0.113.0/24 }"},
		{"the last range is taken out", "delete element inet ringfence providers4 { 255.255.255.0/24 }"},
		{"everything is taken out", "flush set inet ringfence providers6"},
		{"a range is split", "delete element inet ringfence providers4 { 203.0.113.0/24 }\nadd element inet ringfence providers4 { 203.0.113.0/25 }\nadd element inet ringfence providers4 { 203.0.113.128/25 }"},
		{"a comment", "delete element inet ringfence providers4 { 203.0.113.0/24 }\nadd element inet ringfence providers4 { 203.0.113.0/24 comment \"mine\" }"},
		{"a port is added", "add element inet ringfence ports { udp . 5070 }"},
		{"a port is taken out", "delete element inet ringfence ports { tcp . 5061 }"},
		{"a port that times out", "add element inet ringfence ports { dccp . 5070 timeout 1h }"},
		{"a port is given a lifetime", "delete element inet ringfence ports { udp . 5060 }\nadd element inet ringfence ports { udp . 5060 timeout 1h }"},
		{"an address is protected", "add element inet ringfence protected4 { 9.9.9.9 }"},

		{"a set", "add set inet ringfence mine { type ipv4_addr; }"},
		{"a map", "add map inet ringfence mine { type ipv4_addr : mark; }"},
		{"a verdict map to a chain of ours", "add map inet ringfence mine { type inet_service : verdict; elements = { 1 : goto pass } }"},
		{"a chain", "add chain inet ringfence mine"},
		{"a base chain", "add chain inet ringfence mine { type filter hook output priority 0; policy drop; }"},
		{"a chain inside a rule", "add rule inet ringfence fence udp dport 1 jump { accept; }"},
		{"a chain inside a rule of a chain", "add chain inet ringfence mine\nadd rule inet ringfence mine jump { udp dport 1 drop; accept; }\ninsert rule inet ringfence sip jump mine"},
		{"a chain with rules that ours jump to", "add chain inet ringfence mine { accept; }\ninsert rule inet ringfence fence jump mine"},
		{"a nat chain", "add chain inet ringfence mine { type nat hook prerouting priority -100; }"},
		{"a counter", "add counter inet ringfence mine"},
		{"a quota", "add quota inet ringfence mine { 1 mbytes }"},
		{"a limit", "add limit inet ringfence mine { rate 1/second }"},
		{"a synproxy", "add synproxy inet ringfence mine { mss 1460 wscale 7 }"},
		{"a ct helper", "add ct helper inet ringfence mine { type \"sip\" protocol udp; }"},
		{"a ct timeout", "add ct timeout inet ringfence mine { protocol udp; policy = { unreplied : 1, replied : 1 }; }"},
		{"a quota in use", "add quota inet ringfence mine { 1 mbytes }\nadd rule inet ringfence pass quota name \"mine\" drop"},

		{"dormant", "add table inet ringfence { flags dormant; }"},
		{"a policy", "chain inet ringfence prerouting { policy drop; }"},
		{"a policy, after_dnat", "chain inet ringfence after_dnat { policy drop; }"},
		{"a priority", "delete chain inet ringfence prerouting\nadd chain inet ringfence prerouting { type filter hook prerouting priority -300; policy accept; }"},
		{"a priority, with the rules", "flush chain inet ringfence after_dnat\ndelete chain inet ringfence after_dnat\nadd chain inet ringfence after_dnat { type filter hook prerouting priority 0; policy accept; }\nadd rule inet ringfence after_dnat " + afterDNAT},
		{"a hook", "flush chain inet ringfence after_dnat\ndelete chain inet ringfence after_dnat\nadd chain inet ringfence after_dnat { type filter hook output priority filter - 10; policy accept; }"},
		{"a type", "flush chain inet ringfence prerouting\ndelete chain inet ringfence prerouting\nadd chain inet ringfence prerouting { type nat hook prerouting priority -190; policy accept; }"},
		{"a base chain made regular", "flush chain inet ringfence after_dnat\ndelete chain inet ringfence after_dnat\nadd chain inet ringfence after_dnat"},
		{"a chain is gone", "flush chain inet ringfence after_dnat\ndelete chain inet ringfence after_dnat"},
		{"a chain is empty", "flush chain inet ringfence pass"},
		{"a chain's comment", "flush chain inet ringfence after_dnat\ndelete chain inet ringfence after_dnat\nadd chain inet ringfence after_dnat { comment \"mine\"; type filter hook prerouting priority filter - 10; policy accept; }\nadd rule inet ringfence after_dnat " + afterDNAT},
		{"all chains are gone", "flush table inet ringfence\n" + deleteChains},

		{"a set's size", "flush table inet ringfence\ndelete set inet ringfence banned4\nadd set inet ringfence banned4 { type ipv4_addr; size 100; flags dynamic,timeout; }"},
		{"a set's flags", "flush table inet ringfence\ndelete set inet ringfence providers4\nadd set inet ringfence providers4 { type ipv4_addr; flags interval,timeout; }"},
		{"a set that merges itself", "flush table inet ringfence\ndelete set inet ringfence ports\nadd set inet ringfence ports { type inet_proto . inet_service; elements = { udp . 5060, udp . 5061 } }"},
		{"a set's timeout", "flush table inet ringfence\ndelete set inet ringfence ports\nadd set inet ringfence ports { type inet_proto . inet_service; flags timeout; timeout 1h; }"},
		{"a set's gc-interval", "flush table inet ringfence\ndelete set inet ringfence banned6\nadd set inet ringfence banned6 { type ipv6_addr; size 65535; flags dynamic,timeout; gc-interval 1h; }"},
		{"a set's policy", "flush table inet ringfence\ndelete set inet ringfence ports\nadd set inet ringfence ports { type inet_proto . inet_service; flags timeout; policy memory; elements = { udp . 5060, udp . 5061 } }"},
		{"a set's comment", "flush table inet ringfence\ndelete set inet ringfence ports\nadd set inet ringfence ports { type inet_proto . inet_service; flags timeout; comment \"mine\"; elements = { udp . 5060, udp . 5061 } }"},
		{"a set that counts", "flush table inet ringfence\ndelete set inet ringfence ports\nadd set inet ringfence ports { type inet_proto . inet_service; flags timeout; counter; elements = { udp . 5060, udp . 5061 } }"},
		{"a set's type", "flush table inet ringfence\ndelete set inet ringfence banned4\nadd set inet ringfence banned4 { type mark; size 65535; flags dynamic,timeout; }"},
		{"a map to chains has a set's name", "flush chain inet ringfence sip\nflush chain inet ringfence sip6\ndelete set inet ringfence providers4\nadd chain inet ringfence mine\n" +
			"add map inet ringfence providers4 { type ipv4_addr : verdict; elements = { 1.2.3.4 : jump mine }; }"},
		{"a map to objects has a set's name", "flush chain inet ringfence sip\nflush chain inet ringfence sip6\ndelete set inet ringfence providers4\nadd quota inet ringfence mine { 1 mbytes }\n" +
			"add map inet ringfence providers4 { type ipv4_addr : quota; elements = { 1.2.3.4 : \"mine\" }; }"},
		{"a set is gone", "flush table inet ringfence\ndelete set inet ringfence trusted6"},
		{"a counter is gone", "flush table inet ringfence\ndelete counter inet ringfence dropped_unknown"},
		{"a counter became a quota", "flush table inet ringfence\ndelete counter inet ringfence dropped_unknown\nadd quota inet ringfence dropped_unknown { 1 mbytes }"},

		{"the table is gone", "delete table inet ringfence"},
		{"everything is gone", "flush ruleset"},
		{"an empty table", "delete table inet ringfence\nadd table inet ringfence"},
		{"an empty dormant table", "delete table inet ringfence\nadd table inet ringfence { flags dormant; }"},
	} {
		t.Run(test.name, func(t *testing.T) { v.mend(t, test.name, test.script) })
	}
	v.report(t, "each set, chain, counter, element and flag changed")
}

// report says how many changes were seen.
func (v *vandal) report(t *testing.T, what string) {
	t.Helper()
	labtest.Report(t, "P4", what+", nftables", v.changes, "all seen, all mended")
}

func TestCatchAllShows(t *testing.T) {
	t.Parallel()
	if labtest.LinuxBefore(t, 5, 13) {
		t.Skip("an element for all that no other is for came with Linux 5.13: nobody can add one")
	}
	newVandal(t).mend(t, "a catch-all", "add element inet ringfence ports { * }")
}

const deleteChains = "delete chain inet ringfence prerouting\ndelete chain inet ringfence after_dnat\n" +
	"delete chain inet ringfence fence\ndelete chain inet ringfence sip\ndelete chain inet ringfence pass"

// afterDNAT is the rule of the chain after_dnat. In a chain that is added with its rules
// nft 1.1 does not find the set.
const afterDNAT = "ct status dnat ct direction original meta l4proto . th dport @ports jump fence"

// vandal is another program that changes the fence of a host.
type vandal struct {
	host    *lab.Namespace
	nft     *labtest.NFT
	want    *ruleset.State
	golden  []string
	listing string // of the table as it is, with handles
	changes int    // that it has made
}

func newVandal(t *testing.T) *vandal {
	t.Helper()
	return newVandalOf(t, compiled(t, everything))
}

func newVandalOf(t *testing.T, want *ruleset.State) *vandal {
	t.Helper()
	v := &vandal{host: labtest.Host(t, "pbx"), want: want}
	v.nft = labtest.StartNFT(t, v.host)
	apply(t, v.host, v.want)
	v.look(t)
	v.golden = blocks(v.listing)
	return v
}

func (v *vandal) look(t *testing.T) {
	t.Helper()
	v.listing = v.nft.Do(t, "list table inet ringfence")
}
