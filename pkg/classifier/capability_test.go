package classifier_test

import (
	"errors"
	"maps"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/classifier"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
)

// keep leaves the thread only some capabilities.
func keep(capabilities ...uint) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	for _, c := range capabilities {
		sets[c/32].Effective |= 1 << (c % 32)
		sets[c/32].Permitted |= 1 << (c % 32)
	}
	return unix.Capset(&header, &sets[0])
}

// with runs f on a thread that has only some capabilities.
func with(t *testing.T, f func() error, capabilities ...uint) error {
	t.Helper()
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := keep(capabilities...); err != nil {
			failed <- err
			return
		}
		failed <- f()
	}()
	return <-failed
}

// TestLeastPrivilege does everything but reading hits with three capabilities.
func TestLeastPrivilege(t *testing.T) {
	first := loaded(t, signaturetest.Few())
	h := host(t, "eth0")
	clean := tc(t, h, "eth0")
	change(t, h, first, "eth0")
	// A thread whose capabilities are gone is gone too when In returns.
	labtest.In(t, h, func() error {
		if err := keep(unix.CAP_NET_ADMIN, unix.CAP_BPF, unix.CAP_PERFMON); err != nil {
			return err
		}
		l, err := program(t, signaturetest.Few()[1:]).Load()
		if err != nil {
			return err
		}
		defer l.Close()
		c, err := classifier.Begin(l, []string{"eth0"})
		if err != nil {
			return err
		}
		if err := c.Finish(); err != nil {
			return err
		}
		if observed, err := classifier.Observe(); err != nil || !observed.Equal(l.On([]string{"eth0"})) {
			t.Errorf("observed %v, %v", observed, err)
		}
		if c, err = classifier.Begin(nil, nil); err != nil {
			return err
		}
		return c.Finish()
	})
	labtest.Report(t, "P13", "the classifier with CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON alone", 1, "loads, attaches, detaches")
	if got := tc(t, h, "eth0"); got != clean {
		t.Errorf("left\n%s", got)
	}
}

// TestCapabilities: what a process lacks is named, and nothing more is needed.
func TestCapabilities(t *testing.T) {
	// The library asks once what the kernel can do, and must not ask where it would get
	// no answer.
	loaded(t, signaturetest.Few())
	if err := with(t, classifier.Probe, unix.CAP_NET_ADMIN, unix.CAP_BPF, unix.CAP_PERFMON); err != nil {
		t.Error(err)
	}
	for want, capabilities := range map[string][]uint{
		"run as root, or give it CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON": nil,
		"run as root, or give it CAP_BPF, CAP_PERFMON":                {unix.CAP_NET_ADMIN},
		"run as root, or give it CAP_PERFMON":                         {unix.CAP_NET_ADMIN, unix.CAP_BPF},
		// This is only needed for attaching.
		"run as root, or give it CAP_NET_ADMIN": {unix.CAP_SYS_ADMIN},
	} {
		for name, act := range map[string]func() error{
			"probe": classifier.Probe,
			"load": func() error {
				l, err := program(t, signaturetest.Few()).Load()
				if err == nil {
					l.Close()
				}
				return err
			},
		} {
			err := with(t, act, capabilities...)
			if name == "load" && slices.Contains(capabilities, unix.CAP_SYS_ADMIN) {
				continue
			}
			if !errors.Is(err, classifier.ErrPermission) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v\nwant %s", name, err, want)
			}
		}
	}
	labtest.Report(t, "P13", "one of the three capabilities missing", 4, "each time the error names it")
}

// TestRefusal: of a program that the verifier refuses, the error says so, and what the
// verifier says of it is there to be reported.
func TestRefusal(t *testing.T) {
	needBPF(t)
	err := classifier.LoadRefused()
	if !errors.Is(err, classifier.ErrUnsupported) || !strings.Contains(err.Error(), "verifier refuses the program: please report it with `uname -r`") {
		t.Errorf("got %v", err)
	}
	if log := strings.Join(classifier.VerifierLog(err), "\n"); !strings.Contains(log, "R0 !read_ok") {
		t.Errorf("the verifier's last lines are\n%s", log)
	}
}

// TestUserNamespace: in an unprivileged container it is neither a capability nor the
// limit of locked memory that is missing.
func TestUserNamespace(t *testing.T) {
	needBPF(t)
	cmd := labtest.Program(t, "probe")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{Size: 1}}, GidMappings: []syscall.SysProcIDMap{{Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	labtest.Must(t, err)
	if !strings.Contains(string(out), "it runs in a user namespace, as in an unprivileged container: run it on the host") {
		t.Errorf("the reason is %q", out)
	}
}

// TestHitsArePrivate: a process without CAP_SYS_ADMIN sees the filters, and gets an error
// for the hits that says why.
func TestHitsArePrivate(t *testing.T) {
	l := loaded(t, signaturetest.Few())
	h := host(t, "eth0")
	change(t, h, l, "eth0")
	labtest.In(t, h, func() error {
		if err := keep(); err != nil {
			return err
		}
		if _, err := classifier.Hits(); !errors.Is(err, classifier.ErrPermission) {
			t.Errorf("hits: %v", err)
		}
		if observed, err := classifier.Observe(); err != nil || !maps.Equal(observed, l.On([]string{"eth0"})) {
			t.Errorf("observed %v, %v", observed, err)
		}
		if _, err := classifier.Begin(l, []string{"eth0"}); err != nil && !errors.Is(err, classifier.ErrPermission) {
			t.Errorf("begin: %v", err)
		}
		return nil
	})
}
