package system_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/host"
	"github.com/ringfence/ringfence/pkg/host/system"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// watched is a host whose changes are reported.
func watched(t *testing.T, files ...string) (*lab.Namespace, <-chan host.Change) {
	t.Helper()
	h := labtest.Host(t, "pbx")
	var changes <-chan host.Change
	labtest.In(t, h, func() (err error) { changes, err = system.Watch(t.Context(), files); return err })
	return h, changes
}

// reads reads changes up to the one that says all of the words.
func reads(t *testing.T, changes <-chan host.Change, words string) host.Change {
	t.Helper()
	for c := range changes {
		if strings.Contains(c.What, words) {
			return c
		}
	}
	t.Fatalf("nothing is reported any more, and never was %q", words)
	return host.Change{}
}

// command runs a command of words without a shell: a small one has an ip and a tc of its
// own, that know less. PASS is a filter that lets every packet pass.
func command(t *testing.T, h *lab.Namespace, line string) {
	t.Helper()
	words := strings.Fields(line)
	for i, word := range words {
		if word == "PASS" {
			words[i] = "1,6 0 0 4294967295"
		}
	}
	labtest.Run(t, h, words[0], words[1:]...)
}

// TestWatchNetwork: each kind of change is reported, in words that say what it was.
func TestWatchNetwork(t *testing.T) {
	h, changes := watched(t)
	for _, step := range []struct{ do, want string }{
		{"ip link add wan type veth peer name far", "interface wan has come"},
		{"ip link set wan up", "interface wan has changed"},
		{"ip addr add 203.0.113.2/24 dev wan", "the addresses of wan have changed"},
		{"ip addr del 203.0.113.2/24 dev wan", "the addresses of wan have changed"},
		{"ip -6 addr add 2001:db8::2/64 dev wan nodad", "the addresses of wan have changed"},
		{"ip route add default dev wan", "a default route has changed"},
		{"ip -6 route add default dev wan table 7", "a default route has changed"},
		{"ip route replace unreachable default", "a default route has changed"},
		{"ip route del unreachable default", ""},
		{"ip route add 10.0.0.0/8 dev wan", "the route to 10.0.0.0/8 has changed"},
		{"ip route add 0.0.0.0/1 dev wan table 9", "the route to 0.0.0.0/1 has changed"},
		{"ip rule add fwmark 3 lookup 9", "the routing rules have changed"},
		{"ip -6 rule add fwmark 3 lookup 7", "the routing rules have changed"},
		{"sysctl -qw net.ipv4.conf.wan.forwarding=1", "whether this host forwards"},
		{"sysctl -qw net.ipv6.conf.all.forwarding=1", "whether this host forwards"},
		{"tc qdisc add dev wan clsact", ""},
		{"tc filter add dev wan ingress pref 3 bpf da bytecode PASS", "wan has another ingress filter"},
		{"tc filter del dev wan ingress pref 3", "an ingress filter of wan is gone"},
		{"tc qdisc del dev wan clsact", "qdisc clsact of wan is gone"},
		{"tc qdisc add dev wan ingress", ""},
		{"tc filter add dev wan parent ffff: pref 3 bpf da bytecode PASS", "wan has another ingress filter"},
		{"tc qdisc del dev wan ingress", "qdisc ingress of wan is gone"},
		{"ip link set wan down", "interface wan is down"},
		{"ip link set wan name eth7", "interface wan is called eth7 now"},
		{"ip link add br0 type bridge", "interface br0 has come"},
		{"ip link set eth7 master br0", "interface eth7"},
		{"ip link add link br0 name v1 type macvlan", "interface v1 has come"},
		{"ip tuntap add tun0 mode tun", "interface tun0 has come"},
		{"ip link del tun0", "interface tun0 is gone"},
		{"ip link del eth7", "interface eth7 is gone"},
	} {
		command(t, h, step.do)
		if step.want == "" {
			continue
		}
		if c := reads(t, changes, step.want); c.Urgent != strings.HasSuffix(c.What, "has come") || c.Path != "" {
			t.Errorf("%s: %+v", step.do, c)
		}
	}
}

