// Package labtest gives tests their own hosts. A test binary must call Main before
// anything else: it moves the whole binary into a new network namespace, so that no
// mistake in a test can change the firewall of the machine.
package labtest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/lab"
)

// marker is set once the binary is in its own namespace.
const marker = "RINGFENCE_TEST_NAMESPACE"

// programName says as which program the binary should run.
const programName = "RINGFENCE_TEST_PROGRAM"

// promptly makes programs built with the race detector exit at once instead of after a
// second.
const promptly = "GORACE=atexit_sleep_ms=10"

// Program returns a command that runs the test binary as one of the programs given to
// Main.
func Program(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	Must(t, err)
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), programName+"="+name, promptly)
	return cmd
}

// Main runs the tests in their own network and mount namespace and returns the exit
// status. Without root it makes a user namespace too. programs maps the names for
// Program to functions that run in place of the tests.
func Main(m interface{ Run() int }, programs map[string]func() int) int {
	if program, ok := programs[os.Getenv(programName)]; ok {
		return program()
	}
	if os.Getenv(marker) == "2" {
		return m.Run() // a program of a test script
	}
	if os.Getenv(marker) != "" {
		if err := seclude(); err != nil {
			fmt.Fprintf(os.Stderr, "isolate the tests from this machine: %v\n", err)
			return 1
		}
		return m.Run()
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), marker+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "make a network namespace for the tests: %v\n", err)
		return 1
	}
	return 0
}

// NameServer is the name server in the resolv.conf that tests see. Nothing answers
// there.
const NameServer = "192.0.2.53"

// seclude makes mounts of the tests invisible to other processes, and hides the name
// servers of this machine from the tests.
func seclude() error {
	if err := syscall.Mount("", "/", "", syscall.MS_PRIVATE|syscall.MS_REC, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	f, err := os.CreateTemp("", "resolv.conf")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // the mount keeps the file
	if _, err := f.WriteString("nameserver " + NameServer + "\n"); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	err = syscall.Mount(f.Name(), "/etc/resolv.conf", "", syscall.MS_BIND, "")
	if errors.Is(err, syscall.ENOENT) {
		return nil // there is no file to hide
	}
	return err
}

// Environment returns the environment for a program that the binary runs as by its own
// name, without Program.
func Environment() []string { return []string{marker + "=2", promptly} }

// Host makes a host that is closed when the test ends.
func Host(t testing.TB, name string) *lab.Namespace {
	t.Helper()
	n, err := lab.New(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close host %s: %v", name, err)
		}
	})
	return n
}

// Link connects two hosts.
func Link(t testing.TB, a, b lab.End) {
	t.Helper()
	if err := lab.Link(a, b); err != nil {
		t.Fatal(err)
	}
}

// AddNeighbour gives a host a permanent neighbour entry for the addresses of another
// host on its link. While a host resolves an address by ARP, it queues only a few
// packets and drops the oldest. A test that counts packets would take these for lost.
func AddNeighbour(t testing.TB, h *lab.Namespace, link string, other *lab.Namespace, otherLink string, addresses ...string) {
	t.Helper()
	var hardware net.HardwareAddr
	In(t, other, func() error {
		i, err := net.InterfaceByName(otherLink)
		if err == nil {
			hardware = i.HardwareAddr
		}
		return err
	})
	for _, address := range addresses {
		Run(t, h, "ip", "neigh", "replace", address, "lladdr", hardware.String(), "dev", link, "nud", "permanent")
	}
}

// Must ends the test if there is an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// In runs f in the host and ends the test if it fails.
func In(t testing.TB, n *lab.Namespace, f func() error) {
	t.Helper()
	Must(t, n.Do(f))
}

// Run runs a program in the host and returns its output. Every exit status but 0 ends
// the test.
func Run(t testing.TB, n *lab.Namespace, name string, args ...string) string {
	t.Helper()
	return RunInput(t, n, "", name, args...)
}

// RunInput is Run with standard input.
func RunInput(t testing.TB, n *lab.Namespace, input, name string, args ...string) string {
	t.Helper()
	out, err := TryInput(t, n, input, name, args...)
	if err != nil {
		t.Fatalf("%s: %s %s: %v\n%s", n.Name, name, strings.Join(args, " "), err, out)
	}
	return out
}

// iptables finds calls of iptables in scripts. All network namespaces have the same lock of
// iptables-legacy, for which it waits only with -w.
var iptables = regexp.MustCompile(`\b(ip6?tables(?:-legacy|-nft)?) -([^w]|$)`)

// TryInput runs a program in the host and returns everything it wrote. The error is
// that of its exit status.
func TryInput(t testing.TB, n *lab.Namespace, input, name string, args ...string) (string, error) {
	t.Helper()
	command := append([]string{name}, args...)
	if iptables.MatchString(name + " -") {
		command = slices.Insert(command, 1, "-w")
	}
	for i, script := range command {
		command[i] = iptables.ReplaceAllString(script, "$1 -w -$2")
	}
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &out
	if err := n.Start(cmd); err != nil {
		return "", err
	}
	err := cmd.Wait()
	return out.String(), err
}

// Rules loads rules with nft in the host.
func Rules(t testing.TB, n *lab.Namespace, script string) {
	t.Helper()
	RunInput(t, n, script, "nft", "-f", "-")
}

// Need skips a test whose programs are missing, if this is right: on a small machine
// made for the tests of one kernel, which has RINGFENCE_MACHINE set. Elsewhere
// scripts/test installs the programs, and the test fails.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		if os.Getenv("RINGFENCE_MACHINE") != "" {
			t.Skipf("this machine has no %s", name)
		}
		t.Fatalf("this test needs %s, which scripts/test installs", name)
	}
}

// patience is how long a test waits for something that must happen. It is so long that
// only a broken program exceeds it, even on a busy machine.
const patience = 2 * time.Minute

// Deadline returns when a test should stop waiting.
func Deadline() time.Time { return time.Now().Add(patience) }

// Until waits until a condition is true.
func Until(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := Deadline(); !is(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("still not true after %s: %s", patience, what)
		}
	}
}

// Count returns how often a test repeats something slow: short in ordinary tests, long
// if RINGFENCE_LONG is set, as scripts/faults does. If that is a number, the long form is
// divided by it; what the long form has less of, such as a step, is multiplied.
func Count(short, long int) int {
	text := os.Getenv("RINGFENCE_LONG")
	if text == "" {
		return short
	}
	part, err := strconv.Atoi(text)
	switch {
	case err != nil || part <= 1:
		return long
	case long < short:
		return min(short, long*part)
	}
	return max(short, long/part)
}

// Parallel lets a test that measures run beside others in its short form. In its long form
// nothing runs beside it.
func Parallel(t *testing.T) {
	if os.Getenv("RINGFENCE_LONG") == "" {
		t.Parallel()
	}
}

// Part returns which part of its long form a test does, where each should do something
// else: 0, or the number in RINGFENCE_WHICH.
func Part() int {
	part, err := strconv.Atoi(os.Getenv("RINGFENCE_WHICH"))
	if err != nil || part < 0 {
		return 0
	}
	return part
}
