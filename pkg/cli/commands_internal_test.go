package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/plan/plantest"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// inMemory is ringfence on a kernel in memory.
type inMemory struct {
	world  fence.World
	kernel *plantest.Kernel
	folder string
}

func newInMemory(t *testing.T) *inMemory {
	t.Helper()
	kernel := &plantest.Kernel{}
	silent := func(_ context.Context, q resolve.Question) (resolve.Answer, error) {
		return resolve.Answer{}, &resolve.Failure{Question: q, Kind: resolve.Timeout, Text: "no answer"}
	}
	return &inMemory{kernel: kernel, folder: t.TempDir(), world: fence.World{
		Kernel:     func() backend.Kernel { return kernel },
		Classifier: &plantest.Classifier{},
		Host: func() (ruleset.Host, error) {
			return ruleset.Host{Interfaces: []ruleset.Interface{{Name: "eth0"}}, Outside: []string{"eth0"}}, nil
		},
		Listeners: func() ([]ruleset.Listener, error) { return nil, nil },
		Servers:   func() (resolve.Servers, error) { return resolve.Servers{}, nil },
		Hosts:     func() (resolve.Hosts, error) { return nil, nil },
		Lookup:    func(resolve.Servers) (first, again resolve.Lookup) { return silent, silent },
		Now:       func() resolve.Moment { return resolve.Moment{Time: time.Now()} },
	}}
}

func (m *inMemory) run(ctx context.Context, args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	a := &app{stdin: strings.NewReader(""), stdout: output.NewWriter(&out, &out), stderr: output.NewWriter(&errs, &errs), world: &m.world}
	root := a.root()
	root.SetArgs(append([]string{
		"--policy", filepath.Join(m.folder, "policy.yaml"), "--state-dir", filepath.Join(m.folder, "state"), "--run-dir", filepath.Join(m.folder, "run"),
	}, args...))
	status = a.fail(root.ExecuteContext(ctx))
	return status, out.String(), errs.String()
}

// TestCommandsInMemory runs every command that works on a fence, as text and as
// JSON, without a kernel and without root.
func TestCommandsInMemory(t *testing.T) {
	for _, form := range []string{"text", "json"} {
		t.Run(form, func(t *testing.T) {
			m := newInMemory(t)
			policy := filepath.Join(m.folder, "policy.yaml")
			write := func(text string) { labtest.Must(t, os.WriteFile(policy, []byte(text), 0o600)) }
			write("version: 1\nproviders: [{name: acme, addresses: [203.0.113.5]}]\n")
			for _, step := range []struct {
				status int
				says   string
				args   string
			}{
				{0, "", "check"},
				{2, "", "diff"},
				{0, "", "apply"},
				{0, "", "diff --offline --full"},
				{0, "acme", "status"},
				{0, "", "refresh"},
				{0, "198.51.100.7", "ban 198.51.100.7 --for 2h"},
				{3, "", "ban 203.0.113.5"},
				{0, "198.51.100.7", "bans"},
				{0, "", "unban 198.51.100.7"},
				{4, "sip.acme.example", "resolve sip.acme.example"},
				{0, "", "signatures"},
				{0, "apply", "history"},
				{0, "203.0.113.5", "history 1"},
				{1, "", "rollback"},
				{0, "", "down"},
				{0, "taken down", "refresh"},
				{0, "", "up"},
			} {
				status, out, errs := m.run(t.Context(), append(strings.Fields(step.args), "-o", form)...)
				if status != step.status || !strings.Contains(out+errs, step.says) {
					t.Errorf("%s: exit status %d, want %d\n%s%s", step.args, status, step.status, out, errs)
				}
				if form == "json" && out != "" && !json.Valid([]byte(out)) {
					t.Errorf("%s prints no JSON: %s", step.args, out)
				}
			}
			write("version: 1\nproviders: [{name: acme, addresses: [203.0.113.6]}]\n")
			for _, args := range []string{"apply", "rollback"} {
				if status, out, errs := m.run(t.Context(), args); status != 0 {
					t.Errorf("%s: exit status %d\n%s%s", args, status, out, errs)
				}
			}
			labtest.Must(t, os.Remove(policy))
			if status, out, errs := m.run(t.Context(), "init"); status != 0 {
				t.Errorf("init: exit status %d\n%s%s", status, out, errs)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			if status, out, errs := m.run(ctx, "run"); status != 0 {
				t.Errorf("run: exit status %d\n%s%s", status, out, errs)
			}
		})
	}
}

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
		if got := hint(test.err, test.rights); !strings.Contains(got, test.want) || test.want == "" && got != "" {
			t.Errorf("%s: the hint is %q, want %q", test.name, got, test.want)
		}
	}
}

// TestWaysOut: each alarm's way out has its words.
func TestWaysOut(t *testing.T) {
	rejected := resolve.WayOut{Kind: resolve.ListAddresses, Name: "sip.example", Owner: "acme", Addresses: []netip.Addr{netip.MustParseAddr("192.168.1.1")}}
	if want, got := `if they are right, write "addresses: [192.168.1.1]" under provider acme in the policy`, wayOutText(rejected); got != want {
		t.Errorf("the way out is %q, want %q", got, want)
	}
	for _, kind := range []resolve.WayOutKind{
		resolve.CheckName, resolve.RemoveName, resolve.AcceptLarge, resolve.ListAddresses,
		resolve.CompareServers, resolve.FindWrongServer, resolve.AskRegularly, resolve.RepairServer,
	} {
		if wayOutText(resolve.WayOut{Kind: kind, Name: "sip.example"}) == "" {
			t.Errorf("%s has no words", kind)
		}
	}
}
