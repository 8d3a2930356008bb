package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// TestKilledWhileDown: a run that was killed while it took the fence down, or put
// it up, is ended by the next one in the way that it was meant.
func TestKilledWhileDown(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		phase  journal.Phase
		table  bool // the kernel has the table
		fenced bool // what there is after a refresh
		says   string
	}{
		{"down, before the table was gone", journal.Going, true, false, "taking the fence down now"},
		{"down, after the table was gone", journal.Going, false, false, "The fence was taken down by admin"},
		{"up, before the table was there", journal.Coming, false, false, "The fence was taken down by admin"},
		{"up, after the table was there", journal.Coming, true, true, "killed after it had put the fence up"},
		{"nothing, and another program puts the table back", journal.Resting, true, true, "The fence was taken down by admin"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
			s.must(t, 0, "apply")
			if !test.table {
				s.must(t, 0, "down")
			}
			labtest.Must(t, journal.Journal{Folder: s.state()}.SetDown(journal.Down{Time: time.Now(), User: "admin", Phase: test.phase}))
			o := s.must(t, 0, "refresh")
			if !strings.Contains(o.stdout+o.stderr, test.says) {
				t.Errorf("refresh does not say %q:\n%s%s", test.says, o.stdout, o.stderr)
			}
			if fenced := strings.Contains(s.ruleset(t), "table inet ringfence"); fenced != test.fenced {
				t.Errorf("there is a fence: %t, want %t", fenced, test.fenced)
			}
			s.must(t, 0, "up")
			if o := s.must(t, 0, "refresh"); !strings.Contains(o.stdout, "nothing to do") {
				t.Errorf("after up, refresh says %s", o.stdout)
			}
		})
	}
}

// TestKilledBesideClassifier: what recognises scanners goes with the fence, also if
// the run that took it down was killed between the two, or the run that put it up.
func TestKilledBesideClassifier(t *testing.T) {
	t.Parallel()
	for _, phase := range []journal.Phase{journal.Going, journal.Coming} {
		h := labtest.Host(t, "pbx")
		labtest.Run(t, h, "ip", "link", "add", "eth0", "type", "bridge")
		s := newSite(t, h, openPolicy)
		s.must(t, 0, "apply")
		labtest.Must(t, journal.Journal{Folder: s.state()}.SetDown(journal.Down{Time: time.Now(), User: "admin", Phase: phase}))
		labtest.Run(t, h, "nft", "delete", "table", "inet", "ringfence")
		if o := s.must(t, 0, "status"); !strings.Contains(o.stdout, "but the classifier is still attached: ringfence down removes it") {
			t.Errorf("%s: status says\n%s", phase, o.stdout)
		}
		s.must(t, 0, "refresh")
		if left := labtest.Run(t, h, "tc", "qdisc", "show", "dev", "eth0"); strings.Contains(left, "clsact") {
			t.Errorf("%s: left is\n%s", phase, left)
		}
	}
}

// TestFirstApplyKilled: the first generation of all gets its number by the next
// refresh if the kernel has its rules, and leaves nothing behind if it has not.
func TestFirstApplyKilled(t *testing.T) {
	t.Parallel()
	h := labtest.Host(t, "pbx")
	labtest.Run(t, h, "ip", "link", "add", "eth0", "type", "bridge")
	s := newSite(t, h, openPolicy)
	s.must(t, 0, "apply")
	folder := filepath.Join(s.state(), "journal")
	pending := func() {
		t.Helper()
		labtest.Must(t, os.Rename(filepath.Join(folder, "00000001.json"), filepath.Join(folder, "next.json")))
	}
	pending()
	if o := s.must(t, 0, "status"); !strings.Contains(o.stdout, "if that was killed, ringfence refresh completes it") {
		t.Errorf("status says\n%s", o.stdout)
	}
	if o := s.must(t, 0, "refresh"); !strings.Contains(o.stderr, "they are generation 1") {
		t.Errorf("refresh says\n%s%s", o.stdout, o.stderr)
	}
	if o := s.must(t, 0, "status"); !strings.Contains(o.stdout, "drift       none") {
		t.Errorf("status says\n%s", o.stdout)
	}
	pending()
	labtest.Run(t, h, "nft", "delete", "table", "inet", "ringfence")
	reportsClearly(t, s.run(t, "refresh"), 1, []string{"they are discarded", "there is no generation yet"})
	if left := labtest.Run(t, h, "tc", "qdisc", "show", "dev", "eth0"); strings.Contains(left, "clsact") {
		t.Errorf("left is\n%s", left)
	}
}

