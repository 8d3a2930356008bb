package resolve_test

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/ringfence/ringfence/pkg/resolve"
)

// FuzzAnswer feeds any bytes as the answer to all questions, at several lookups:
// nothing may panic, nothing that the filter rejects may come in, and a provider
// may not lose its last address.
func FuzzAnswer(f *testing.F) {
	for _, lines := range [][]string{
		{"sip.example. 300 IN A 192.0.2.1"},
		{"sip.example. 300 IN CNAME a.net.", "a.net. 1 IN A 127.0.0.1"},
		{"sip.example. 300 IN A 192.0.2.99", "sip.example. 300 IN A 10.0.0.1", "sip.example. 300 IN AAAA ::1"},
		{`sip.example. 1 IN NAPTR 1 1 "s" "SIP+D2U" "" a.net.`},
		{"_sip._udp.sip.example. 1 IN SRV 1 1 5060 sip.example."},
	} {
		m := new(dns.Msg)
		m.SetQuestion("sip.example.", dns.TypeA)
		m.Response = true
		for _, line := range lines {
			rr, err := dns.NewRR(line)
			if err != nil {
				f.Fatal(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		packed, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		l := newLearner(t)
		l.memory = resolve.Memory{Names: []resolve.Known{{
			Name: "sip.example", Registrar: true,
			Addresses: []resolve.KnownAddress{{Address: netip.MustParseAddr("192.0.2.99"), Via: "A"}},
		}}}
		lookup := func(context.Context, resolve.Question) (resolve.Answer, error) {
			m := new(dns.Msg)
			if err := m.Unpack(packet); err != nil {
				return resolve.Answer{}, err
			}
			return resolve.Answer{Records: resolve.Records(m.Answer), NoName: m.Rcode == dns.RcodeNameError, Cut: m.Truncated}, nil
		}
		for range 30 {
			l.pass(time.Hour)
			results := resolve.Resolve(t.Context(), lookup, []resolve.Target{registrar})
			results = append(results, resolve.Resolve(t.Context(), lookup, l.memory.Suspicious(results, l.settings))...)
			l.memory = l.memory.Learn(results, l.settings, l.now)
			l.memory.Alarms(l.settings, l.now)
		}
		addresses := l.memory.Addresses(registrar)
		if len(addresses) == 0 {
			t.Error("an answer emptied a provider")
		}
		for _, a := range addresses {
			if why := (resolve.AddressFilter{}).Reject(a.Address); why != "" {
				t.Errorf("%s came in although it %s", a.Address, why)
			}
		}
	})
}

// FuzzLearn runs a history of answers: each byte is what name servers say about
// an hour later, or what becomes of the clock. Whatever it is, no address leaves
// within hold of running after it was seen last, none that is made up comes in,
// and the last one stays.
func FuzzLearn(f *testing.F) {
	f.Add([]byte("\x03\x01\x01\x01\x02\x02"))
	f.Add([]byte{7, 0x40, 0x41, 1, 2, 4, 0x80, 0x90, 0xa0, 0xb0, 7, 7})
	f.Fuzz(func(t *testing.T, history []byte) {
		l := newLearner(t)
		seen := map[string]time.Duration{} // in running time
		running := time.Duration(0)
		gap := map[string]bool{} // whether the host was off since
		for _, b := range history[:min(len(history), 200)] {
			switch b >> 6 {
			case 1:
				l.wall(time.Duration(int8(b<<2)) * day)
				continue
			case 2:
				l.boot(string('a'+rune(b&31)), time.Duration(b&31)*day)
				for a := range seen {
					gap[a] = true
				}
				continue
			}
			before := l.memory.Addresses(registrar)
			zone := zoneOf(b)
			l.ask(time.Hour, zone, zoneOf(b>>3))
			running += time.Hour
			after := l.memory.Addresses(registrar)
			for _, a := range after {
				if a.LastSeen.Equal(l.now.Time) {
					seen[a.Address.String()], gap[a.Address.String()] = running, false
				}
				if !slices.Contains([]string{"192.0.2.0", "192.0.2.1", "192.0.2.2", "2001:db8::1"}, a.Address.String()) {
					t.Fatalf("%s came in", a.Address)
				}
			}
			for _, a := range before {
				stays := slices.ContainsFunc(after, func(o resolve.KnownAddress) bool { return o.Address == a.Address })
				least := hold
				if gap[a.Address.String()] {
					least = 2 * time.Hour
				}
				if unseen := running - seen[a.Address.String()]; !stays && unseen < least {
					t.Fatalf("%s left %s after it was seen", a.Address, unseen)
				}
			}
			if len(before) > 0 && len(after) == 0 {
				t.Fatal("the last address left")
			}
		}
	})
}

// zoneOf is a zone out of six bits.
func zoneOf(b byte) string {
	if b&32 != 0 {
		return "sip.example A !servfail\nsip.example AAAA !timeout"
	}
	zone := "sip.example TXT x\nsip.example A 127.0.0.1\n"
	for i, line := range []string{"sip.example A 192.0.2.0\n", "sip.example A 192.0.2.1\n", "_sip._udp.sip.example SRV 10 a.net.\na.net A 192.0.2.2\n", "sip.example AAAA 2001:db8::1\n", "_sip._tcp.sip.example SRV 10 a.net.\n"} {
		if b&(1<<i) != 0 {
			zone += line
		}
	}
	return zone
}
