package cli_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// input is something that the fence depends on and that is changed under it.
type input struct {
	name string
	// policy is added to that of all; more is another one, "" for none.
	policy string
	// before is how the host is changed when the policy has been applied. do and undo are scripts of sh for the PBX; $S is the site's folder, $OTHER
	// another network namespace.
	before, do, undo string
	// sends says that a stranger sends a scan after do, or the provider.
	sends, provider bool
	// refuses says that refresh cannot do anything then, and ends with an error.
	refuses bool
	// alarm is what has to stand then, "kind: name"; "" says that it is made good: nothing
	// stands, and diff finds nothing.
	alarm string
	// held is what has to be in the table, or among the filters, when it is made good.
	held string
}

const (
	listed  = "interfaces: [eth0]\n"
	open    = "unknown: {action: accept}\nbans: {duration: 0s}\n"
	newLink = "ip link add name tun0 type veth peer name tun0p; ip link set tun0 up; ip link set tun0p up"
	inside  = "trusted: {addresses: [192.168.7.0/24]}\n"
)

// inputs are by kind; each kind has a host of its own.
var inputs = map[string][]input{
	"links": {
		{name: "renamed", policy: listed, do: "ip link set eth0 down; ip link set eth0 name wan0; ip link set wan0 up", undo: "ip link set wan0 down; ip link set wan0 name eth0; ip link set eth0 up; ip route replace default via 203.0.113.254 dev eth0", alarm: "interface-absent: eth0"},
		{name: "a pattern that means none any more", policy: "interfaces: ['eth*']\n", do: "ip link set eth0 down; ip link set eth0 name wan0; ip link set wan0 up", undo: "ip link set wan0 down; ip link set wan0 name eth0; ip link set eth0 up; ip route replace default via 203.0.113.254 dev eth0", alarm: "interface-absent: eth*"},
		{name: "deleted", policy: "interfaces: [eth0, tun0]\n", do: "ip link del tun0", undo: newLink, alarm: "interface-absent: tun0"},
		{name: "deleted and made again", policy: "interfaces: [eth0, tun0]\n", do: "ip link del tun0; " + newLink, held: "ringfence: tun0"},
		{name: "moved to another namespace", policy: "interfaces: [eth0, tun0]\n", do: "ip link set tun0 netns $OTHER", undo: "ip link del tun0p; " + newLink, alarm: "interface-absent: tun0"},
		{name: "made a port of a bridge", policy: "interfaces: [eth0, tun0]\n", do: "ip link add name br0 type bridge; ip link set tun0 master br0", undo: "ip link del br0", alarm: "interface-port: tun0"},
		{name: "a macvlan on it", policy: listed, do: "ip link add link eth0 name vrrp.1 type macvlan mode bridge; ip link set vrrp.1 up", undo: "ip link del vrrp.1", held: `"vrrp.1"`},
		{name: "a macvlan on another link that is named", policy: "interfaces: [eth0, tun0]\n", do: "ip link add link tun0 name q type macvlan mode bridge; ip link set q up", undo: "ip link del q", held: `"q"`},
		{name: "made and removed at once", policy: listed, do: "for i in 1 2 3 4 5; do ip link add name x type bridge; ip link set x up; ip link del x; done"},
	},
	"addresses": {
		{name: "one more of the host", do: "ip addr add 203.0.113.9/24 dev eth0", undo: "ip addr del 203.0.113.9/24 dev eth0", held: "203.0.113.9"},
		{name: "one of IPv6", do: "ip -6 addr add 2001:db8::9/64 dev eth0 nodad", undo: "ip -6 addr del 2001:db8::9/64 dev eth0", held: "2001:db8::9"},
		{name: "moved to a link that is not fenced", policy: listed, do: "ip addr add 198.51.100.1/24 dev tun0", undo: "ip addr del 198.51.100.1/24 dev tun0", alarm: "public-unfenced: tun0"},
		{name: "moved there, of IPv6", policy: listed, do: "ip addr del 192.168.7.1/24 dev tun0; ip -6 addr add 2001:db8:9::1/64 dev tun0 nodad", undo: "ip -6 addr del 2001:db8:9::1/64 dev tun0; ip addr add 192.168.7.1/24 dev tun0", alarm: "public-unfenced: tun0"},
		{name: "the phones' network has another number", policy: inside, do: "ip addr del 192.168.7.1/24 dev tun0; ip addr add 192.168.8.1/24 dev tun0", undo: "ip addr del 192.168.8.1/24 dev tun0; ip addr add 192.168.7.1/24 dev tun0", alarm: "cut-inside: 192.168.8.0/24 on tun0"},
	},
	"neighbours": {
		// The network is there before, and nobody in it.
		{name: "phones where there were none", before: "ip link add lan0 type bridge; ip link set lan0 up; ip addr add 192.168.9.1/24 dev lan0", do: "ip neigh add 192.168.9.20 lladdr 02:00:00:00:00:20 dev lan0 nud permanent", undo: "ip link del lan0", alarm: "cut-inside: 192.168.9.0/24 on lan0"},
	},
	"routes": {
		{name: "a second uplink", policy: listed, do: "ip route add default dev tun0 metric 900", undo: "ip route del default dev tun0", alarm: "outside-unfenced: tun0"},
		{name: "the halves of the internet", policy: listed, do: "ip route add 0.0.0.0/1 dev tun0; ip route add 128.0.0.0/1 dev tun0", undo: "ip route del 0.0.0.0/1; ip route del 128.0.0.0/1", alarm: "outside-unfenced: tun0"},
		{name: "of IPv6", policy: listed, do: "ip -6 addr add fd00::9/64 dev tun0 nodad; ip -6 route add default dev tun0", undo: "ip -6 route del default dev tun0; ip -6 addr del fd00::9/64 dev tun0", alarm: "outside-unfenced: tun0"},
		{name: "one of two of the same route", policy: listed, do: "ip route replace default nexthop via 203.0.113.254 dev eth0 nexthop via 192.168.7.254 dev tun0", undo: "ip route replace default via 203.0.113.254 dev eth0", alarm: "outside-unfenced: tun0"},
		{name: "of IPv6, beside the first", policy: listed, do: "ip -6 addr add fd00::9/64 dev tun0 nodad; ip -6 route append default via fd00::1 dev tun0", undo: "ip -6 route del default; ip -6 addr del fd00::9/64 dev tun0", alarm: "outside-unfenced: tun0"},
		{name: "a next hop is another one", policy: listed, do: "ip nexthop add id 9 via 203.0.113.254 dev eth0; ip route replace default nhid 9; ip nexthop replace id 9 via 192.168.7.254 dev tun0", undo: "ip nexthop del id 9; ip route add default via 203.0.113.254 dev eth0", alarm: "outside-unfenced: tun0"},
		{name: "by a next hop", policy: listed, do: "ip nexthop add id 9 via 192.168.7.254 dev tun0; ip route add default nhid 9 metric 901", undo: "ip nexthop del id 9", alarm: "outside-unfenced: tun0"},
		{name: "moved", policy: listed, do: "ip route del default; ip route add default dev tun0", undo: "ip route del default; ip route add default via 203.0.113.254 dev eth0", alarm: "outside-unfenced: tun0"},
		{name: "by a trusted interface", policy: listed + "trusted: {interfaces: ['tun*']}\n", do: "ip route add default dev tun0 metric 900", undo: "ip route del default dev tun0", alarm: "outside-trusted: tun0"},
		{name: "moved, and all is fenced", do: "ip route del default; ip route add default dev tun0", undo: "ip route del default; ip route add default via 203.0.113.254 dev eth0", held: "ringfence: tun0"},
	},
	"rules": {
		{name: "to a table with a default route", policy: listed, do: "ip route add default dev tun0 table 100; ip rule add from 192.0.2.0/24 table 100", undo: "ip rule del table 100; ip route flush table 100", alarm: "outside-unfenced: tun0"},
		{name: "by a mark", policy: listed, do: "ip rule add fwmark 7 table 100; ip route add default dev tun0 table 100", undo: "ip rule del table 100; ip route flush table 100", alarm: "outside-unfenced: tun0"},
		{name: "of IPv6", policy: listed, do: "ip -6 addr add fd00::9/64 dev tun0 nodad; ip -6 route add default dev tun0 table 100; ip -6 rule add iif lo table 100", undo: "ip -6 rule del table 100; ip -6 route flush table 100; ip -6 addr del fd00::9/64 dev tun0", alarm: "outside-unfenced: tun0"},
		{name: "a route in a table that a rule names", policy: listed, do: "ip rule add to 10.9.0.0/16 table 101; ip route add 64.0.0.0/2 dev tun0 table 101", undo: "ip rule del table 101; ip route flush table 101", alarm: "outside-unfenced: tun0"},
	},
	"filters": {
		{name: "the qdisc is gone", policy: open, do: "tc qdisc del dev eth0 clsact", held: "ringfence: eth0"},
		{name: "the filter is gone", policy: open, do: "tc filter del dev eth0 ingress", held: "ringfence: eth0"},
		{name: "another qdisc in its place", policy: open, do: `printf "qdisc del dev eth0 clsact\nqdisc add dev eth0 ingress\n" | tc -batch -`, undo: "tc qdisc del dev eth0 ingress", held: "ringfence: eth0"},
		{name: "another program in its place", policy: open, do: `tc filter del dev eth0 ingress; tc filter add dev eth0 ingress pref 5 handle 0x5060 bpf da bytecode "1,6 0 0 4294967295"`, undo: "tc filter del dev eth0 ingress pref 5", alarm: "unclassified: eth0"},
		{name: "its filters are a shared block", policy: open, do: `printf "qdisc del dev eth0 clsact\nqdisc add dev eth0 ingress_block 7 clsact\n" | tc -batch -`, undo: "tc qdisc del dev eth0 clsact", alarm: "unclassified: eth0"},
		{name: "a filter before it", policy: open, do: `tc filter add dev eth0 ingress pref 1 bpf da bytecode "1,6 0 0 0"`, undo: "tc filter del dev eth0 ingress pref 1", sends: true, alarm: "unseen: eth0"},
		{name: "a filter of one protocol before it", policy: open, do: `tc filter add dev eth0 ingress protocol ip pref 2 handle 7 bpf da bytecode "1,6 0 0 0"`, undo: "tc filter del dev eth0 ingress pref 2 protocol ip", sends: true, alarm: "unseen: eth0"},
		{name: "marks cleared by others", policy: listed + open, do: "nft 'table ip early { chain c { type filter hook prerouting priority -400; udp dport 5060 meta mark set 0; }; }'", undo: "nft delete table ip early", sends: true, alarm: "unseen: eth0"},
	},
	"translations": {
		{name: "by nft", do: "nft 'table ip x { chain c { type nat hook prerouting priority -100; udp dport 9000 redirect to :5060; }; }'", undo: "nft delete table ip x", held: "after_dnat"},
		{name: "by iptables-nft, of IPv6", do: "ip6tables-nft -t nat -A PREROUTING -p udp --dport 9000 -j REDIRECT --to-ports 5060", undo: "ip6tables-nft -t nat -F; nft delete table ip6 nat", held: "after_dnat"},
		{name: "by iptables-legacy", do: "iptables-legacy -w -t nat -A PREROUTING -p udp --dport 9000 -j REDIRECT --to-ports 5060", undo: "iptables-legacy -w -t nat -F", held: "after_dnat"},
	},
	"sources": {
		{name: "an allowed one is a scanner", do: "true", sends: true, provider: true, alarm: "allowed-scanner: allowed addresses"},
		{name: "an allowed one is a scanner, and all are let in", policy: open, do: "true", sends: true, provider: true, alarm: "allowed-scanner: allowed addresses"},
		{name: "an allowed one is a scanner, and nothing is dropped", policy: "mode: monitor\n", do: "true", sends: true, provider: true, alarm: "allowed-scanner: allowed addresses"},
	},
	"table": {
		{name: "flushed", do: "nft flush ruleset", held: "chain prerouting"},
		{name: "asleep", do: "nft 'add table inet ringfence { flags dormant; }'", held: "chain prerouting"},
		{name: "another policy of a chain", do: "nft 'add chain inet ringfence prerouting { policy drop; }'", held: "policy accept"},
		{name: "another priority of a hook", do: "nft 'flush chain inet ringfence prerouting; delete chain inet ringfence prerouting; add chain inet ringfence prerouting { type filter hook prerouting priority 300; policy accept; }'", held: "priority raw - 10"},
		{name: "a chain more", do: "nft 'add chain inet ringfence x { type filter hook prerouting priority -500; }; add rule inet ringfence x accept'", held: "chain prerouting"},
		{name: "a rule before the others", do: "nft insert rule inet ringfence sip accept", held: "chain prerouting"},
		{name: "a set more", do: "nft 'add set inet ringfence x { type ipv4_addr; }'", held: "chain prerouting"},
		{name: "an element more", do: "nft 'add element inet ringfence providers4 { 203.0.113.66 }'", held: "chain prerouting"},
		{name: "a counter less, with its rules", do: "nft flush chain inet ringfence sip", held: "counter name"},
	},
	"files": {
		{name: "the policy is edited", do: "echo '# more' >> $S/policy.yaml", undo: "sed -i '/# more/d' $S/policy.yaml", alarm: "policy-changed: POLICY"},
		{name: "the policy is replaced by an older file", do: "echo 'version: 1' > $S/old; touch -d 2020-01-01 $S/old; cp -p $S/policy.yaml $S/keep; mv $S/old $S/policy.yaml", undo: "mv $S/keep $S/policy.yaml", alarm: "policy-changed: POLICY"},
		{name: "the policy has gone", do: "mv $S/policy.yaml $S/keep", undo: "mv $S/keep $S/policy.yaml", alarm: "policy-changed: POLICY"},
		{name: "the policy is a link to another file", do: "mv $S/policy.yaml $S/keep; ln -s other.yaml $S/policy.yaml", undo: "mv $S/keep $S/policy.yaml", alarm: "policy-changed: POLICY"},
		{name: "the policy is a folder", do: "mv $S/policy.yaml $S/keep; mkdir $S/policy.yaml", undo: "rmdir $S/policy.yaml; mv $S/keep $S/policy.yaml", alarm: "policy-changed: POLICY"},
		{name: "the state folder cannot be written", do: "mount -o remount,ro $S/state", undo: "mount -o remount,rw $S/state", refuses: true, alarm: "state-folder: STATE"},
		{name: "the state folder is full", do: "head -c 100M /dev/zero > $S/state/fill || true", undo: "rm $S/state/fill", refuses: true, alarm: "state-folder: STATE"},
	},
}

