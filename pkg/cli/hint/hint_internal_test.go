package hint

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/resolve"
)

// TestHints: each trouble has its own way out, and one errno has the one that fits
// what this process may do.
func TestHints(t *testing.T) {
	root := fence.Rights{Root: true, NetAdmin: true, NetRaw: true}
	contained := root
	contained.UserNamespace = true
	commit := fmt.Errorf("%w (%w)", backend.ErrOwned, fmt.Errorf("commit rules: %w", unix.EPERM))
	refused := fmt.Errorf("%w (%w)", backend.ErrPermission, fmt.Errorf("commit rules: %w", unix.EPERM))
	ban := fmt.Errorf("change ban: %w", fmt.Errorf("%w (%w)", backend.ErrOwned, unix.EPERM))
	read := fmt.Errorf("read rules: %w", fmt.Errorf("%w (%w)", backend.ErrPermission, unix.EPERM))
	file := &fs.PathError{Op: "open", Path: "/var/lib/ringfence/addresses.json", Err: unix.EPERM}
	for _, test := range []struct {
		name   string
		err    error
		rights fence.Rights
		want   string
	}{
		{"a table of another process, by commit", commit, root, ownedHint},
		{"a table of another process, by ban", ban, root, ownedHint},
		{"a table of another process, in a container of its own", commit, contained, ownedHint},
		{"a user, by commit", refused, fence.Rights{}, "run it as root: sudo ringfence …"},
		{"a user, by a look", read, fence.Rights{}, "run it as root: sudo ringfence …"},
		{"a user, by a file", file, fence.Rights{}, "run it as root: sudo ringfence …"},
		{"root without the capability", read, fence.Rights{Root: true}, "without CAP_NET_ADMIN"},
		{"root of a container in the host's network", read, contained, "run it on the host"},
		{"root who may, but for something else", read, root, "a security module"},
		{"root and a locked file", file, root, ""},
		{"no nftables", backend.ErrUnsupported, root, "modprobe nf_tables"},
		{"a full disk", fmt.Errorf("write: %w", unix.ENOSPC), root, "free some space"},
		{
			"providers without an address", &plan.Refusal{Guard: plan.GuardEmptyProvider, WayOut: "mend it", Subjects: []string{"acme", "gamma"}}, root,
			"mend it; or use --allow-empty acme --allow-empty gamma if you are sure",
		},
		{"another program's table", &plan.Refusal{Guard: plan.GuardForeignTable}, root, "use --adopt if"},
		{"phones cut off", &plan.Refusal{Guard: plan.GuardCutInside}, root, "use --allow-cut-inside if"},
		{"a protected address", &plan.Refusal{Guard: plan.GuardProtected}, root, "use --allow-protected if"},
		{"anything else", errors.New("something"), root, ""},
	} {
		if got := Of(test.err, test.rights); !strings.Contains(got, test.want) || test.want == "" && got != "" {
			t.Errorf("%s: the hint is %q, want %q", test.name, got, test.want)
		}
	}
}

// TestWaysOut: each alarm's way out has its words.
func TestWaysOut(t *testing.T) {
	rejected := resolve.WayOut{Kind: resolve.ListAddresses, Name: "sip.example", Owner: "acme", Addresses: []netip.Addr{netip.MustParseAddr("192.168.1.1")}}
	if want, got := `if they are right, write "addresses: [192.168.1.1]" under provider acme in the policy`, WayOut(rejected); got != want {
		t.Errorf("the way out is %q, want %q", got, want)
	}
	for _, kind := range []resolve.WayOutKind{
		resolve.CheckName, resolve.RemoveName, resolve.AcceptLarge, resolve.ListAddresses,
		resolve.CompareServers, resolve.FindWrongServer, resolve.AskRegularly, resolve.RepairServer,
	} {
		if WayOut(resolve.WayOut{Kind: kind, Name: "sip.example"}) == "" {
			t.Errorf("%s has no words", kind)
		}
	}
}
