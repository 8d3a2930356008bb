package fence_test

import (
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/events"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan/plantest"
)

// TestDropped: what the kernel keeps and what the daemon has written become one list.
func TestDropped(t *testing.T) {
	kernel := &plantest.Kernel{}
	folder, heard := t.TempDir(), []notice.Notice(nil)
	world := testWorld(kernel)
	f := fence.New(fence.Config{
		StateDir: folder, RunDir: folder + "/run", User: "somebody", Notice: func(n notice.Notice) { heard = append(heard, n) },
		Log: slog.New(slog.DiscardHandler),
	}, world)
	apply(t, f, firstPolicy, fence.ApplyOptions{})
	apply(t, f, secondPolicy, fence.ApplyOptions{})
	now := world.Now().Time
	addr := netip.MustParseAddr
	for _, d := range []backend.Dropped{
		{Address: addr("198.51.100.1"), Packets: 3, Last: now.Add(-2 * time.Minute)},
		{Address: addr("203.0.113.5"), Packets: 1, Last: now.Add(-time.Minute)}, // the provider's in the first generation
		{Address: addr("198.51.100.9"), Packets: 1, Last: now.Add(-5 * time.Hour), Scanner: true},
	} {
		kernel.Drop(d)
	}
	var tally events.Tally
	for _, d := range []events.Drop{
		{Time: now.Add(-3 * time.Minute), Source: addr("198.51.100.1"), Port: 5061, Reason: "unknown", Method: "OPTIONS"},
		{Time: now.Add(-2 * time.Minute), Source: addr("198.51.100.1"), Port: 5060, Reason: "signature", Method: "REGISTER", UserAgent: "friendly-scanner", Called: "201", Signature: "sipvicious"},
		{Time: now.Add(-4 * time.Minute), Source: addr("2001:db8::1"), Port: 5060, Reason: "unknown", Method: "INVITE", Called: "900441"},
	} {
		tally.Add(d)
	}
	store := events.Store{Path: f.EventsFile(), Keep: 24 * time.Hour}
	if _, err := store.Write(&tally, now); err != nil {
		t.Fatal(err)
	}

	drops, err := f.View().Dropped(t.Context(), time.Hour, 9)
	if err != nil || drops.Monitor || len(drops.Sources) != 3 {
		t.Fatalf("dropped: %+v, %v", drops, err)
	}
	provider, scanner, caller := drops.Sources[0], drops.Sources[1], drops.Sources[2]
	if provider.Address != addr("203.0.113.5") || provider.Reason != "unknown" || !strings.HasPrefix(provider.Text, "was allowed until ") || !strings.HasSuffix(provider.Text, " as acme") {
		t.Errorf("the provider's former address: %+v", provider)
	}
	if scanner.Packets != 3 || scanner.Reason != "signature" || scanner.Text != "it sent what a scanner sends: sipvicious" ||
		scanner.Method != "REGISTER" || scanner.UserAgent != "friendly-scanner" || scanner.Called != "201" || scanner.Port != 5060 ||
		scanner.First.Sub(now.Add(-3*time.Minute)).Abs() > time.Millisecond || !scanner.Last.Equal(now.Add(-2*time.Minute)) {
		t.Errorf("the scanner: %+v", scanner)
	}
	if caller.Address != addr("2001:db8::1") || caller.Packets != 1 || caller.Text != "unknown: never allowed" || caller.Called != "900441" {
		t.Errorf("who called: %+v", caller)
	}
	drops, err = f.View().Dropped(t.Context(), 6*time.Hour, 9)
	if err != nil || len(drops.Sources) != 4 {
		t.Fatalf("dropped in more time: %+v, %v", drops, err)
	}
	// Of this one the daemon has written nothing.
	if other := drops.Sources[3]; other.Reason != "signature" || other.Text != "it sent what a scanner sends" {
		t.Errorf("a scanner that only the kernel knows: %+v", other)
	}
	s, err := f.View().Status(t.Context())
	if err != nil || s.Dropped != 4 || len(s.Latest) != 4 || s.Latest[1].Method != "REGISTER" {
		t.Errorf("status: %+v, %v", s, err)
	}

	// A file that cannot be read is no reason to say nothing.
	if err := os.WriteFile(store.Path, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	drops, err = f.View().Dropped(t.Context(), time.Hour, 9)
	if err != nil || len(drops.Sources) != 2 || len(heard) == 0 || heard[len(heard)-1].Code != notice.EventsUnknown {
		t.Errorf("with a damaged file: %+v, %v, %v", drops, err, heard)
	}
}
