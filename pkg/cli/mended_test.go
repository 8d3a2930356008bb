package cli_test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/classifier"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/nft"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// event is something that the fence depends on, with what shows that the service has seen
// to it.
type event struct {
	name   string
	before string // a script of sh; $S is the site's folder, $ETC its /etc, $N a number from 100
	do     string
	// mended is how the kernel is as it should be; said is the alarm instead, where the
	// service cannot mend it.
	mended func(s *ruleset.State, n int) bool
	said   string
	// scanned says that a stranger sends a scan behind it: time counts from there.
	scanned bool
	// restarted says that the service is a new one each time: names that are asked for
	// because of a change are not asked for as often as one likes.
	restarted bool
}

func holds(set, address string) func(*ruleset.State, int) bool {
	return func(s *ruleset.State, n int) bool {
		address := strings.ReplaceAll(address, "$N", strconv.Itoa(n))
		return slices.ContainsFunc(s.Sets[set].Elements, func(e ruleset.Element) bool { return e.String() == address })
	}
}

func hasChain(name string) func(*ruleset.State, int) bool {
	return func(s *ruleset.State, _ int) bool { _, has := s.Chains[name]; return has }
}

func reads(link string) func(*ruleset.State, int) bool {
	return func(s *ruleset.State, _ int) bool { return s.Classifier[link] != "" }
}

// eventsOf is a policy with what happens to a host that has it.
type eventsOf struct {
	name   string
	policy string
	events []event
}

const (
	// dialled is a link that leads outside where the policy names none.
	dialled = "ip link add ppp0 type bridge; ip address add 198.51.100.1/24 dev ppp0; ip link set ppp0 up; ip route replace default dev ppp0 metric 50"
	second  = "ip link add tun0 type bridge; ip link set tun0 up; ip address add 198.51.100.2/24 dev tun0"
)

