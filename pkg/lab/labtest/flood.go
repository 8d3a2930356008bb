package labtest

import (
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/lab"
)

// Flood is a PBX and, on one link with it, a provider and a stranger that send to its SIP
// port by both families.
type Flood struct {
	PBX, Outside *lab.Namespace
	// Lossy says that others than the fence drop the provider's packets too, so that these
	// are not waited for.
	Lossy bool
}

// The addresses of a flood: those of the PBX, of the provider, and of the stranger.
var (
	FloodPBX      = []string{"192.0.2.10", "2001:db8::10"}
	FloodProvider = []string{"192.0.2.100", "2001:db8::100"}
	FloodStranger = []string{"192.0.2.200", "2001:db8::200"}
)

// NewFlood makes the hosts of a flood.
func NewFlood(t testing.TB) Flood {
	t.Helper()
	f := Flood{PBX: Host(t, "pbx"), Outside: Host(t, "outside")}
	lengths := []string{"/24", "/64"}
	pbx, outside := lab.End{Host: f.PBX, Interface: "eth0"}, lab.End{Host: f.Outside, Interface: "eth0"}
	for i, length := range lengths {
		pbx.Addresses = append(pbx.Addresses, FloodPBX[i]+length)
		outside.Addresses = append(outside.Addresses, FloodProvider[i]+length, FloodStranger[i]+length)
	}
	Link(t, pbx, outside)
	AddNeighbour(t, f.Outside, "eth0", f.PBX, "eth0", FloodPBX...)
	return f
}

// Flooded is what has become of the packets of a flood, of both families together. The
// provider and the stranger have each sent that many.
type Flooded struct {
	Sent, Lost, Leaked int64
	Took               time.Duration
}

// PerSecond is how many packets have been sent in a second, of each.
func (f Flooded) PerSecond() float64 { return float64(f.Sent) / f.Took.Seconds() }

const (
	fromProvider = 'P'
	fromStranger = 'S'
)

// During lets both send some 24,000 packets a second, or as many as the machine can,
// while something is done.
func (f Flood) During(t testing.TB, do func()) Flooded {
	t.Helper()
	var lanes []*lane
	for i := range FloodPBX {
		l, err := f.lane(t, i)
		Must(t, err)
		defer l.close()
		lanes = append(lanes, l)
	}
	stop := make(chan struct{})
	var group sync.WaitGroup
	start := time.Now()
	group.Go(func() { send(t, lanes, stop) })
	func() {
		defer group.Wait()
		defer close(stop)
		do()
	}()
	result := Flooded{Took: time.Since(start)}
	for _, l := range lanes {
		Must(t, l.sink.Close())
		result.Sent += l.sent
		result.Lost += l.sent - l.sink.Received(fromProvider)
		result.Leaked += l.sink.Received(fromStranger)
	}
	return result
}

// lane is one family's part of a flood.
type lane struct {
	lossy              bool
	sink               *Sink
	provider, stranger *Source
	sent               int64
}

func (f Flood) lane(t testing.TB, i int) (*lane, error) {
	to := net.JoinHostPort(FloodPBX[i], "5060")
	sink, err := NewSink(t.Context(), f.PBX, to)
	if err != nil {
		return nil, err
	}
	provider, err := NewSource(f.Outside, net.JoinHostPort(FloodProvider[i], "5060"), to, []byte{fromProvider})
	if err != nil {
		return nil, err
	}
	stranger, err := NewSource(f.Outside, net.JoinHostPort(FloodStranger[i], "5060"), to, []byte{fromStranger})
	return &lane{lossy: f.Lossy, sink: sink, provider: provider, stranger: stranger}, err
}

func (l *lane) close() {
	l.provider.Close()
	l.stranger.Close()
}

// send sends until it is stopped, never much more than has arrived of the provider's:
// what the socket has no room for would count as lost.
func send(t testing.TB, lanes []*lane, stop <-chan struct{}) {
	const burst, underWay = 32, 256
	next := time.NewTicker(burst * time.Second / 12000)
	defer next.Stop()
	for {
		select {
		case <-stop:
			for _, l := range lanes {
				if l.lossy {
					l.drain()
				} else {
					l.wait(t, l.sent)
				}
			}
			return
		case <-next.C:
		}
		for _, l := range lanes {
			if err := errors.Join(l.provider.Burst(burst), l.stranger.Burst(burst)); err != nil {
				t.Error(err)
				return
			}
			l.sent += burst
			if !l.wait(t, l.sent-underWay) {
				return
			}
		}
	}
}

// lossPatience is how long packets that do not come are waited for. What the fence has
// dropped never comes.
const lossPatience = 20 * time.Second

// drain waits until all of the provider's packets have come, or none comes any more.
func (l *lane) drain() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for before := int64(-1); ; {
		now := l.sink.Received(fromProvider)
		if now == l.sent || now == before {
			return
		}
		before = now
		<-tick.C
	}
}

// wait waits until n of the provider's packets have come.
func (l *lane) wait(t testing.TB, n int64) bool {
	for deadline := time.Now().Add(lossPatience); !l.lossy && l.sink.Received(fromProvider) < n; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Errorf("packets of the provider are missing: %d of %d have come", l.sink.Received(fromProvider), n)
			return false
		}
	}
	return true
}
