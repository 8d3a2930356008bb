package cli_test

import (
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// fenced reports whether the rules of a site judge packets to SIP ports.
func (s *site) fenced(t *testing.T) bool {
	t.Helper()
	if overIPTables(t) {
		b := backendOf(t)
		return s.judges(t, b, "4") && s.judges(t, strings.Replace(b, "ip", "ip6", 1), "6")
	}
	table, err := labtest.TryInput(t, s.host, "", "nft", "list", "set", "inet", "ringfence", "ports")
	return err == nil && strings.Contains(table, "elements")
}

// with reports whether the policy in the kernel has this network.
func (s *site) with(t *testing.T, network string) bool {
	t.Helper()
	return strings.Contains(s.ruleset(t), network) || strings.Contains(labtest.Run(t, s.host, "ipset", "list"), network)
}

// runOut reports whether the kernel takes the ports of listed rules out of the fence.
func runOut(listed string) bool { return strings.Contains(listed, "udp . 5060 timeout ") }

const otherStatic = "version: 1\nproviders:\n  - name: acme\n    addresses: [192.0.2.0/24]\n"

// TestConfirm: what is confirmed stays, also after the deadline; what is not goes back
// to what was there before, with nobody doing anything.
func TestConfirm(t *testing.T) {
	t.Parallel()
	eachBackend(t, confirmKept)
}

func confirmKept(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
	o := s.must(t, 0, "apply", "--confirm", "60s")
	if !strings.Contains(o.stderr, "ringfence confirm") {
		t.Errorf("apply does not say how to confirm: %s", o.stderr)
	}
	const window = 61200 * time.Millisecond
	if !s.runsOut(t, window) {
		t.Errorf("the kernel does not open the fence by itself:\n%s", s.ruleset(t))
	}
	var status struct {
		Pending *time.Time
		Drift   bool
	}
	labtest.Must(t, json.Unmarshal([]byte(s.must(t, 0, "status", "-o", "json").stdout), &status))
	if status.Pending == nil || status.Drift {
		t.Errorf("pending: %v, drift: %t", status.Pending, status.Drift)
	}
	if o := s.must(t, 0, "status"); !strings.Contains(o.stdout, "is undone in ") {
		t.Errorf("status says\n%s", o.stdout)
	}
	reportsClearly(t, s.run(t, "apply"), 1, []string{"generation 1 by ", "waits for a confirmation", "hint: ringfence confirm keeps it"})
	reportsClearly(t, s.run(t, "rollback", "1"), 1, []string{"waits for a confirmation"})
	if o := s.must(t, 0, "refresh"); !strings.Contains(o.stdout, "nothing to do") {
		t.Errorf("refresh says %s", o.stdout)
	}
	other := s.command(t, "confirm")
	other.Env = append(other.Env, "SUDO_USER=somebody-else")
	reportsClearly(t, s.start(t, other), 1, []string{"was made by", "ringfence confirm 1"})
	s.must(t, 1, "confirm", "7")
	s.must(t, 0, "confirm")
	if s.runsOut(t, window) {
		t.Errorf("the ports still run out:\n%s", s.ruleset(t))
	}
	reportsClearly(t, s.run(t, "confirm"), 1, []string{"no generation waits for a confirmation"})
	if r := s.plan(t, 0, "diff", "--full"); r.Changed {
		t.Errorf("after confirm: %+v", r.Changes)
	}

	s.write(t, otherStatic)
	s.must(t, 0, "apply", "--confirm=1s")
	labtest.Until(t, "the change is undone", func() bool { return s.with(t, "203.0.113.0/24") })
	labtest.Until(t, "it is not confirmed", func() bool {
		return strings.Contains(s.must(t, 1, "confirm").stderr, "generation 2 was not confirmed in time and was undone")
	})
	if r := s.refreshed(t); r.Changed || r.Generation != 1 {
		t.Errorf("after it was undone: %+v", r)
	}
	if o := s.must(t, 0, "history"); !strings.Contains(o.stdout, " (not confirmed, undone)\n1 ") || !strings.Contains(o.stdout, " (in force)") {
		t.Errorf("history says\n%s", o.stdout)
	}
	if o := s.must(t, 0, "history", "2"); !strings.Contains(o.stdout, "2 (not confirmed, undone)") || !strings.Contains(o.stdout, "+ providers4  192.0.2.0/24") {
		t.Errorf("history 2 says\n%s", o.stdout)
	}
	reportsClearly(t, s.run(t, "rollback", "2"), 1, []string{"generation 2 was not confirmed in time and was undone"})
	// The number is not used again.
	if r := s.plan(t, 0, "apply"); r.Generation != 3 {
		t.Errorf("the next generation is %d", r.Generation)
	}
	s.must(t, 0, "rollback", "1", "--confirm", "60s")
	if !s.runsOut(t, window) {
		t.Error("the rollback needs no confirmation")
	}
	s.must(t, 0, "confirm", "4")
}

// TestConfirmFirst: before the first apply there was no fence, and without a
// confirmation there is none again.
func TestConfirmFirst(t *testing.T) {
	t.Parallel()
	eachBackend(t, confirmFirst)
}

func confirmFirst(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
	s.must(t, 0, "apply", "--confirm=1s")
	labtest.Until(t, "the fence is gone", func() bool { return s.gone(t) })
	labtest.Until(t, "its generation is gone", func() bool { return s.run(t, "up").status == 1 })
	if o := s.must(t, 0, "history"); !strings.Contains(o.stdout, "(not confirmed, undone)") {
		t.Errorf("history says\n%s", o.stdout)
	}
}

// TestConfirmTimes: a time that is none, or too short or too long, changes nothing. One that
// is empty is none: a script's variable may not be set.
func TestConfirmTimes(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
	for _, window := range []string{"", "0", "0s", "-5s", "1ms", "1s500ms", "60", "x", "1000h", "99999999999999999999s"} {
		reportsClearly(t, s.run(t, "apply", "--confirm="+window), 1, []string{strconv.Quote(window) + " is no time for a confirmation", "whole seconds"})
		if !s.gone(t) {
			t.Fatalf("there is a fence after --confirm=%s", window)
		}
	}
}

// killWatchdogs kills the watchdogs of a site, if there are any.
func killWatchdogs(t *testing.T, s *site) {
	t.Helper()
	signalWatchdogs(t, s, unix.SIGKILL)
}

// signalWatchdogs sends the watchdogs of a site, which its folder names, a signal.
func signalWatchdogs(t *testing.T, s *site, signal unix.Signal) {
	t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	labtest.Must(t, err)
	for _, path := range commands {
		line, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(line), s.state()) || !strings.Contains(string(line), "\x00watchdog\x00") {
			continue
		}
		var pid int
		for _, digit := range filepath.Base(filepath.Dir(path)) {
			pid = 10*pid + int(digit-'0')
		}
		unix.Kill(pid, signal) // it may have ended
	}
}

