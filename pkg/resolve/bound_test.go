package resolve_test

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/resolve"
)

// fan answers for a name behind which there is no end: NAPTR, SRV and addresses,
// so many of each, after a delay. Other names have the one address that good says.
type fan struct {
	naptr, srv, a int
	delay         time.Duration
	good          string

	mu    sync.Mutex
	asked int
}

func (f *fan) lookup(ctx context.Context, q resolve.Question) (resolve.Answer, error) {
	record := resolve.Record{Owner: q.Name, Type: q.Type, TTL: time.Minute}
	if !strings.HasSuffix(q.Name, "evil.example") {
		switch {
		case q.Name == "good.example" && q.Type == resolve.NAPTR:
			record.Service, record.Flags, record.Target = "SIP+D2U", "s", "far.example"
		case q.Name == "far.example" && q.Type == resolve.SRV:
			record.Target = "edge.example"
		case q.Name == "edge.example" && q.Type == resolve.A:
			record.Address = netip.MustParseAddr(f.good)
		default:
			return resolve.Answer{}, nil
		}
		return resolve.Answer{Records: []resolve.Record{record}}, nil
	}
	f.mu.Lock()
	f.asked++
	f.mu.Unlock()
	select {
	case <-time.After(f.delay):
	case <-ctx.Done():
		return resolve.Answer{}, &resolve.Failure{Question: q, Kind: resolve.Timeout, Text: "no answer"}
	}
	var answer resolve.Answer
	add := func(n int, fill func(r *resolve.Record, i int)) {
		for i := range n {
			r := record
			fill(&r, i)
			answer.Records = append(answer.Records, r)
		}
	}
	switch q.Type {
	case resolve.NAPTR:
		add(f.naptr, func(r *resolve.Record, i int) {
			r.Service, r.Flags, r.Target = "SIP+D2U", "s", fmt.Sprintf("s%d.evil.example", i)
		})
	case resolve.SRV:
		add(f.srv, func(r *resolve.Record, i int) { r.Target = fmt.Sprintf("t%d.%s", i, q.Name) })
	default:
		h := fnv.New32a()
		h.Write([]byte(q.Name))
		add(f.a, func(r *resolve.Record, i int) {
			v := h.Sum32() + uint32(i)
			r.Address = netip.AddrFrom4([4]byte{20, byte(v >> 16), byte(v >> 8), byte(v)})
			if q.Type == resolve.AAAA {
				r.Address = netip.AddrFrom16([16]byte{0x2a, 0x0f, byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v), 15: 1})
			}
		})
	}
	return answer, nil
}

func (f *fan) asker([]netip.AddrPort) (first, again resolve.Lookup) { return f.lookup, f.lookup }

var evil = resolve.Target{Name: "evil.example", Registrar: true}

// TestBoundsOfAName: what one name may ask, have and fill the memory with, however much
// is behind it, look after look.
func TestBoundsOfAName(t *testing.T) {
	for _, test := range []struct {
		name string
		fan  *fan
		want []resolve.CutBy
	}{
		{"64 x 64 x 64", &fan{naptr: 64, srv: 64, a: 64}, []resolve.CutBy{resolve.CutByAddresses}},
		{"no addresses at the end", &fan{naptr: 64, srv: 64}, []resolve.CutBy{resolve.CutByQuestions}},
		{"one address each", &fan{naptr: 64, srv: 64, a: 1}, []resolve.CutBy{resolve.CutByQuestions}},
		{"a large provider", &fan{srv: 20, a: 2}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLearner(t)
			l.settings.Names = []resolve.Name{{Target: evil, Owners: []string{"evil"}}}
			for range 3 {
				test.fan.asked = 0
				l.pass(time.Hour)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				results := resolve.Inquiry{Targets: []resolve.Target{evil}, Memory: l.memory, Settings: l.settings}.Ask(t.Context(), test.fan.asker)
				runtime.ReadMemStats(&after)
				if used := after.TotalAlloc - before.TotalAlloc; used > 100_000_000 {
					t.Errorf("a look takes %d bytes of memory", used)
				}
				if len(test.want) != min(len(results[0].Cut), 1) || len(test.want) > 0 && !slices.Contains(results[0].Cut, test.want[0]) {
					t.Errorf("cut by %v, want %v", results[0].Cut, test.want)
				}
				if test.fan.asked > 256*len(results) {
					t.Errorf("%d questions in %d looks", test.fan.asked, len(results))
				}
				l.memory = l.memory.Learn(results, l.settings, l.now)
			}
			known := l.memory.Names[0]
			text, err := json.MarshalIndent(l.memory, "", "  ")
			if err != nil || len(text) > 1_000_000 || len(known.Addresses) > 512 {
				t.Errorf("%d bytes, %d addresses (%v)", len(text), len(known.Addresses), err)
			}
			if len(test.want) == 0 {
				l.alarms()
				return
			}
			alarms := l.memory.Alarms(l.settings, l.now)
			if len(alarms) != 1 || alarms[0].Kind != resolve.AlarmLimit || !strings.Contains(alarms[0].Text, string(test.want[0])) {
				t.Errorf("the alarms are %+v", alarms)
			}
		})
	}
}

