// Package labtest gives tests hosts of their own. Main must be a test binary's
// first act: it moves the whole binary into a new network namespace, so that no
// mistake of a test can reach the firewall of the machine it runs on.
package labtest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/lab"
)

// marker tells the binary that it is already in its own namespace.
const marker = "RINGFENCE_TEST_NAMESPACE"

// programName tells the binary which program it is.
const programName = "RINGFENCE_TEST_PROGRAM"

// promptly ends programs that are built with the race detector at once, which
// would sleep for a second.
const promptly = "GORACE=atexit_sleep_ms=10"

// Program prepares the test binary to run as one of the programs given to Main.
func Program(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	Must(t, err)
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), programName+"="+name, promptly)
	return cmd
}

// Main runs the tests in a network and a mount namespace of their own and
// returns the exit status. As a user other than root it makes a user namespace too. Programs are
// what the binary is when a test runs it under a name with Program.
func Main(m interface{ Run() int }, programs map[string]func() int) int {
	if program, ok := programs[os.Getenv(programName)]; ok {
		return program()
	}
	if os.Getenv(marker) == "2" {
		return m.Run() // a program of a test script
	}
	if os.Getenv(marker) != "" {
		if err := seclude(); err != nil {
			fmt.Fprintf(os.Stderr, "seclude the tests from this machine: %v\n", err)
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

// NameServer is the one in the resolv.conf that tests see. Nobody answers there.
const NameServer = "192.0.2.53"

// seclude makes what the tests mount seen by nobody else, and hides the name
// servers of this machine from them.
func seclude() error {
	if err := syscall.Mount("", "/", "", syscall.MS_PRIVATE|syscall.MS_REC, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	f, err := os.CreateTemp("", "resolv.conf")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // the mount keeps it
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
		return nil // there is none to hide
	}
	return err
}

// Environment is what a program that the binary becomes by its name, not by
// Program, must find in its environment.
func Environment() []string { return []string{marker + "=2", promptly} }

// Host makes a host that is gone with the test.
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

// Link joins two hosts.
func Link(t testing.TB, a, b lab.End) {
	t.Helper()
	if err := lab.Link(a, b); err != nil {
		t.Fatal(err)
	}
}

// AddNeighbour gives a host a permanent neighbour entry for addresses of another host
// on its link. While a host asks for that (ARP), it keeps few packets and drops the
// oldest, which a test that counts packets takes for lost.
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

// Must ends the test on an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// In runs f in the host and ends the test on its error.
func In(t testing.TB, n *lab.Namespace, f func() error) {
	t.Helper()
	Must(t, n.Do(f))
}

// Run runs a program in the host to its end and returns what it wrote. Any exit
// status but 0 ends the test.
func Run(t testing.TB, n *lab.Namespace, name string, args ...string) string {
	t.Helper()
	return RunInput(t, n, "", name, args...)
}

// RunInput is Run with a standard input.
func RunInput(t testing.TB, n *lab.Namespace, input, name string, args ...string) string {
	t.Helper()
	out, err := TryInput(t, n, input, name, args...)
	if err != nil {
		t.Fatalf("%s: %s %s: %v\n%s", n.Name, name, strings.Join(args, " "), err, out)
	}
	return out
}

// TryInput runs a program in the host and returns what it wrote on both of its
// outputs, whatever its exit status, with the error that says so.
func TryInput(t testing.TB, n *lab.Namespace, input, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
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

// Need skips a test whose peer programs are not on this machine, which is right
// only where they cannot be: on a small machine that was made for the tests of
// one kernel and has RINGFENCE_MACHINE set. Elsewhere scripts/test installs them,
// and the test fails.
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

// patience is how long a test waits for what must come: so long that only a
// broken program makes it wait in vain, on a busy machine too.
const patience = 2 * time.Minute

// Deadline is when a test stops waiting for something.
func Deadline() time.Time { return time.Now().Add(patience) }

// Until waits until something is so.
func Until(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := Deadline(); !is(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not so after %s: %s", patience, what)
		}
	}
}

// Count is how often a test repeats what takes long: short in the ordinary
// tests, long when RINGFENCE_LONG is set (scripts/faults sets it).
func Count(short, long int) int {
	if os.Getenv("RINGFENCE_LONG") != "" {
		return long
	}
	return short
}