// TestWatchOthers: rules of other programs that begin to translate ports are reported, and
// that the last of them has gone, in every family; and so are fences
// of other back ends.
func TestWatchOthers(t *testing.T) {
	const nat = "{ type nat hook prerouting priority dstnat; }"
	const translates, fences = "other programs translate ports", "a fence of another back end"
	h, changes := watched(t)
	for _, step := range []struct{ do, want string }{
		{"table ip a { chain c " + nat + "; }", translates},
		{"table inet b { chain c { type filter hook input priority 0; }; chain d " + nat + "; }", ""},
		{"delete chain inet b d", ""},
		{"delete table ip a", translates},
		{"table ip6 a { chain c " + nat + "; }", translates},
		{"flush ruleset", translates},
		{"table inet a { chain c " + nat + "; }", translates},
		{"delete chain inet a c", translates},
		{"table ip raw { chain RINGFENCE-A-sip { }; }", fences},
		{"table ip raw { chain c { }; }; delete chain ip raw RINGFENCE-A-sip", fences},
		{"table inet ringfence { chain c { }; }", fences},
		{"delete table inet ringfence", fences},
	} {
		labtest.Rules(t, h, step.do)
		if step.want == "" {
			continue
		}
		// Of those that change nothing, none is reported.
		if c := <-changes; !strings.Contains(c.What, step.want) {
			t.Errorf("%s: %+v", step.do, c)
		}
	}
}

// TestWatchBusyNeighbour: a program that changes its own rules, chains and sets all the
// time wakes nobody, and hides nothing.
func TestWatchBusyNeighbour(t *testing.T) {
	h, changes := watched(t)
	labtest.Rules(t, h, "table ip busy { set s { type ipv4_addr; }; chain c { type filter hook input priority 0; }; chain n { type nat hook prerouting priority dstnat; }; }")
	reads(t, changes, "translate ports")
	var adds, deletes strings.Builder
	deletes.WriteString("flush chain ip busy c; flush set ip busy s; flush chain ip busy n\n")
	for i := range 200 {
		fmt.Fprintf(&adds, "add element ip busy s { 10.0.0.%d }; add chain ip busy x%d; add rule ip busy c jump x%d; add rule ip busy n tcp dport %d dnat to 10.0.0.1\n", i, i, i, 1+i)
		fmt.Fprintf(&deletes, "delete chain ip busy x%d\n", i)
	}
	for range 5 {
		labtest.Rules(t, h, adds.String())
		labtest.Rules(t, h, deletes.String())
	}
	labtest.Rules(t, h, "delete chain ip busy n")
	if c := <-changes; !strings.Contains(c.What, "translate ports") {
		t.Errorf("reported: %+v", c)
	}
}

// TestWatchIgnores: what no fence depends on wakes nobody: routes of the internet, other
// qdiscs, filters on the way out, and the classifier's own.
func TestWatchIgnores(t *testing.T) {
	h, changes := watched(t)
	labtest.Run(t, h, "ip", "link", "add", "wan", "up", "type", "veth", "peer", "name", "far")
	labtest.Run(t, h, "ip", "link", "set", "far", "up")
	labtest.Run(t, h, "tc", "qdisc", "add", "dev", "wan", "clsact")
	for _, do := range []string{
		"ip route add 198.51.100.0/24 dev wan", "ip route add 8.0.0.0/8 dev wan", "ip -6 route add 2001:db8:7::/48 dev wan",
		"ip route del 198.51.100.0/24 dev wan", "ip route add unreachable default metric 9999",
		"tc qdisc replace dev wan root pfifo", "tc filter add dev wan egress pref 3 bpf da bytecode PASS",
		"ip neigh add 203.0.113.9 lladdr 02:00:00:00:00:09 dev wan",
		"ip link add mark type bridge",
	} {
		command(t, h, do)
	}
	for c := range changes {
		// That the links come up is reported whenever the kernel gets to it.
		if c.What == "interface mark has come" {
			break
		}
		if !strings.HasPrefix(c.What, "interface ") && !strings.HasPrefix(c.What, "the addresses of ") && !strings.HasPrefix(c.What, "whether ") {
			t.Errorf("reported: %+v", c)
		}
	}
}