// world of inputs: a PBX with two links, one of which leads outside.
func newInputs(t *testing.T, policy string) (s *site, outside *lab.Namespace) {
	t.Helper()
	pbx, outside := newPair(t)
	labtest.Run(t, pbx, "sh", "-ec", "ip route add default via 203.0.113.254 dev eth0; "+newLink+"; ip addr add 192.168.7.1/24 dev tun0")
	s = newSite(t, pbx, linksPolicy+policy)
	labtest.Must(t, os.WriteFile(filepath.Join(s.folder, "other.yaml"), []byte("version: 1\n"), 0o644))
	labtest.Must(t, os.Mkdir(s.state(), 0o750))
	labtest.Must(t, unix.Mount("tmpfs", s.state(), "tmpfs", 0, "size=8m,mode=0750"))
	t.Cleanup(func() { unix.Unmount(s.state(), unix.MNT_DETACH) })
	s.mustBeTold()
	s.must(t, 0, "apply")
	return s, outside
}

// TestInputs: whatever is changed under the fence is made good by the service, or is an
// alarm, and is over when it is changed back.
func TestInputs(t *testing.T) {
	t.Parallel()
	changed := 0
	var times seenAfter
	eachBackend(t, func(t *testing.T) {
		for kind, members := range inputs {
			if backendOf(t) != "nftables" {
				// TestForeignChanges and TestItStaysOnOverIPTables have those of the table.
				if kind == "table" {
					continue
				}
				// The rest is the same code: one of each kind, all in the long form.
				members = members[:labtest.Count(1, len(members))]
			}
			changed += len(members)
			t.Run(kind, func(t *testing.T) {
				t.Parallel()
				for _, in := range members {
					t.Run(in.name, func(t *testing.T) {
						s, outside := newInputs(t, in.policy)
						t.Run("refresh", func(t *testing.T) { in.refreshed(t, s, outside) })
						t.Run("run", func(t *testing.T) { in.served(t, s, outside, &times) })
					})
				}
			})
		}
	})
	labtest.Report(t, "P16", "links, addresses, routes, files, filters changed under refresh and run", changed, "made good, or an alarm and exit status 4")
	t.Logf("from the start of the command to what the service makes of it, the slowest:\n%s", times.slowest(12))
}

