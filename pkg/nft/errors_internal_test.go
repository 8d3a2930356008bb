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
			got := commitError(test.err, &ruleset.State{Exists: true, Flags: test.flags})
			for _, cause := range []error{ErrOwned, ErrPermission, plan.ErrStale} {
				if errors.Is(got, cause) != errors.Is(test.want, cause) {
					t.Errorf("%v: is it %v: %t", got, cause, errors.Is(got, cause))
				}
			}
		})
	}
}
