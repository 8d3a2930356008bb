package labtest

import (
	"fmt"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Strangers are a PBX, and sources outside that nobody knows.
type Strangers struct {
	PBX     *lab.Namespace
	Sink    *Sink
	sources []*Source // all but the last one of IPv4
	reports *Reports
}

// ManyStrangers is how many of them send by IPv4.
const ManyStrangers = 6

// NewStrangers makes the hosts. What is sent to the SIP port by IPv4 comes to the sink.
func NewStrangers(t testing.TB, payload []byte) Strangers {
	t.Helper()
	s := Strangers{PBX: Host(t, "pbx")}
	outside := Host(t, "outside")
	for _, h := range []*lab.Namespace{s.PBX, outside} {
		Must(t, h.Set("ipv6/conf/all/accept_dad", "0"))
	}
	addresses := []string{"2001:db8::200/64"}
	for i := range ManyStrangers {
		addresses = append(addresses, fmt.Sprintf("192.0.2.%d/24", 200+i))
	}
	Link(t,
		lab.End{Host: s.PBX, Interface: "eth0", Addresses: []string{"192.0.2.10/24", "2001:db8::10/64"}},
		lab.End{Host: outside, Interface: "eth0", Addresses: addresses})
	AddNeighbour(t, outside, "eth0", s.PBX, "eth0", "192.0.2.10", "2001:db8::10")
	var err error
	s.Sink, err = NewSink(t.Context(), s.PBX, "192.0.2.10:5060")
	Must(t, err)
	s.reports = NewReports(t, s.PBX, ruleset.LogGroup)
	add := func(from, to string) {
		source, err := NewSource(outside, from, to, payload)
		Must(t, err)
		t.Cleanup(func() { source.Close() })
		s.sources = append(s.sources, source)
	}
	for i := range ManyStrangers {
		add(fmt.Sprintf("192.0.2.%d:5060", 200+i), "192.0.2.10:5060")
	}
	add("[2001:db8::200]:5060", "[2001:db8::10]:5060")
	return s
}

// Send lets all of them send, the one of IPv6 last, and returns what was reported.
func (s Strangers) Send(t testing.TB, packets int) (reported []Reported) {
	t.Helper()
	for _, source := range s.sources {
		Must(t, source.Burst(packets))
	}
	for {
		r := s.reports.Next(t)
		reported = append(reported, r)
		if r.Packet[0]>>4 == 6 {
			return reported
		}
	}
}

// SendReported lets all of them send as Send does, and wants one report of each, with this
// reason and so many bytes.
func (s Strangers) SendReported(t testing.TB, packets int, reason string, size int) {
	t.Helper()
	reported := s.Send(t, packets)
	if len(reported) != ManyStrangers+1 {
		t.Errorf("of %d sources, %d packets are reported", ManyStrangers+1, len(reported))
	}
	for _, r := range reported {
		if r.Prefix != reason || len(r.Packet) != size {
			t.Errorf("%d bytes are reported as %q", len(r.Packet), r.Prefix)
		}
	}
}