// TestConfirmOnTerminal: y keeps the change.
func TestConfirmOnTerminal(t *testing.T) {
	t.Parallel()
	eachBackend(t, confirmOnTerminal)
}

func confirmOnTerminal(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
	cmd, master := onTerminal(t, s, "apply", "--yes", "--confirm")
	defer master.Close()
	_, err := master.WriteString("y\n")
	labtest.Must(t, err)
	said := make([]byte, 1<<16)
	var text strings.Builder
	for {
		n, err := master.Read(said)
		if err != nil {
			break // the command has ended
		}
		text.Write(said[:n])
	}
	labtest.Must(t, cmd.Wait())
	if !strings.Contains(text.String(), "Generation 1 is confirmed.") || !s.fenced(t) || s.runsOut(t, 61200*time.Millisecond) {
		t.Errorf("it says\n%s\n%s", text.String(), s.ruleset(t))
	}
}

// TestConfirmAgreed: it asks before the change whether to make it, and after the change
// whether to keep it. What is shown is the change, not how the kernel ends it.
func TestConfirmAgreed(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
	s.must(t, 0, "apply")
	s.write(t, otherStatic)
	cmd, master := onTerminal(t, s, "apply", "--confirm", "60s")
	defer master.Close()
	said, text := make([]byte, 1<<16), ""
	for _, question := range []string{"Change this? [y/N] ", "let through: "} {
		for !strings.Contains(text, question) {
			n, err := master.Read(said)
			if err != nil {
				t.Fatalf("it ends without %q:\n%s", question, text)
			}
			text += string(said[:n])
		}
		_, err := master.WriteString("y\n")
		labtest.Must(t, err)
	}
	labtest.Must(t, cmd.Wait())
	if !s.with(t, "192.0.2.0/24") || strings.Contains(text, "timeout") || !strings.Contains(text, "Generation 2 is in force: 2 changes.") {
		t.Errorf("it says\n%s", text)
	}
}

