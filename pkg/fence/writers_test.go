package fence_test

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/plan/plantest"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/site"
)

// writer is a run that learns about one name again and again.
type writer struct {
	*fence.Reconciler
	target resolve.Target
	last   string // the address that it has learned last
}

// TestManyWriters: runs that overlap, each with a wall clock of its own that is
// off by up to a day, never undo what another has learned, and never wait for
// each other in a circle.
func TestManyWriters(t *testing.T) {
	const writers, atOnce = 8, 4
	writes := labtest.Count(200, 20000)
	folder, err := os.MkdirTemp("/dev/shm", "ringfence")
	labtest.Must(t, err)
	t.Cleanup(func() { os.RemoveAll(folder) })
	var policy strings.Builder
	var names []string
	policy.WriteString("version: 1\nproviders:\n")
	for i := range writers {
		names = append(names, fmt.Sprintf("p%d", i))
		fmt.Fprintf(&policy, "  - {name: p%d, registrars: [n%d.example]}\n", i, i)
	}
	policy.WriteString("dns: {hold: 0s, servers: [192.0.2.53]}\n")

	kernel := &plantest.Kernel{}
	newFence := func(world fence.World) *fence.Fence {
		return fence.New(fence.Config{StateDir: folder + "/state", RunDir: folder + "/run", User: "somebody", Log: slog.New(slog.DiscardHandler)}, world)
	}
	// The first generation knows no address.
	_, err = newFence(testWorld(kernel)).Apply(t.Context(), policyOf(t, policy.String()), fence.ApplyOptions{Allow: site.Allowances{Empty: names}})
	labtest.Must(t, err)

	var group sync.WaitGroup
	var waited [writers]int
	turns, free := [writers]chan string{}, make(chan struct{}, atOnce)
	for i := range writers {
		world := testWorld(kernel)
		honest := world.Now
		world.Now = func() resolve.Moment {
			now := honest()
			now.Time = now.Time.Add(time.Duration(rand.Int64N(int64(48*time.Hour))) - 24*time.Hour)
			return now
		}
		w := &writer{Reconciler: newFence(world).Reconciler(), target: resolve.Target{Name: fmt.Sprintf("n%d.example", i), Registrar: true}}
		turns[i] = make(chan string, writes)
		group.Go(func() {
			for address := range turns[i] {
				err := w.write(t, address)
				for errors.Is(err, journal.ErrLocked) {
					waited[i]++ // the next look tries again
					err = w.write(t, address)
				}
				if err != nil {
					t.Errorf("writer %d: %v", i, err)
				}
				<-free
			}
		})
	}
	for n := range writes {
		free <- struct{}{}
		i := n
		if n >= writers { // each has its turn, and then all that have
			i = rand.IntN(writers)
		}
		apart := 2 * n // no two are merged into a range
		turns[i%writers] <- fmt.Sprintf("203.%d.%d.%d", apart/62500, apart/250%250, 1+apart%250)
	}
	for i := range writers {
		close(turns[i])
	}
	group.Wait()
	var memory resolve.Memory
	labtest.Must(t, journal.Journal{Folder: folder + "/state"}.ReadAddresses(&memory, false))
	state, err := kernel.Observe(t.Context())
	labtest.Must(t, err)
	if memory.Count() != writers || len(state.Sets["providers4"].Elements) != writers {
		t.Errorf("%d addresses are remembered and %v are allowed, want %d", memory.Count(), state.Sets["providers4"].Elements, writers)
	}
	labtest.Report(t, "P11", "writes of 8 writers, their clocks off by up to a day", writes, "0 lost updates, 0 deadlocks")
	t.Logf("%d writers made %d writes; tries that gave up waiting for the lock: %v", writers, writes, waited)
}

// write learns that the name stands for another address, which two name servers
// say. Before that, what was written last must still be there: nobody else
// speaks of this name.
func (w *writer) write(t *testing.T, address string) error {
	answers := func() resolve.Result {
		record := resolve.Record{Owner: w.target.Name, Type: resolve.A, TTL: time.Minute, Address: netip.MustParseAddr(address)}
		return resolve.Result{Target: w.target, Roots: []*resolve.Node{
			{Question: resolve.Question{Name: w.target.Name, Type: resolve.A}, Step: "A", TTL: time.Minute, Records: []resolve.Record{record}},
		}}
	}
	err := w.Locked(t.Context(), func() error {
		known := w.Memory().Addresses(w.target)
		if w.last != "" && (len(known) != 1 || known[0].Address.String() != w.last) {
			t.Errorf("%s: %s was learned, and then %v was there", w.target.Name, w.last, known)
		}
		return nil
	})
	if err == nil {
		_, err = w.Learn(t.Context(), fence.Answers{Names: []resolve.Result{answers(), answers()}})
	}
	if err == nil {
		w.last = address
	}
	return err
}