// change does or undoes the change.
func (in input) change(t *testing.T, s *site, script string) {
	t.Helper()
	script = strings.ReplaceAll(script, "$S", s.folder)
	labtest.Run(t, s.host, "sh", "-ec", script)
}

// happens does the change, with what is sent after it.
func (in input) happens(t *testing.T, s *site, outside *lab.Namespace) {
	t.Helper()
	in.change(t, s, strings.ReplaceAll(in.do, "$OTHER", outside.Path()))
	switch {
	case in.provider:
		ask(t, outside, "203.0.113.5", "203.0.113.1", "OPTIONS", "friendly-scanner")
	case in.sends:
		ask(t, outside, "203.0.113.66", "203.0.113.1", "OPTIONS", "friendly-scanner")
	}
}

// wanted is the alarm, as it is shown.
func (in input) wanted(s *site) string {
	return strings.NewReplacer("POLICY", s.policyFile(), "STATE", s.state()).Replace(in.alarm)
}

// standing are the alarms that status shows.
func standing(t *testing.T, s *site) []string {
	t.Helper()
	o := s.run(t, "status", "-o", "json")
	var v struct{ Alarms []struct{ Kind, Name string } }
	if err := json.Unmarshal([]byte(o.stdout), &v); err != nil {
		t.Fatalf("status: %v\n%s%s", err, o.stdout, o.stderr)
	}
	list := []string{}
	for _, a := range v.Alarms {
		list = append(list, a.Kind+": "+a.Name)
	}
	return list
}

