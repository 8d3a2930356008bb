package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// TestUndoneClassifier: a change that is undone leaves the classifier as it was before,
// and the rules that act on its marks.
func TestUndoneClassifier(t *testing.T) {
	t.Parallel()
	const (
		off    = "signatures: {engine: off}\n"
		on     = "signatures: {engine: bpf}\n"
		others = "signatures: {engine: bpf, deny: [{name: bad-dialer, header: user-agent, contains: BadDialer}]}\n"
		bits   = "signatures: {engine: bpf, mark: 0x00f00000}\n"
	)
	programs := regexp.MustCompile(`ringfence:[0-9a-f]+`)
	for name, policies := range map[string][2]string{
		"off": {on, off}, "on": {off, on}, "other signatures": {on, others}, "other bits": {on, bits}, "back to the usual bits": {bits, on},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := labtest.Host(t, "pbx")
			labtest.Run(t, h, "ip", "link", "add", "eth0", "type", "bridge")
			s := newSite(t, h, openPolicy+policies[0])
			t.Cleanup(func() { killWatchdogs(t, s) })
			attached := func() []string {
				return programs.FindAllString(labtest.Run(t, h, "tc", "filter", "show", "dev", "eth0", "ingress"), -1)
			}
			s.must(t, 0, "apply")
			program, rules := attached(), dump(t, h)
			s.write(t, openPolicy+policies[1])
			s.must(t, 0, "apply", "--confirm=1s")
			labtest.Until(t, "the change is undone", func() bool {
				_, pending := s.deadline(t)
				return !pending
			})
			if now := attached(); !slices.Equal(now, program) {
				t.Errorf("attached is %q, was %q", now, program)
			}
			if now := dump(t, h); now != rules {
				t.Errorf("the rules are\n%s\nwere\n%s", now, rules)
			}
			if r := s.refreshed(t); r.Changed {
				t.Errorf("refresh finds %+v", r.Changes)
			}
		})
	}
}

