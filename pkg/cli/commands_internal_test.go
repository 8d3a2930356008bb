package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/output"
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
				{0, "192.0.2.9", "allow 192.0.2.9"},
				{0, "192.0.2.9", "status"},
				{0, "192.0.2.9", "disallow 192.0.2.9"},
				{0, "", "dropped"},
				{0, "acme", "why 203.0.113.5"},
				{0, "trusted.addresses", "why 192.0.2.9"},
				{0, "", "phones"},
				{0, "enforce", "report"},
				{1, "no generation waits", "confirm"},
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
			if status, out, errs := m.run(t.Context(), "metrics"); status != 0 || !strings.Contains(out, "ringfence_generation ") {
				t.Errorf("metrics: exit status %d\n%s%s", status, out, errs)
			}
			for _, args := range []string{"watch", "run"} {
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
				if status, out, errs := m.run(ctx, args); status != 0 {
					t.Errorf("%s: exit status %d\n%s%s", args, status, out, errs)
				}
			}
		})
	}
}

// TestFlags: what a flag may be is said without the words of Go.
func TestFlags(t *testing.T) {
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.Int("accounts", 1, "")
	flags.Bool("check", false, "")
	for arg, want := range map[string]string{
		"--accounts=x":  `invalid argument "x" for "--accounts" flag: write a whole number`,
		"--check=maybe": `invalid argument "maybe" for "--check" flag: write true or false, or the flag alone`,
		"--other":       "unknown flag: --other",
	} {
		if err := flagError(flags.Parse([]string{arg})); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %q", arg, err, want)
		}
	}
}