// good reports whether the fence is as it should be, with what must be held.
func (in input) good(t *testing.T, s *site) bool {
	t.Helper()
	if link, ok := strings.CutPrefix(in.held, "ringfence: "); ok {
		out, _ := labtest.TryInput(t, s.host, "", "tc", "filter", "show", "dev", link, "ingress")
		return strings.Contains(out, "ringfence:") && s.run(t, "diff", "--full").status == 0
	}
	listed, held := fence(t, s), in.held
	if flavour := backendOf(t); flavour != "nftables" {
		six := strings.Replace(flavour, "ip", "ip6", 1)
		listed = labtest.Run(t, s.host, "sh", "-ec", flavour+" -t raw -S; "+six+" -t raw -S; "+flavour+" -S; ipset save")
		held = strings.Trim(held, `"`)
	}
	return strings.Contains(listed, held) && s.run(t, "diff", "--full").status == 0
}

// refreshed is the change without the service: the next refresh makes it good or says
// so.
func (in input) refreshed(t *testing.T, s *site, outside *lab.Namespace) {
	t.Helper()
	in.change(t, s, in.before)
	in.happens(t, s, outside)
	o := s.run(t, "refresh")
	if in.alarm == "" {
		if o.status != 0 || !in.good(t, s) || len(standing(t, s)) > 0 {
			t.Errorf("refresh ends with %d and says %s%s; these stand: %q\n%s", o.status, o.stdout, o.stderr, standing(t, s), fence(t, s))
		}
	} else if found := standing(t, s); o.status != 4 && !in.refuses || !slices.Contains(found, in.wanted(s)) || s.run(t, "status", "--check").status != 4 {
		t.Errorf("refresh ends with %d and says %s%s; these stand: %q, want %s", o.status, o.stdout, o.stderr, found, in.wanted(s))
	}
	in.change(t, s, in.undo)
	if o := s.run(t, "refresh"); o.status != 0 && !in.sends {
		t.Errorf("after it is undone, refresh ends with %d and says %s%s", o.status, o.stdout, o.stderr)
	}
}

