package fence_test

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/policy"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m, nil)) }

// backends are those that tests of packets run over.
var backends = []policy.Backend{policy.BackendNFTables, policy.BackendIPTablesLegacy, policy.BackendIPTablesNFT}

// underFlood is a fence on the PBX of a flood.
type underFlood struct {
	labtest.Flood
	fence *fence.Fence
}

func newUnderFlood(t *testing.T) underFlood {
	t.Helper()
	return underFloodOn(t, labtest.NewFlood(t))
}

func underFloodOn(t testing.TB, f labtest.Flood) underFlood {
	t.Helper()
	folder := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	return underFlood{f, fence.New(fence.Config{
		StateDir: folder + "/state", RunDir: folder + "/run", User: "somebody", Log: log,
	}, fence.System(log, nil))}
}

// apply puts a policy into force that allows the provider, in these networks.
func (u underFlood) apply(t testing.TB, b policy.Backend, networks, more string) {
	t.Helper()
	text := fmt.Sprintf("version: 1\nproviders: [{name: a, addresses: [%s]}]\n%s", networks, more)
	if b != policy.BackendAuto {
		text += fmt.Sprintf("\nbackend: %s\n", b)
	}
	labtest.In(t, u.PBX, func() error {
		_, err := u.fence.Apply(t.Context(), policyOf(t, text), fence.ApplyOptions{})
		return err
	})
}

// withoutGap fails the test if a packet of a flood has met what it should not.
func withoutGap(t *testing.T, fault string, changes int, f labtest.Flooded) {
	t.Helper()
	t.Logf("%d changes, %d packets of each in %.1f s (%.0f + %.0f packets/s): %d of the provider's lost, %d of the stranger's arrived",
		changes, f.Sent, f.Took.Seconds(), f.PerSecond(), f.PerSecond(), f.Lost, f.Leaked)
	labtest.Report(t, "P2", fault, changes, "%d leaked, %d lost, of %d packets each", f.Leaked, f.Lost, f.Sent)
	if f.Lost != 0 || f.Leaked != 0 {
		t.Errorf("of %d packets each, %d of the provider's were lost and %d of the stranger's arrived", f.Sent, f.Lost, f.Leaked)
	}
}

// The networks all hold the provider and never the stranger, and nest in different ways.
var providerNetworks = []string{
	"192.0.2.100, '2001:db8::100'",
	"192.0.2.96/28, '2001:db8::100/120'",
	"192.0.2.64/26, 192.0.2.128/28, '2001:db8::100/121', '2001:db8::f000/116'",
	"192.0.2.100, 192.0.2.101, 192.0.2.199, '2001:db8::100', '2001:db8::1ff'",
	"192.0.2.0/25, '2001:db8::/119', '2001:db8::100/119'",
}

// The rules differ in chains, and allow_replies moves the fence to another place.
var otherRules = []string{
	"interfaces: [eth0]\n", "", "interfaces: [eth0, eth1]\n", "unknown: {allow_replies: true}\n",
	"interfaces: [eth0]\nports: {udp: [5060, 5070], tcp: []}\n", "trusted: {addresses: [10.0.0.0/8], interfaces: [lan0]}\n",
}

// TestNoPacketSlipsThroughAChange changes addresses, and rules, while a provider and a
// stranger send by IPv4 and IPv6: none of the provider's packets may
// be lost, none of the stranger's may arrive. Rules that are emptied and filled again, as
// scripts do it, let them through: so the test would see it.
func TestNoPacketSlipsThroughAChange(t *testing.T) {
	for _, b := range backends {
		t.Run(string(b), func(t *testing.T) {
			u := newUnderFlood(t)
			u.apply(t, b, providerNetworks[0], "")
			n := labtest.Count(20, 2000)
			withoutGap(t, labtest.Over("addresses changed under floods of both families", string(b)), n, u.During(t, func() {
				for i := range n {
					u.apply(t, b, providerNetworks[(i+1)%len(providerNetworks)], "")
				}
			}))
			n = labtest.Count(12, 100)
			withoutGap(t, labtest.Over("rules changed under floods of both families", string(b)), n, u.During(t, func() {
				for i := range n {
					u.apply(t, b, providerNetworks[i%len(providerNetworks)], otherRules[i%len(otherRules)])
				}
			}))
			u.apply(t, b, providerNetworks[0], "signatures: {engine: 'off'}\n")
			naive := u.During(t, func() {
				for range 5 {
					u.refillNaively(t, b)
				}
			})
			if naive.Leaked == 0 {
				t.Error("rules that are emptied and filled again let no packet through: the test sees nothing")
			}
		})
	}
}

// refillNaively empties the fence's rules, and fills them again.
func (u underFlood) refillNaively(t *testing.T, b policy.Backend) {
	t.Helper()
	if b == policy.BackendNFTables {
		table := labtest.Run(t, u.PBX, "nft", "list", "table", "inet", "ringfence")
		labtest.Rules(t, u.PBX, "flush table inet ringfence")
		labtest.Rules(t, u.PBX, "delete table inet ringfence\n"+table)
		return
	}
	for _, program := range []string{string(b), strings.Replace(string(b), "ip", "ip6", 1)} {
		for chain, rules := range chainsOf(labtest.Run(t, u.PBX, program, "-t", "raw", "-S")) {
			labtest.Run(t, u.PBX, program, "-t", "raw", "-F", chain)
			for _, rule := range rules {
				labtest.Run(t, u.PBX, program, append([]string{"-t", "raw"}, strings.Fields(rule)...)...)
			}
		}
	}
}

// chainsOf are the lines of a listing that add a rule to a chain at which packets come to
// the fence.
func chainsOf(listing string) map[string][]string {
	chains := map[string][]string{}
	for line := range strings.Lines(listing) {
		words := strings.Fields(line)
		if len(words) > 1 && words[0] == "-A" && strings.HasSuffix(words[1], "-prerouting") {
			chains[words[1]] = append(chains[words[1]], line)
		}
	}
	return chains
}

// TestNoPacketSlipsThroughAChangeOfBackEnd goes from each back end to each other one under
// the same flood. Of each that is left, nothing stays.
func TestNoPacketSlipsThroughAChangeOfBackEnd(t *testing.T) {
	u := newUnderFlood(t)
	ways := []int{0, 1, 0, 2, 1, 2} // and back to 0: each pair in both directions
	u.apply(t, backends[0], providerNetworks[0], "")
	n := labtest.Count(6, 54)
	last := backends[0]
	withoutGap(t, "back end changed under floods of both families", n, u.During(t, func() {
		for i := range n {
			last = backends[ways[(i+1)%len(ways)]]
			u.apply(t, last, providerNetworks[i%len(providerNetworks)], "")
		}
	}))
	labtest.In(t, u.PBX, func() error {
		var left []string
		for _, b := range backends {
			exists, err := fence.System(slog.New(slog.DiscardHandler), nil).Backend(b).Exists(t.Context())
			if err != nil {
				return err
			}
			if exists {
				left = append(left, string(b))
			}
		}
		if !slices.Equal(left, []string{string(last)}) {
			t.Errorf("there are fences of %v, want one of %s", left, last)
		}
		return nil
	})
}