var eventsOfTheHost = []eventsOf{
	{"listed interfaces", "interfaces: [eth0, wan0, 'ppp*']\nunknown: {action: accept}\n", []event{
		{name: "the ruleset is flushed", do: "nft flush ruleset", mended: hasChain("prerouting")},
		{name: "the table is deleted", do: "nft delete table inet ringfence", mended: hasChain("prerouting")},
		{name: "a chain is flushed", do: "nft flush chain inet ringfence prerouting", mended: func(s *ruleset.State, _ int) bool { return len(s.Chains["prerouting"].Rules) > 0 }},
		{name: "an allowed address is deleted", do: "nft delete element inet ringfence providers4 '{ 203.0.113.5 }'", mended: holds("providers4", "203.0.113.5")},
		{name: "a link appears", before: "ip link del ppp0", do: "ip link add ppp0 type bridge", mended: reads("ppp0")},
		{name: "a link is made again", before: "ip link add ppp0 type bridge", do: "ip link del ppp0; ip link add ppp0 type bridge", mended: reads("ppp0")},
		{name: "a link gets a listed name", before: "ip link del ppp7; ip link add dial0 type bridge", do: "ip link set dial0 name ppp7", mended: reads("ppp7")},
		{name: "a listed link is renamed", before: "ip link set wan1 name wan0 || ip link add wan0 type bridge", do: "ip link set wan0 name wan1", said: "interface-absent: wan0"},
		{name: "a macvlan on a listed interface", before: "ip link del mv0", do: "ip link add link eth0 name mv0 type macvlan", mended: func(s *ruleset.State, _ int) bool { return strings.Contains(s.String(), `"mv0"`) }},
		{name: "a default route by another link", before: "ip route del default; " + second, do: "ip route add default dev tun0", said: "outside-unfenced: tun0"},
		{name: "a classifier's clsact is taken along", do: "tc qdisc del dev eth0 clsact", mended: reads("eth0")},
		{name: "a shaper puts its own in the place of it", before: "tc qdisc del dev eth0 ingress", do: `printf "qdisc del dev eth0 clsact\nqdisc add dev eth0 ingress\n" | tc -batch -`, mended: reads("eth0")},
		{name: "a tc filter before ours, and a scan", before: "tc filter del dev eth0 ingress pref 1; ringfence down; ringfence up", do: `tc filter add dev eth0 ingress pref 1 bpf da bytecode "1,6 0 0 0"`, said: "unseen: eth0", scanned: true},
		{name: "another program translates ports", before: "nft delete table ip theirs", do: "nft 'table ip theirs { chain c { type nat hook prerouting priority -100; }; }'", mended: hasChain("after_dnat")},
		{name: "the last of such rules goes", before: "nft 'table ip theirs { chain c { type nat hook prerouting priority -100; }; }'", do: "nft delete table ip theirs", mended: func(s *ruleset.State, n int) bool { return !hasChain("after_dnat")(s, n) }},
		{name: "the policy file is changed", before: "sed -i '/# more/d' $S/policy.yaml", do: "echo '# more' >> $S/policy.yaml", said: "policy-changed: POLICY"},
		{name: "the journal is put back from a copy", before: "ringfence apply --policy $S/other.yaml; rm -rf $S/copy $S/old; cp -a $S/state/journal $S/copy; ringfence apply", do: "mv $S/state/journal $S/old; until mv -T $S/copy $S/state/journal; do rm -rf $S/state/journal; done", mended: holds("trusted4", "192.0.2.1")},
	}},
	{"every interface", "unknown: {action: accept}\n", []event{
		{name: "an uplink is dialled again", before: "ip link del ppp0; " + dialled, do: "ip link del ppp0; " + dialled, mended: reads("ppp0")},
		{name: "an address appears", before: "ip address del 203.0.113.9/24 dev eth0", do: "ip address add 203.0.113.9/24 dev eth0", mended: holds("protected4", "203.0.113.9")},
		{name: "the gateway changes", before: "ip route replace default via 203.0.113.5 dev eth0", do: "ip route replace default via 203.0.113.77 dev eth0", mended: holds("protected4", "203.0.113.77")},
		{name: "a rule leads to another uplink", before: "ip rule del table 100; " + second + "; ip route replace default dev tun0 table 100", do: "ip rule add from 192.0.2.0/24 table 100", mended: reads("tun0")},
	}},
	{"a name", "trusted: {hosts: [office.example.org]}\n", []event{
		{name: "resolv.conf names another server", before: "echo nameserver 203.0.113.66 > $ETC/resolv.conf", do: "echo nameserver 203.0.113.67 > $ETC/resolv.conf", mended: holds("protected4", "203.0.113.67")},
		{name: "hosts has another address", do: "echo 203.0.113.$N office.example.org > $ETC/hosts", mended: holds("trusted4", "203.0.113.$N"), restarted: true},
	}},
}

// TestEventsAreMended causes each kind of event while the service runs, and logs how long
// it takes until the kernel is as it should be again, or the alarm stands.
func TestEventsAreMended(t *testing.T) {
	labtest.Parallel(t)
	for _, of := range eventsOfTheHost {
		t.Run(of.name, func(t *testing.T) {
			labtest.Parallel(t)
			of.time(t)
		})
	}
}

func (of eventsOf) time(t *testing.T) {
	t.Helper()
	pbx, outside := newPair(t)
	s := newSite(t, pbx, linksPolicy+of.policy)
	s.mustBeTold()
	etc := ownEtc(t, s)
	labtest.Must(t, os.WriteFile(filepath.Join(s.folder, "other.yaml"), []byte(linksPolicy+of.policy+"trusted: {addresses: [192.0.2.1]}\n"), 0o644))
	labtest.Must(t, os.WriteFile(filepath.Join(etc, "resolv.conf"), []byte("nameserver 203.0.113.66\n"), 0o644))
	answer(t, outside, "203.0.113.66", "203.0.113.67")
	s.run(t, "apply") // there is no ppp0
	r := serve(t, s)
	var table strings.Builder
	rounds := labtest.Count(1, 20)
	for _, e := range of.events {
		var times []time.Duration
		for i := range rounds {
			if e.restarted {
				r.end(t)
				r = serve(t, s)
			}
			times = append(times, e.time(t, r, outside, etc, 100+i))
		}
		slices.Sort(times)
		fmt.Fprintf(&table, "%-42s %7.1f ms %7.1f ms\n", e.name, milliseconds(times[rounds/2]), milliseconds(times[rounds-1]))
	}
	r.end(t)
	labtest.Report(t, "P16", "what the fence depends on changes, while run runs", rounds*len(of.events), "mended each time, or an alarm")
	t.Logf("from the start of the command that changes the host to the mended kernel or the alarm, median and longest of %d:\n%s", rounds, table.String())
}