// served is the change under the service.
func (in input) served(t *testing.T, s *site, outside *lab.Namespace, times *seenAfter) {
	t.Helper()
	if in.sends {
		// A new table has counted nothing.
		s.must(t, 0, "down")
		s.must(t, 0, "up")
	}
	r := serve(t, s)
	if in.before != "" {
		in.change(t, s, in.before)
		r.until(t, "the service has nothing to do", func() bool { return s.run(t, "diff", "--offline").status == 0 })
	}
	began := time.Now()
	in.happens(t, s, outside)
	said := func() bool { return strings.Contains(r.log(), fmt.Sprintf("about=%q", in.wanted(s))) }
	if in.alarm == "" {
		r.until(t, "it is made good", func() bool { return in.good(t, s) })
		if found := standing(t, s); len(found) > 0 {
			t.Errorf("these stand: %q\n%s", found, r.log())
		}
	} else {
		r.until(t, "the alarm "+in.wanted(s), said)
		if found := standing(t, s); !slices.Contains(found, in.wanted(s)) {
			t.Errorf("these stand: %q, want %s", found, in.wanted(s))
		}
	}
	times.add(t.Name(), began)
	began = time.Now()
	in.change(t, s, in.undo)
	if !in.sends {
		r.until(t, "nothing stands any more", func() bool { return s.run(t, "status", "--check").status == 0 })
		times.add(t.Name()+", undone", began)
	}
	r.end(t)
	if strings.Contains(r.log(), "level=ERROR") {
		t.Errorf("the service says\n%s", r.log())
	}
}

