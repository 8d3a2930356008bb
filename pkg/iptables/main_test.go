package iptables_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/iptables"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

func TestMain(m *testing.M) {
	os.Exit(labtest.Main(m, map[string]func() int{"change": changeAndDie}))
}

// bothFlavours runs a test in each flavour, on a host of its own.
func bothFlavours(t *testing.T, test func(t *testing.T, h *lab.Namespace, f iptables.Flavour)) {
	t.Helper()
	for _, f := range []iptables.Flavour{iptables.Legacy, iptables.NFT} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			test(t, labtest.Host(t, "pbx"), f)
		})
	}
}

// policies have every kind of rule between them.
var policies = []string{
	"",
	"mode: monitor",
	"interfaces: [eth0]\nports: {udp: [5060], tcp: []}",
	"ports: {udp: [], tcp: [5061]}",
	`
interfaces: [eth0, 'ppp*']
providers:
- {name: acme, addresses: [203.0.113.0/24, 192.0.2.1, 192.0.2.2, 255.255.255.0/24, "2001:db8::/32"]}
trusted: {addresses: [192.168.0.0/16, "fd00::/24"], asymmetric: [10.200.0.0/16, "fd00:200::/48"]}
bans: {addresses: [198.51.100.7]}
unknown: {action: accept, allow_replies: true, require_user_agent: [Yealink]}
`,
	"unknown: {action: accept}\nbans: {duration: 10m, size: 100, addresses: [198.51.100.0/24, '2001:db8:2::/64']}",
	"unknown: {action: accept, allow_replies: true}\nmode: monitor",
	"trusted: {addresses: [192.168.1.0/24, 10.1.0.0/23, 'fd00:1::/64']}",
	"trusted: {hosts: [office.example.org]}\nproviders: [{name: a, registrars: [sip.example.org]}]\nmode: monitor",
	"trusted: {interfaces: [lan0], addresses: [192.168.1.0/24]}",
	"bans: {addresses: [0.0.0.0/0, '::/0']}",
	"bans: {addresses: [0.0.0.0/1, 128.0.0.0/1]}",
	"signatures: {mark: 0x00f00000}\nunknown: {action: accept, require_user_agent: [Yealink]}",
	registers,
	registers + "roaming: {match: address, life: 10m}\nguessing: {failures: 3, within: 11s}",
	registers + "mode: monitor",
	"unknown: {action: register, rate: 7/h, allow_replies: true, require_user_agent: [Yealink]}\nguessing: {failures: 0}\nports: {udp: [" + manyPorts + "], tcp: [5060]}",
	looksForTexts + "unknown: {action: accept}",
	looksForTexts + "mode: monitor",
	"ports: {udp: [" + manyPorts + "], tcp: [" + manyPorts + "]}",
}

const registers = "unknown: {action: register}\n"

const looksForTexts = "backend: iptables\nsignatures: {engine: string}\n"

const manyPorts = "5060, 5061, 5062, 5063, 5064, 5065, 5066, 5067, 5068, 5069, 5070, 5071, 5072, 5073, 5074, 5075, 5080, 5081, 65535"

// hosts are hosts that rules differ for.
func hosts() map[string]ruleset.Host {
	var networks []netip.Prefix
	for _, text := range []string{"192.168.1.2/24", "10.1.0.2/23", "fd00:1::2/64", "fd00:2::2/61"} {
		networks = append(networks, netip.MustParsePrefix(text))
	}
	router := ruleset.Host{Forwards: true, Engine: "bpf", Classified: []string{"eth0", "ppp1"}, Interfaces: []ruleset.Interface{
		{Name: "eth0", Addresses: networks}, {Name: "ppp1", Addresses: networks},
	}}
	vrf := ruleset.Host{Engine: "bpf", Classified: []string{"eth0"}, Interfaces: []ruleset.Interface{{Name: "eth0", VRF: "red"}, {Name: "red", Kind: "vrf"}}}
	return map[string]ruleset.Host{"plain": {}, "classifier": {Engine: "bpf"}, "router": router, "VRF": vrf}
}

func compiled(t testing.TB, text string, host ruleset.Host) *ruleset.State {
	t.Helper()
	s, err := stateOf(text, host)
	labtest.Must(t, err)
	return s
}

func stateOf(text string, host ruleset.Host) (*ruleset.State, error) {
	p, err := policy.Parse("policy.yaml", strings.NewReader("version: 1\n"+text), policy.Available{
		Engines:  []policy.Engine{policy.EngineBPF, policy.EngineString},
		Backends: []policy.Backend{policy.BackendIPTables},
	})
	if err != nil {
		return nil, err
	}
	p.Signatures.Texts = []string{"friendly-scanner", `"the metasploit has you"`, `a \ "b\"`, "<sip:|@;x>"}
	state, _ := compile.State(p, nil, host)
	return state, nil
}

// difference plans the way to a state in the host.
func difference(t testing.TB, h *lab.Namespace, f iptables.Flavour, want *ruleset.State) *plan.Plan {
	t.Helper()
	var p *plan.Plan
	labtest.In(t, h, func() (err error) {
		p, err = control.Controller{Kernel: &iptables.Kernel{Flavour: f}}.Plan(t.Context(), control.Desired{State: want})
		return err
	})
	return p
}

// apply brings the host to a state.
func apply(t testing.TB, h *lab.Namespace, f iptables.Flavour, want *ruleset.State) *plan.Plan {
	t.Helper()
	var p *plan.Plan
	labtest.In(t, h, func() (err error) {
		p, err = control.Controller{Kernel: &iptables.Kernel{Flavour: f}}.Sync(t.Context(), control.Desired{State: want}, func(*plan.Plan) error { return nil })
		return err
	})
	return p
}
