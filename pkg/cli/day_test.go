package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	reports "github.com/ringfence/ringfence/pkg/report"
)

// day is a day of many phones, in a fraction of its time: roaming.life, for which phones
// register, stands for an hour.
type day struct {
	*roads
	t      *testing.T
	far    *lab.Namespace
	life   time.Duration
	ctx    context.Context
	mu     sync.Mutex
	until  map[netip.AddrPort]time.Time // when the phones there are out again; the past for who has left
	counts map[string]int

	// gate is held by who does something, and by who looks.
	gate sync.RWMutex
	all  sync.WaitGroup
}

// fuzzy is how near its end a registration may be there or not: the PBX looks for what has
// expired once a second.
const fuzzy = 2500 * time.Millisecond

// newDay makes an internet with a network of so many addresses, ten phones behind each.
func newDay(t *testing.T, life time.Duration, addresses int) *day {
	t.Helper()
	d := &day{
		roads: newRoads(t, fmt.Sprintf("unknown: {action: register, rate: 100000/min}\nroaming: {life: %s}\nbans: {duration: %[1]s}\n", life)),
		t:     t, far: labtest.Host(t, "far"), life: life, until: map[netip.AddrPort]time.Time{}, counts: map[string]int{},
	}
	d.attach(t, d.far, "far", "100.64.255.1/16", "2001:db8:64::1/64", address(0)+"/16", "2001:db8:64::2/64")
	for i := range addresses {
		if i > 0 {
			labtest.Must(t, d.far.AddAddress("eth0", address(i)+"/16"))
		}
	}
	return d
}

func address(i int) string { return fmt.Sprintf("100.64.%d.%d", i/200, 10+i%200) }

func (d *day) count(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts[what]++
}

// phone lives through the day: it registers again in time, and now and then ends its
// registration, goes away without a word, or comes back from another port.
func (d *day) phone(i int, r *rand.Rand) {
	wait := func(least, most float64) bool {
		select {
		case <-d.ctx.Done():
			return false
		case <-time.After(time.Duration((least + (most-least)*r.Float64()) * float64(d.life))):
			return true
		}
	}
	for wait(0, 0.8) {
		p, err := labtest.NewPhone(d.ctx, d.far, "udp", address(i/10)+":0", pbx4+":5060", fmt.Sprintf("p%d", i))
		if err != nil {
			if d.ctx.Err() == nil {
				d.t.Error(err)
			}
			return
		}
		p.ByContact = i%2 == 0
		for stays := true; stays; {
			stays = d.registers(p, int(d.life/time.Second)) && wait(0.4, 0.8)
			switch n := r.IntN(100); {
			case !stays:
			case n < 4:
				d.registers(p, 0)
				stays = false
			case n < 8:
				d.count("gone without a word")
				stays = false
			}
		}
		p.Close()
	}
}

// registers registers a phone, and notes until when it is in.
func (d *day) registers(p *labtest.Phone, seconds int) bool {
	for range 5 {
		d.gate.RLock()
		at := time.Now()
		status, err := p.Refresh(seconds, 5*time.Second)
		if status == 200 {
			end := time.Now().Add(d.life)
			if seconds == 0 {
				end = at
			}
			d.mu.Lock()
			d.until[p.LocalAddr()] = end
			d.mu.Unlock()
		}
		d.gate.RUnlock()
		switch {
		case err != nil:
			d.t.Errorf("phone %s: %v", p.User, err)
			return false
		case status == 200 && seconds == 0:
			d.count("un-registered")
			return true
		case status == 200:
			d.count("registered")
			return true
		case status != 0:
			d.t.Errorf("phone %s is answered with %d", p.User, status)
			return false
		}
		d.count("sent again")
	}
	d.t.Errorf("phone %s gets no answer", p.User)
	return false
}

// guesser tries one password after the other, and is out again and again.
func (d *day) guesser(i int) {
	h, source, _ := d.stranger(d.t, i+2)
	p, err := labtest.NewPhone(d.ctx, h, "udp", source+":5070", pbx4+":5060", "p1")
	labtest.Must(d.t, err)
	d.t.Cleanup(func() { p.Close() })
	d.all.Go(func() {
		for n := 0; d.ctx.Err() == nil; n++ {
			p.Password = fmt.Sprint("guess", n)
			if status, err := p.Register(60, 100*time.Millisecond); status == 200 || err != nil {
				d.t.Errorf("a guess is answered with %d, %v", status, err)
				return
			}
		}
	})
}

