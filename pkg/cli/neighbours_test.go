package cli_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// neighbour is another program that keeps rules in iptables.
type neighbour struct {
	name string
	// program is what has to be installed; "" is nothing.
	program string
	// start sets it up before ringfence comes, reload is what it does again and again
	// beside ringfence, and stop ends it. They are scripts.
	start, reload, stop string
	// keeps is a rule or chain of its own that must be there all the time.
	keeps string
	// removes says that its reload takes ringfence's rules away.
	removes bool
}

var neighbours = []neighbour{
	{
		name: "ufw", program: "ufw", keeps: "ufw-user-input",
		start:  "sed -i 's/^IPT_SYSCTL=.*/IPT_SYSCTL=/' /etc/default/ufw; ufw allow 5060/udp; ufw --force enable",
		reload: "ufw reload",
	},
	{
		name: "fail2ban", program: "fail2ban-server", keeps: "f2b-sip",
		start: `printf '[sshd]\nenabled = false\n[sip]\nenabled = true\nfilter = sshd\nlogpath = /run/sip.log\nbackend = polling\nbanaction = iptables-multiport\nport = 5060\nprotocol = udp\n' >/etc/fail2ban/jail.d/defaults-debian.conf
			printf '[Definition]\ndbfile = :memory:\nlogtarget = /run/fail2ban.log\n' >/etc/fail2ban/fail2ban.local
			mkdir -p /run/fail2ban; touch /run/sip.log; fail2ban-client start; fail2ban-client set sip banip 198.51.100.66`,
		reload: "fail2ban-client reload; fail2ban-client restart sip; fail2ban-client set sip banip 198.51.100.66",
		stop:   "fail2ban-client stop",
	},
	{
		name: "firewalld", program: "firewalld", keeps: "IN_public", removes: true,
		start: `sed -i 's/^FirewallBackend=.*/FirewallBackend=iptables/' /etc/firewalld/firewalld.conf
			echo '<busconfig><type>system</type><listen>unix:path=/run/bus</listen><policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/></policy></busconfig>' >/run/bus.conf
			dbus-daemon --config-file=/run/bus.conf --nofork >/run/bus.log 2>&1 & echo $! >/run/bus.pid
			until [ -S /run/bus ]; do :; done
			firewalld --nofork --nopid >/run/firewalld.log 2>&1 & echo $! >/run/firewalld.pid
			until firewall-cmd --state; do kill -0 $(cat /run/firewalld.pid) || { cat /run/firewalld.log; false; }; done
			firewall-cmd --permanent --add-port 5060/udp; firewall-cmd --reload`,
		reload: "firewall-cmd --reload; firewall-cmd --complete-reload",
		stop:   "kill $(cat /run/firewalld.pid); while kill -0 $(cat /run/firewalld.pid) 2>/dev/null; do :; done; kill $(cat /run/bus.pid)",
	},
	{
		// As csf and scripts do it: all rules are emptied, and those of a file from before
		// ringfence came are loaded.
		name: "full restore", keeps: "--dport 22 -j ACCEPT", removes: true,
		start: `for p in iptables ip6tables; do
			for t in raw mangle filter; do $p -t $t -S >/run/looked; done; $p -A INPUT -p tcp --dport 22 -j ACCEPT; $p-save >/run/$p; done`,
		reload: `for p in iptables ip6tables; do
			for t in raw mangle filter; do $p -t $t -F; $p -t $t -X || true; done; $p-restore /run/$p; done`,
	},
	{
		// The rules of Docker 28, and what it does with them when it starts.
		name: "docker", keeps: "DOCKER-USER",
		start: `iptables -t raw -A PREROUTING -d 172.17.0.2 ! -i docker0 -j DROP
			for c in DOCKER DOCKER-FORWARD DOCKER-BRIDGE DOCKER-CT DOCKER-ISOLATION-STAGE-1 DOCKER-ISOLATION-STAGE-2 DOCKER-USER; do iptables -N $c; done
			iptables -A FORWARD -j DOCKER-USER; iptables -A FORWARD -j DOCKER-FORWARD; iptables -A DOCKER -d 172.17.0.2 ! -i docker0 -o docker0 -p udp --dport 5060 -j ACCEPT
			iptables -t nat -N DOCKER; iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
			iptables -t nat -A DOCKER ! -i docker0 -p udp --dport 5090 -j DNAT --to-destination 172.17.0.2:5060`,
		reload: `for c in DOCKER-USER DOCKER-FORWARD; do iptables -D FORWARD -j $c; iptables -I FORWARD -j $c; done
			iptables -F DOCKER; iptables -A DOCKER -d 172.17.0.2 ! -i docker0 -o docker0 -p udp --dport 5060 -j ACCEPT
			iptables -t raw -D PREROUTING -d 172.17.0.2 ! -i docker0 -j DROP; iptables -t raw -I PREROUTING -d 172.17.0.2 ! -i docker0 -j DROP`,
	},
	{
		// Docker itself, without a container.
		name: "dockerd", program: "dockerd", keeps: "DOCKER-USER",
		start: `mount -t tmpfs none /sys/fs/cgroup
			for c in devices cpu cpuset memory pids freezer; do mkdir /sys/fs/cgroup/$c; mount -t cgroup -o $c none /sys/fs/cgroup/$c; done
			containerd --root /run/images --state /run/containers --address /run/containerd.sock >/run/containerd.log 2>&1 & echo $! >/run/containerd.pid
			until [ -S /run/containerd.sock ]; do kill -0 $(cat /run/containerd.pid) || { cat /run/containerd.log; false; }; done
			` + startDocker,
		reload: stopDocker + startDocker,
		stop:   stopDocker + "kill $(cat /run/containerd.pid)",
	},
}

