package events_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/events"
)

// year returns a store with a year of 10,000 sources, each of which comes in 100 hours.
func year(b *testing.B) *events.Store {
	b.Helper()
	s := newStore(b)
	s.Keep = 366 * 24 * time.Hour
	n := 0
	for hour := range 366 * 24 {
		at := noon.Add(time.Duration(hour) * time.Hour)
		var tally events.Tally
		for range 114 {
			n++
			tally.Add(events.Drop{
				Time: at, Source: netip.AddrFrom4([4]byte{100, 64, byte(n % 10_000 >> 8), byte(n % 10_000)}), Port: 5060, Protocol: "udp",
				Reason: "unknown", Method: "REGISTER", UserAgent: "friendly-scanner", Called: fmt.Sprint(n % 1000), Signature: "friendly-scanner",
			})
		}
		for c := range 20 {
			tally.Count(at, fmt.Sprintf("dropped_%d", c), 7)
		}
		_, err := s.Write(&tally, at)
		must(b, err)
	}
	return s
}

// BenchmarkYear reads a year of 10,000 sources, and the last day of it, and adds one packet.
func BenchmarkYear(b *testing.B) {
	s := year(b)
	end := noon.AddDate(1, 0, 0)
	for name, since := range map[string]time.Time{"year": {}, "day": end.AddDate(0, 0, -1)} {
		b.Run(name, func(b *testing.B) {
			records := 0
			for b.Loop() {
				records = 0
				must(b, events.Read(s.Path, since, time.Time{}, func(events.Record) error { records++; return nil }))
			}
			b.ReportMetric(float64(records), "records")
		})
	}
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			write(b, s, end, scanner(end))
		}
	})
}
