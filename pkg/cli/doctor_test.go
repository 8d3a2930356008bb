package cli_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// findings are the names of what doctor finds, with their texts.
func findings(t *testing.T, s *site) (names []string, text string) {
	t.Helper()
	o := s.run(t, "doctor", "-o", "json")
	var found []struct{ Name, Finding, Severity, WayOut string }
	if err := json.Unmarshal([]byte(o.stdout), &found); err != nil || (o.status == 4) != (len(found) > 0) {
		t.Fatalf("doctor ends with %d, %v:\n%s%s", o.status, err, o.stdout, o.stderr)
	}
	for _, f := range found {
		names = append(names, f.Name)
	}
	return names, o.stdout
}

// TestDoctorFinds: what others do to a real host's network is found, and what is found
// there goes when it does.
func TestDoctorFinds(t *testing.T) {
	t.Parallel()
	pbx, _ := newPair(t)
	for _, h := range []string{"tun0", "tun1"} {
		labtest.Run(t, pbx, "ip", "link", "add", "name", h, "type", "veth", "peer", "name", h+"p")
		labtest.Run(t, pbx, "ip", "link", "set", h, "up")
		labtest.Run(t, pbx, "ip", "link", "set", h+"p", "up")
	}
	labtest.Run(t, pbx, "ip", "-6", "addr", "add", "fd09:0::1/64", "dev", "tun0", "nodad")
	labtest.Run(t, pbx, "ip", "-6", "addr", "add", "fd09:1::1/64", "dev", "tun1", "nodad")
	s := newSite(t, pbx, linksPolicy)
	s.must(t, 0, "apply")
	before, beforeText := findings(t, s)
	for _, test := range []struct{ name, do, undo, finding, says string }{
		{"equal routes of IPv6", "ip -6 route add fd77::/64 nexthop via fd09::2 dev tun0 nexthop via fd09:1::2 dev tun1", "ip -6 route del fd77::/64", "equal-cost", "fd77::/64 is reached by tun0 and tun1"},
		{"equal routes in another table", "ip -6 route add fd78::/64 table 77 nexthop via fd09::2 dev tun0 nexthop via fd09:1::2 dev tun1; ip -6 rule add table 77", "ip -6 rule del table 77; ip -6 route flush table 77", "equal-cost", "fd78::/64"},
		{"equal next hops", "ip nexthop add id 1 via fd09::2 dev tun0; ip nexthop add id 2 via fd09:1::2 dev tun1; ip nexthop add id 3 group 1/2; ip -6 route add fd79::/64 nhid 3", "ip -6 route del fd79::/64; ip nexthop flush", "equal-cost", "fd79::/64"},
		{"a flowtable", "nft 'table inet f { flowtable fast { hook ingress priority 0; devices = { tun0 }; }; }'", "nft delete table inet f", "flowtable", "fast of table inet f"},
		{"a chain that drops before", "nft 'table ip r { chain early { type filter hook prerouting priority -400; udp dport 5060 drop; }; }'", "nft delete table ip r", "judged-before", "chain early of table ip r"},
		{"a chain that drops after", "nft 'table inet r { chain in { type filter hook input priority 0; udp dport 5000-6000 drop; }; }'", "nft delete table inet r", "dropped-after", "chain in of table inet r"},
		{"a helper", "nft 'table inet h { ct helper s { type \"sip\" protocol udp; }; }'", "nft delete table inet h", "sip-helper", "s of table inet h"},
		{"a shaper", "tc qdisc add dev eth0 root tbf rate 10mbit burst 10k latency 50ms", "tc qdisc del dev eth0 root", "ingress", "Exclusivity flag on"},
		{"a mark of nftables", "nft 'table inet m { chain c { type filter hook prerouting priority -150; tcp dport 80 meta mark set 0x1000000; }; }'", "nft delete table inet m", "mark", "chain c of table inet m"},
		{"a mark of a routing rule", "ip rule add fwmark 0x2000000 table 100", "ip rule del fwmark 0x2000000 table 100", "mark", "ip rule"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := labtest.TryInput(t, pbx, "", "sh", "-c", test.do); err != nil && test.finding == "flowtable" {
				t.Skip("this kernel has no flowtables")
			} else if err != nil {
				t.Fatal(err)
			}
			names, text := findings(t, s)
			labtest.Run(t, pbx, "sh", "-c", test.undo)
			if strings.Contains(beforeText, test.says) {
				t.Fatalf("%s is found before:\n%s", test.finding, beforeText)
			}
			if !slices.Contains(names, test.finding) || !strings.Contains(text, test.says) {
				t.Errorf("doctor finds\n%s", text)
			}
			s.must(t, 0, "refresh")
			if after, _ := findings(t, s); !slices.Equal(after, before) {
				t.Errorf("after that doctor finds %q, before it %q", after, before)
			}
		})
	}
}

// TestDoctorWithoutInterfaces: where there is no interface but lo, doctor says so.
func TestDoctorWithoutInterfaces(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
	s.must(t, 0, "apply")
	if _, text := findings(t, s); !strings.Contains(text, "there is no interface but lo in this network namespace") {
		t.Errorf("doctor finds\n%s", text)
	}
	s.write(t, staticPolicy+"interfaces: [eth7, 'ppp*']\n")
	s.must(t, 4, "apply")
	if _, text := findings(t, s); !strings.Contains(text, "none of the policy's interfaces is there: eth7, ppp*") {
		t.Errorf("doctor finds\n%s", text)
	}
}

// TestDoctorFindsIPTables: both flavours in use, and rules of one that drop SIP.
func TestDoctorFindsIPTables(t *testing.T) {
	t.Parallel()
	labtest.Need(t, "iptables-legacy", "iptables-nft")
	pbx, _ := newPair(t)
	s := newSite(t, pbx, linksPolicy)
	s.must(t, 0, "apply")
	labtest.Run(t, pbx, "iptables-nft", "-A", "INPUT", "-p", "udp", "-m", "multiport", "--dports", "5060,5061", "-j", "DROP")
	names, text := findings(t, s)
	if !slices.Contains(names, "dropped-after") || slices.Contains(names, "both-iptables") {
		t.Errorf("doctor finds\n%s", text)
	}
	labtest.Run(t, pbx, "iptables-legacy", "-w", "-A", "INPUT", "-p", "tcp", "--dport", "80", "-j", "ACCEPT")
	if names, text = findings(t, s); !slices.Contains(names, "both-iptables") {
		t.Errorf("doctor finds\n%s", text)
	}
	labtest.Run(t, pbx, "iptables-nft", "-F")
	if names, _ = findings(t, s); slices.Contains(names, "dropped-after") {
		t.Errorf("doctor finds %q", names)
	}
	labtest.Run(t, pbx, "iptables-legacy", "-w", "-A", "INPUT", "-p", "udp", "--dport", "5060", "-j", "DROP")
	if _, text = findings(t, s); !strings.Contains(text, "chain INPUT of iptables-legacy -t filter drops packets to SIP ports") {
		t.Errorf("doctor finds\n%s", text)
	}
}