// TestUndoneWithoutFiles: a change is undone also if what it was made from, or what programs
// agree by, is gone or cannot be written any more. If nobody knows what was before, or the
// watchdog does not move, the kernel opens the fence.
func TestUndoneWithoutFiles(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		harm, mend func(t *testing.T, s *site)
		opens      bool
		refreshes  int // the exit status of refresh after that
	}{
		{"the policy is removed", func(t *testing.T, s *site) { labtest.Must(t, os.Remove(s.policyFile())) }, nil, false, 4},
		{"the run folder is removed", func(t *testing.T, s *site) { labtest.Must(t, os.RemoveAll(s.runFolder())) }, nil, false, 4},
		{"the state folder is removed", func(t *testing.T, s *site) { labtest.Must(t, os.RemoveAll(s.state())) }, nil, true, 1},
		{"the state folder is read-only", func(t *testing.T, s *site) {
			labtest.Must(t, unix.Mount(s.state(), s.state(), "", unix.MS_BIND, ""))
			labtest.Must(t, unix.Mount("", s.state(), "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		}, func(t *testing.T, s *site) { labtest.Must(t, unix.Unmount(s.state(), unix.MNT_DETACH)) }, false, 4},
		{"the watchdog is stopped", func(t *testing.T, s *site) { signalWatchdogs(t, s, unix.SIGSTOP) }, nil, true, 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := aboutToConfirm(t)
			s.must(t, 0, "apply", "--confirm=3s")
			test.harm(t, s)
			labtest.Until(t, "the change is undone, or the fence is open", func() bool { return !s.stands(t) })
			if !test.opens {
				labtest.Until(t, "what was before is in force", func() bool { return s.fenced(t) && s.with(t, "203.0.113.0/24") })
			} else if s.fenced(t) {
				t.Errorf("the fence is not open:\n%s", s.ruleset(t))
			}
			if test.mend != nil {
				test.mend(t, s)
			}
			if s.must(t, test.refreshes, "refresh"); test.refreshes == 4 && !s.with(t, "203.0.113.0/24") {
				t.Errorf("refresh does not put back what was before:\n%s", s.ruleset(t))
			}
		})
	}
}

// TestConfirmMeanwhile: what other commands do while a change waits neither confirms it
// nor is undone with it.
func TestConfirmMeanwhile(t *testing.T) {
	t.Parallel()
	s := aboutToConfirm(t)
	s.must(t, 0, "apply", "--confirm", "60s")
	killWatchdogs(t, s)
	daemon := serve(t, s)
	for _, command := range [][]string{
		{"ban", "198.51.100.66"}, {"allow", "198.51.100.7"}, {"bans"}, {"status"}, {"history"}, {"diff"}, {"up"}, {"refresh"},
	} {
		s.must(t, 0, command...)
		if deadline, pending := s.deadline(t); !pending || deadline.IsZero() {
			t.Fatalf("%s confirms the change", command)
		}
		// A command that makes rules writes the ports again, with the time that is left.
		if !runOut(s.ruleset(t)) {
			t.Fatalf("%s takes the lifetimes off the ports:\n%s\nthe service says\n%s", command, s.ruleset(t), daemon.log())
		}
	}
	daemon.until(t, "the service undoes the change", func() bool { return s.with(t, "203.0.113.0/24") && s.fenced(t) })
	daemon.end(t)
	for _, address := range []string{"198.51.100.66", "198.51.100.7"} {
		if !s.with(t, address) {
			t.Errorf("%s is gone:\n%s", address, s.ruleset(t))
		}
	}
}

// TestConfirmByAccident: a confirmation needs the rights to change the fence, and is for the
// change that waits.
func TestConfirmByAccident(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
	t.Cleanup(func() { killWatchdogs(t, s) })
	s.must(t, 0, "apply", "--confirm", "1h")
	s.must(t, 0, "confirm")
	s.write(t, otherStatic)
	s.must(t, 0, "apply", "--confirm", "1h")
	reportsClearly(t, s.run(t, "confirm", "1"), 1, []string{"generation 1 does not wait for a confirmation: generation 2 does"})
	waits := func(who string) {
		t.Helper()
		if _, pending := s.deadline(t); !pending || !runOut(s.ruleset(t)) {
			t.Errorf("%s has confirmed it", who)
		}
	}
	waits("confirm 1")

	// Nobody may confirm who may not apply, also if the files are open to him.
	program := built(t)
	for _, path := range []string{filepath.Dir(program), program} {
		labtest.Must(t, os.Chmod(path, 0o755))
	}
	for folder := s.folder; folder != os.TempDir() && folder != "/"; folder = filepath.Dir(folder) {
		labtest.Must(t, os.Chmod(folder, 0o755))
	}
	permit := func(mode os.FileMode) {
		t.Helper()
		for _, folder := range []string{s.state(), s.runFolder()} {
			labtest.Must(t, filepath.WalkDir(folder, func(path string, _ os.DirEntry, err error) error {
				labtest.Must(t, err)
				return os.Chmod(path, mode)
			}))
		}
	}
	permit(0o777)
	nobody := func(args ...string) outcome {
		cmd := exec.CommandContext(t.Context(), program, append([]string{
			"--policy", s.policyFile(), "--state-dir", s.state(), "--run-dir", s.runFolder(),
		}, args...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		return s.start(t, cmd)
	}
	for _, command := range [][]string{{"confirm"}, {"confirm", "2"}} {
		if o := nobody(command...); o.status != 1 || !strings.Contains(o.stderr, "root") {
			t.Errorf("%s as another user: exit status %d\n%s%s", command, o.status, o.stdout, o.stderr)
		}
		waits("another user")
	}
	permit(0o750)
	s.must(t, 0, "confirm", "2")
	reportsClearly(t, s.run(t, "confirm", "2"), 1, []string{"no generation waits for a confirmation"})
	reportsClearly(t, s.run(t, "confirm"), 1, []string{"no generation waits for a confirmation"})
}

// TestUndoneBackend: a change of the back end is undone as well, and nothing is left of
// the other one.
func TestUndoneBackend(t *testing.T) {
	t.Parallel()
	for _, backends := range [][2]string{
		{"nftables", "iptables-legacy"},
		{"iptables-legacy", "nftables"},
		{"iptables-nft", "iptables-legacy"},
		{"iptables-legacy", "iptables-nft"}, // these use the same sets
	} {
		t.Run(backends[0]+" to "+backends[1], func(t *testing.T) {
			t.Parallel()
			h := labtest.Host(t, "pbx")
			s := newSite(t, h, "")
			t.Cleanup(func() { killWatchdogs(t, s) })
			everything := func() string {
				return labtest.Run(t, h, "nft", "-s", "list", "ruleset") + labtest.Run(t, h, "iptables-legacy-save", "-t", "filter") +
					labtest.Run(t, h, "ipset", "list", "-n")
			}
			labtest.Must(t, os.WriteFile(s.policyFile(), []byte(staticPolicy+"unknown: {action: register}\nbackend: "+backends[0]+"\n"), 0o644))
			s.must(t, 0, "apply")
			before := fences(everything())
			if len(before) == 0 {
				t.Fatal("there is no fence")
			}
			labtest.Must(t, os.WriteFile(s.policyFile(), []byte(staticPolicy+"backend: "+backends[1]+"\n"), 0o644))
			s.must(t, 0, "apply", "--confirm=1s")
			labtest.Until(t, "the change is undone", func() bool {
				_, pending := s.deadline(t)
				return !pending
			})
			if now := fences(everything()); !slices.Equal(now, before) {
				t.Errorf("there is\n%s\nand was\n%s", strings.Join(now, "\n"), strings.Join(before, "\n"))
			}
			// And for good, there and back.
			s.must(t, 0, "apply")
			s.must(t, 0, "diff", "--full")
			if left := labtest.Run(t, h, "ipset", "list", "-n"); strings.Contains(left, "phones") {
				t.Errorf("without phones these sets are left: %s", left)
			}
			s.must(t, 0, "rollback")
			if now := fences(everything()); !slices.Equal(now, before) {
				t.Errorf("after the rollback there is\n%s\nand was\n%s", strings.Join(now, "\n"), strings.Join(before, "\n"))
			}
		})
	}
}

// fences returns the lines of a listing that are about ringfence, sorted.
func fences(listing string) []string {
	var lines []string
	for line := range strings.Lines(listing) {
		if strings.Contains(strings.ToLower(line), "ringfence") && !strings.HasPrefix(line, "#") {
			lines = append(lines, regexp.MustCompile(`\[[0-9:]+\]`).ReplaceAllString(strings.TrimSpace(line), ""))
		}
	}
	slices.Sort(lines)
	return lines
}
