package nft

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Errors that a user can do something about. A table may also belong to another
// process alone (flag owner); then the kernel says EPERM to root too.
var (
	// ErrPermission says that the process may not speak of nftables.
	ErrPermission = errors.New("the kernel lets only root, or a process with CAP_NET_ADMIN, read and change nftables")
	// ErrUnsupported says that the kernel has no nftables.
	ErrUnsupported = errors.New("this kernel has no nftables (nf_tables)")
)

// kernelError adds what a user can do to the errnos that say so.
func kernelError(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (%w)", ErrPermission, err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%w (%w)", ErrUnsupported, err)
	}
	return err
}
