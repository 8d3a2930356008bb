package system_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/host"
	"github.com/ringfence/ringfence/pkg/host/system"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

func condition(t *testing.T, h *lab.Namespace, folder string) (c host.Condition) {
	t.Helper()
	labtest.In(t, h, func() error {
		c = system.Condition(slog.New(slog.DiscardHandler), folder)
		return nil
	})
	return c
}

// TestConditionOfLinks: what queues, redirects or takes packets before the rules see them.
func TestConditionOfLinks(t *testing.T) {
	h := labtest.Host(t, "pbx")
	labtest.Run(t, h, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
	if c := condition(t, h, t.TempDir()); len(c.XDP)+len(c.Shapers)+len(c.Legacy) > 0 || c.RuleMarks != 0 || slices.Contains(c.ShaperFiles, "interface ifb0") {
		t.Errorf("nothing is there, and found is %+v", c)
	}
	labtest.Run(t, h, "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "10mbit", "burst", "10k", "latency", "50ms")
	labtest.Run(t, h, "ip", "rule", "add", "fwmark", "0x1000000/0x3000000", "table", "100")
	attachXDP(t, h, "eth1")
	c := condition(t, h, t.TempDir())
	if c.Shapers["eth0"] != "tbf" || c.RuleMarks != 0x03000000 || !slices.Equal(c.XDP, []string{"eth1"}) {
		t.Errorf("found is %+v", c)
	}
}

// attachXDP attaches a program that passes all packets on.
func attachXDP(t *testing.T, h *lab.Namespace, link string) {
	t.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
	})
	labtest.Must(t, err)
	defer program.Close()
	labtest.In(t, h, func() error {
		l, err := netlink.LinkByName(link)
		if err != nil {
			return err
		}
		return netlink.LinkSetXdpFd(l, program.FD())
	})
}

// TestConditionOfFolder: whose the state folder is, and what room it has.
func TestConditionOfFolder(t *testing.T) {
	h, folder := labtest.Host(t, "pbx"), filepath.Join(t.TempDir(), "state")
	if c := condition(t, h, folder); c.State.Exists || c.State.Path != folder {
		t.Errorf("a folder that is not there is %+v", c.State)
	}
	labtest.Must(t, os.Mkdir(folder, 0o750))
	if c := condition(t, h, folder); !c.State.Exists || c.State.Owner != os.Getuid() || c.State.Writable || c.State.ReadOnly || c.State.Free <= 0 {
		t.Errorf("the folder is %+v", c.State)
	}
	labtest.Must(t, os.Chmod(folder, 0o777))
	labtest.Must(t, os.Chown(folder, 1000, 1000))
	if c := condition(t, h, folder); c.State.Owner != 1000 || !c.State.Writable {
		t.Errorf("the folder of another user is %+v", c.State)
	}
	labtest.Must(t, unix.Mount("tmpfs", folder, "tmpfs", 0, "size=64k,nr_inodes=8"))
	defer unix.Unmount(folder, unix.MNT_DETACH)
	if c := condition(t, h, folder); c.State.Free > 64<<10 || c.State.FreeFiles > 8 {
		t.Errorf("the small folder is %+v", c.State)
	}
	labtest.Must(t, unix.Mount("", folder, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	if c := condition(t, h, folder); !c.State.ReadOnly {
		t.Errorf("the folder that cannot be written is %+v", c.State)
	}
}

// hide puts an empty folder in the place of one of the machine, with some files in it.
// Nobody but this test sees it.
func hide(t *testing.T, folder string, files map[string]string) {
	t.Helper()
	labtest.Must(t, unix.Mount("tmpfs", folder, "tmpfs", 0, ""))
	t.Cleanup(func() { unix.Unmount(folder, unix.MNT_DETACH) })
	for name, content := range files {
		path := filepath.Join(folder, name)
		labtest.Must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		labtest.Must(t, os.WriteFile(path, []byte(content), 0o644))
	}
}

// TestConditionOfFiles: lines of cron, units that are enabled, and rules that are saved;
// what is only a comment or not enabled does not count.
func TestConditionOfFiles(t *testing.T) {
	h := labtest.Host(t, "pbx")
	const unit = "[Service]\nExecStart=/usr/bin/ringfence refresh\n"
	hide(t, "/etc", map[string]string{
		"passwd":                           "root:x:0:0::/root:/bin/sh\n",
		"cron.d/ringfence":                 "*/5 * * * * root ringfence refresh\n",
		"cron.d/off":                       "#*/5 * * * * root ringfence refresh\n",
		"systemd/system/fence.service":     unit,
		"systemd/system/forgotten.service": unit,
		"systemd/system/timers.target.wants/fence.timer": "",
		"iptables/rules.v4":       "*raw\n-A PREROUTING -j RINGFENCE-A\n-A X -m set --match-set ringfence-providers4 src\nCOMMIT\n",
		"iptables/rules.v6":       "# ringfence was here\n",
		"cni/net.d/10-x.conflist": `{"plugins": [{"type": "bandwidth"}]}`,
		"network/if-up.d/shape":   "tc qdisc add dev eth0 ingress\n",
	})
	c := condition(t, h, t.TempDir())
	runners := slices.DeleteFunc(slices.Clone(c.Runners), func(r string) bool { return strings.HasPrefix(r, "process ") })
	for _, found := range []struct {
		what      string
		got, want []string
	}{
		{"what refreshes", runners, []string{"/etc/cron.d/ringfence", "/etc/systemd/system/fence.service"}},
		{"saved rules", c.SavedRules, []string{"/etc/iptables/rules.v4"}},
		{"shapers", c.ShaperFiles, []string{"/etc/network/if-up.d/shape", "/etc/cni/net.d/10-x.conflist"}},
	} {
		if !slices.Equal(found.got, found.want) {
			t.Errorf("%s: %q, want %q", found.what, found.got, found.want)
		}
	}
}

// TestConditionOfProcesses: a service in this network namespace counts, one in another
// does not.
func TestConditionOfProcesses(t *testing.T) {
	here, there := labtest.Host(t, "here"), labtest.Host(t, "there")
	service := labtest.Program(t, "liar", "run")
	service.Args[0] = "ringfence"
	in, err := service.StdinPipe()
	labtest.Must(t, err)
	labtest.Must(t, here.Start(service))
	processes := func(h *lab.Namespace) []string {
		return slices.DeleteFunc(condition(t, h, t.TempDir()).Runners, func(r string) bool { return !strings.HasPrefix(r, "process ") })
	}
	labtest.Until(t, "the service is found", func() bool { return len(processes(here)) == 1 })
	if other := processes(there); len(other) > 0 {
		t.Errorf("in another namespace it is found as %q", other)
	}
	labtest.Must(t, in.Close())
	labtest.Must(t, service.Wait())
}
