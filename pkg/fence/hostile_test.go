package fence_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/plan/plantest"
	"github.com/ringfence/ringfence/pkg/resolve"
)

// hostile is a name server with a name behind which there is no end, and with an
// honest one at the address that good says. Where hold is set, answers about the
// hostile name wait until it is closed, and began is closed by the first of them.
type hostile struct {
	good  string
	hold  chan struct{}
	began chan struct{}
}

func (h *hostile) lookup(ctx context.Context, q resolve.Question) (resolve.Answer, error) {
	record := resolve.Record{Owner: q.Name, Type: q.Type, TTL: time.Minute}
	if !strings.HasSuffix(q.Name, "evil.example") {
		if q.Name != "good.example" || q.Type != resolve.A {
			return resolve.Answer{}, nil
		}
		record.Address = netip.MustParseAddr(h.good)
		return resolve.Answer{Records: []resolve.Record{record}}, nil
	}
	if h.hold != nil {
		if q.Type == resolve.NAPTR {
			close(h.began)
		}
		select {
		case <-h.hold:
		case <-ctx.Done():
			return resolve.Answer{}, &resolve.Failure{Question: q, Kind: resolve.Timeout, Text: "no answer"}
		}
	}
	var answer resolve.Answer
	for i := range 64 {
		r := record
		switch q.Type {
		case resolve.NAPTR:
			r.Service, r.Flags, r.Target = "SIP+D2U", "s", fmt.Sprintf("s%d.evil.example", i)
		case resolve.SRV:
			r.Target = fmt.Sprintf("t%d.%s", i, q.Name)
		case resolve.A:
			r.Address = netip.AddrFrom4([4]byte{20, byte(len(q.Name)), q.Name[1], byte(i)})
		default:
			continue
		}
		answer.Records = append(answer.Records, r)
	}
	return answer, nil
}

// TestNothingWaitsForAHostileName: while answers about one name are not there yet, the
// lock is free: a ban by hand is done, and the honest name's move is in force in
// the same refresh.
func TestNothingWaitsForAHostileName(t *testing.T) {
	h := &hostile{good: "203.0.113.5"}
	world := testWorld(&plantest.Kernel{})
	world.Lookup = func(resolve.Servers) (first, again resolve.Lookup) { return h.lookup, h.lookup }
	folder := t.TempDir()
	f := fence.New(fence.Config{
		StateDir: folder + "/state", RunDir: folder + "/run", User: "somebody", Log: slog.New(slog.DiscardHandler),
	}, world)
	const policy = "version: 1\nproviders:\n  - {name: evil, registrars: [evil.example]}\n  - {name: good, registrars: [good.example]}\n"
	apply(t, f, policy, fence.ApplyOptions{})
	info, err := os.Stat(folder + "/state/addresses.json")
	labtest.Must(t, err)
	if info.Size() > 1_000_000 {
		t.Errorf("addresses.json has %d bytes", info.Size())
	}

	h.good, h.hold, h.began = "203.0.113.6", make(chan struct{}), make(chan struct{})
	type result struct {
		*fence.Refreshed
		err error
	}
	done := make(chan result)
	go func() {
		r, err := f.Refresh(t.Context(), fence.RefreshOptions{})
		done <- result{r, err}
	}()
	<-h.began
	if _, err := f.Ban(t.Context(), netip.MustParseAddr("198.51.100.7"), time.Hour, false); err != nil {
		t.Errorf("a ban while names are asked for: %v", err)
	}
	if _, err := f.View().Status(t.Context()); err != nil {
		t.Errorf("status while names are asked for: %v", err)
	}
	select {
	case r := <-done:
		t.Errorf("the refresh was over before the ban: %+v, %v", r.Refreshed, r.err)
	default:
	}
	close(h.hold)
	r := <-done
	labtest.Must(t, r.err)
	text := ""
	for _, c := range r.Plan.Changes {
		text += fmt.Sprintln(c)
	}
	if !strings.Contains(text, "203.0.113.6") {
		t.Errorf("the honest name's new address is not in the same refresh:\n%s", text)
	}
	if bans, err := f.View().Bans(t.Context()); err != nil || len(bans) != 1 {
		t.Errorf("bans: %+v, %v", bans, err)
	}
}

// TestTooLargeStateFile: a file that no ringfence has written is not read into memory.
func TestTooLargeStateFile(t *testing.T) {
	kernel := &plantest.Kernel{}
	folder := t.TempDir()
	f := fence.New(fence.Config{
		StateDir: folder + "/state", RunDir: folder + "/run", User: "somebody", Log: slog.New(slog.DiscardHandler),
	}, testWorld(kernel))
	apply(t, f, firstPolicy, fence.ApplyOptions{})
	labtest.Must(t, os.Truncate(folder+"/state/journal/00000001.json", 1<<40))
	_, err := f.Refresh(t.Context(), fence.RefreshOptions{})
	if err == nil || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no state file has more than") {
		t.Errorf("got %v", err)
	}
}
