package nft

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
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

// changeError is kernelError for a change by a process that could read the table: a
// table that belongs to another process alone (flags owner) is refused with EPERM to
// root too.
func changeError(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w (%w)", ErrOwned, err)
	}
	return kernelError(err)
}
