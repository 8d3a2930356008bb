package fence_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/plan/plantest"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// TestSystem: this machine has a back end for each name that a policy may have, and all
// that the doctor looks at can be read; name servers are reached by the given way.
func TestSystem(t *testing.T) {
	dialled := ""
	refused := errors.New("connection refused")
	w := fence.System(slog.New(slog.DiscardHandler), func(_ context.Context, _, address string) (net.Conn, error) {
		dialled = address
		return nil, refused
	})
	for _, name := range fence.BackendNames() {
		want := map[string]string{"auto": "nftables", "iptables": "iptables-nft"}[name]
		if want == "" {
			want = name
		}
		got := w.Backend(policy.Backend(name)).Describe()
		if name != "iptables" && got.Name != want || got.Place == "" || got.Look == "" || got.Remove == "" {
			t.Errorf("%s is %+v", name, got)
		}
		if others := w.Backends(got.Name); len(others) < 2 {
			t.Errorf("beside %s there are %d back ends", name, len(others))
		}
	}
	if got := w.Kernel().Describe().Name; got != "nftables" {
		t.Errorf("the usual back end is %s", got)
	}
	first, _ := w.Lookup(resolve.ServersAt([]netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")}))
	_, err := first(t.Context(), resolve.Question{Name: "sip.acme.example", Type: resolve.A})
	if failure, ok := errors.AsType[*resolve.Failure](err); !ok || failure.Kind == resolve.Gone || dialled != "192.0.2.53:53" {
		t.Errorf("a question goes to %q and fails with %v", dialled, err)
	}
	if _, err := w.Host(); err != nil {
		t.Error(err)
	}
	if _, err := w.Network(); err != nil {
		t.Error(err)
	}
	if _, err := w.Others(t.Context()); err != nil {
		t.Error(err)
	}
	if now := w.Now(); now.Boot == "" || now.Up <= 0 || time.Since(now.Time).Abs() > time.Hour {
		t.Errorf("the time is %+v", now)
	}
}

// TestFirstApplyKilled: a refresh completes a first apply that was killed after its rules
// were in the kernel; without any generation it says what to do.
func TestFirstApplyKilled(t *testing.T) {
	kernel := &plantest.Kernel{}
	f, _ := newFence(t, kernel)
	if _, err := f.Refresh(t.Context(), fence.RefreshOptions{}); !errors.Is(err, fence.ErrNoGeneration) {
		t.Errorf("of none: %v", err)
	}
	state, err := begun(t, f, firstPolicy).Observe(t.Context())
	labtest.Must(t, err)
	kernel.Change(func(s *ruleset.State) { id := s.GenID; *s = *plantest.Copy(state); s.GenID = id })
	status, err := f.View().Status(t.Context())
	labtest.Must(t, err)
	if !status.Begun || len(status.Alarms) != 1 {
		t.Errorf("status: begun is %t, alarms %+v", status.Begun, status.Alarms)
	}
	r, err := f.Refresh(t.Context(), fence.RefreshOptions{})
	labtest.Must(t, err)
	if r.Generation != 1 || r.Idle != "" {
		t.Errorf("refresh: %+v", r)
	}
}

// TestRefreshRefuses: refresh accepts no size of a name that nobody asks for, and does
// nothing after down.
func TestRefreshRefuses(t *testing.T) {
	f, _ := newFence(t, &plantest.Kernel{})
	apply(t, f, firstPolicy, fence.ApplyOptions{})
	if _, err := f.Refresh(t.Context(), fence.RefreshOptions{Large: []string{"sip.other.example"}}); err == nil || err.Error() != `the policy has no name "sip.other.example", and none leads to it` {
		t.Errorf("a name of no policy: %v", err)
	}
	labtest.Must(t, f.Reconciler().Journal().SetDown(journal.Down{Time: time.Now(), User: "alice"}))
	r, err := f.Refresh(t.Context(), fence.RefreshOptions{})
	labtest.Must(t, err)
	if r.Idle == "" || r.Plan != nil {
		t.Errorf("after down: %+v", r)
	}
}
