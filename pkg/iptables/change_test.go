package iptables_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/iptables"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// TestKilledAnywhere ends a change before each of its calls, as a kill would: a fence
// stands all the same, and the next apply ends the change and leaves nothing behind.
func TestKilledAnywhere(t *testing.T) {
	bothFlavours(t, func(t *testing.T, h *lab.Namespace, f iptables.Flavour) {
		before := compiled(t, "providers: [{name: a, addresses: [192.0.2.0/25]}]\nunknown: {action: accept}", hosts()["plain"])
		after := compiled(t, "interfaces: [eth0]\nproviders: [{name: a, addresses: [192.0.2.128/25]}]\nbans: {size: 9}\nunknown: {action: accept, allow_replies: true}", hosts()["router"])
		apply(t, h, f, after)
		whole := save(t, h, f)
		for n := 0; ; n++ {
			apply(t, h, f, before)
			k, ended := iptables.Interrupted(f, n)
			labtest.In(t, h, func() error {
				have, err := k.Observe(t.Context())
				if err == nil {
					_ = k.Commit(t.Context(), plan.Diff(have, after)) // it may be interrupted
				}
				return err
			})
			if p := difference(t, h, f, after); !p.Have.Exists {
				t.Fatalf("interrupted before call %d, no fence stands", n)
			}
			apply(t, h, f, after)
			if p := difference(t, h, f, after); !p.Empty() {
				t.Fatalf("interrupted before call %d, the next apply leaves %+v", n, p.Changes)
			}
			if diff := cmp.Diff(lettersAside(whole), lettersAside(save(t, h, f))); diff != "" {
				t.Fatalf("interrupted before call %d, there is left: %s", n, diff)
			}
			if !*ended {
				t.Logf("a change has %d calls", n)
				break
			}
		}
	})
}

// lettersAside takes the letters of chains and the counts of rules out of a listing.
func lettersAside(text string) string {
	return strings.NewReplacer("RINGFENCE-A-", "RINGFENCE-", "RINGFENCE-B-", "RINGFENCE-").Replace(text)
}

// TestForeignChanges: whatever another program does to the fence is seen and mended, and
// what it has beside the fence stays as it is.
func TestForeignChanges(t *testing.T) {
	bothFlavours(t, func(t *testing.T, h *lab.Namespace, f iptables.Flavour) {
		want := compiled(t, "providers: [{name: a, addresses: [192.0.2.0/24, 203.0.113.1, '2001:db8::/32']}]\ntrusted: {addresses: [192.168.0.0/16]}\nunknown: {action: accept}", hosts()["classifier"])
		run := func(command string) { labtest.Run(t, h, "sh", "-ec", command) }
		ip4, ip6 := string(f), strings.Replace(string(f), "ip", "ip6", 1)
		run(ip4 + " -t raw -A PREROUTING -s 10.9.9.9 -j NOTRACK; " + ip4 + " -A INPUT -p tcp --dport 22 -j ACCEPT; ipset create others hash:ip; ipset add others 1.2.3.4")
		apply(t, h, f, want)
		whole := save(t, h, f)
		const sip, hook = "RINGFENCE-A-sip", "RINGFENCE-A-prerouting"
		changes := []string{
			ip4 + " -t raw -I " + sip + " -j RETURN",
			ip4 + " -t raw -A " + sip + " -s 9.9.9.9 -j RETURN",
			ip4 + " -t raw -R " + sip + " 1 -j RETURN",
			ip4 + " -t raw -D " + sip + " 1",
			ip6 + " -t raw -F " + sip,
			ip4 + " -t raw -F RINGFENCE-dropped_unknown",
			ip6 + " -t raw -R RINGFENCE-dropped_banned 1 -j RETURN",
			ip4 + " -t raw -I PREROUTING -j " + hook,
			ip4 + " -t raw -I PREROUTING -s 9.9.9.9 -j " + hook,
			ip4 + " -t raw -I PREROUTING -s 9.9.9.9 -j ACCEPT",
			ip6 + " -t raw -D PREROUTING -j " + hook,
			ip4 + " -t raw -D PREROUTING -j " + hook + "; " + ip6 + " -t raw -D PREROUTING -j " + hook,
			ip4 + " -t raw -N RINGFENCE-A-more",
			ip4 + " -t raw -N RINGFENCE-B-sip",
			"ipset flush ringfence-providers4",
			"ipset add ringfence-providers4 192.0.2.7 nomatch",
			"ipset add ringfence-providers6 2001:db9::/32",
			"ipset del ringfence-providers4 203.0.113.1; ipset add ringfence-providers4 203.0.113.1 nomatch",
			"ipset swap ringfence-providers4 ringfence-trusted4",
			"ipset create x hash:net maxelem 5; ipset swap x ringfence-blocked4; ipset destroy x",
			"ipset create ringfence-more hash:ip",
		}
		for _, change := range changes {
			run(change)
			if strings.Contains(change, "-s 9.9.9.9 -j ACCEPT") {
				t.Cleanup(func() {}) // that rule is another program's, and stays
			}
			if p := difference(t, h, f, want); p.Empty() {
				t.Errorf("%s: not seen", change)
			}
			apply(t, h, f, want)
			if p := difference(t, h, f, want); !p.Empty() {
				t.Errorf("%s: not mended: %+v", change, p.Changes)
			}
			if strings.Contains(change, "-s 9.9.9.9 -j ACCEPT") {
				run(ip4 + " -t raw -D PREROUTING -s 9.9.9.9 -j ACCEPT")
			}
			// The names of the chains change their letters: back to the first ones.
			apply(t, h, f, &ruleset.State{})
			apply(t, h, f, want)
			if diff := cmp.Diff(sorted(whole), sorted(save(t, h, f))); diff != "" {
				t.Fatalf("%s: mended to something else: %s", change, diff)
			}
		}
		labtest.Report(t, "P4", "each rule, jump, chain and set changed, "+string(f), len(changes), "all seen, all mended")
	})
}

