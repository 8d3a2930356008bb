package nft

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/plan"
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

// commitError is the error of a commit: who is refused although the table that was there
// has no owner lacks a right.
func commitError(err error, p *plan.Plan) error {
	switch {
	case strings.Contains(p.Have.Flags, "owner"):
		return changeError(err)
	case errors.Is(err, unix.ENOENT) && reports(p.Want) && !hasLogger(loggers()):
		return fmt.Errorf("%w: %w", errNoLogger, err)
	}
	return kernelError(err)
}

// errNoLogger says that the kernel cannot report packets.
var errNoLogger = fmt.Errorf("%w: this kernel cannot report dropped packets: load nfnetlink_log, "+
	"or install the package of the kernel's extra modules, or write events.keep: 0s", backend.ErrIncomplete)

// reports reports whether a rule reports packets.
func reports(s *ruleset.State) bool {
	for _, c := range s.Chains {
		for _, r := range c.Rules {
			if slices.ContainsFunc(r.Statements(), func(st ruleset.Statement) bool { _, ok := st.(ruleset.Log); return ok }) {
				return true
			}
		}
	}
	return false
}

// loggers is what the kernel can report packets with, by family; "" if it does not say.
func loggers() string {
	text, err := os.ReadFile("/proc/net/netfilter/nf_log")
	if err != nil {
		return ""
	}
	return string(text)
}

// hasLogger reports whether packets of both families can be reported to programs. If
// nothing is known, they can be.
func hasLogger(loggers string) bool {
	if loggers == "" {
		return true
	}
	found := 0
	for line := range strings.Lines(loggers) {
		family, with, _ := strings.Cut(strings.TrimSpace(line), " ")
		if (family == ipv4Family || family == ipv6Family) && strings.Contains(with, "nfnetlink_log") {
			found++
		}
	}
	return found == 2
}

// The families as the kernel numbers them there.
const (
	ipv4Family = "2"
	ipv6Family = "10"
)
