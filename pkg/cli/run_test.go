package cli_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// service is ringfence run, with the test in the place of systemd.
type service struct {
	site *site
	cmd  *exec.Cmd

	mu     sync.Mutex
	stderr bytes.Buffer
	told   []string
	ended  chan struct{}
}

func (s *service) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stderr.Write(b)
}

func (s *service) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stderr.String()
}

func (s *service) notified() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.told...)
}

// serve starts ringfence run and waits until it is ready.
func serve(t *testing.T, site *site, args ...string) *service {
	t.Helper()
	s := &service{site: site, ended: make(chan struct{})}
	socket := filepath.Join(site.folder, "notify")
	os.Remove(socket) // of an earlier service
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	labtest.Must(t, err)
	labtest.Must(t, os.Chmod(socket, 0o777)) // the service may be another user's
	t.Cleanup(func() { systemd.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := systemd.Read(buf)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.told = append(s.told, string(buf[:n]))
			s.mu.Unlock()
		}
	}()
	s.cmd = site.command(t, append([]string{"run"}, args...)...)
	s.cmd.Env = append(s.cmd.Env, "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=300000")
	s.cmd.Stderr = s
	labtest.Must(t, site.host.Start(s.cmd))
	go func() {
		s.cmd.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		<-s.ended
	})
	s.until(t, "it is ready", func() bool { return s.hasTold("READY=1") })
	return s
}

// status is the last one that it has sent to systemd.
func (s *service) status() string {
	for _, told := range slices.Backward(s.notified()) {
		if status, ok := strings.CutPrefix(told, "STATUS="); ok {
			return status
		}
	}
	return ""
}

func (s *service) hasTold(text string) bool {
	return strings.Contains("\n"+strings.Join(s.notified(), "\n"), "\n"+text)
}

// until waits for something, and shows the log if it never comes.
func (s *service) until(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.After(time.Until(labtest.Deadline()))
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-deadline:
			t.Fatalf("not so: %s; the service said:\n%s%s", what, s.log(), strings.Join(s.notified(), "\n"))
		case <-s.ended:
			t.Fatalf("%s: the service has ended and said:\n%s", what, s.log())
		case <-tick.C:
		}
	}
}

// end ends the service as systemd does, and wants no error.
func (s *service) end(t *testing.T) {
	t.Helper()
	labtest.Must(t, s.cmd.Process.Signal(syscall.SIGTERM))
	<-s.ended
	if status := s.cmd.ProcessState.ExitCode(); status != 0 {
		t.Errorf("the service ended with status %d:\n%s", status, s.log())
	}
}

// fence is the table as nft lists it, its blocks in the order of their names: nft has
// them in the order in which they were made.
func fence(t *testing.T, s *site) string {
	t.Helper()
	out, _ := labtest.TryInput(t, s.host, "", "nft", "list", "table", "inet", "ringfence")
	blocks := strings.Split(out, "\n\n")
	slices.Sort(blocks)
	return strings.Join(blocks, "\n\n")
}

