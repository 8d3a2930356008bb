package cli_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// TestProgramsOfIPTables: where cron gives a PATH without sbin, iptables is found all the
// same; where it is not installed, one sentence says what to install, and nothing is
// changed.
func TestProgramsOfIPTables(t *testing.T) {
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
