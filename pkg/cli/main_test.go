package cli_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ringfence/ringfence/pkg/cli"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

func TestMain(m *testing.M) {
	os.Exit(labtest.Main(scripted{m}, map[string]func() int{
		"ringfence":                   ringfence,
		"ringfence that is told":      told,
		"ringfence without nf_tables": withoutNFTables,
	}))
}

func ringfence() int { return cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr) }

// told is a ringfence whose service sees only what is reported to it, and not at the look
// of each minute.
func told() int {
	cli.LookEvery(time.Hour)
	return ringfence()
}

// mustBeTold has a site's service see only what is reported to it.
func (s *site) mustBeTold() {
	s.role = "ringfence that is told"
	s.environment = append(s.environment, "RINGFENCE_TEST_PROGRAM=ringfence that is told")
}

// scripted makes ringfence a command of test scripts.
type scripted struct{ m *testing.M }

func (s scripted) Run() int {
	testscript.Main(tidy(s), map[string]func(){"ringfence": func() { os.Exit(ringfence()) }})
	return 0
}

// tidy removes what the tests have built, when they have ended.
type tidy struct{ m *testing.M }

func (m tidy) Run() int {
	status := m.m.Run()
	if wasBuilt.Load() {
		if program, err := buildOnce(); err == nil {
			os.RemoveAll(filepath.Dir(program))
		}
	}
	return status
}

var update = flag.Bool("update", false, "rewrite the expected outputs of scripts")

// site is ringfence on a host, with files of its own.
type site struct {
	host   *lab.Namespace
	folder string
	// program is the file that is run; "" is a built ringfence, or with a role, or with the
	// race detector, the test binary.
	program string
	role    string
	// shared is another site whose state this one works on; nil has its own.
	shared *site
	// environment is added to that of the tests.
	environment []string
	// as is whose process it is, nil for that of the tests.
	as *syscall.SysProcAttr
}

func newSite(t *testing.T, h *lab.Namespace, policy string) *site {
	t.Helper()
	s := &site{host: h, folder: t.TempDir()}
	s.write(t, policy)
	return s
}

func (s *site) policyFile() string { return filepath.Join(s.folder, "policy.yaml") }

func (s *site) state() string {
	if s.shared != nil {
		return s.shared.state()
	}
	return filepath.Join(s.folder, "state")
}

func (s *site) runFolder() string { return filepath.Join(filepath.Dir(s.state()), "run") }

// backends are those that tests of packets run over.
var backends = []string{"nftables", "iptables-legacy", "iptables-nft"}

// eachBackend runs a test over each back end: the sites in it ask for that one.
func eachBackend(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	for _, name := range backends {
		t.Run(name, test)
	}
}

// backendOf is the back end that a test runs over, "" if it is not one of several.
func backendOf(t *testing.T) string {
	t.Helper()
	for part := range strings.SplitSeq(t.Name(), "/") {
		if slices.Contains(backends, part) {
			return part
		}
	}
	return ""
}

func (s *site) write(t *testing.T, policy string) {
	t.Helper()
	if b := backendOf(t); b != "" {
		policy += "\nbackend: " + b + "\n"
	}
	labtest.Must(t, os.WriteFile(s.policyFile(), []byte(policy), 0o644))
}

// command prepares a run of ringfence in the site.
func (s *site) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	args = append([]string{"--policy", s.policyFile(), "--state-dir", s.state(), "--run-dir", s.runFolder()}, args...)
	cmd := labtest.Program(t, cmp.Or(s.role, "ringfence"), args...)
	program := s.program
	if program == "" && s.role == "" && !racing {
		program = built(t) // it starts in half the time
	}
	if program != "" {
		cmd = exec.CommandContext(t.Context(), program, args...)
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, s.environment...)
	cmd.SysProcAttr = s.as
	return cmd
}

// outcome is what a user sees of one run.
type outcome struct {
	stdout, stderr string
	status         int
}

func (s *site) run(t *testing.T, args ...string) outcome {
	t.Helper()
	return s.start(t, s.command(t, args...))
}

func (s *site) start(t *testing.T, cmd *exec.Cmd) outcome {
	t.Helper()
	o, err := s.finish(cmd)
	labtest.Must(t, err)
	return o
}

// stopped runs a command and sends it a signal after a time.
func (s *site) stopped(t *testing.T, signal os.Signal, after time.Duration, args ...string) outcome {
	t.Helper()
	cmd := s.command(t, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	labtest.Must(t, s.host.Start(cmd))
	timer := time.AfterFunc(after, func() { cmd.Process.Signal(signal) })
	defer timer.Stop()
	cmd.Wait() // its status is part of the outcome
	return outcome{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// try is run for goroutines, which must not end the test.
func (s *site) try(t *testing.T, args ...string) (outcome, error) {
	t.Helper()
	return s.finish(s.command(t, args...))
}

func (s *site) finish(cmd *exec.Cmd) (outcome, error) {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := s.host.Start(cmd); err != nil {
		return outcome{}, err
	}
	err := cmd.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return outcome{}, err
	}
	return outcome{out.String(), errs.String(), cmd.ProcessState.ExitCode()}, nil
}

// must runs a command that has to end with the status.
func (s *site) must(t *testing.T, status int, args ...string) outcome {
	t.Helper()
	o := s.run(t, args...)
	if o.status != status {
		t.Fatalf("ringfence %s: exit status %d, want %d\n%s%s", strings.Join(args, " "), o.status, status, o.stdout, o.stderr)
	}
	return o
}

// change is a change as diff -o json prints it.
type change struct{ Action, Kind, Name, Value, Reason string }

type report struct {
	Changed    bool
	Generation int
	Changes    []change
}

// plan runs a command that prints a plan.
func (s *site) plan(t *testing.T, status int, args ...string) report {
	t.Helper()
	o := s.must(t, status, append(args, "-o", "json")...)
	var r report
	if err := json.Unmarshal([]byte(o.stdout), &r); err != nil {
		t.Fatalf("ringfence %s: %v\n%s", strings.Join(args, " "), err, o.stdout)
	}
	return r
}

// refreshed is the report of a refresh that may find that the policy file was changed
// and not applied, which is an alarm.
func (s *site) refreshed(t *testing.T) report {
	t.Helper()
	o := s.run(t, "refresh", "-o", "json")
	var r report
	if err := json.Unmarshal([]byte(o.stdout), &r); err != nil || o.status != 0 && !notApplied(o) {
		t.Fatalf("refresh: exit status %d, %v\n%s%s", o.status, err, o.stdout, o.stderr)
	}
	return r
}

// notApplied reports whether a command has ended with the alarm that the policy file is
// newer than the generation.
func notApplied(o outcome) bool {
	return o.status == 4 && strings.Contains(o.stderr, "it was changed after generation")
}

func (s *site) ruleset(t *testing.T) string {
	t.Helper()
	return labtest.Run(t, s.host, "nft", "list", "ruleset")
}
