package cli_test

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// TestClassifierIsKept: what another program takes away is seen and put back,
// new interfaces are watched, another policy is another program, and after down
// nothing is left of it, while what others have there stays.
func TestClassifierIsKept(t *testing.T) {
	t.Parallel()
	h, other := labtest.Host(t, "pbx"), labtest.Host(t, "other")
	labtest.Link(t, lab.End{Host: h, Interface: "eth0", Addresses: []string{"192.0.2.1/24"}}, lab.End{Host: other, Interface: "eth0"})
	labtest.Run(t, h, "tc", "qdisc", "add", "dev", "lo", "clsact")
	labtest.Run(t, h, "ip", "link", "add", "wg9", "type", "bridge")
	labtest.Run(t, h, "ip", "link", "add", "foreign", "type", "bridge")
	labtest.Run(t, h, "tc", "qdisc", "add", "dev", "foreign", "clsact")
	labtest.Run(t, h, "tc", "filter", "add", "dev", "foreign", "ingress", "pref", "7", "handle", "7", "bpf", "da", "bytecode", "1,6 0 0 4294967295")
	filters := func(link string) string { return labtest.Run(t, h, "tc", "filter", "show", "dev", link, "ingress") }
	s := newSite(t, h, strings.Replace(openPolicy, "[eth0]", "[eth0, 'wg*', foreign]", 1))
	s.must(t, 0, "apply")
	first := filters("eth0")
	for _, link := range []string{"eth0", "foreign"} {
		if !strings.Contains(filters(link), "ringfence:") {
			t.Fatalf("no classifier on %s: %s", link, filters(link))
		}
	}
	for _, command := range [][]string{{"apply"}, {"refresh"}, {"diff"}, {"diff", "--full"}, {"up"}} {
		if r := s.plan(t, 0, command...); r.Changed {
			t.Errorf("%s with nothing to do: %+v", command, r)
		}
	}
	labtest.Run(t, h, "tc", "qdisc", "del", "dev", "eth0", "clsact")
	r := s.plan(t, 2, "diff")
	if len(r.Changes) != 1 || r.Changes[0].Kind != "classifier" || r.Changes[0].Action != "add" || r.Changes[0].Name != "eth0" || !strings.HasPrefix(r.Changes[0].Value, "ringfence:") {
		t.Errorf("a classifier that was taken away is %+v", r.Changes)
	}
	if !s.recognised(t).Drift {
		t.Error("a classifier that was taken away is no drift")
	}
	s.must(t, 0, "refresh")
	if !strings.Contains(filters("eth0"), "ringfence:") {
		t.Error("refresh did not put the classifier back")
	}
	labtest.Run(t, h, "ip", "link", "add", "wg0", "type", "bridge")
	s.must(t, 0, "refresh")
	if !strings.Contains(filters("wg0"), "ringfence:") {
		t.Error("a new interface is not watched")
	}
	labtest.Run(t, h, "ip", "link", "del", "wg0")
	if r := s.plan(t, 0, "refresh"); r.Changed {
		t.Errorf("an interface that has gone is a change: %+v", r.Changes)
	}
	s.write(t, openPolicy+"signatures: {except: [sipsak]}\n")
	s.must(t, 0, "apply")
	if second := filters("eth0"); second == first || strings.Count(second, "ringfence:") != 1 {
		t.Errorf("another policy has the same program:\n%s", second)
	}
	if strings.Contains(filters("foreign"), "ringfence:") {
		t.Error("an interface that is not fenced any more is still watched")
	}
	s.must(t, 0, "rollback")
	if again := filters("eth0"); !strings.Contains(again, first[strings.Index(first, "ringfence:"):][:26]) {
		t.Errorf("rollback has another program than there was:\n%s\n%s", first, again)
	}
	labtest.Run(t, h, "nft", "flush", "ruleset")
	s.must(t, 0, "up")
	s.must(t, 0, "down")
	for _, link := range []string{"eth0", "lo", "foreign"} {
		if strings.Contains(filters(link), "ringfence:") {
			t.Errorf("after down there is a classifier on %s", link)
		}
	}
	if qdisc := labtest.Run(t, h, "tc", "qdisc", "show", "dev", "eth0"); strings.Contains(qdisc, "clsact") {
		t.Errorf("after down there is left %s", qdisc)
	}
	if !strings.Contains(labtest.Run(t, h, "tc", "qdisc", "show", "dev", "lo"), "clsact") || !strings.Contains(filters("foreign"), "bytecode") {
		t.Error("what others had there is gone")
	}
}

