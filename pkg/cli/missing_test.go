package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// TestProgramsOfIPTables: where cron gives a PATH without sbin, iptables is found all the
// same; where it is not installed, one sentence says what to install, and nothing is
// changed.
func TestProgramsOfIPTables(t *testing.T) {
	t.Parallel()
	for _, flavour := range backends[1:] {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
			cron := s.command(t, "apply")
			cron.Env = append(cron.Env, "PATH=/usr/bin:/bin")
			if o := s.start(t, cron); o.status != 0 || !s.leads(t, flavour) {
				t.Errorf("without sbin in PATH: exit status %d: %s", o.status, o.stderr)
			}
			for _, program := range []string{flavour, flavour + "-restore", strings.Replace(flavour, "ip", "ip6", 1)} {
				reportsClearly(t, s.start(t, without(t, s.command(t, "apply"), program)), 1, []string{
					"there is no program " + program + " in PATH or in /usr/sbin, /sbin, /usr/local/sbin: install the package iptables",
				})
			}
		})
	}
}

// without makes a command run where a program is not installed.
func without(t *testing.T, cmd *exec.Cmd, program string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(program)
	labtest.Must(t, err)
	unshare, err := exec.LookPath("unshare")
	labtest.Must(t, err)
	const script = `mount -t tmpfs none /mnt && mkdir /mnt/up /mnt/work && d=$(dirname "$1") &&
		mount -t overlay -o lowerdir="$d",upperdir=/mnt/up,workdir=/mnt/work none "$d" && rm "$1" && shift && exec "$@"`
	cmd.Args = append([]string{"unshare", "--mount", "sh", "-c", script, "sh", path, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = unshare
	return cmd
}

// TestCapabilitiesOfUnits: what the units for systemd leave to the program is enough, over
// iptables with what is added for it; without that, the error says what is missing.
func TestCapabilitiesOfUnits(t *testing.T) {
	t.Parallel()
	units, err := filepath.Glob("../../examples/systemd/*.service")
	labtest.Must(t, err)
	more := capabilitiesOf(t, "../../examples/systemd/iptables.conf")
	eachBackend(t, func(t *testing.T) {
		added := more
		if backendOf(t) == "nftables" {
			added = nil
		}
		for _, unit := range units {
			s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
			own := capabilitiesOf(t, unit)
			if backendOf(t) != "nftables" && !slices.Contains(own, "+net_raw") {
				reportsClearly(t, s.start(t, limited(t, s.command(t, "apply"), own)), 1, []string{
					"CAP_NET_ADMIN and CAP_NET_RAW, read and change iptables", "hint: it runs as root without CAP_NET_RAW",
				})
			}
			if o := s.start(t, limited(t, s.command(t, "apply"), append(own, added...))); o.status != 0 {
				t.Errorf("%s: exit status %d: %s", unit, o.status, o.stderr)
			}
		}
	})
}

// capabilitiesOf are those that a unit has, as setpriv writes them.
func capabilitiesOf(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	labtest.Must(t, err)
	var list []string
	for line := range strings.Lines(string(text)) {
		names, ok := strings.CutPrefix(line, "CapabilityBoundingSet=")
		for name := range strings.FieldsSeq(names) {
			if ok {
				list = append(list, "+"+strings.ToLower(strings.TrimPrefix(name, "CAP_")))
			}
		}
	}
	if len(list) == 0 {
		t.Fatalf("%s has no capabilities", path)
	}
	return list
}

// limited makes a command run with these capabilities alone.
func limited(t *testing.T, cmd *exec.Cmd, capabilities []string) *exec.Cmd {
	t.Helper()
	setpriv, err := exec.LookPath("setpriv")
	labtest.Must(t, err)
	cmd.Args = append([]string{
		"setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all," + strings.Join(capabilities, ","), cmd.Path,
	}, cmd.Args[1:]...)
	cmd.Path = setpriv
	return cmd
}