// TestRun: while the service runs, other programs flush, and people apply, take down and
// put up; it follows each of these by itself.
func TestRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	named(t, w.provider, nameServer, map[string]string{"acme.example": zoneAcme, "net.example": zoneNet})
	s := newSite(t, w.pbx, pbxPolicy)
	s.must(t, 0, "apply")
	want := fence(t, s)
	r := serve(t, s)
	isBack := func() bool { return fence(t, s) == want }

	for _, harm := range [][]string{
		{"flush", "ruleset"},
		{"delete", "table", "inet", "ringfence"},
		{"flush", "set", "inet", "ringfence", "providers4"},
		{"insert", "rule", "inet", "ringfence", "sip", "accept"},
		{"add", "table", "inet", "ringfence", "{ flags dormant; }"},
	} {
		labtest.Run(t, s.host, "nft", harm...)
		r.until(t, "the fence is back after nft "+strings.Join(harm, " "), isBack)
	}
	for _, words := range []string{`by="nft (pid `, "the table was gone and is back", "level=WARN"} {
		if !strings.Contains(r.log(), words) {
			t.Errorf("the log does not say %q:\n%s", words, r.log())
		}
	}

	// Down stays down, up is up again.
	s.must(t, 0, "down")
	r.until(t, "it says that the fence is down", func() bool { return r.hasTold("STATUS=the fence was taken down") })
	if got := fence(t, s); strings.Contains(got, "chain") {
		t.Errorf("the service put up what was taken down:\n%s", got)
	}
	s.must(t, 0, "up")
	r.until(t, "it says that the fence is up", func() bool { return strings.HasPrefix(r.status(), "generation 1, ") })
	labtest.Run(t, s.host, "nft", "flush", "ruleset")
	r.until(t, "the fence is back after up", isBack)

	// The policy file is not read before somebody applies it.
	s.write(t, "nonsense\n")
	labtest.Run(t, s.host, "nft", "flush", "ruleset")
	r.until(t, "the fence is back without a policy file", isBack)
	s.write(t, pbxPolicy+"trusted: {addresses: [192.0.2.0/24]}\n")
	s.must(t, 0, "apply")
	if want = fence(t, s); !strings.Contains(want, "192.0.2.0/24") {
		t.Errorf("apply beside the service: %s", want)
	}
	labtest.Run(t, s.host, "nft", "flush", "ruleset")
	r.until(t, "the fence of the new generation is back", isBack)
	// A generation is noticed also if nothing in the kernel says so.
	s.write(t, pbxPolicy+"trusted: {addresses: [192.0.2.0/24]} # as before\n")
	s.must(t, 0, "apply")
	r.until(t, "it goes on with the newest generation", func() bool { return strings.HasPrefix(r.status(), "generation 3, ") })

	r.until(t, "it tells the watchdog", func() bool { return r.hasTold("WATCHDOG=1") })
	r.end(t)
	until(t, "it has told that it ends", func() bool { return r.hasTold("STOPPING=1") })
	if got := fence(t, s); got != want {
		t.Errorf("after the end the fence is %s", got)
	}
}

// TestRunBesideCron: refreshes that overlap with each other and with the service
// are no error for any of them, and lose nothing that one of them has learned.
func TestRunBesideCron(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "127.0.0.1")
	p.must(t, 0, "apply")
	r := serve(t, p.site)
	for i := range labtest.Count(3, 50) {
		var together sync.WaitGroup
		for range 4 {
			together.Go(func() {
				if o := p.run(t, "refresh"); o.status != 0 || strings.Count(o.stdout, "\n") != 1 || o.stderr != "" {
					t.Errorf("refresh ends with %d and says %s%s", o.status, o.stdout, o.stderr)
				}
			})
		}
		labtest.Run(t, p.host, "nft", "flush", "ruleset")
		together.Wait()
		r.until(t, fmt.Sprintf("the fence is back the %d. time", i+1), func() bool { return strings.Contains(fence(t, p.site), "chain prerouting") })
		p.intact(t, "overlapping runs")
	}
	r.end(t)
	if strings.Contains(r.log(), "level=ERROR") {
		t.Errorf("the service says:\n%s", r.log())
	}
}

// TestRunReportsNoClassifier: the daemon says when scanners are not recognised any
// more.
func TestRunReportsNoClassifier(t *testing.T) {
	t.Parallel()
	h := labtest.Host(t, "pbx")
	labtest.Run(t, h, "ip", "link", "add", "eth0", "type", "bridge")
	labtest.Run(t, h, "tc", "qdisc", "add", "dev", "eth0", "clsact")
	labtest.Run(t, h, "tc", "filter", "add", "dev", "eth0", "ingress", "pref", "5", "handle", "0x5060", "bpf", "da", "bytecode", "1,6 0 0 4294967295")
	site := newSite(t, h, openPolicy)
	site.must(t, 0, "apply")
	s := serve(t, site)
	s.until(t, "it says so", func() bool {
		return strings.Contains(s.log(), "unknown.action is accept, and scanners are not recognised: another program's filter is attached there")
	})
}