// TestForeignFilter: another program's filter in ringfence's place is not overwritten;
// the fence works without the classifier, unless the policy needs it.
func TestForeignFilter(t *testing.T) {
	t.Parallel()
	h, other := labtest.Host(t, "pbx"), labtest.Host(t, "other")
	labtest.Link(t, lab.End{Host: h, Interface: "eth0"}, lab.End{Host: other, Interface: "eth0"})
	labtest.Run(t, h, "tc", "qdisc", "add", "dev", "eth0", "clsact")
	labtest.Run(t, h, "tc", "filter", "add", "dev", "eth0", "ingress", "pref", "5", "handle", "0x5060", "bpf", "da", "bytecode", "1,6 0 0 4294967295")
	theirs := labtest.Run(t, h, "tc", "filter", "show", "dev", "eth0", "ingress")
	s := newSite(t, h, openPolicy+"signatures: {engine: bpf}\n")
	reportsClearly(t, s.run(t, "apply"), 1, []string{"ringfence: error: attach the classifier: ", "another program's filter is attached there"})
	if rules := s.ruleset(t); rules != "" {
		t.Errorf("an apply that failed left\n%s", rules)
	}
	s.write(t, openPolicy)
	o := s.must(t, 0, "apply")
	if !strings.Contains(o.stderr, "scanners are not recognised: another program's filter is attached there") || strings.Contains(s.ruleset(t), "0x01000000") {
		t.Errorf("apply says\n%s", o.stderr)
	}
	if now := labtest.Run(t, h, "tc", "filter", "show", "dev", "eth0", "ingress"); now != theirs {
		t.Errorf("the other program's filter is now\n%s", now)
	}
	if v := s.recognised(t); v.Engine != "off" || v.Drift || !strings.Contains(v.Why, "another program's filter is attached there") {
		t.Errorf("status says %+v", v)
	}
	// On another interface scanners are recognised all the same, and nothing is
	// left to do.
	labtest.Run(t, h, "ip", "link", "add", "eth1", "type", "bridge")
	s.write(t, strings.Replace(openPolicy, "[eth0]", "[eth0, eth1]", 1))
	if o := s.must(t, 0, "apply"); !strings.Contains(o.stderr, "scanners that come in on eth0 are not recognised: another program's filter is attached there") {
		t.Errorf("apply says\n%s", o.stderr)
	}
	if v := s.recognised(t); v.Engine != "bpf" || v.Drift || !strings.Contains(v.Why, "signatures on eth1; none on eth0: another program's filter is attached there") {
		t.Errorf("status says %+v", v)
	}
	if r := s.plan(t, 0, "refresh"); r.Changed {
		t.Errorf("refresh finds %+v", r.Changes)
	}
	labtest.Run(t, h, "tc", "filter", "del", "dev", "eth0", "ingress", "pref", "5")
	s.must(t, 0, "refresh")
	if v := s.recognised(t); v.Drift || !strings.HasSuffix(v.Why, "signatures on eth0, eth1") {
		t.Errorf("after the other program has gone, status says %+v", v)
	}
}

// TestWatchedInterfaces: where unknown phones may call, scanners are recognised on
// every interface that is fenced, also if it does not lead to a default route;
// where they may not, only on those that lead outside.
func TestWatchedInterfaces(t *testing.T) {
	t.Parallel()
	h, other := labtest.Host(t, "pbx"), labtest.Host(t, "other")
	labtest.Link(t, lab.End{Host: h, Interface: "eth0", Addresses: []string{"192.0.2.1/24"}}, lab.End{Host: other, Interface: "eth0"})
	labtest.Run(t, h, "ip", "route", "add", "default", "via", "192.0.2.2")
	labtest.Run(t, h, "ip", "link", "add", "br0", "type", "bridge")
	labtest.Run(t, h, "ip", "link", "add", "port", "type", "veth", "peer", "name", "eth1")
	labtest.Run(t, h, "ip", "link", "set", "port", "master", "br0")
	filterBridges(t, h, "0")
	everywhere := strings.Replace(openPolicy, "interfaces: [eth0]\n", "", 1)
	s := newSite(t, h, everywhere)
	s.must(t, 0, "apply")
	if v := s.recognised(t); !strings.HasSuffix(v.Why, "signatures on br0, eth0, eth1") {
		t.Errorf("where unknown phones may call, there are %s", v.Why)
	}
	// With br_netfilter rules see what comes in by a port before the bridge has it.
	labtest.Must(t, h.Set("bridge/bridge-nf-call-iptables", "1"))
	s.must(t, 0, "refresh")
	if v := s.recognised(t); !strings.HasSuffix(v.Why, "signatures on eth0, eth1, port") {
		t.Errorf("with br_netfilter there are %s", v.Why)
	}
	labtest.Must(t, h.Set("bridge/bridge-nf-call-iptables", "0"))
	s.write(t, strings.Replace(everywhere, "unknown: {action: accept}\n", "", 1))
	s.must(t, 0, "apply", "--allow-cut-inside")
	if v := s.recognised(t); !strings.HasSuffix(v.Why, "signatures on eth0") {
		t.Errorf("where they may not, there are %s", v.Why)
	}
}

