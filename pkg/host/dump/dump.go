// Package dump reads lists from the kernel by rtnetlink completely. What is read, and what
// it means, is decided by the caller.
package dump

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// tries is how often a list is read. Each interruption is a change by another program
// within the few microseconds of a dump, so several in a row are rare.
const tries = 20

// Whole repeats a dump that a change has interrupted (NLM_F_DUMP_INTR), because it may
// lack entries. After the last try it returns what it has, with
// netlink.ErrDumpInterrupted.
func Whole[T any](read func() (T, error)) (T, error) {
	list, err := read()
	for range tries - 1 {
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
		list, err = read()
	}
	return list, err
}