const (
	startDocker = `dockerd --data-root /run/data --exec-root /run/docker --pidfile /run/docker.pid --storage-driver vfs \
			--containerd /run/containerd.sock --host unix:///run/docker.sock >/run/dockerd.log 2>&1 & echo $! >/run/dockerd.pid
			until docker --host unix:///run/docker.sock version >/dev/null; do kill -0 $(cat /run/dockerd.pid) || { cat /run/dockerd.log; false; }; done
			`
	stopDocker = "kill $(cat /run/dockerd.pid); while kill -0 $(cat /run/dockerd.pid) 2>/dev/null; do :; done\n"
)

// TestNeighbours lets other programs that keep rules in iptables reload theirs beside the
// service, while a provider and a stranger send. What they take away of ringfence's is
// put back, and said; what they have themselves stays. On a machine that does nothing else
// the fence is back within 2 seconds, which the long form insists on.
func TestNeighbours(t *testing.T) {
	labtest.Parallel(t)
	unpacked, err := filepath.Abs("../../.cache/unpacked") // by scripts/unpack
	labtest.Must(t, err)
	path := fmt.Sprintf("export PATH=\"$PATH:%[1]s/usr/sbin:%[1]s/usr/bin\"\n", unpacked)
	for _, n := range neighbours {
		for _, flavour := range backends[1:] {
			t.Run(n.name+"/"+flavour, func(t *testing.T) {
				labtest.Parallel(t)
				missing := exec.CommandContext(t.Context(), "sh", "-c", path+"command -v "+n.program).Run() != nil
				if n.program != "" && missing && os.Getenv("CI") == "" {
					// Its package starts a service that changes the firewall of the machine.
					t.Skipf("this machine has no %s", n.program)
				}
				beside(t, n, flavour, path)
			})
		}
	}
}

