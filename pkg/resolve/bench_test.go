package resolve_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/resolve"
)

// BenchmarkLearn learns about one of many names, as the service does.
func BenchmarkLearn(b *testing.B) {
	for _, names := range []int{1, 50, 500} {
		b.Run(fmt.Sprintf("names=%d", names), func(b *testing.B) {
			var zone strings.Builder
			settings := resolve.Settings{Hold: hold, Min: time.Minute, Max: time.Hour, StaleAlarm: 7 * day}
			var targets []resolve.Target
			for i := range names {
				t := resolve.Target{Name: fmt.Sprintf("r%d.example", i), Registrar: true}
				targets = append(targets, t)
				settings.Names = append(settings.Names, resolve.Name{Target: t, Owners: []string{fmt.Sprintf("p%d", i/10)}})
				fmt.Fprintf(&zone, "_sip._udp.r%d.example SRV 10 e%d.net.\ne%d.net A 203.0.%d.%d\ne%d.net AAAA 2001:db8::%x\n", i, i, i, i/250, i%250, i, i+1)
			}
			lookup := newZone(b, zone.String()).lookup
			now := resolve.Moment{Time: start, Boot: "first"}
			memory := resolve.NewMemory().Learn(resolve.Resolve(b.Context(), lookup, targets), settings, now)
			one := resolve.Resolve(b.Context(), lookup, targets[:1])
			for b.Loop() {
				now.Time, now.Up = now.Time.Add(time.Minute), now.Up+resolve.Span(time.Minute)
				memory.Suspicious(one, settings)
				memory = memory.Learn(one, settings, now)
			}
		})
	}
}
