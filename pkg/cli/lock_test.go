package cli_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// manyAddresses is a policy that takes a while to apply.
func manyAddresses(n int) string {
	var b strings.Builder
	b.WriteString("version: 1\nproviders:\n- name: acme\n  addresses:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - 20.%d.%d.%d\n", i/8192, i/32%256, i%32*8)
	}
	return b.String()
}

// TestRestoreDoesNotWait: the service puts the table back while another run holds the
// lock, in the middle of applying a large policy: that run goes on only after the table is
// back, and has the last word.
func TestRestoreDoesNotWait(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
	s.must(t, 0, "apply")
	r := serve(t, s)
	n := 5000 // addresses; another policy each time, so that there is something to change
	for range labtest.Count(3, 30) {
		var apply *exec.Cmd
		var said bytes.Buffer
		// An apply whose lock was not seen in time has done its work: the next one is tried.
		until(t, "an apply is stopped while it holds the lock", func() bool {
			n++
			s.write(t, manyAddresses(n))
			apply = s.command(t, "apply")
			said.Reset()
			apply.Stderr = &said
			labtest.Must(t, s.host.Start(apply))
			return s.stopLocked(t, apply)
		})
		labtest.Run(t, s.host, "nft", "flush", "ruleset")
		r.until(t, "the table is back while the apply stands still", func() bool { return strings.Contains(fence(t, s), "chain prerouting") })
		labtest.Must(t, apply.Process.Signal(syscall.SIGCONT))
		if err := apply.Wait(); err != nil {
			t.Fatalf("apply: %v\n%s", err, said.String())
		}
		last := fmt.Sprintf("20.0.%d.%d", (n-1)/32%256, (n-1)%32*8)
		r.until(t, "the new policy is in force", func() bool { return strings.Contains(fence(t, s), last) })
		s.must(t, 0, "refresh")
		if d := s.must(t, 0, "diff", "--full"); !strings.Contains(d.stdout, "No changes") {
			t.Errorf("after that, diff says\n%s", d.stdout)
		}
	}
	r.end(t)
}

// stopLocked stops a run of the program while it holds the lock, and says whether it could:
// a run that was too fast has ended well then.
func (s *site) stopLocked(t *testing.T, run *exec.Cmd) bool {
	t.Helper()
	path := filepath.Join(s.runFolder(), "lock")
	holder := fmt.Sprintf("pid %d, ", run.Process.Pid)
	for {
		if got, _ := os.ReadFile(path); strings.HasPrefix(string(got), holder) {
			break
		}
		if ended(t, run) {
			labtest.Must(t, run.Wait())
			return false
		}
	}
	labtest.Must(t, run.Process.Signal(syscall.SIGSTOP))
	lock := flock.New(path)
	free, err := lock.TryLock()
	labtest.Must(t, errors.Join(err, lock.Close()))
	if free {
		labtest.Must(t, run.Process.Signal(syscall.SIGCONT))
		labtest.Must(t, run.Wait())
	}
	return !free
}

// ended says whether a program has ended; Wait can still be called.
func ended(t *testing.T, cmd *exec.Cmd) bool {
	t.Helper()
	var info unix.Siginfo
	labtest.Must(t, unix.Waitid(unix.P_PID, cmd.Process.Pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil))
	return info.Signo != 0
}

// holdings watches who holds a lock, by what the kernel says of locks, and notes the longest
// time of each command.
type holdings struct {
	path    string
	stop    chan struct{}
	ended   chan struct{}
	longest map[string]time.Duration
}

func watchLock(t *testing.T, path string) *holdings {
	t.Helper()
	var file unix.Stat_t
	labtest.Must(t, unix.Stat(path, &file))
	// As /proc/locks has it: device and number of the file.
	id := fmt.Sprintf(" %02x:%02x:%d ", unix.Major(file.Dev), unix.Minor(file.Dev), file.Ino)
	h := &holdings{path, make(chan struct{}), make(chan struct{}), map[string]time.Duration{}}
	go h.watch(id)
	return h
}

func (h *holdings) watch(id string) {
	defer close(h.ended)
	tick := time.NewTicker(500 * time.Microsecond)
	defer tick.Stop()
	var since time.Time
	var holder, command string
	for {
		now, held := time.Now(), ""
		locks, _ := os.ReadFile("/proc/locks")
		for line := range strings.Lines(string(locks)) {
			if strings.Contains(line, id) && !strings.Contains(line, "->") {
				held = strings.Fields(line)[4]
			}
		}
		if held != holder {
			holder, command, since = held, "", now
		}
		if text, _ := os.ReadFile(h.path); holder != "" && strings.HasPrefix(string(text), "pid "+holder+", ") {
			command = strings.TrimSpace(string(text))
		}
		if _, name, ok := strings.Cut(command, ", "); ok && holder != "" {
			h.longest[name] = max(h.longest[name], time.Since(since))
		}
		select {
		case <-h.stop:
			return
		case <-tick.C:
		}
	}
}

// end returns the longest times, by the commands.
func (h *holdings) end() map[string]time.Duration {
	close(h.stop)
	<-h.ended
	return h.longest
}

// TestLockIsHeldBriefly reports for how long each command holds the lock with a large
// policy while the service runs, which learns of an address that moves.
func TestLockIsHeldBriefly(t *testing.T) {
	h := labtest.Host(t, "pbx")
	s := newSite(t, h, "")
	zone := func(address string) string {
		return "$ORIGIN example.org.\n$TTL 1\n@ SOA ns hostmaster 1 3600 600 86400 1\n@ NS ns\nns A 127.0.0.1\nphone A " + address + "\n"
	}
	names, err := lab.NewZone(zone("198.51.100.1"))
	labtest.Must(t, err)
	server, err := h.ServeNames("127.0.0.1:53", names)
	labtest.Must(t, err)
	defer server.Close()
	addresses := labtest.Count(2000, 100000)
	large := func(n int) string {
		return manyAddresses(n) + "trusted: {hosts: [phone.example.org]}\ndns: {servers: [127.0.0.1], refresh: {min: 1s, max: 1s}}\n"
	}
	s.write(t, large(1))
	s.must(t, 0, "apply")
	r := serve(t, s)
	watch := watchLock(t, filepath.Join(s.runFolder(), "lock"))
	s.write(t, large(addresses))
	s.must(t, 0, "apply")
	s.write(t, large(addresses+1))
	s.must(t, 0, "apply")
	for i := range 3 {
		address := fmt.Sprintf("198.51.100.%d", 10+i)
		labtest.Must(t, names.Set(zone(address)))
		r.until(t, "the service has learned the address", func() bool {
			out, _ := labtest.TryInput(t, h, "", "nft", "get", "element", "inet", "ringfence", "trusted4", "{ "+address+" }")
			return strings.Contains(out, address)
		})
		s.must(t, 0, "refresh")
		s.must(t, 0, "status")
	}
	longest := watch.end()
	for _, command := range []string{"ringfence apply", "ringfence refresh", "ringfence run"} {
		if longest[command] == 0 {
			t.Errorf("%s has not held the lock", command)
		}
		labtest.Report(t, "P10", labtest.Over("the lock held by "+command, fmt.Sprint(addresses)+" addresses"), 1, "%.1f ms at the longest", milliseconds(longest[command]))
	}
	r.end(t)
}
