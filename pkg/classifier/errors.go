package classifier

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Errors that a user can do something about.
var (
	// ErrPermission says that this process may not use eBPF.
	ErrPermission = errors.New("the kernel does not let this process use eBPF")
	// ErrUnsupported says that the kernel cannot run the classifier.
	ErrUnsupported = errors.New("this kernel cannot run the classifier")
	// ErrForeign says that another program's filter stands where ringfence's belongs.
	ErrForeign = errors.New("another program's filter is there")
	// ErrNoInterface says that an interface is not there, or no more.
	ErrNoInterface = errors.New("no such interface")
)

// The capabilities that a process needs, by their bits in the effective set.
var needed = []struct {
	name string
	bit  uint
}{{"CAP_NET_ADMIN", unix.CAP_NET_ADMIN}, {"CAP_BPF", unix.CAP_BPF}, {"CAP_PERFMON", unix.CAP_PERFMON}}

// kernelError adds to an error of bpf(2) what is behind it, as far as that can be
// found out. memlock is what came of raising the limit of locked memory.
func kernelError(err, memlock error) error {
	switch {
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%w: it has no eBPF (CONFIG_BPF_SYSCALL) (%w)", ErrUnsupported, err)
	case errors.Is(err, unix.EPERM), refusal(err) && missing() != "":
		// Without CAP_PERFMON the verifier refuses what it would else accept.
		return fmt.Errorf("%w: %s", ErrPermission, reason(memlock))
	case refusal(err):
		return fmt.Errorf("%w: it lacks something that came with Linux 5.10 at the latest (%w)", ErrUnsupported, brief(err))
	}
	return brief(err)
}

// refusal reports whether the kernel has looked at a program or map and does not
// want it.
func refusal(err error) bool {
	for _, errno := range []unix.Errno{unix.EINVAL, unix.EACCES, unix.E2BIG, unix.EFAULT} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return errors.Is(err, ebpf.ErrNotSupported)
}

// reason is why eBPF is refused.
func reason(memlock error) string {
	switch lacking := missing(); {
	case lacking != "":
		return "run as root, or give it " + lacking
	case memlock != nil:
		return "the limit of locked memory is too low and cannot be raised (before Linux 5.11): run with LimitMEMLOCK=infinity"
	case inUserNamespace():
		return "it runs in a user namespace, as in an unprivileged container: run it on the host"
	}
	return "a security module, lockdown=confidentiality or a seccomp filter forbids it"
}

// missing are the capabilities that this process lacks, "" for none.
func missing() string {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if unix.Capget(&header, &sets[0]) != nil {
		return ""
	}
	effective := uint64(sets[1].Effective)<<32 | uint64(sets[0].Effective)
	// What CAP_BPF and CAP_PERFMON allow, CAP_SYS_ADMIN does too.
	admin := effective>>unix.CAP_SYS_ADMIN&1 != 0
	var lacking []string
	for _, c := range needed {
		if effective>>c.bit&1 == 0 && (!admin || c.bit == unix.CAP_NET_ADMIN) {
			lacking = append(lacking, c.name)
		}
	}
	return strings.Join(lacking, ", ")
}

// inUserNamespace reports whether user numbers are mapped, which they are not in
// the first user namespace.
func inUserNamespace() bool {
	mapped, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(mapped)), " ") != "0 0 4294967295"
}

// brief leaves out the verifier's log, of which an error only shows the end.
func brief(err error) error {
	if refusal := (*ebpf.VerifierError)(nil); errors.As(err, &refusal) && refusal.Cause != nil {
		last := ""
		if n := len(refusal.Log); n > 0 {
			last = refusal.Log[n-1]
		}
		return fmt.Errorf("the verifier refuses it: %w: %s", refusal.Cause, last)
	}
	return err
}