// look compares the phones that are let in with the PBX's contacts, and both with what the
// phones know, and checks that the sets hold no more than they should.
func (d *day) look() {
	d.t.Helper()
	d.gate.Lock()
	defer d.gate.Unlock()
	var phones []reports.Registered
	before := time.Now()
	labtest.Must(d.t, json.Unmarshal([]byte(d.must(d.t, 0, "phones", "-o", "json").stdout), &phones))
	contacts := map[netip.AddrPort]bool{}
	for _, c := range d.kamailio.Contacts(d.t) {
		contacts[c] = true
	}
	after := time.Now()
	friends := map[netip.AddrPort]bool{}
	for _, p := range phones {
		friends[netip.AddrPortFrom(netip.MustParseAddr(p.Address), *p.Port)] = true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	in := 0
	for place, end := range d.until {
		switch {
		case end.After(after.Add(fuzzy)):
			in++
			if !friends[place] || !contacts[place] {
				d.t.Errorf("the phone at %s has registered: it is let in %t, and known to the PBX %t", place, friends[place], contacts[place])
			}
		case end.Before(before.Add(-fuzzy)):
			if friends[place] || contacts[place] {
				d.t.Errorf("the phone at %s has left: it is let in %t, and known to the PBX %t", place, friends[place], contacts[place])
			}
			delete(d.until, place)
		}
		delete(friends, place)
	}
	for place := range friends {
		d.t.Errorf("%s is let in, and is no phone", place)
	}
	d.counts["looks"]++
	d.counts["most phones"] = max(d.counts["most phones"], in)
}

// sizes are how many elements the sets of a kind hold.
func (d *day) sizes() map[string]int {
	d.t.Helper()
	sizes := map[string]int{}
	for _, set := range []string{"phones4", "asking4", "leaving4", "known4", "tries4", "failing4", "rate4", "banned4"} {
		text := labtest.Run(d.t, d.pbx, "nft", "list", "set", "inet", "ringfence", set)
		sizes[set] = strings.Count(text, " expires ")
	}
	return sizes
}

// TestDayOfRegistrations: 24 hours of 5,000 phones that register, refresh, end their
// registrations, go away and come back, with guessers beside. In the long form a day takes
// 288 seconds, so that an hour is 12 seconds; in the short one 100 phones have an hour of 10
// seconds. The times that no policy has stay as they are: a REGISTER is asking for 32
// seconds.
func TestDayOfRegistrations(t *testing.T) {
	t.Parallel()
	phones, hours := labtest.Count(100, 5000), labtest.Count(1, 24)
	life := time.Duration(labtest.Count(10, 12)) * time.Second
	d := newDay(t, life, phones/10)
	service := serve(t, d.site)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	d.ctx = ctx
	for i := range phones {
		d.all.Go(func() { d.phone(i, rand.New(rand.NewPCG(1, uint64(i)))) })
	}
	for i := range 5 {
		d.guesser(i)
	}
	tick := time.NewTicker(life / 2)
	defer tick.Stop()
	memory, most := memoryOf(t, service), map[string]int{}
	for half := range 2 * hours {
		<-tick.C
		d.look()
		for set, n := range d.sizes() {
			most[set] = max(most[set], n)
		}
		if half == hours/2 {
			memory = memoryOf(t, service)
		}
	}
	stop()
	d.all.Wait()
	t.Logf("%d phones, %d hours of %s: %v; at most %v; memory of the service %d kB after a quarter, %d kB at the end",
		phones, hours, life, d.counts, most, memory, memoryOf(t, service))
	places := d.counts["registered"]
	if most["phones4"] > places || most["known4"] > phones/10+1 || most["banned4"] > 5 || most["tries4"] > places {
		t.Errorf("the sets grow beyond what there is: %v", most)
	}
	if grown := memoryOf(t, service) - memory; grown > 20_000 {
		t.Errorf("the service has grown by %d kB", grown)
	}
	for i := range 5 {
		source := fmt.Sprintf("192.0.2.%d", 4*(i+2)+2)
		if n, rounds := d.kamailio.Requests(source, ""), hours+2; n > 10*rounds {
			t.Errorf("%d requests of a guesser reach the PBX in %d bans", n, rounds)
		}
	}
	until(t, "all phones are out", func() bool { return d.sizes()["phones4"] == 0 && d.sizes()["banned4"] == 0 })
	if hours > 1 {
		until(t, "nothing is remembered of REGISTERs", func() bool { return d.sizes()["asking4"] == 0 && d.sizes()["leaving4"] == 0 })
	}
	// The PBX counts from when it answers, a moment after the kernel, in whole seconds.
	until(t, "the PBX knows nobody", func() bool { return len(d.kamailio.Contacts(t)) == 0 })
	service.end(t)
}

// memoryOf is what a service has of the machine's memory, in kB.
func memoryOf(t *testing.T, s *service) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	labtest.Must(t, err)
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	var kB int
	_, err = fmt.Sscan(rest, &kB)
	labtest.Must(t, err)
	return kB
}
