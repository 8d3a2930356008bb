package nflog_test

import (
	"context"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/events"
	"github.com/ringfence/ringfence/pkg/events/nflog"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// BenchmarkListener sends packets to fences with and without somebody who listens, one
// after the other: from one source, of which one packet a minute is reported, and each from
// another one. everything is a table that reports every packet.
func BenchmarkListener(b *testing.B) {
	p, err := policy.Parse("policy.yaml", strings.NewReader("version: 1\nproviders: [{name: a, addresses: [192.0.2.100]}]\n"), policy.Available{})
	labtest.Must(b, err)
	fence, _ := compile.State(p, nil, ruleset.Host{})
	quiet := *p
	quiet.Events.Keep = 0
	unlogged, _ := compile.State(&quiet, nil, ruleset.Host{})
	type place struct {
		name    string
		rules   string
		listens bool
		outside *lab.Namespace
		times   map[string][]float64
	}
	places := []*place{
		{name: "keep-0", rules: unlogged.String()},
		{name: "nobody", rules: fence.String()},
		{name: "listener", rules: fence.String(), listens: true},
		{name: "everything-nobody", rules: dropAll},
		{name: "everything-listener", rules: dropAll, listens: true},
	}
	for _, place := range places {
		pbx, outside := labtest.Host(b, "pbx"), labtest.Host(b, "outside")
		labtest.Link(b,
			lab.End{Host: pbx, Interface: "eth0", Addresses: []string{pbx4 + "/24"}},
			lab.End{Host: outside, Interface: "eth0", Addresses: []string{outside4 + "/24"}})
		labtest.AddNeighbour(b, outside, "eth0", pbx, "eth0", pbx4)
		labtest.Rules(b, pbx, place.rules)
		place.outside, place.times = outside, map[string][]float64{}
		if place.listens {
			tally(b, pbx)
		}
	}
	message := lab.Message("INVITE", outside4, pbx4, "x")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const burst = 2000
	n := 0
	for b.Loop() {
		for _, place := range places {
			for name, source := range map[string]func(int) netip.Addr{
				"one": func(int) netip.Addr { return netip.MustParseAddr(outside4) },
				"many": func(int) netip.Addr {
					n++
					return netip.AddrFrom4([4]byte{100, byte(n >> 16), byte(n >> 8), byte(n)})
				},
			} {
				start := time.Now()
				labtest.Must(b, labtest.Forge(place.outside, pbx4+":5060", message, burst, source))
				place.times[name] = append(place.times[name], float64(time.Since(start).Nanoseconds())/burst)
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	for _, place := range places {
		for name, times := range place.times {
			slices.Sort(times)
			b.ReportMetric(times[len(times)/10], "ns/"+place.name+"-"+name)
		}
	}
}

// tally listens in a host as the service does.
func tally(b *testing.B, h *lab.Namespace) {
	b.Helper()
	var r *nflog.Reader
	labtest.In(b, h, func() (err error) {
		r, err = nflog.Open()
		return err
	})
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() {
		var t events.Tally
		if err := r.Read(ctx, t.Add); err != nil {
			b.Error(err)
		}
	})
	b.Cleanup(func() {
		cancel()
		running.Wait()
		r.Close()
	})
}
