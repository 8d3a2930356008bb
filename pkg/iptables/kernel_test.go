package iptables_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/iptables"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// TestEveryTableIsReadBack puts what each policy wants into the kernel, from nothing
// and from what the policy before has left: what is observed then is what is wanted, and
// nothing of ringfence's is left when the fence is taken down. An emulated machine has time
// for each policy on one host.
func TestEveryTableIsReadBack(t *testing.T) {
	bothFlavours(t, func(t *testing.T, h *lab.Namespace, f iptables.Flavour) {
		before := save(t, h, f)
		for i, name := range slices.Sorted(maps.Keys(hosts())) {
			for j, text := range policies {
				if os.Getenv("RINGFENCE_MACHINE") != "" && i != j%len(hosts()) {
					continue
				}
				want := compiled(t, text, hosts()[name])
				apply(t, h, f, want)
				if p := difference(t, h, f, want); !p.Empty() {
					t.Fatalf("%s, policy %q: after apply there is a difference:\n%+v\n%s", name, text, p.Changes,
						cmp.Diff(want.String(), p.Have.String()))
				}
			}
		}
		apply(t, h, f, &ruleset.State{})
		if diff := cmp.Diff(before, save(t, h, f)); diff != "" {
			t.Errorf("left behind: %s", diff)
		}
	})
}

// save is what the programs save of a host, without counts and the tables that were
// made by being looked at.
func save(t testing.TB, h *lab.Namespace, f iptables.Flavour) string {
	t.Helper()
	var all []string
	for _, family := range []string{"iptables", "ip6tables"} {
		text := labtest.Run(t, h, family+strings.TrimPrefix(string(f), "iptables")+"-save")
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ":") && !strings.HasPrefix(line, "*") && !strings.HasPrefix(line, "COMMIT") {
				all = append(all, family+" "+line)
			}
		}
	}
	return strings.Join(all, "") + labtest.Run(t, h, "ipset", "save")
}
