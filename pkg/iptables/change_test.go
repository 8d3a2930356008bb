package iptables_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/iptables"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// TestKilledAnywhere ends a change before each of its calls, as a kill would: a fence
// stands all the same, and the next apply, forwards or back, ends well and leaves nothing
// behind. A change of the types of sets has many calls: the short form takes each sixth of
// them, and goes back only there.
func TestKilledAnywhere(t *testing.T) {
	const address = registers + "roaming: {match: address}\n"
	for _, c := range []struct {
		name, before, beforeHost, after, afterHost string
		apart, ways                                int
	}{
		{
			"rules and sizes", "providers: [{name: a, addresses: [192.0.2.0/25]}]\nunknown: {action: accept}\nguessing: {failures: 0}", "plain",
			"interfaces: [eth0]\nproviders: [{name: a, addresses: [192.0.2.128/25]}]\nbans: {size: 9}\nunknown: {action: accept, allow_replies: true}\nguessing: {failures: 0}", "router", 1, labtest.Count(1, 2),
		},
		{"types of sets", registers, "classifier", address, "classifier", labtest.Count(6, 1), 2},
		{"types of sets, back", address, "classifier", registers, "classifier", labtest.Count(6, 1), 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			bothFlavours(t, func(t *testing.T, h *lab.Namespace, f iptables.Flavour) {
				k := killedChange{h: h, flavour: f, before: compiled(t, c.before, hosts()[c.beforeHost]), after: compiled(t, c.after, hosts()[c.afterHost])}
				apply(t, h, f, k.after)
				k.whole = save(t, h, f)
				times := 0
				for n := 1 % c.apart; k.at(t, n, c.ways); n += c.apart {
					times++
				}
				t.Logf("a change was killed before %d of its calls", times)
			})
		})
	}
}

// killedChange is a change that is killed.
type killedChange struct {
	h             *lab.Namespace
	flavour       iptables.Flavour
	before, after *ruleset.State
	whole         string // what is listed when it has ended well
}

// at kills the change before its nth call, and goes on; with two ways it does so again, and
// goes back. It reports whether there is such a call.
func (k killedChange) at(t *testing.T, n, ways int) (was bool) {
	t.Helper()
	for _, next := range []*ruleset.State{k.after, k.before}[:ways] {
		apply(t, k.h, k.flavour, k.before)
		kernel, ended := iptables.Interrupted(k.flavour, n)
		labtest.In(t, k.h, func() error {
			have, err := kernel.Observe(t.Context())
			if err == nil {
				_ = kernel.Commit(t.Context(), plan.Diff(have, k.after)) // it may be interrupted
			}
			return err
		})
		if p := difference(t, k.h, k.flavour, next); !p.Have.Exists {
			t.Fatalf("interrupted before call %d, no fence stands", n)
		}
		apply(t, k.h, k.flavour, next)
		if p := difference(t, k.h, k.flavour, next); !p.Empty() {
			t.Fatalf("interrupted before call %d, the next apply leaves %+v", n, p.Changes)
		}
		if next != k.after {
			continue
		}
		if diff := cmp.Diff(setsAside(k.whole), setsAside(save(t, k.h, k.flavour))); diff != "" {
			t.Fatalf("interrupted before call %d, there is left: %s", n, diff)
		}
		if !*ended {
			return false
		}
	}
	return true
}

// lettersAside takes the letters of chains and the counts of rules out of a listing.
func lettersAside(text string) string {
	return strings.NewReplacer("RINGFENCE-A-", "RINGFENCE-", "RINGFENCE-B-", "RINGFENCE-").Replace(text)
}

// setsAside also puts the sets of a listing in order, which the kernel has in the order in
// which they were made.
func setsAside(text string) []string {
	var sets, others []string
	for line := range strings.SplitSeq(lettersAside(text), "\n") {
		if strings.HasPrefix(line, "create ") {
			sets = append(sets, line)
		} else {
			others = append(others, line)
		}
	}
	slices.Sort(sets)
	return append(sets, others...)
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
		const sip, drop, hook = "RINGFENCE-A-sip", "RINGFENCE-A-drop_signature4", "RINGFENCE-A-prerouting"
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
			ip4 + " -t raw -D " + drop + " -j SET --add-set ringfence-latest4 src --exist --timeout 86400",
			ip4 + " -t raw -D " + drop + " -m set --match-set ringfence-dropped4 src",
			ip4 + " -t raw -D " + drop + " -j SET --add-set ringfence-log_signature4 src --timeout 60",
			"ipset create x hash:ip maxelem 65535 timeout 0 comment; ipset swap x ringfence-dropped4; ipset destroy x",
			"ipset create x hash:ip maxelem 5 timeout 0 comment; ipset swap x ringfence-latest4; ipset destroy x",
		}
		for _, change := range append(changes, answerChanges(ip4, ip6)...) {
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
		labtest.Report(t, "P4", "each rule, jump, chain and set changed, "+string(f), len(changes)+len(answerChanges(ip4, ip6)), "all seen, all mended")
	})
}

func sorted(text string) []string {
	lines := strings.Split(lettersAside(text), "\n")
	slices.Sort(lines)
	return lines
}

// answerChanges change what looks at answers, and what it learns.
func answerChanges(ip4, ip6 string) []string {
	return []string{
		ip4 + " -t mangle -D POSTROUTING -j RINGFENCE-A-answers; " + ip6 + " -t mangle -D POSTROUTING -j RINGFENCE-A-answers",
		ip6 + " -t mangle -D POSTROUTING -j RINGFENCE-A-answers",
		ip4 + " -t mangle -I POSTROUTING -j ACCEPT; " + ip4 + " -t mangle -I POSTROUTING 2 -j RINGFENCE-A-answers; " + ip4 + " -t mangle -D POSTROUTING -j ACCEPT",
		ip4 + " -t mangle -R RINGFENCE-A-refused4 3 -m set --match-set ringfence-tries4 dst,dst --packets-gt 99 -j SET --add-set ringfence-banned4 dst --exist --timeout 3600",
		ip6 + " -t mangle -D RINGFENCE-A-login6 1",
		ip4 + ` -t mangle -R RINGFENCE-A-answered4 2 -m u32 --u32 "0x0>>0x16&0x3c@0x8=0x5349502f" -g RINGFENCE-A-login4`,
		"ipset create x hash:ip,port maxelem 65535 timeout 0 comment; ipset swap x ringfence-tries4; ipset destroy x",
		"ipset create x hash:ip,port maxelem 65535 timeout 0 comment counters; ipset swap x ringfence-asking4; ipset destroy x",
	}
}
