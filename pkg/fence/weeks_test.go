package fence_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/resolve"
)

const (
	simulatedUDP  = "_sip._udp.sip.acme.example. 3600 IN SRV 10 50 5060 edge.acme.net.\nedge.acme.net. 3600 IN A 203.0.113.1\n"
	simulatedTCP  = "_sip._tcp.sip.acme.example. 3600 IN SRV 10 50 5060 edge2.acme.net.\nedge2.acme.net. 3600 IN A 203.0.113.3\n"
	simulatedName = "sip.acme.example. 3600 IN A 203.0.113.5\n"
	simulatedAAAA = "sip.acme.example. 3600 IN AAAA 2001:db8::1\n"
	simulated     = simulatedUDP + simulatedTCP + simulatedName + simulatedAAAA
	simulatedAll  = "203.0.113.1 203.0.113.3 203.0.113.5 2001:db8::1"
	aDay          = 24 * time.Hour
	aLook         = 66 * time.Minute // the longest between two looks at answers that may be kept for an hour
)

// TestWeeks lets weeks pass in which providers change in every way that they
// do.
func TestWeeks(t *testing.T) {
	t.Run("AAAA is dropped", func(t *testing.T) {
		t.Parallel()
		simulate(t, simulated, func(s *simulation) {
			s.after(7*aDay, simulatedAll)
			s.zone(simulatedUDP + simulatedTCP + simulatedName)
			s.after(3*aDay-aLook, simulatedAll)
			s.after(3*aLook, "203.0.113.1 203.0.113.3 203.0.113.5")
			s.after(14*aDay, "203.0.113.1 203.0.113.3 203.0.113.5")
			s.commits(1)
		})
	})
	t.Run("_sip._tcp is dropped", func(t *testing.T) {
		t.Parallel()
		simulate(t, simulated, func(s *simulation) {
			s.after(7*aDay, simulatedAll)
			s.zone(simulatedUDP + simulatedName + simulatedAAAA)
			s.after(3*aDay-aLook, simulatedAll)
			s.after(3*aLook, "203.0.113.1 203.0.113.5 2001:db8::1")
			s.after(14*aDay, "203.0.113.1 203.0.113.5 2001:db8::1")
			s.commits(1)
		})
	})
	t.Run("the provider moves completely", func(t *testing.T) {
		t.Parallel()
		simulate(t, simulated, func(s *simulation) {
			s.after(7*aDay, simulatedAll)
			s.zone(strings.NewReplacer("203.0.113.", "198.51.100.", "2001:db8::", "2001:db8:ffff::").Replace(simulated))
			both := "198.51.100.1 198.51.100.3 198.51.100.5 203.0.113.1 203.0.113.3 203.0.113.5 2001:db8::1 2001:db8:ffff::1"
			s.after(aLook, both)
			s.after(aDay-2*aLook, both)
			s.after(5*aLook, "198.51.100.1 198.51.100.3 198.51.100.5 2001:db8:ffff::1")
			s.after(14*aDay, "198.51.100.1 198.51.100.3 198.51.100.5 2001:db8:ffff::1")
			s.commits(2)
		})
	})
	t.Run("to a standby site and back, three times", func(t *testing.T) {
		t.Parallel()
		const site, standby = "sip.acme.example. 60 IN A 203.0.113.1\n", "sip.acme.example. 60 IN A 198.51.100.1\n"
		simulate(t, site, func(s *simulation) {
			s.after(aDay, "203.0.113.1")
			for range 3 {
				s.zone(standby)
				s.after(67*time.Second, "198.51.100.1 203.0.113.1")
				s.after(time.Hour, "198.51.100.1 203.0.113.1")
				s.zone(site)
				s.after(2*time.Hour, "198.51.100.1 203.0.113.1")
			}
			s.after(aDay, "203.0.113.1")
			s.commits(2)
		})
	})
	t.Run("a day without DNS, then 2 of 18", func(t *testing.T) {
		t.Parallel()
		pool, addresses := simulatedPool(18, 3600)
		simulate(t, pool, func(s *simulation) {
			whole, err := lab.NewZone(pool)
			labtest.Must(t, err)
			s.after(aDay, addresses)
			s.serve(labtest.Flapping(2)(whole))
			s.after(2*aDay, addresses)
			s.serve(labtest.Silent(nil))
			s.after(aDay, addresses)
			s.serve(labtest.Flapping(2)(whole))
			s.after(7*aDay, addresses)
			s.commits(0)
		})
	})
	t.Run("the name is gone for a week, and comes back", func(t *testing.T) {
		t.Parallel()
		simulate(t, simulated, func(s *simulation) {
			s.zone("other.example. 60 IN A 192.0.2.1")
			s.after(aLook, simulatedAll)
			gone := slices.Repeat([]resolve.AlarmKind{resolve.AlarmGone}, 4)
			s.after(90*time.Minute, simulatedAll, gone...)
			s.after(14*aDay, simulatedAll, append(gone, resolve.AlarmStale, resolve.AlarmStale)...)
			s.zone(simulated)
			s.after(16*time.Minute, simulatedAll)
			s.commits(0)
		})
	})
}