func sorted(text string) []string {
	lines := strings.Split(lettersAside(text), "\n")
	slices.Sort(lines)
	return lines
}

const (
	fromProvider = 'P'
	fromStranger = 'S'
)

// TestNoPacketSlipsThroughAChange changes addresses and rules while a provider and a
// stranger send as fast as they can: none of the provider's packets may be lost, none of
// the stranger's may arrive. A chain that is emptied and filled again, as others do it,
// lets them through: so the test would see it.
func TestNoPacketSlipsThroughAChange(t *testing.T) {
	for _, f := range []iptables.Flavour{iptables.Legacy, iptables.NFT} {
		t.Run(string(f), func(t *testing.T) {
			pbx, outside := labtest.Host(t, "pbx"), labtest.Host(t, "outside")
			labtest.Link(t,
				lab.End{Host: pbx, Interface: "eth0", Addresses: []string{"192.0.2.10/24"}},
				lab.End{Host: outside, Interface: "eth0", Addresses: []string{"192.0.2.100/24", "192.0.2.200/24"}})
			labtest.AddNeighbour(t, outside, "eth0", pbx, "eth0", "192.0.2.10")
			apply(t, pbx, f, compiled(t, "providers: [{name: a, addresses: [192.0.2.100]}]", hosts()["plain"]))
			changes := labtest.Count(20, 500)
			lost, leaked, sent := flooded(t, pbx, outside, func() {
				for i := range changes {
					prefix := []string{"192.0.2.100", "192.0.2.96/28", "192.0.2.64/26, 192.0.2.128/28"}[i%3]
					interfaces := []string{"[eth0]", "[]", "[eth0, eth1]"}[i/2%3]
					apply(t, pbx, f, compiled(t, "interfaces: "+interfaces+"\nproviders: [{name: a, addresses: ["+prefix+"]}]", hosts()["plain"]))
				}
			})
			t.Logf("%d packets of each: %d of the provider's lost, %d of the stranger's arrived", sent, lost, leaked)
			labtest.Report(t, "P2", "addresses and rules changed under two floods, "+string(f), changes, "%d leaked, %d lost, of %d packets each", leaked, lost, sent)
			if lost != 0 || leaked != 0 {
				t.Errorf("of %d packets each, %d of the provider's were lost and %d of the stranger's arrived", sent, lost, leaked)
			}
			_, leaked, _ = flooded(t, pbx, outside, func() {
				for range 5 {
					labtest.Run(t, pbx, "sh", "-ec", fmt.Sprintf("for l in A B; do %[1]s -t raw -F RINGFENCE-$l-prerouting 2>/dev/null || true; done", f))
					apply(t, pbx, f, compiled(t, "providers: [{name: a, addresses: [192.0.2.100]}]", hosts()["plain"]))
				}
			})
			if leaked == 0 {
				t.Error("an emptied chain lets no packet through: the test sees nothing")
			}
		})
	}
}

// flooded does something while a provider and a stranger send.
func flooded(t *testing.T, pbx, outside *lab.Namespace, do func()) (lost, leaked, sent int64) {
	t.Helper()
	sink, err := labtest.NewSink(t.Context(), pbx, "192.0.2.10:5060")
	labtest.Must(t, err)
	provider, err := labtest.NewSource(outside, "192.0.2.100:5060", "192.0.2.10:5060", []byte{fromProvider})
	labtest.Must(t, err)
	defer provider.Close()
	stranger, err := labtest.NewSource(outside, "192.0.2.200:5060", "192.0.2.10:5060", []byte{fromStranger})
	labtest.Must(t, err)
	defer stranger.Close()
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() { sent = flood(t, stop, sink, provider, stranger) })
	do()
	close(stop)
	group.Wait()
	labtest.Must(t, sink.Close())
	return sent - sink.Received(fromProvider), sink.Received(fromStranger), sent
}

// flood lets both send until it is stopped, never much more than has arrived of the
// provider's: what the socket has no room for would count as lost.
func flood(t *testing.T, stop <-chan struct{}, sink *labtest.Sink, provider, stranger *labtest.Source) (sent int64) {
	const burst, underWay = 32, 256
	arrived := func(n int64) bool {
		for deadline := labtest.Deadline(); sink.Received(fromProvider) < n; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Errorf("packets of the provider are missing: %d of %d have come", sink.Received(fromProvider), n)
				return false
			}
		}
		return true
	}
	for {
		select {
		case <-stop:
			arrived(sent)
			return sent
		default:
		}
		if err := errors.Join(provider.Burst(burst), stranger.Burst(burst)); err != nil {
			t.Error(err)
			return sent
		}
		sent += burst
		if !arrived(sent - underWay) {
			return sent
		}
	}
}
