package nft

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/ruleset"
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

// commitError is the error of a commit to a table that was in the given state: who
// is refused although the table has no owner lacks a right.
func commitError(err error, have *ruleset.State) error {
	if strings.Contains(have.Flags, "owner") {
		return changeError(err)
	}
	return kernelError(err)
}