// TestWithoutCapabilities: with CAP_NET_ADMIN alone there is a fence, and status says why
// no scanner is recognised; a policy that needs the classifier is refused.
func TestWithoutCapabilities(t *testing.T) {
	t.Parallel()
	h, other := labtest.Host(t, "pbx"), labtest.Host(t, "other")
	labtest.Link(t, lab.End{Host: h, Interface: "eth0"}, lab.End{Host: other, Interface: "eth0"})
	s := newSite(t, h, openPolicy)
	limited := func(args ...string) outcome {
		t.Helper()
		cmd := s.command(t, args...)
		// Root without all but one capability.
		cmd.Args = append([]string{"setpriv", "--bounding-set", "-all,+net_admin", "--inh-caps", "-all,+net_admin"}, append([]string{cmd.Path}, cmd.Args[1:]...)...)
		cmd.Path, _ = exec.LookPath("setpriv")
		cmd.SysProcAttr = &syscall.SysProcAttr{}
		return s.start(t, cmd)
	}
	if o := limited("apply"); o.status != 0 || !strings.Contains(o.stderr, "scanners are not recognised: the kernel does not let this process use eBPF") {
		t.Fatalf("apply: exit status %d\n%s", o.status, o.stderr)
	}
	if o := limited("status"); o.status != 0 || !strings.Contains(o.stdout, "off: the kernel does not let this process use eBPF: run as root, or give it CAP_BPF, CAP_PERFMON\n") {
		t.Errorf("status: exit status %d\n%s%s", o.status, o.stdout, o.stderr)
	}
	s.write(t, openPolicy+"signatures: {engine: bpf}\n")
	reportsClearly(t, limited("apply"), 1, []string{"signatures.engine is bpf, and scanners cannot be recognised here", "hint: correct that, or write signatures.engine: auto"})
	s.write(t, strings.Replace(openPolicy, "action: accept", "action: accept, require_user_agent: [Yealink]", 1))
	reportsClearly(t, limited("apply"), 1, []string{"unknown.require_user_agent needs the classifier"})
	s.must(t, 0, "apply")
	// What is attached stays, also if a user without rights runs refresh.
	before := s.ruleset(t)
	if o := limited("refresh"); o.status != 0 || o.stderr != "" || !strings.Contains(o.stdout, "othing to do") {
		t.Errorf("refresh: exit status %d\n%s%s", o.status, o.stdout, o.stderr)
	}
	if o := limited("status"); !strings.Contains(o.stdout, "signatures on eth0\n") || !strings.Contains(o.stdout, "drift       none") {
		t.Errorf("status says\n%s", o.stdout)
	}
	if o := limited("diff"); o.status != 0 || s.ruleset(t) != before {
		t.Errorf("diff: exit status %d\n%s%s", o.status, o.stdout, o.stderr)
	}
	// Once it is gone, and cannot be put back, no packet passes whose User-Agent was not
	// read.
	labtest.Run(t, h, "tc", "qdisc", "del", "dev", "eth0", "clsact")
	if o := limited("refresh"); o.status != 4 || !strings.Contains(o.stderr, "unknown phones are dropped, because the classifier does not read their User-Agent") ||
		!strings.Contains(o.stderr, "alarm: eth0: no User-Agent is read there any more") {
		t.Errorf("refresh: exit status %d\n%s%s", o.status, o.stdout, o.stderr)
	}
	if !strings.Contains(s.ruleset(t), `counter name "dropped_user_agent" drop`) {
		t.Errorf("unknown phones pass:\n%s", s.ruleset(t))
	}
	// What cannot be put onto a new interface stays on the others.
	s.write(t, strings.Replace(openPolicy, "[eth0]", "[eth0, eth1]", 1))
	s.must(t, 4, "apply") // there is no eth1 yet
	labtest.Run(t, h, "ip", "link", "add", "eth1", "type", "bridge")
	if o := limited("refresh"); o.status != 0 || !strings.Contains(o.stderr, "CAP_BPF, CAP_PERFMON; the classifier stays as it is, on eth0\n") {
		t.Errorf("refresh: exit status %d\n%s%s", o.status, o.stdout, o.stderr)
	}
	if o := limited("status"); !strings.Contains(o.stdout, "signatures on eth0\n") {
		t.Errorf("status says\n%s", o.stdout)
	}
	s.must(t, 0, "refresh")
	if v := s.recognised(t); !strings.HasSuffix(v.Why, "signatures on eth0, eth1") {
		t.Errorf("root's refresh leaves %s", v.Why)
	}
	// Nor does it leave the others when it is one of them that changes.
	s.write(t, strings.Replace(openPolicy, "interfaces: [eth0]\n", "", 1))
	s.must(t, 0, "apply")
	labtest.Run(t, h, "ip", "link", "add", "br0", "type", "bridge")
	labtest.Run(t, h, "ip", "link", "add", "port", "type", "veth", "peer", "name", "far")
	s.must(t, 0, "refresh")
	labtest.Run(t, h, "ip", "link", "set", "port", "master", "br0")
	if o := limited("refresh"); o.status != 0 || strings.Contains(o.stderr, "without it") {
		t.Errorf("refresh: exit status %d\n%s%s", o.status, o.stdout, o.stderr)
	}
	if v := s.recognised(t); !strings.Contains(v.Why, "signatures on br0, eth0, eth1, far, port") {
		t.Errorf("a limited refresh leaves %s", v.Why)
	}
	// A rollback is not said to be in force while the signatures of another generation
	// ban.
	s.write(t, openPolicy)
	s.must(t, 0, "apply")
	s.write(t, openPolicy+"signatures: {deny: [{name: mistake, header: user-agent, contains: Yealink SIP}]}\n")
	s.must(t, 0, "apply")
	if o := limited("rollback"); o.status != 0 || !strings.Contains(o.stderr, "the fence works without it") {
		t.Errorf("rollback: exit status %d\n%s%s", o.status, o.stdout, o.stderr)
	}
	if v := s.recognised(t); v.Why != "the classifier is not attached to any interface" {
		t.Errorf("a limited rollback leaves %s", v.Why)
	}
	s.write(t, openPolicy+"signatures: {engine: off}\n")
	s.must(t, 0, "apply")
	if v := s.recognised(t); v.Engine != "off" || v.Why != "the policy switches it off" || strings.Contains(s.ruleset(t), "mark") {
		t.Errorf("an engine that is off is %+v", v)
	}
}

