package cli_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// othersRules are of every family, and look at what ringfence looks at.
const othersRules = otherTables + `
table ip others4 { chain c { type nat hook postrouting priority srcnat; masquerade random; }; }
table ip6 others6 { map m { type inet_service : verdict; elements = { 5060 : accept }; }; }
table arp others { chain c { type filter hook input priority 0; arp operation request counter; }; }
table bridge others { chain c { type filter hook prerouting priority 0; udp dport 5060 accept; }; }
table netdev others { chain c { type filter hook ingress device "eth0" priority 0; meta mark set 7; }; }
`

// others is all that is not ringfence's: rules of every kind, sets, tc, routes, settings.
// Counts are left out, and chains that come with a table that is looked at.
func others(t *testing.T, h *lab.Namespace) string {
	t.Helper()
	var all []string
	note := func(text string, is func(line string) bool) {
		for line := range strings.Lines(text) {
			if is(line) {
				all = append(all, strings.TrimRight(line, "\n"))
			}
		}
	}
	for _, table := range []string{"inet theirs", "ip others4", "ip6 others6", "arp others", "bridge others", "netdev others"} {
		note(labtest.Run(t, h, "nft", append([]string{"-a", "-s", "list", "table"}, strings.Fields(table)...)...), func(string) bool { return true })
	}
	for _, program := range []string{"iptables-legacy-save", "ip6tables-legacy-save", "iptables-nft-save", "ip6tables-nft-save"} {
		note(labtest.Run(t, h, "sh", "-c", program+" 2>/dev/null"), func(line string) bool {
			return !strings.Contains(line, "RINGFENCE") && (strings.HasPrefix(line, "-A") || strings.HasPrefix(line, ":") && strings.Contains(line, " - "))
		})
	}
	note(labtest.Run(t, h, "ipset", "save"), func(line string) bool { return !strings.Contains(line, "ringfence-") })
	note(labtest.Run(t, h, "sh", "-c", "tc qdisc show; tc filter show dev eth0 egress; ip rule; ip -6 rule; ip route show table all; ip -6 route show table all; ip -br address"), func(line string) bool {
		return !strings.Contains(line, "clsact") && !strings.Contains(line, "multicast")
	})
	labtest.In(t, h, func() error {
		return filepath.WalkDir("/proc/sys/net", func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() || strings.Contains(path, "nf_conntrack_count") || strings.Contains(path, "stable_secret") {
				return nil
			}
			value, _ := os.ReadFile(path) // some can only be written
			all = append(all, path+" "+string(value))
			return nil
		})
	})
	return strings.Join(all, "\n")
}

// TestOthersStay goes through the commands that change something, over each back end, on
// a host full of other programs' rules: nothing of theirs is another after any of them.
func TestOthersStay(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T) {
		t.Parallel()
		pbx, _ := newPair(t)
		labtest.Rules(t, pbx, othersRules)
		for _, program := range []string{"iptables-legacy", "ip6tables-legacy", "iptables-nft", "ip6tables-nft"} {
			labtest.Run(t, pbx, program, "-w", "-N", "MINE") // other tests hold the lock of the machine too
			for _, table := range []string{"raw", "mangle", "filter"} {
				chain := map[string]string{"raw": "PREROUTING", "mangle": "PREROUTING", "filter": "INPUT"}[table]
				labtest.Run(t, pbx, program, "-w", "-t", table, "-A", chain, "-p", "udp", "--dport", "5060", "-j", "ACCEPT")
			}
		}
		labtest.Run(t, pbx, "sh", "-ec", "ipset create others hash:ip; ipset add others 192.0.2.1; tc qdisc replace dev eth0 root tbf rate 1gbit burst 64k latency 50ms")
		before := others(t, pbx)
		s := newSite(t, pbx, linksPolicy+"interfaces: [eth0]\n")
		commands := []string{
			"check", "diff", "apply", "refresh", "status", "doctor", "ban 192.0.2.66", "bans", "unban 192.0.2.66", "allow 192.0.2.66", "disallow 192.0.2.66",
			"history", "apply --confirm=60s", "confirm", "rollback", "down", "refresh", "up", "down", "apply",
		}
		applied := 0
		for _, command := range commands {
			if strings.HasPrefix(command, "apply") {
				applied++
				s.write(t, linksPolicy+"interfaces: [eth0]\nunknown: {action: "+[]string{"drop", "accept"}[applied%2]+"}\n")
			}
			if o := s.run(t, strings.Fields(command)...); o.status == 1 || o.status == 3 {
				t.Fatalf("%s: exit status %d\n%s%s", command, o.status, o.stdout, o.stderr)
			}
			if diff := cmp.Diff(before, others(t, pbx)); diff != "" {
				t.Fatalf("%s touches what is not ringfence's: %s", command, diff)
			}
		}
		r := serve(t, s)
		removeFence(t, s)
		r.until(t, "the service puts the fence back", func() bool { return s.run(t, "diff").status == 0 })
		r.end(t)
		commands = append(commands, "run")
		if diff := cmp.Diff(before, others(t, pbx)); diff != "" {
			t.Errorf("run touches what is not ringfence's: %s", diff)
		}
		labtest.Report(t, "P3", labtest.Over("rules, sets, tc and settings of others around each command", backendOf(t)), len(commands), "0 differ")
	})
}

// removeFence takes the fence out of the kernel as another program would.
func removeFence(t *testing.T, s *site) {
	t.Helper()
	b := backendOf(t)
	if !slices.Contains(backends[1:], b) {
		labtest.Run(t, s.host, "nft", "delete", "table", "inet", "ringfence")
		return
	}
	for _, program := range []string{b, strings.Replace(b, "ip", "ip6", 1)} {
		jump := ""
		for line := range strings.Lines(labtest.Run(t, s.host, program, "-t", "raw", "-S", "PREROUTING")) {
			if strings.Contains(line, "RINGFENCE") {
				jump = line
			}
		}
		labtest.Run(t, s.host, program, append([]string{"-t", "raw", "-D"}, strings.Fields(jump)[1:]...)...)
	}
}