// TestMemoryOfANameThatIsNeverTheSame: other names and addresses in each look fill no
// more of the memory than a look does.
func TestMemoryOfANameThatIsNeverTheSame(t *testing.T) {
	l := newLearner(t)
	l.settings.Names = []resolve.Name{{Target: evil, Owners: []string{"evil"}}}
	long := strings.Repeat(strings.Repeat("x", 60)+".", 3)
	for look := range 30 {
		z := newZone(t, "")
		for i := range 8 {
			target := fmt.Sprintf("%s%d-%d.evil.example", long, look, i)
			q := resolve.Question{Name: "_sip._udp.evil.example", Type: resolve.SRV}
			z.records[q] = append(z.records[q], resolve.Record{Owner: q.Name, Type: q.Type, Target: target, TTL: time.Minute})
			a := resolve.Question{Name: target, Type: resolve.A}
			for j := range 60 {
				z.records[a] = append(z.records[a], resolve.Record{Owner: target, Type: a.Type, TTL: time.Minute, Address: netip.AddrFrom4([4]byte{20, byte(look), byte(i), byte(j)})})
			}
		}
		l.pass(time.Minute)
		results := resolve.Resolve(t.Context(), z.lookup, []resolve.Target{evil})
		l.memory = l.memory.Learn(append(results, results...), l.settings, l.now)
	}
	known := l.memory.Names[0]
	if len(known.Addresses) != 512 || known.Addresses[0].Address != netip.MustParseAddr("20.28.0.0") && !known.Addresses[511].LastSeen.Equal(l.now.Time) {
		t.Errorf("%d addresses, the first %v", len(known.Addresses), known.Addresses[0])
	}
	text, err := json.MarshalIndent(l.memory, "", "  ")
	if err != nil || len(text) > 1_000_000 {
		t.Errorf("%d bytes (%v)", len(text), err)
	}
	present := 0
	for _, a := range known.Addresses {
		if a.LastSeen.Equal(l.now.Time) {
			present++
		}
	}
	if present != 480 {
		t.Errorf("%d of the 480 addresses of the last answers are there", present)
	}
}

// TestHonestNamesBesideAHostileOne: whatever a hostile name does, all answers for an honest
// name of the same policy are used, and its move is learned in the same look.
func TestHonestNamesBesideAHostileOne(t *testing.T) {
	for _, delay := range []time.Duration{0, 1500 * time.Millisecond, time.Hour} {
		for _, hostile := range []int{1, 8} {
			t.Run(fmt.Sprintf("%d with a delay of %s", hostile, delay), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newLearner(t)
					l.settings.Names = nil
					var targets []resolve.Target
					add := func(name string) {
						target := resolve.Target{Name: name, Registrar: true}
						targets = append(targets, target)
						l.settings.Names = append(l.settings.Names, resolve.Name{Target: target, Owners: []string{name}})
					}
					for i := range hostile {
						add(fmt.Sprintf("h%d.evil.example", i))
					}
					add("good.example")
					f := &fan{naptr: 64, srv: 64, a: 64, delay: delay, good: "192.0.2.1"}
					look := func() {
						start := time.Now()
						ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
						defer cancel()
						results := resolve.Inquiry{Targets: targets, Memory: l.memory, Settings: l.settings}.Ask(ctx, f.asker)
						if took := time.Since(start); took > 20*time.Second {
							t.Errorf("took %s", took)
						}
						l.pass(time.Minute)
						l.memory = l.memory.Learn(results, l.settings, l.now)
					}
					look()
					look() // those that fail are known now
					f.good = "192.0.2.2"
					look()
					var got []string
					for _, a := range l.memory.Addresses(targets[len(targets)-1]) {
						got = append(got, a.Address.String())
					}
					if diff := cmp.Diff([]string{"192.0.2.1", "192.0.2.2"}, got); diff != "" {
						t.Error(diff)
					}
				})
			})
		}
	}
}

// TestCutIsNoAnswer: what a look did not come to stays as it is.
func TestCutIsNoAnswer(t *testing.T) {
	l := newLearner(t)
	l.settings.Names = []resolve.Name{{Target: evil, Owners: []string{"evil"}}}
	small := &fan{naptr: 1, srv: 1, a: 1}
	large := &fan{naptr: 64, srv: 2, a: 1}
	learn := func(f *fan) {
		l.pass(time.Hour)
		results := resolve.Resolve(t.Context(), f.lookup, []resolve.Target{evil})
		l.memory = l.memory.Learn(results, l.settings, l.now)
	}
	learn(small)
	before := l.memory.Addresses(evil)
	for range 48 {
		learn(large)
	}
	for _, a := range before {
		if _, ok := l.memory.Find(evil.Name, true, a.Address); !ok {
			t.Errorf("%s has left", a.Address)
		}
	}
	learn(small)
	l.alarms()
}