// TestConfirmElsewhere: a confirmation from another terminal ends the question, and the
// change stays.
func TestConfirmElsewhere(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
	cmd, master := onTerminal(t, s, "apply", "--yes", "--confirm", "60s")
	defer master.Close()
	read := make(chan string)
	go func() {
		var text strings.Builder
		io.Copy(&text, master) // ends with an error when the command has ended
		read <- text.String()
	}()
	labtest.Until(t, "the change waits", func() bool {
		_, pending := s.deadline(t)
		return pending && s.run(t, "confirm").status == 0
	})
	labtest.Must(t, cmd.Wait())
	if said := <-read; !strings.Contains(said, "Generation 1 was confirmed elsewhere.") {
		t.Errorf("it says\n%s", said)
	}
}

// TestConfirmCounts: what passes while it asks is counted, over each back end.
func TestConfirmCounts(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T) {
		pbx, outside := newPair(t)
		s := newSite(t, pbx, linksPolicy+"interfaces: [eth0]\n")
		cmd, master := onTerminal(t, s, "apply", "--yes", "--confirm", "20s")
		defer master.Close()
		said, text := make([]byte, 1<<16), ""
		reads := func(words string) {
			t.Helper()
			for !strings.Contains(text, words) {
				n, err := master.Read(said)
				if err != nil {
					t.Fatalf("it ends without %q:\n%s", words, text)
				}
				text += string(said[:n])
			}
		}
		reads(" 0 packets of providers and trusted let through")
		sendPacket(t, outside, "203.0.113.5", "203.0.113.1", 5060)
		reads(" 1 packet of providers and trusted let through")
		_, err := master.WriteString("y\n")
		labtest.Must(t, err)
		reads("Generation 1 is confirmed.")
		labtest.Must(t, cmd.Wait())
	})
}

// onTerminal starts a command on a terminal of its own, and returns the other end.
func onTerminal(t *testing.T, s *site, args ...string) (*exec.Cmd, *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	labtest.Must(t, err)
	raw, err := master.SyscallConn()
	labtest.Must(t, err)
	var number int
	labtest.Must(t, raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}))
	labtest.Must(t, err)
	slave, err := os.OpenFile(filepath.Join("/dev/pts", strconv.Itoa(number)), os.O_RDWR|unix.O_NOCTTY, 0)
	labtest.Must(t, err)
	defer slave.Close()
	cmd := s.command(t, args...)
	cmd.Env = append(cmd.Env, "TERM=xterm")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	labtest.Must(t, s.host.Start(cmd))
	return cmd, master
}

// TestConfirmAtTheLastMoment: a confirmation around the deadline keeps the change or
// does not, never half, and its exit status says which.
func TestConfirmAtTheLastMoment(t *testing.T) {
	t.Parallel()
	eachBackend(t, confirmAtTheLastMoment)
}

func confirmAtTheLastMoment(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
	s.must(t, 0, "apply")
	kept := 0
	times := labtest.Count(6, 1000)
	for range times {
		s.write(t, otherStatic)
		s.must(t, 0, "apply", "--confirm=1s")
		cmd := s.command(t, "confirm")
		deadline := pendingUntil(t, s).Add(time.Duration(rand.Int64N(int64(130*time.Millisecond))) - 100*time.Millisecond)
		timer := time.NewTimer(time.Until(deadline))
		<-timer.C
		switch o := s.start(t, cmd); o.status {
		case 0:
			kept++
			if !s.fenced(t) || !s.with(t, "192.0.2.0/24") || s.runsOut(t, 2500*time.Millisecond) {
				t.Errorf("it is confirmed, and in force is\n%s", s.ruleset(t))
			}
			s.write(t, staticPolicy)
			s.must(t, 0, "apply")
		case 1:
			labtest.Until(t, "the change is undone", func() bool { return s.with(t, "203.0.113.0/24") && s.fenced(t) })
			if s.runsOut(t, 2500*time.Millisecond) {
				t.Errorf("it is undone, and in force is\n%s", s.ruleset(t))
			}
		default:
			t.Fatalf("confirm: exit status %d: %s", o.status, o.stderr)
		}
	}
	labtest.Report(t, "P1", labtest.Over("confirm within 100 ms of the deadline", backendOf(t)), times, "%d kept, %d undone, 0 half, 0 false statuses", kept, times-kept)
}

// pendingUntil returns the deadline of what waits for a confirmation.
func pendingUntil(t *testing.T, s *site) time.Time {
	t.Helper()
	var status struct{ Pending time.Time }
	labtest.Must(t, json.Unmarshal([]byte(s.must(t, 0, "status", "-o", "json").stdout), &status))
	if status.Pending.IsZero() {
		return time.Now() // it is over already
	}
	return status.Pending
}
