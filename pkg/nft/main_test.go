package nft_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/nft"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m, nil)) }

// everything is a policy whose table has every kind of rule, but those of learning.
const everything = `
interfaces: [eth0, 'ppp*']
providers:
- {name: acme, addresses: [203.0.113.0/24, 192.0.2.1, 192.0.2.2, 192.0.2.3, 255.255.255.0/24, "2001:db8::/32"]}
trusted: {addresses: [192.168.0.0/16, "fd00::/24"], asymmetric: [10.200.0.0/16]}
bans: {addresses: [198.51.100.7]}
unknown: {action: accept, allow_replies: true, require_user_agent: [Yealink]}
guessing: {failures: 0}
`

// compiled compiles a policy for a host that forwards and has an engine.
func compiled(t testing.TB, text string) *ruleset.State {
	t.Helper()
	// Prefixes of whole bytes and others.
	var networks []netip.Prefix
	for _, text := range []string{"192.168.1.2/24", "10.1.0.2/23", "fd00:1::2/64", "fd00:2::2/61"} {
		networks = append(networks, netip.MustParsePrefix(text))
	}
	return compiledFor(t, text, ruleset.Host{Forwards: true, Engine: "bpf", Interfaces: []ruleset.Interface{
		{Name: "eth0", Addresses: networks},
		{Name: "ppp1", Addresses: networks},
	}})
}

func compiledFor(t testing.TB, text string, host ruleset.Host) *ruleset.State {
	t.Helper()
	p, err := policy.Parse("policy.yaml", strings.NewReader("version: 1\n"+text), policy.Available{Engines: []policy.Engine{policy.EngineBPF}})
	if err != nil {
		t.Fatal(err)
	}
	state, _ := compile.State(p, nil, host)
	return state
}

// difference plans the way to a state in the host.
func difference(t testing.TB, h *lab.Namespace, want *ruleset.State) *plan.Plan {
	t.Helper()
	var p *plan.Plan
	labtest.In(t, h, func() (err error) {
		p, err = control.Controller{Kernel: &nft.Kernel{}}.Plan(t.Context(), control.Desired{State: want})
		return err
	})
	return p
}

// apply brings the host to a state.
func apply(t testing.TB, h *lab.Namespace, want *ruleset.State) *plan.Plan {
	t.Helper()
	var p *plan.Plan
	labtest.In(t, h, func() (err error) {
		p, err = control.Controller{Kernel: &nft.Kernel{}}.Sync(t.Context(), control.Desired{State: want}, func(*plan.Plan) error { return nil })
		return err
	})
	return p
}

func list(t testing.TB, h *lab.Namespace) string {
	t.Helper()
	return labtest.Run(t, h, "nft", "list", "table", "inet", "ringfence")
}