// TestWatchFiles: files are followed in every way in which programs replace them.
func TestWatchFiles(t *testing.T) {
	folder := t.TempDir()
	at := func(parts ...string) string { return filepath.Join(append([]string{folder}, parts...)...) }
	write := func(path, text string) {
		t.Helper()
		labtest.Must(t, os.WriteFile(path, []byte(text), 0o644))
	}
	labtest.Must(t, os.MkdirAll(at("run", "a"), 0o755))
	labtest.Must(t, os.MkdirAll(at("run", "b"), 0o755))
	write(at("run", "a", "resolv.conf"), "1")
	write(at("run", "b", "resolv.conf"), "2")
	labtest.Must(t, os.Symlink("run/a/resolv.conf", at("resolv.conf")))
	write(at("policy.yaml"), "1")
	link, plain, later := at("resolv.conf"), at("policy.yaml"), at("state", "journal", "next.json")
	// Each step has a mark of its own: a file that is written to is reported more than once.
	mark := func(step int) string { return at(fmt.Sprintf("mark%d", step)) }
	files := []string{link, plain, later}
	for step := range 20 {
		files = append(files, mark(step))
	}
	_, changes := watched(t, files...)
	for i, step := range []struct {
		name, path string
		do         func()
	}{
		{"written to", plain, func() { write(plain, "2") }},
		{"replaced", plain, func() { write(at("new"), "3"); labtest.Must(t, os.Rename(at("new"), plain)) }},
		{"removed", plain, func() { labtest.Must(t, os.Remove(plain)) }},
		{"made", plain, func() { write(plain, "4") }},
		{"written to behind a link", link, func() { write(at("run", "a", "resolv.conf"), "3") }},
		{"replaced behind a link", link, func() {
			write(at("run", "a", "new"), "4")
			labtest.Must(t, os.Rename(at("run", "a", "new"), at("run", "a", "resolv.conf")))
		}},
		{"another link", link, func() {
			labtest.Must(t, os.Symlink("run/b/resolv.conf", at("new")))
			labtest.Must(t, os.Rename(at("new"), link))
		}},
		{"written to behind the other link", link, func() { write(at("run", "b", "resolv.conf"), "5") }},
		{"its folder has gone", link, func() { labtest.Must(t, os.RemoveAll(at("run", "b"))) }},
		{"its folder is back", link, func() { labtest.Must(t, os.MkdirAll(at("run", "b"), 0o755)) }},
		{"and it is", link, func() { write(at("run", "b", "resolv.conf"), "6") }},
		{"a folder on the way is made", later, func() { labtest.Must(t, os.Mkdir(at("state"), 0o755)) }},
		{"the next one is", later, func() { labtest.Must(t, os.Mkdir(at("state", "journal"), 0o755)) }},
		{"and the file", later, func() { write(later, "1") }},
	} {
		step.do()
		wait := func(path string) {
			for c := range changes {
				if c.Path == path {
					return
				}
			}
		}
		wait(step.path)
		write(mark(i), step.name) // what a step is made of may be reported one by one
		wait(mark(i))
	}
}

// TestWatchEnds: the channel is closed when the context ends, and nothing is left.
func TestWatchEnds(t *testing.T) {
	h := labtest.Host(t, "pbx")
	ctx, cancel := context.WithCancel(t.Context())
	var changes <-chan host.Change
	labtest.In(t, h, func() (err error) { changes, err = system.Watch(ctx, []string{"/etc/hosts"}); return err })
	cancel()
	for range changes { // which ends
	}
}