// TestUpWithoutItsPolicy: rules whose policy this version cannot read keep the classifier
// that is attached; without one, no packet passes whose User-Agent was not read.
func TestUpWithoutItsPolicy(t *testing.T) {
	t.Parallel()
	h := labtest.Host(t, "pbx")
	labtest.Run(t, h, "ip", "link", "add", "eth0", "type", "bridge")
	s := newSite(t, h, strings.Replace(openPolicy, "action: accept", "action: accept, require_user_agent: [Yealink]", 1))
	s.must(t, 0, "apply")
	j := journal.Journal{Folder: s.state()}
	newest, err := j.Newest()
	labtest.Must(t, err)
	newest.Policy += "later: version\n"
	pending, err := j.Begin(newest)
	labtest.Must(t, err)
	labtest.Must(t, pending.Finish())
	filters := func() string { return labtest.Run(t, h, "tc", "filter", "show", "dev", "eth0", "ingress") }
	before := filters()
	if o := s.must(t, 0, "up"); !strings.Contains(o.stderr, "putting up the rules as they were compiled") || filters() != before {
		t.Errorf("up says\n%s%s\nand leaves %q", o.stdout, o.stderr, filters())
	}
	if !strings.Contains(s.ruleset(t), `0x03000000 goto drop_user_agent4`) {
		t.Errorf("the rules are\n%s", s.ruleset(t))
	}
	labtest.Run(t, h, "tc", "qdisc", "del", "dev", "eth0", "clsact")
	if o := s.must(t, 0, "up"); !strings.Contains(o.stderr, "unknown phones are dropped, because the classifier does not read their User-Agent") {
		t.Errorf("up says\n%s%s", o.stdout, o.stderr)
	}
	if rules := s.ruleset(t); strings.Contains(rules, "0x03000000") || !strings.Contains(rules, `counter name "dropped_user_agent" drop`) {
		t.Errorf("the rules are\n%s", rules)
	}
}