// answer runs a name server at each of the addresses.
func answer(t *testing.T, h *lab.Namespace, addresses ...string) {
	t.Helper()
	zone, err := lab.NewZone("$ORIGIN example.org.\n$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 203.0.113.66\noffice A 203.0.113.75\n")
	labtest.Must(t, err)
	for _, a := range addresses {
		server, err := h.ServeNames(a+":53", zone)
		labtest.Must(t, err)
		t.Cleanup(func() { server.Close() })
	}
}

// time causes an event, and measures until the service has seen to it.
func (e event) time(t *testing.T, r *service, outside *lab.Namespace, etc string, n int) time.Duration {
	t.Helper()
	s := r.site
	about := fmt.Sprintf("about=%q ", strings.ReplaceAll(e.said, "POLICY", s.policyFile()))
	raised := func() int { return strings.Count(r.log(), "msg=alarm "+about) }
	script := func(text string) string {
		return "ringfence() { " + s.program + " --policy $S/policy.yaml --state-dir $S/state --run-dir $S/run \"$@\"; }; S=" + s.folder + " ETC=" + etc + " N=" + strconv.Itoa(n) + "; " + text
	}
	labtest.TryInput(t, s.host, "", "sh", "-c", script(e.before)) // a part of it may be so already
	r.until(t, "nothing is left to do before "+e.name, func() bool {
		return s.run(t, "diff", "--offline", "--full").status == 0 && strings.Count(r.log(), "msg=over "+about) == raised()
	})
	was, start := raised(), time.Now()
	if out, err := labtest.TryInput(t, s.host, "", "sh", "-ec", script(e.do)); err != nil {
		t.Fatalf("%s: %v\n%s", e.name, err, out)
	}
	if e.scanned {
		start = time.Now()
		ask(t, outside, "203.0.113.66", "203.0.113.1", "OPTIONS", "friendly-scanner")
	}
	if e.mended != nil {
		r.mended(t, e, n)
	} else {
		poll(t, e.name+" is an alarm", func() bool { return raised() > was }, r)
	}
	return time.Since(start)
}

// mended looks at the kernel until an event has been seen to.
func (s *service) mended(t *testing.T, e event, n int) {
	t.Helper()
	poll(t, e.name+" is mended", func() bool {
		var state *ruleset.State
		labtest.In(t, s.site.host, func() (err error) {
			if state, err = (&nft.Kernel{}).Observe(t.Context()); err == nil {
				state.Classifier, err = classifier.Observe()
			}
			return err
		})
		return e.mended(state, n)
	}, s)
}

// poll looks each millisecond whether something is so.
func poll(t *testing.T, what string, so func() bool, s *service) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := labtest.Deadline(); time.Now().Before(deadline); <-tick.C {
		if so() {
			return
		}
	}
	t.Fatalf("not so: %s:\n%s\nthe service said:\n%s", what, fence(t, s.site), s.log())
}

// seenAfter is how long the service took to see changes.
type seenAfter struct {
	mu   sync.Mutex
	list []timed
}

type timed struct {
	what string
	took time.Duration
}

func (s *seenAfter) add(what string, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, timed{what, time.Since(since)})
}

func (s *seenAfter) slowest(most int) string {
	slices.SortFunc(s.list, func(a, b timed) int { return cmp.Compare(b.took, a.took) })
	var b strings.Builder
	for _, one := range s.list[:min(most, len(s.list))] {
		fmt.Fprintf(&b, "%8.0f ms  %s\n", milliseconds(one.took), one.what)
	}
	return b.String()
}