// commits wants so many changes of the kernel so far.
func (s *simulation) commits(want int) {
	s.t.Helper()
	if s.kernel.Commits != want {
		s.t.Errorf("the kernel was changed %d times, want %d", s.kernel.Commits, want)
	}
}

func simulatedPool(n, ttl int) (zone, addresses string) {
	var lines, list []string
	for i := range n {
		a := fmt.Sprintf("203.0.113.%d", 1+2*i)
		lines, list = append(lines, fmt.Sprintf("sip.acme.example. %d IN A %s", ttl, a)), append(list, a)
	}
	return strings.Join(lines, "\n"), strings.Join(list, " ")
}

// TestADayOfAFlappingPool: it was never seen as a whole, and yet it is let in as
// a whole, and stays.
func TestADayOfAFlappingPool(t *testing.T) {
	pool, addresses := simulatedPool(18, 60)
	whole, err := lab.NewZone(pool)
	labtest.Must(t, err)
	simulate(t, "sip.acme.example. 60 IN A 203.0.113.1", func(s *simulation) {
		s.serve(labtest.Flapping(2)(whole))
		time.Sleep(time.Hour)
		synctest.Wait()
		filling := s.kernel.Commits
		if filling > 18 {
			t.Errorf("the kernel was changed %d times for 18 addresses", filling)
		}
		for range 23 {
			s.after(time.Hour, addresses)
		}
		s.commits(filling)
	})
}

// TestTheWallClockMoves a day forward, a day back, and by years: nothing leaves
// before its time, and nobody stops to ask.
func TestTheWallClockMoves(t *testing.T) {
	simulate(t, simulated, func(s *simulation) {
		s.after(aDay, simulatedAll)
		s.zone(simulatedUDP + simulatedTCP + simulatedName + "sip.acme.example. 3600 IN AAAA 2001:db8::9\n")
		s.after(12*time.Hour, simulatedAll+" 2001:db8::9")
		jumps := []time.Duration{aDay, -2 * aDay, 20 * 365 * aDay, -20 * 365 * aDay}
		for _, jump := range jumps {
			s.with(func() { s.wall += jump })
			before := s.questions()
			s.after(2*time.Hour, simulatedAll+" 2001:db8::9")
			if looks := (s.questions() - before) / 10; looks < 1 || looks > 3 { // ten questions each
				t.Errorf("after a jump of %s there were %d looks in two hours", jump, looks)
			}
		}
		s.after(4*time.Hour+5*aLook, "203.0.113.1 203.0.113.3 203.0.113.5 2001:db8::9")
		labtest.Report(t, "P11", "the wall clock jumps, by a day and by 20 years, in the service", len(jumps), "0 addresses left early, 0 looks left out")
	})
}

