package cli_test

import (
	"fmt"
	"slices"
	"strings"
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
	before string // commands of ip, nft and tc, one a line
	do     string
	mended func(s *ruleset.State) bool
}

func holds(set, address string) func(*ruleset.State) bool {
	return func(s *ruleset.State) bool {
		return slices.ContainsFunc(s.Sets[set].Elements, func(e ruleset.Element) bool { return e.String() == address })
	}
}

func hasChain(name string) func(*ruleset.State) bool {
	return func(s *ruleset.State) bool { _, has := s.Chains[name]; return has }
}

func reads(link string) func(*ruleset.State) bool {
	return func(s *ruleset.State) bool { return s.Classifier[link] != "" }
}

var eventsOfTheHost = []event{
	{"the ruleset is flushed", "", "nft flush ruleset", hasChain("prerouting")},
	{"the table is deleted", "", "nft delete table inet ringfence", hasChain("prerouting")},
	{"a chain is flushed", "", "nft flush chain inet ringfence prerouting", func(s *ruleset.State) bool { return len(s.Chains["prerouting"].Rules) > 0 }},
	{"an allowed address is deleted", "", "nft delete element inet ringfence providers4 { 203.0.113.5 }", holds("providers4", "203.0.113.5")},
	{"a classifier's qdisc is deleted", "", "tc qdisc del dev eth0 clsact", reads("eth0")},
	{"a link appears", "ip link del ppp0", "ip link add ppp0 type bridge", reads("ppp0")},
	{"a link is made again", "ip link add ppp0 type bridge", "ip link del ppp0\nip link add ppp0 type bridge", reads("ppp0")},
	{"an address appears", "ip address del 203.0.113.9/24 dev eth0", "ip address add 203.0.113.9/24 dev eth0", holds("protected4", "203.0.113.9")},
	{"the gateway changes", "ip route replace default via 203.0.113.5 dev eth0", "ip route replace default via 203.0.113.77 dev eth0", holds("protected4", "203.0.113.77")},
	{"a macvlan on a listed interface", "ip link del mv0", "ip link add link eth0 name mv0 type macvlan", func(s *ruleset.State) bool { return strings.Contains(s.String(), `"mv0"`) }},
	{"another program translates ports", "nft delete table ip theirs", "nft add table ip theirs\nnft add chain ip theirs c { type nat hook prerouting priority -100; }", hasChain("after_dnat")},
}

// run runs commands, one a line; those before an event may fail.
func (e event) run(t *testing.T, h *lab.Namespace, commands string, may bool) {
	t.Helper()
	for line := range strings.SplitSeq(commands, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if words[0] == "nft" {
			words = []string{"nft", strings.Join(words[1:], " ")}
		}
		if out, err := labtest.TryInput(t, h, "", words[0], words[1:]...); err != nil && !may {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
}

// TestEventsAreMended causes each kind of event while the service runs, and logs how long
// it takes until the kernel is as it should be again.
func TestEventsAreMended(t *testing.T) {
	pbx, _ := newPair(t)
	s := newSite(t, pbx, linksPolicy+"interfaces: [eth0, 'ppp*']\nunknown: {action: accept}\n")
	s.must(t, 4, "apply") // there is no ppp0
	r := serve(t, s)
	var table strings.Builder
	rounds := labtest.Count(1, 20)
	for _, e := range eventsOfTheHost {
		var times []time.Duration
		for range rounds {
			e.run(t, pbx, e.before, true)
			r.until(t, "nothing is left to do before "+e.name, func() bool { return s.run(t, "diff", "--offline", "--full").status == 0 })
			start := time.Now()
			e.run(t, pbx, e.do, false)
			r.mended(t, e)
			times = append(times, time.Since(start))
		}
		slices.Sort(times)
		fmt.Fprintf(&table, "%-34s %8.1f ms (median) %8.1f ms (longest)\n", e.name, milliseconds(times[rounds/2]), milliseconds(times[rounds-1]))
	}
	labtest.Report(t, "P16", "what the fence depends on changes, while run runs", rounds*len(eventsOfTheHost), "mended each time")
	t.Logf("from the command that changes the host, the time of which is in it, to the mended kernel, %d times each:\n%s", rounds, table.String())
}

// mended looks at the kernel until an event has been seen to.
func (s *service) mended(t *testing.T, e event) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	var state *ruleset.State
	for deadline := labtest.Deadline(); time.Now().Before(deadline); <-tick.C {
		labtest.In(t, s.site.host, func() (err error) {
			if state, err = (&nft.Kernel{}).Observe(t.Context()); err == nil {
				state.Classifier, err = classifier.Observe()
			}
			return err
		})
		if e.mended(state) {
			return
		}
	}
	t.Fatalf("%s: not mended:\n%s\nthe service said:\n%s", e.name, state, s.log())
}