// beside tries one of them; path is the first line of its scripts.
func beside(t *testing.T, n neighbour, flavour, path string) {
	flood := labtest.NewFlood(t)
	flood.Lossy = true
	labtest.Must(t, flood.PBX.Set("ipv4/ip_forward", "1"))
	inside := hermit(t, flood.PBX, strings.TrimPrefix(flavour, "iptables-"))
	run := func(script string) string { return inside(path + script) }
	run(n.start)
	if n.stop != "" {
		defer run(n.stop)
	}
	s := newSite(t, flood.PBX, "version: 1\ninterfaces: [eth0]\nproviders: [{name: a, addresses: [192.0.2.100, '2001:db8::100']}]\n")
	s.must(t, 0, "apply")
	r := serve(t, s)
	var gone time.Duration
	rounds := labtest.Count(2, 10)
	flooded := flood.During(t, func() {
		for range rounds {
			before := strings.Count(r.log(), wasCorrected)
			run(n.reload)
			start := time.Now()
			if n.removes {
				r.until(t, "it says that the fence was corrected", func() bool { return strings.Count(r.log(), wasCorrected) > before })
			}
			r.until(t, "the fence is back", func() bool { return s.leads(t, flavour) })
			gone = max(gone, time.Since(start))
			r.until(t, "the fence is whole", func() bool { return s.run(t, "diff", "--full").status == 0 })
			if rules := run("iptables-save"); !strings.Contains(rules, n.keeps) {
				t.Errorf("what %s has is gone:\n%s", n.name, rules)
			}
		}
	})
	t.Logf("%d times, back at most %s after the reload has ended; %d packets of each, %d of the stranger's arrived", rounds, gone, flooded.Sent, flooded.Leaked)
	labtest.Report(t, "P10", labtest.Over(n.name+" reloads its rules", flavour), rounds, "back within %.1f s", gone.Seconds())
	if !n.removes && flooded.Leaked > 0 {
		t.Errorf("%d of the stranger's packets arrived", flooded.Leaked)
	}
	if os.Getenv("RINGFENCE_LONG") != "" && gone > 2*time.Second {
		t.Errorf("it took %s", gone)
	}
	if after := flood.During(t, func() { s.must(t, 0, "refresh") }); after.Leaked > 0 {
		t.Errorf("in the end %d of the stranger's packets arrive", after.Leaked)
	}
}

// wasCorrected is what the service says when it has put back what another program has
// taken away.
const wasCorrected = "was not as it should be and was corrected"

// leads reports whether packets of both families are led to the fence.
func (s *site) leads(t *testing.T, flavour string) bool {
	t.Helper()
	for _, program := range []string{flavour, strings.Replace(flavour, "ip", "ip6", 1)} {
		rules, err := labtest.TryInput(t, s.host, "", program, "-t", "raw", "-S", "PREROUTING")
		if err != nil || !strings.Contains(rules, "-j RINGFENCE-") {
			return false
		}
	}
	return true
}

// hermit returns a function that runs scripts on a host where iptables is of a flavour
// and what is written to /etc and /run stays there. The lock of iptables is the one that
// ringfence takes: without it two programs at once refuse each other's changes.
func hermit(t *testing.T, h *lab.Namespace, flavour string) func(script string) string {
	t.Helper()
	own := t.TempDir()
	labtest.Must(t, syscall.Mount("none", own, "tmpfs", 0, ""))
	t.Cleanup(func() { labtest.Must(t, syscall.Unmount(own, syscall.MNT_DETACH)) })
	const enter = `mkdir "$1/up" "$1/work" "$1/run"
		mount -t overlay -o lowerdir=/etc,upperdir="$1/up",workdir="$1/work" none /etc
		touch /run/xtables.lock "$1/run/xtables.lock"
		mount --bind /run/xtables.lock "$1/run/xtables.lock"
		mount --rbind "$1/run" /run
		mount -t tmpfs none /var/log
		for p in iptables ip6tables; do for s in "" -save -restore; do ln -sf "$(command -v $p-$2$s)" /etc/alternatives/$p$s; done; done
		touch "$1/ready"; read -r end`
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-ec", enter, "sh", own, flavour)
	input, err := cmd.StdinPipe()
	labtest.Must(t, err)
	labtest.Must(t, h.Start(cmd))
	t.Cleanup(func() {
		input.Close()
		cmd.Wait() // it has nothing more to say
	})
	labtest.Until(t, "the host has an /etc of its own", func() bool {
		_, err := os.Stat(filepath.Join(own, "ready"))
		return err == nil
	})
	return func(script string) string {
		t.Helper()
		return labtest.Run(t, h, "nsenter", "--mount", "--target", strconv.Itoa(cmd.Process.Pid), "sh", "-ec", "exec 2>&1; export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/bus\n"+script)
	}
}
