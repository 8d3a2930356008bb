package cli_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// demoSite is where a demo is run, with a folder of its own for what it writes.
func demoSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t, labtest.Host(t, "here"), staticPolicy)
	labtest.Rules(t, s.host, otherTables)
	s.must(t, 0, "apply")
	temporary := filepath.Join(s.folder, "tmp")
	labtest.Must(t, os.Mkdir(temporary, 0o755))
	s.environment = []string{"TMPDIR=" + temporary}
	return s
}

// leavesNothing checks that a demo has left nothing behind, and what was there
// as it was.
func (s *site) leavesNothing(t *testing.T, before string) {
	t.Helper()
	left, err := os.ReadDir(filepath.Join(s.folder, "tmp"))
	labtest.Must(t, err)
	for _, f := range left {
		t.Errorf("the demo has left %s", f.Name())
	}
	if diff := cmp.Diff(before, s.surroundings(t)); diff != "" {
		t.Errorf("the demo has changed where it was run: %s", diff)
	}
}

func (s *site) surroundings(t *testing.T) string {
	t.Helper()
	return s.ruleset(t) + labtest.Run(t, s.host, "ip", "addr") + labtest.Run(t, s.host, "ip", "route") +
		labtest.Run(t, s.host, "sysctl", "-a", "-r", "net.ipv4.(ip_forward|conf.all)")
}

// TestDemo: the whole product in one command, two of them at once, within the
// narrowest terminal.
func TestDemo(t *testing.T) {
	s := demoSite(t)
	before := s.surroundings(t)
	type ended struct {
		outcome
		err error
	}
	ends := make(chan ended)
	for range 2 {
		go func() {
			o, err := s.try(t, "demo")
			ends <- ended{o, err}
		}()
	}
	for range 2 {
		e := <-ends
		labtest.Must(t, e.err)
		reportsClearly(t, e.outcome, 0, nil)
		for _, want := range []string{
			"pbx# ringfence apply", "PBX    scanner   OPTIONS  UDP              arrives        dropped\n",
			"phone  provider  INVITE   TCP, port 15060  arrives        arrives\n", "pbx# ringfence refresh",
			"the provider's INVITE from 203.0.113.77 dropped", "the provider's INVITE from 203.0.113.77 arrives",
			"Generation 3 is in force, with the policy of generation 1", "Everything was as it should be, in ",
		} {
			if !strings.Contains(e.stdout, want) {
				t.Errorf("the demo does not say %q:\n%s", want, e.stdout)
			}
		}
		for line := range strings.Lines(e.stdout) {
			// What is broken nowhere is one word, such as the path of a file.
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 && len(strings.Fields(line)) > 1 {
				t.Errorf("a line of %d columns: %q", n, line)
			}
		}
	}
	s.leavesNothing(t, before)

	var report struct {
		OK     bool
		Probes []struct {
			OK                     bool
			From                   string
			WithFence, WithoutFenc string
		}
		Steps []struct{ OK bool }
	}
	labtest.Must(t, json.Unmarshal([]byte(s.must(t, 0, "demo", "-o", "json").stdout), &report))
	if !report.OK || len(report.Probes) != 24 || len(report.Steps) != 9 {
		t.Errorf("the report is %+v", report)
	}
}

// TestDemoWithoutClassifier: where scanners cannot be recognised, the demo is not what it
// says it is, and fails with the reason, unless it was asked for without.
func TestDemoWithoutClassifier(t *testing.T) {
	s := demoSite(t)
	confined := func(args ...string) outcome {
		cmd := s.command(t, args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{Size: 1}}, GidMappings: []syscall.SysProcIDMap{{Size: 1}},
		}
		return s.start(t, cmd)
	}
	o := confined("demo")
	if o.status != 1 || !strings.Contains(o.stderr, "ringfence: error: the demo ran without the classifier: ") || !strings.Contains(o.stderr, "--without-classifier") {
		t.Errorf("the demo ends with %d and says\n%s", o.status, o.stderr)
	}
	if o = confined("demo", "--without-classifier"); o.status != 0 || !strings.Contains(o.stdout, "Everything was as it should be, in ") {
		t.Errorf("without the classifier the demo ends with %d and says\n%s%s", o.status, o.stdout, o.stderr)
	}
}

// TestDemoOverIPTables: the demo runs over the other back ends, and leaves nothing
// behind.
func TestDemoOverIPTables(t *testing.T) {
	t.Parallel()
	s := demoSite(t)
	before := s.surroundings(t)
	for _, name := range []string{"iptables", "iptables-legacy", "iptables-nft"} {
		o := s.run(t, "demo", "--backend", name)
		if o.status != 0 || !strings.Contains(o.stdout, "+ chains RINGFENCE-* of iptables-") || !strings.Contains(o.stdout, "Everything was as it should be, in ") {
			t.Errorf("over %s the demo ends with %d and says\n%s%s", name, o.status, o.stdout, o.stderr)
		}
	}
	s.leavesNothing(t, before)
	if o := s.run(t, "demo", "--backend", "pf"); o.status != 1 || !strings.Contains(o.stderr, `"pf" is none of auto, nftables, iptables`) {
		t.Errorf("over pf the demo ends with %d and says\n%s", o.status, o.stderr)
	}
}

// TestDemoInterrupted stops demos at random moments: whatever they were doing,
// they leave nothing behind.
func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	s := demoSite(t)
	before := s.surroundings(t)
	start := time.Now()
	s.must(t, 0, "demo")
	whole := time.Since(start)
	r := rand.New(rand.NewPCG(7, 7))
	stopped := 0
	for i := 0; i < labtest.Count(10, 100) || stopped == 0; i++ {
		signal := []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}[i%3]
		o := s.stopped(t, signal, time.Duration(r.Int64N(int64(whole))), "demo")
		if o.status != 0 {
			stopped++
			// A signal may come before the program has set itself up for it.
			if o.status == 1 && !strings.Contains(o.stderr, "ringfence: error: interrupted: nothing was changed") {
				t.Errorf("an interrupted demo says\n%s", o.stderr)
			}
		} else {
			whole = max(whole*3/4, 1) // the first one has taken longer than they do now
		}
		s.leavesNothing(t, before)
	}
}
