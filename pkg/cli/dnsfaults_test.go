package cli_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// dnsFault is a way in which a name server fails.
type dnsFault struct {
	name   string
	fault  labtest.Fault
	slow   bool // each round takes seconds
	brief  bool // after three days it would not be a fault but what the provider wants
	status int
	// failure is what refresh says of it.
	failure string
	// alarms stand after the first round, later those after three rounds over an
	// hour.
	alarms, later []string
}

var dnsFaults = []dnsFault{
	{name: "SERVFAIL", fault: labtest.ServFail, status: 4, failure: "127.0.0.1:53 answers SERVFAIL (and 7 questions more about sip.acme.example)"},
	{name: "REFUSED", fault: labtest.Refused, status: 4, failure: "127.0.0.1:53 answers REFUSED"},
	{name: "timeout", fault: labtest.Silent, slow: true, status: 4, failure: "127.0.0.1:53 does not answer"},
	{name: "empty", fault: labtest.Empty, status: 4, failure: "it has no A record any more", later: []string{
		"gone _sip._tcp.sip.acme.example SRV", "gone _sip._udp.sip.acme.example SRV", "gone sip.acme.example A", "gone sip.acme.example NAPTR",
	}},
	{name: "NXDOMAIN", fault: labtest.NoName, status: 4, failure: "the name does not exist any more", later: []string{
		"gone _sip._tcp.sip.acme.example SRV", "gone _sip._udp.sip.acme.example SRV", "gone sip.acme.example A", "gone sip.acme.example NAPTR",
	}},
	{name: "A fails, AAAA works", fault: labtest.Only(dns.TypeA, labtest.ServFail), status: 4, failure: "sip.acme.example A: 127.0.0.1:53 answers SERVFAIL (and 2 questions more about sip.acme.example)"},
	{name: "AAAA fails, A works", fault: labtest.Only(dns.TypeAAAA, labtest.ServFail), status: 4, failure: "sip.acme.example AAAA: 127.0.0.1:53 answers SERVFAIL (and 2 questions more about sip.acme.example)"},
	{name: "truncated, and TCP hangs up", fault: labtest.Truncated, status: 4, failure: "does not fit into UDP, and TCP failed"},
	{name: "a circle of aliases", fault: labtest.Alias, status: 4, failure: "more than 8 aliases"},
	{name: "nine aliases", fault: labtest.Aliases(9, "198.18.6.6"), status: 4, failure: "more than 8 aliases, the last to alias8.example"},
	{name: "wrong owner", fault: labtest.WrongOwner, status: 4, failure: "the answer is about evil.example instead"},
	{name: "wrong number", fault: labtest.WrongID, slow: true, status: 4, failure: "127.0.0.1:53 does not answer"},
	{name: "another question", fault: labtest.OtherQuestion, status: 4, failure: "127.0.0.1:53 answers another question"},
	{name: "bogons", fault: labtest.Bogons, status: 4, failure: "10.0.0.1 is a private address; to allow it, add it to addresses in the policy", alarms: []string{
		"rejected _sip._tcp.sip.acme.example SRV", "rejected _sip._udp.sip.acme.example SRV",
		"rejected edge.net.example A", "rejected edge.net.example AAAA", "rejected edge2.net.example A",
		"rejected sip.acme.example A",
	}},
	{name: "5,000 addresses", fault: labtest.Many(5000), status: 4, failure: " records, more than 64, so it is not used", alarms: []string{
		"large edge.net.example A", "large edge.net.example AAAA", "large edge2.net.example A", "large sip.acme.example A",
	}},
	{name: "TTL 0", fault: labtest.TTL(0)},
	{name: "TTL 2^31", fault: labtest.TTL(1 << 31)},
	{name: "flapping pool", fault: labtest.Flapping(2)},
	{name: "SRV to nowhere", fault: labtest.NoService, brief: true},
	{name: "SRV to an alias", fault: labtest.SRVToAlias},
	{name: "NAPTR in a circle", fault: labtest.NAPTRLoop},
	{name: "garbage", fault: labtest.Garbage, status: 4, failure: "127.0.0.1:53: "},
	{name: "half an answer", fault: labtest.Half, status: 4, failure: "127.0.0.1:53: "},
}

// TestDNSFaults runs some refreshes under each fault: no good address is removed, no bad
// one is added, the user reads what is wrong, and after the fault nothing is wrong any
// more.
func TestDNSFaults(t *testing.T) {
	t.Parallel()
	var refreshes atomic.Int64
	t.Cleanup(func() {
		labtest.Report(t, "P6", fmt.Sprintf("refreshes with %d kinds of DNS faults", len(dnsFaults)), int(refreshes.Load()), "0 good addresses removed, 0 bad ones added")
	})
	for _, f := range dnsFaults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			p := newPatient(t, "127.0.0.1")
			p.must(t, 0, "apply")
			p.intact(t, "apply")
			p.names.To(f.fault(p.honest))
			rounds := labtest.Count(3, 200)
			if f.slow {
				rounds = labtest.Count(1, 200)
			}
			for i := range rounds {
				o := p.must(t, f.status, "refresh", "-v")
				p.intact(t, fmt.Sprintf("refresh %d", i+1))
				refreshes.Add(1)
				if !strings.Contains(o.stderr, f.failure) {
					t.Fatalf("refresh does not say %q:\n%s", f.failure, o.stderr)
				}
				if o.stdout != "Generation 1, 1 name with 21 addresses: nothing to do.\n" {
					t.Errorf("refresh says %q", o.stdout)
				}
				want := f.alarms
				if i >= 2 {
					want = slices.Concat(f.alarms, f.later)
				}
				if diff := cmp.Diff(append([]string{}, want...), p.alarms(t)); diff != "" {
					t.Fatalf("after %d rounds: %s", i+1, diff)
				}
				if !f.brief {
					p.earlier(t, 30*time.Minute)
				}
			}
			p.names.To(p.honest)
			p.must(t, 0, "refresh")
			p.intact(t, "the end of the fault")
			if alarms := p.alarms(t); len(alarms) > 0 {
				t.Errorf("after the end of the fault: %v", alarms)
			}
		})
	}
}
