package iptables_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/iptables"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// withLifetime gives the ports of a state a lifetime.
func withLifetime(s *ruleset.State, lifetime time.Duration) *ruleset.State {
	ports := s.Sets["ports"]
	ports.Elements = slices.Clone(ports.Elements)
	for i := range ports.Elements {
		ports.Elements[i].Timeout = lifetime
	}
	s.Sets["ports"] = ports
	return s
}

// left is the lifetime of the ports that is read back, 0 if they are not there.
func left(t *testing.T, h *lab.Namespace, f iptables.Flavour) (left time.Duration) {
	t.Helper()
	ports := difference(t, h, f, &ruleset.State{}).Have.Sets["ports"].Elements
	if len(ports) == 0 {
		return 0
	}
	return ports[0].Timeout
}

// TestPortsRunOut: ports with a lifetime are read back with what is left of it, whatever
// another program does to that is seen and mended, and a change does not make it longer.
func TestPortsRunOut(t *testing.T) {
	const policy = "providers: [{name: a, addresses: [192.0.2.1]}]\nunknown: {action: accept}"
	const lifetime = 500 * time.Second
	bothFlavours(t, func(t *testing.T, h *lab.Namespace, f iptables.Flavour) {
		for _, host := range hosts() {
			want := withLifetime(compiled(t, policy, host), lifetime)
			apply(t, h, f, want)
			for _, c := range difference(t, h, f, want).Changes {
				if c.Name != "ports" {
					t.Errorf("after apply there is a difference: %+v", c)
				}
			}
		}
		want := withLifetime(compiled(t, policy, hosts()["classifier"]), lifetime)
		apply(t, h, f, want)
		for _, change := range []string{
			"ipset flush ringfence-armed4",
			"ipset flush ringfence-armed6",
			"ipset del ringfence-armed4 0.0.0.0/1",
			"ipset add -exist ringfence-armed6 8000::/1 timeout 0",
			"ipset add ringfence-armed4 9.9.9.9 nomatch",
			string(f) + " -t raw -R RINGFENCE-A-prerouting 1 ! -i lo -p udp -m multiport --dports 5060,5061 -j RINGFENCE-A-sip",
		} {
			apply(t, h, f, &ruleset.State{})
			apply(t, h, f, want)
			labtest.Run(t, h, "sh", "-ec", change)
			if n := left(t, h, f); n != 0 && !strings.Contains(change, "-R") {
				t.Errorf("%s: the ports are read back with %s", change, n)
			}
			if difference(t, h, f, withLifetime(want, left(t, h, f))).Empty() {
				t.Errorf("%s: not seen", change)
			}
			apply(t, h, f, withLifetime(want, 400*time.Second))
			if n := left(t, h, f); n <= 0 || n > 400*time.Second {
				t.Errorf("%s: mended to a lifetime of %s", change, n)
			}
			want = withLifetime(want, lifetime)
			apply(t, h, f, want)
			if n := left(t, h, f); n > 400*time.Second {
				t.Errorf("%s: the lifetime has become longer: %s", change, n)
			}
		}
		want = withLifetime(want, 0)
		apply(t, h, f, want)
		if p := difference(t, h, f, want); !p.Empty() {
			t.Errorf("without a lifetime again, there is a difference: %+v", p.Changes)
		}
		if sets := labtest.Run(t, h, "ipset", "list", "-n"); strings.Contains(sets, "armed") {
			t.Errorf("there is left:\n%s", sets)
		}
	})
}