// TestKilledAndChanged: an apply that was killed after its commit is recognised
// although another program has changed something since.
func TestKilledAndChanged(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
	s.must(t, 0, "apply")
	s.write(t, strings.Replace(staticPolicy, "203.0.113.0/24", "198.51.100.0/24, 192.0.2.0/24", 1))
	s.must(t, 0, "apply")
	folder := filepath.Join(s.state(), "journal")
	pending := func() {
		t.Helper()
		labtest.Must(t, os.Rename(filepath.Join(folder, "00000002.json"), filepath.Join(folder, "next.json")))
	}
	pending()
	labtest.Run(t, s.host, "nft", "add", "element", "inet", "ringfence", "providers4", "{ 9.9.9.9 }")
	if o := s.must(t, 0, "refresh"); !strings.Contains(o.stderr, "they are generation 2") || !strings.Contains(o.stdout, "1 removed") {
		t.Errorf("refresh says\n%s%s", o.stdout, o.stderr)
	}
	pending()
	labtest.Run(t, s.host, "nft", "flush", "ruleset")
	// The policy file is that of the generation which is discarded.
	if o := s.must(t, 4, "refresh"); !strings.Contains(o.stderr, "they are discarded") || !strings.Contains(s.ruleset(t), "203.0.113.0/24") {
		t.Errorf("refresh says\n%s%s", o.stdout, o.stderr)
	}
}

// TestFullDiskKeepsNobodyOut: with no room left, a registrar that has moved comes
// in all the same, a table that is gone comes back, and the status says what is
// wrong.
func TestFullDiskKeepsNobodyOut(t *testing.T) {
	t.Parallel()
	h := labtest.Host(t, "pbx")
	zone, err := lab.NewZone("sip.acme.example. 60 IN A 203.0.113.1")
	labtest.Must(t, err)
	server, err := h.ServeNames("127.0.0.1:53", zone)
	labtest.Must(t, err)
	defer server.Close()
	s := newSite(t, h, "version: 1\ndns: {servers: [127.0.0.1]}\nproviders: [{name: acme, registrars: [sip.acme.example]}]\n")
	for _, folder := range []string{s.state(), s.runFolder()} {
		labtest.Must(t, os.MkdirAll(folder, 0o750))
		labtest.Must(t, unix.Mount("tmpfs", folder, "tmpfs", 0, "size=128k"))
		t.Cleanup(func() { labtest.Must(t, unix.Unmount(folder, 0)) })
	}
	s.must(t, 0, "apply")
	fill(t, filepath.Join(s.state(), "ballast"))
	fill(t, filepath.Join(s.runFolder(), "ballast"))
	labtest.Must(t, zone.Set("sip.acme.example. 60 IN A 203.0.113.1\nsip.acme.example. 60 IN A 203.0.113.2"))
	o := s.must(t, 4, "refresh")
	if !strings.Contains(o.stderr, "could not be saved") || !strings.Contains(s.ruleset(t), "203.0.113.2") {
		t.Errorf("refresh on a full disk says\n%s%s", o.stdout, o.stderr)
	}
	labtest.Run(t, h, "nft", "flush", "ruleset")
	s.must(t, 4, "refresh")
	if !strings.Contains(s.ruleset(t), "table inet ringfence") {
		t.Error("on a full disk the table does not come back")
	}
}

// TestStandardOutputGone: what is in force is not called an error because nobody
// could read of it.
func TestStandardOutputGone(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	labtest.Must(t, err)
	defer full.Close()
	run := func(args ...string) outcome {
		cmd := s.command(t, args...)
		var errs strings.Builder
		cmd.Stdout, cmd.Stderr = full, &errs
		labtest.Must(t, s.host.Start(cmd))
		cmd.Wait() // its status is part of the outcome
		return outcome{stderr: errs.String(), status: cmd.ProcessState.ExitCode()}
	}
	for _, command := range []string{"apply", "down", "up"} {
		reportsClearly(t, run(command), 0, []string{"warning: the change is in force, but the output could not be written completely"})
	}
	reportsClearly(t, run("status"), 1, []string{"error: write output: ", "no space left on device"})
}

// TestPolicyFromStandardInput: a policy that was never a file does not stop a
// rollback.
func TestPolicyFromStandardInput(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
	for _, text := range []string{staticPolicy, otherPolicy} {
		cmd := s.command(t, "--policy", "/dev/stdin", "apply")
		cmd.Stdin = strings.NewReader(text)
		if o := s.start(t, cmd); o.status != 0 {
			t.Fatalf("apply: %s", o.stderr)
		}
	}
	cmd := s.command(t, "rollback")
	never, err := cmd.StdinPipe()
	labtest.Must(t, err)
	defer never.Close()
	if o := s.start(t, cmd); o.status != 0 {
		t.Errorf("rollback: %s", o.stderr)
	}
}

// TestOnceIsEnough: a command that waits for a pipe is interrupted by the first signal.
func TestOnceIsEnough(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Host(t, "pbx"), "")
	labtest.Must(t, os.Remove(s.policyFile()))
	labtest.Must(t, unix.Mkfifo(s.policyFile(), 0o600))
	cmd := exec.CommandContext(t.Context(), built(t), "--policy", s.policyFile(), "check")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	labtest.Must(t, s.host.Start(cmd))
	// This waits until the command has opened the pipe. It has nothing to read then.
	pipe, err := os.OpenFile(s.policyFile(), os.O_WRONLY, 0)
	labtest.Must(t, err)
	defer pipe.Close()
	labtest.Must(t, cmd.Process.Signal(unix.SIGTERM))
	cmd.Wait()
	if status := cmd.ProcessState.ExitCode(); status != 1 || !strings.Contains(stderr.String(), "interrupted: nothing was changed") {
		t.Errorf("status %d: %s", status, stderr.String())
	}
}
