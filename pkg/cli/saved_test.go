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

// TestSavedRulesLoadAtBoot saves the host's rules with ringfence's between them, as
// netfilter-persistent does, and boots: up makes the sets that they name, also those that
// the policy of today does not need, so that the host's own rules load. The next refresh
// brings the fence of today.
func TestSavedRulesLoadAtBoot(t *testing.T) {
	t.Parallel()
	for _, flavour := range backends[1:] {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			const trusting = "version: 1\nproviders: [{name: acme, addresses: [203.0.113.0/24]}]\nunknown: {action: accept}\n" +
				"trusted: {addresses: [192.168.0.0/16], asymmetric: [10.9.0.0/16]}\nsignatures: {engine: 'off'}\n"
			s := newSite(t, labtest.Host(t, "pbx"), trusting)
			program := func(v6 bool, what string) string {
				name := strings.TrimPrefix(flavour, "iptables")
				if v6 {
					return "ip6tables" + name + what
				}
				return "iptables" + name + what
			}
			labtest.Run(t, s.host, program(false, ""), "-A", "INPUT", "-p", "tcp", "--dport", "22", "-j", "ACCEPT")
			labtest.Run(t, s.host, program(true, ""), "-A", "INPUT", "-p", "tcp", "--dport", "22", "-j", "ACCEPT")
			s.must(t, 0, "apply")
			etc := t.TempDir()
			saved := map[bool]string{false: filepath.Join(etc, "rules.v4"), true: filepath.Join(etc, "rules.v6")}
			for v6, path := range saved {
				text := labtest.Run(t, s.host, program(v6, "-save"))
				if !strings.Contains(text, "RINGFENCE-") || !strings.Contains(text, "--match-set ringfence-asymmetric") {
					t.Fatalf("the fence is not between the saved rules:\n%s", text)
				}
				labtest.Must(t, os.WriteFile(path, []byte(text), 0o600))
			}
			s.write(t, strings.Replace(trusting, ", asymmetric: [10.9.0.0/16]", "", 1))
			s.must(t, 0, "apply")
			want := labtest.Run(t, s.host, program(false, ""), "-t", "raw", "-S")

			s.host = labtest.Host(t, "rebooted")
			if _, err := labtest.TryInput(t, s.host, "", program(false, "-restore"), saved[false]); err == nil {
				t.Fatal("the saved rules load without the sets: the test sees nothing")
			}
			up := withFolder(t, s.command(t, "up"), etc, "/etc/iptables")
			if o := s.start(t, up); o.status != 0 {
				t.Fatalf("up: exit status %d: %s", o.status, o.stderr)
			}
			for v6, path := range saved {
				labtest.Run(t, s.host, program(v6, "-restore"), path)
				if rules := labtest.Run(t, s.host, program(v6, ""), "-S", "INPUT"); !strings.Contains(rules, "--dport 22 -j ACCEPT") {
					t.Errorf("the host's own rules are not there:\n%s", rules)
				}
			}
			s.must(t, 0, "refresh")
			got := labtest.Run(t, s.host, program(false, ""), "-t", "raw", "-S")
			if letterless(got) != letterless(want) {
				t.Errorf("after boot and refresh the rules are\n%s\nbefore they were\n%s", got, want)
			}
			if r := s.plan(t, 0, "diff", "--full"); r.Changed {
				t.Errorf("after refresh there is a difference: %+v", r.Changes)
			}
			down := withFolder(t, s.command(t, "down"), etc, "/etc/iptables")
			if o := s.start(t, down); o.status != 0 || !strings.Contains(o.stderr, "rules.v4 names what was ringfence's") {
				t.Errorf("down: exit status %d, it does not speak of the saved rules:\n%s", o.status, o.stderr)
			}
		})
	}
}

// letterless are the rules of a listing without the letters of the chains, sorted.
func letterless(rules string) string {
	lines := strings.Split(strings.NewReplacer("RINGFENCE-A-", "RINGFENCE-", "RINGFENCE-B-", "RINGFENCE-").Replace(rules), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// withFolder makes a command see a folder in the place of another one.
func withFolder(t *testing.T, cmd *exec.Cmd, folder, place string) *exec.Cmd {
	t.Helper()
	const script = `mount -t tmpfs none /mnt && mkdir -p /mnt/up /mnt/work &&
		mount -t overlay -o lowerdir=/etc,upperdir=/mnt/up,workdir=/mnt/work none /etc &&
		mkdir -p "$2" && mount --bind "$1" "$2" && shift 2 && exec "$@"`
	unshare, err := exec.LookPath("unshare")
	labtest.Must(t, err)
	cmd.Args = append([]string{"unshare", "--mount", "sh", "-c", script, "sh", folder, place, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = unshare
	return cmd
}
