package fence_test

import (
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/plan/plantest"
	"github.com/ringfence/ringfence/pkg/resolve"
)

// TestAskAgain: when others may answer, all names are asked for at once, and for the fourth
// change within ten seconds a little later: none is forgotten.
func TestAskAgain(t *testing.T) {
	folder, err := os.MkdirTemp("/dev/shm", "ringfence")
	labtest.Must(t, err)
	t.Cleanup(func() { os.RemoveAll(folder) })
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		world := testWorld(&plantest.Kernel{})
		world.Now = func() resolve.Moment {
			return resolve.Moment{Time: time.Now(), Boot: "simulated", Up: resolve.Span(time.Since(start))}
		}
		f := fence.New(fence.Config{StateDir: folder + "/state", RunDir: folder + "/run", User: "somebody", Log: slog.New(slog.DiscardHandler)}, world)
		apply(t, f, "version: 1\nproviders: [{name: acme, registrars: [sip.acme.example], addresses: [203.0.113.5]}]\n", fence.ApplyOptions{})
		r := f.Reconciler()
		_, err := r.Reconcile(t.Context(), false)
		labtest.Must(t, err)
		ask := func() {
			t.Helper()
			if r.Due() != 0 {
				t.Errorf("the names are due in %s, want now", r.Due())
			}
			_, err := r.Learn(t.Context(), r.Ask()(t.Context()))
			labtest.Must(t, err)
			if r.Due() == 0 {
				t.Error("the names are due again at once")
			}
		}
		for range 3 {
			r.AskAgain()
			ask()
			time.Sleep(time.Second)
		}
		r.AskAgain()
		r.AskAgain()
		if due := r.Due(); due <= 0 || due > 10*time.Second {
			t.Errorf("the names are due in %s, want less than ten seconds", due)
		}
		time.Sleep(r.Due())
		ask()
	})
}