// TestTimesAreNotWrittenAllTheTime: flash wears out. What changes is written at
// once, what only says that nothing has changed at most as often as a name is
// asked for.
func TestTimesAreNotWrittenAllTheTime(t *testing.T) {
	const many = "version: 1\nproviders: [{name: acme, registrars: [a.example, b.example, c.example, d.example]}]\ndns: {servers: [192.0.2.53]}\n"
	zone := func(last string) string {
		return "a.example. 61 IN A 203.0.113.1\nb.example. 73 IN A 203.0.113.3\nc.example. 87 IN A 203.0.113.5\nd.example. 99 IN A " + last + "\n"
	}
	simulatePolicy(t, many, zone("203.0.113.7"), func(s *simulation) {
		writes := func(d time.Duration) (n int) {
			mark := fence.MarkOf(s.reconciler.AddressesFile())
			for range d / time.Second {
				time.Sleep(time.Second)
				synctest.Wait()
				if now := fence.MarkOf(s.reconciler.AddressesFile()); !now.Same(mark) {
					mark = now
					n++
				}
			}
			return n
		}
		before := s.questions()
		n := writes(time.Hour)
		if looks := (s.questions() - before) / 6; n < 30 || n > 60 || looks < 150 {
			t.Errorf("%d looks at a name, and nothing new: %d writes in an hour, want one a minute", looks, n)
		}
		s.zone(zone("203.0.113.9"))
		s.after(109*time.Second, "203.0.113.1 203.0.113.3 203.0.113.5 203.0.113.7 203.0.113.9")
		var saved resolve.Memory
		labtest.Must(t, s.reconciler.Journal().ReadAddresses(&saved, false))
		if saved.Count() != 5 {
			t.Errorf("%d addresses are saved, want 5", saved.Count())
		}
		for unsaved := false; !unsaved; { // so that the end has something to write
			time.Sleep(time.Second)
			synctest.Wait()
			s.with(func() { unsaved = s.reconciler.Unsaved() })
		}
	})
}

// TestNewAddressesAreLogged: the service logs and keeps every address that it lets in or shuts out,
// with its reason.
func TestNewAddressesAreLogged(t *testing.T) {
	const policy = `version: 1
providers:
  - name: acme
    registrars: [sip.acme.example]
  - name: other
    registrars: [sip.other.example]
dns: {servers: [192.0.2.53]}
`
	const old = "sip.acme.example. 3600 IN A 203.0.113.5\nsip.other.example. 3600 IN A 203.0.113.5\n"
	const moved = "sip.acme.example. 3600 IN A 203.0.113.10\nsip.other.example. 3600 IN A 203.0.113.11\n"
	simulatePolicy(t, policy, old, func(s *simulation) {
		s.after(aLook, "203.0.113.5")
		s.zone(moved + "sip.other.example. 3600 IN A 203.0.113.5\n")
		s.after(aLook, "203.0.113.5 203.0.113.10 203.0.113.11")
		s.zone(moved)
		s.after(2*aDay, "203.0.113.10 203.0.113.11")
		var moves []fence.Moved
		labtest.Must(t, journal.Read(s.reconciler.Journal(), journal.MovesFile, &moves))
		var history []string
		for _, m := range moves {
			history = append(history, fmt.Sprint(m.Address, " gone: ", m.Gone, ", ", m.Reason, ", ", m.Command, " ", m.Generation))
		}
		slices.Sort(history)
		wanted := []string{
			"203.0.113.10 gone: false, acme: sip.acme.example A, run 1", "203.0.113.11 gone: false, other: sip.other.example A, run 1",
			"203.0.113.5 gone: true, other: sip.other.example A, run 1",
		}
		if !slices.Equal(history, wanted) {
			t.Errorf("history is %q, want %q", history, wanted)
		}
		for _, want := range []string{
			`level=INFO msg=allowed address=203.0.113.10 reason="acme: sip.acme.example A"`,
			`level=INFO msg=allowed address=203.0.113.11 reason="other: sip.other.example A"`,
			`level=INFO msg="not allowed any more" address=203.0.113.5 reason="was other: sip.other.example A"`,
		} {
			if n := strings.Count(s.log.String(), want); n != 1 {
				t.Errorf("%q was logged %d times, want once", want, n)
			}
		}
	})
}