// ownEtc gives the programs of a site an /etc of their own, and returns where it is.
func ownEtc(t *testing.T, s *site) string {
	t.Helper()
	self, err := os.Executable()
	labtest.Must(t, err)
	etc := filepath.Join(s.folder, "etc")
	labtest.Must(t, os.Mkdir(etc, 0o755))
	s.program = filepath.Join(s.folder, "ringfence")
	script := fmt.Sprintf("#!/bin/sh\nRINGFENCE_TEST_PROGRAM=\"${RINGFENCE_TEST_PROGRAM:-ringfence}\" exec unshare --mount sh -ec 'mount --bind %s /etc; exec %s \"$@\"' ringfence \"$@\"\n", etc, self)
	labtest.Must(t, os.WriteFile(s.program, []byte(script), 0o755))
	return etc
}

// TestResolverInputs: the service follows the files of the host's resolver in whatever
// way they are replaced: a name server is protected from bans as soon as it is named
// there, and a name of the hosts file has its address.
func TestResolverInputs(t *testing.T) {
	t.Parallel()
	pbx, _ := newPair(t)
	s := newSite(t, pbx, "version: 1\ntrusted: {hosts: [office.example.org]}\n")
	etc := ownEtc(t, s)
	write := func(name, text string) {
		t.Helper()
		labtest.Must(t, os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644))
	}
	write("resolv.conf", "nameserver 203.0.113.67\n")
	write("hosts", "203.0.113.76 office.example.org\n")
	s.must(t, 4, "apply") // no server answers, and the hosts file does
	r := serve(t, s)
	set := func(name string) string {
		out, _ := labtest.TryInput(t, pbx, "", "nft", "list", "set", "inet", "ringfence", name)
		return out
	}
	in := func(name string) string { return filepath.Join(etc, name) }
	for i, step := range []struct {
		name string
		do   func(server string)
	}{
		{"written to", func(server string) { write("resolv.conf", "nameserver "+server+"\n") }},
		{"replaced", func(server string) {
			write("new", "nameserver "+server+"\n")
			labtest.Must(t, os.Rename(in("new"), in("resolv.conf")))
		}},
		{"a link", func(server string) {
			write("stub", "nameserver "+server+"\n")
			labtest.Must(t, os.Remove(in("resolv.conf")))
			labtest.Must(t, os.Symlink("stub", in("resolv.conf")))
		}},
		{"written to behind the link", func(server string) { write("stub", "nameserver "+server+"\n") }},
		{"a link to another file", func(server string) {
			write("other", "nameserver "+server+"\n")
			labtest.Must(t, os.Symlink("other", in("next")))
			labtest.Must(t, os.Rename(in("next"), in("resolv.conf")))
		}},
	} {
		server := fmt.Sprintf("198.51.100.%d", i+1)
		step.do(server)
		r.until(t, "the name server is protected after the file was "+step.name, func() bool { return strings.Contains(set("protected4"), server) })
	}
	labtest.Must(t, os.Remove(in("resolv.conf")))
	r.until(t, "no name server is left", func() bool { return !strings.Contains(set("protected4"), "198.51.100.") })
	write("hosts", "203.0.113.77 office.example.org\n")
	r.until(t, "the name of the hosts file has its address", func() bool { return strings.Contains(set("trusted4"), "203.0.113.77") })
	r.end(t)
}

// TestStateIsLost: a fence in the kernel that no generation says anything about is not
// called well, with the service and without.
func TestStateIsLost(t *testing.T) {
	t.Parallel()
	pbx, _ := newPair(t)
	s := newSite(t, pbx, linksPolicy)
	s.must(t, 0, "apply")
	r := serve(t, s)
	labtest.Must(t, os.Rename(s.state(), s.state()+".lost"))
	r.until(t, "the service says so", func() bool { return strings.Contains(r.log(), "there is no generation yet") })
	if o := s.must(t, 4, "status", "--check"); !strings.Contains(o.stdout, "no generation says what it should hold") {
		t.Errorf("status says %s", o.stdout)
	}
	s.must(t, 1, "refresh")
	labtest.Must(t, os.RemoveAll(s.state()))
	labtest.Must(t, os.Rename(s.state()+".lost", s.state()))
	r.until(t, "it goes on", func() bool { return strings.HasPrefix(r.status(), "generation 1, ") })
	s.must(t, 0, "status", "--check")
	r.end(t)
}
