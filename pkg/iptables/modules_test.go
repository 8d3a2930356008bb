package iptables_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/iptables"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// modprobe names the program that the kernel, and iptables, call for a module.
const modprobe = "/proc/sys/kernel/modprobe"

// moduleNamed finds the modules that an error names.
var moduleNamed = regexp.MustCompile(`\b(?:nfnetlink|ip_set|xt|ipt|ip6t|iptable|ip6table|nf_tables|nft)_?\w*\b`)

// TestMissingModules: on a kernel with modules, none of which comes by itself, each error
// names a module to load. When all that were named are loaded, the fence comes up.
func TestMissingModules(t *testing.T) {
	if os.Getenv("RINGFENCE_MACHINE") == "" {
		t.Skip("only a machine for the tests of one kernel may do without modules")
	}
	loads, err := os.ReadFile(modprobe)
	labtest.Must(t, err)
	labtest.Must(t, os.WriteFile(modprobe, []byte("/bin/false"), 0o644))
	defer os.WriteFile(modprobe, loads, 0o644)
	want := compiled(t, "unknown: {action: accept}\nproviders: [{name: a, addresses: [192.0.2.1]}]", hosts()["classifier"])
	for _, f := range []iptables.Flavour{iptables.Legacy, iptables.NFT} {
		t.Run(string(f), func(t *testing.T) {
			h := labtest.Host(t, "pbx")
			loaded := map[string]bool{}
			for {
				err := h.Do(func() error { return fresh(t.Context(), f, want) })
				if err == nil {
					break
				}
				if !errors.Is(err, backend.ErrIncomplete) {
					t.Fatalf("it says %v", err)
				}
				t.Log(err)
				sentence := err.Error()
				if both := (interface{ Unwrap() []error })(nil); errors.As(err, &both) {
					sentence = both.Unwrap()[0].Error() // behind it is what the kernel or the program said
				}
				before := len(loaded)
				// One at a time: a module that does not help is not named in vain twice.
				for _, name := range moduleNamed.FindAllString(sentence, -1) {
					if len(loaded) == before && !loaded[name] && exec.CommandContext(t.Context(), "modprobe", name).Run() == nil {
						loaded[name] = true
					}
				}
				if len(loaded) == before {
					t.Fatalf("it names no module that helps: %v", err)
				}
			}
			if sets := labtest.Run(t, h, "ipset", "list", "-n"); !strings.Contains(sets, "ringfence-providers4") {
				t.Errorf("there are only the sets\n%s", sets)
			}
		})
	}
}

// fresh puts a fence up as the first command does.
func fresh(ctx context.Context, f iptables.Flavour, want *ruleset.State) error {
	k := &iptables.Kernel{Flavour: f}
	if err := k.Probe(ctx); err != nil {
		return err
	}
	have, err := k.Observe(ctx)
	if err != nil {
		return err
	}
	return k.Commit(ctx, plan.Diff(have, want))
}
