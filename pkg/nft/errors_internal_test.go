package nft

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// TestCommitError: one errno of a commit has two causes, and the flags of the table
// say which.
func TestCommitError(t *testing.T) {
	refused := fmt.Errorf("commit rules: %w", unix.EPERM)
	for _, test := range []struct {
		name, flags string
		err, want   error
	}{
		{"a table of another process", "owner", refused, ErrOwned},
		{"with another flag beside", "owner,persist", refused, ErrOwned},
		{"a right is missing", "", refused, ErrPermission},
		{"the kernel has changed", "owner", plan.ErrStale, plan.ErrStale},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := commitError(test.err, &plan.Plan{Have: &ruleset.State{Exists: true, Flags: test.flags}, Want: &ruleset.State{}})
			for _, cause := range []error{ErrOwned, ErrPermission, plan.ErrStale} {
				if errors.Is(got, cause) != errors.Is(test.want, cause) {
					t.Errorf("%v: is it %v: %t", got, cause, errors.Is(got, cause))
				}
			}
		})
	}
}

// TestHasLogger reads what a kernel says of its loggers.
func TestHasLogger(t *testing.T) {
	for text, want := range map[string]bool{
		"": true,
		" 0 NONE (nfnetlink_log)\n 2 nf_log_ipv4 (nf_log_ipv4,nfnetlink_log)\n10 NONE (nfnetlink_log)\n": true,
		" 0 NONE ()\n 2 nf_log_ipv4 (nf_log_ipv4)\n10 NONE ()\n":                                         false,
		" 2 NONE (nfnetlink_log)\n10 NONE ()\n":                                                          false,
	} {
		if got := hasLogger(text); got != want {
			t.Errorf("with %q it has one: %t", text, got)
		}
	}
}
