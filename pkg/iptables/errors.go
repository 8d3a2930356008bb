package iptables

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/backend"
)

// missing is what this host lacks, in one sentence with its remedy.
type missing string

func (m missing) Error() string { return string(m) }

// Is makes it one of backend.ErrUnsupported that says what to do.
func (m missing) Is(target error) bool {
	return target == backend.ErrUnsupported || target == backend.ErrIncomplete
}

// errDenied is backend.ErrPermission in the words of iptables.
var errDenied = denied{}

type denied struct{}

func (denied) Error() string {
	return "the kernel lets only root, or a process with CAP_NET_ADMIN and CAP_NET_RAW, read and change iptables and ipset"
}

func (denied) Is(target error) bool { return target == backend.ErrPermission }

// kernelError adds what a user can do to the errnos that say so.
func kernelError(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (%w)", errDenied, err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%w (%w)", missing("this kernel has no netfilter: load the module nfnetlink, or use a kernel with CONFIG_NETFILTER"), err)
	}
	return err
}

// setErrors are ipset's own errors, which have no text in the kernel.
var setErrors = map[syscall.Errno]string{
	4097: "ipset does not understand the message",
	4099: "there are as many sets as the kernel takes",
	4100: "the set is in use",
	4101: "a set of that name exists",
	4102: "the sets are of different types",
	4103: "the element exists already, or does not exist",
	4104: "the prefix length is wrong",
	4352: "the set is full",
}

// setError gives an error of ipset its text.
func setError(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		if errno == errSetType {
			return fmt.Errorf("%w (%w)", missing("this kernel lacks a type of sets: load the modules ip_set_hash_net, ip_set_hash_ip and ip_set_hash_ipport"), errno)
		}
		if text := setErrors[errno]; text != "" {
			return fmt.Errorf("%s (%w)", text, errno)
		}
	}
	return kernelError(err)
}
