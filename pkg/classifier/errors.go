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
	// ErrForeign says that another program's filter is attached where ringfence's belongs.
	ErrForeign = errors.New("another program's filter is attached there")
	// ErrNoInterface says that an interface does not exist, or does not any more.
	ErrNoInterface = errors.New("no such interface")
)

// The capabilities that a process needs, by their bits in the effective set.
var needed = []struct {
	name string
	bit  uint
}{{"CAP_NET_ADMIN", unix.CAP_NET_ADMIN}, {"CAP_BPF", unix.CAP_BPF}, {"CAP_PERFMON", unix.CAP_PERFMON}}

// kernelError adds the cause to an error of bpf(2), as far as it can be found out.
// memlock is the result of raising the limit of locked memory.
func kernelError(err, memlock error) error {
	verdict := (*ebpf.VerifierError)(nil)
	switch {
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%w: it has no eBPF (CONFIG_BPF_SYSCALL) (%w)", ErrUnsupported, err)
	case errors.Is(err, unix.EPERM), (refusal(err) || errors.As(err, &verdict)) && (inUserNamespace() || missing() != ""):
		// Without CAP_PERFMON the verifier refuses what it would otherwise accept, or finds
		// it too complex.
		return fmt.Errorf("%w: %s", ErrPermission, reason(memlock))
	case errors.As(err, &verdict):
		return &refused{verdict}
	case refusal(err):
		return fmt.Errorf("%w: it refuses a map or a program of its kind (%w)", ErrUnsupported, err)
	}
	return err
}

// refused is the error of a verifier that refuses the program. It is a fault of the
// program, which the tests on many kernels should find.
type refused struct{ *ebpf.VerifierError }

func (r *refused) Error() string {
	return fmt.Sprintf("%v: this kernel's verifier refuses the program: please report it with `uname -r` and the output of --log-level debug (%v)", ErrUnsupported, r.Cause)
}

func (r *refused) Unwrap() []error { return []error{ErrUnsupported, r.VerifierError} }

// verdictLines is how many lines of a verifier's log show why it refuses a program.
const verdictLines = 20

// VerifierLog returns the last lines of the kernel's verifier about the program, if err
// is the verifier's.
func VerifierLog(err error) []string {
	verdict := (*ebpf.VerifierError)(nil)
	if !errors.As(err, &verdict) {
		return nil
	}
	return verdict.Log[max(0, len(verdict.Log)-verdictLines):]
}

// refusal reports whether the kernel has checked a program or map and refused it.
func refusal(err error) bool {
	for _, errno := range []unix.Errno{unix.EINVAL, unix.EACCES, unix.E2BIG, unix.EFAULT} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return errors.Is(err, ebpf.ErrNotSupported)
}

// reason returns why eBPF is refused.
func reason(memlock error) string {
	switch lacking := missing(); {
	case inUserNamespace():
		// Capabilities in another user namespace do not help: the kernel requires them
		// in the first one.
		return "it runs in a user namespace, as in an unprivileged container: run it on the host"
	case lacking != "":
		return "run as root, or give it " + lacking
	case memlock != nil:
		return "the limit of locked memory is too low and cannot be raised (before Linux 5.11): run with LimitMEMLOCK=infinity"
	}
	return "a security module, lockdown=confidentiality or a seccomp filter forbids it"
}

// missing returns the capabilities that this process lacks, "" for none.
func missing() string {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if unix.Capget(&header, &sets[0]) != nil {
		return ""
	}
	effective := uint64(sets[1].Effective)<<32 | uint64(sets[0].Effective)
	// CAP_SYS_ADMIN includes CAP_BPF and CAP_PERFMON.
	admin := effective>>unix.CAP_SYS_ADMIN&1 != 0
	var lacking []string
	for _, c := range needed {
		if effective>>c.bit&1 == 0 && (!admin || c.bit == unix.CAP_NET_ADMIN) {
			lacking = append(lacking, c.name)
		}
	}
	return strings.Join(lacking, ", ")
}

// inUserNamespace reports whether user numbers are mapped, which they are not in the
// first user namespace.
func inUserNamespace() bool {
	mapped, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(mapped)), " ") != "0 0 4294967295"
}
