package cli_test

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// million is how many forged sources a flood has.
func million() int { return labtest.Count(20_000, 1_000_000) }

// anybody is the nth of many addresses that nobody knows.
func anybody(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{100, byte(64 + n>>16), byte(n >> 8), byte(n)})
}

// sinkOf is a sink on a host's SIP port.
func sinkOf(t *testing.T, h *lab.Namespace, address string) *labtest.Sink {
	t.Helper()
	sink, err := labtest.NewSink(t.Context(), h, address+":5060")
	labtest.Must(t, err)
	t.Cleanup(func() { sink.Close() })
	return sink
}

// call sends so many packets of the provider, and waits until all have come.
func (w *world) call(t *testing.T, sink *labtest.Sink, packets int) {
	t.Helper()
	source, err := labtest.NewSource(w.provider, edge1+":5060", pbx4+":5060", []byte{'C'})
	labtest.Must(t, err)
	defer source.Close()
	before := sink.Received('C')
	for n := int64(0); n < int64(packets); n += 50 {
		labtest.Must(t, source.Burst(50))
		labtest.Until(t, "the packets of a call arrive", func() bool { return sink.Received('C') >= before+n })
	}
	labtest.Until(t, "all packets of a call arrive", func() bool { return sink.Received('C') == before+int64(packets) })
}

// strangersTracked counts connections of a host that are not the provider's.
func strangersTracked(t *testing.T, h *lab.Namespace) (n int) {
	t.Helper()
	labtest.In(t, h, func() error {
		flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
		for _, f := range flows {
			if from := f.Forward.SrcIP.String(); from != edge1 && from != pbx4 {
				n++
			}
		}
		return err
	})
	return n
}

// TestFloodCostsNoCalls: a million packets of strangers leave no entry in connection
// tracking, which another firewall uses here, and none of them arrives. Then every packet
// of a call does.
func TestFloodCostsNoCalls(t *testing.T) {
	eachBackend(t, func(t *testing.T) {
		w := newWorld(t)
		stranger, _, _ := w.stranger(t, 1)
		labtest.Rules(t, w.pbx, "table ip others {\nchain in { type filter hook input priority filter; ct state invalid drop\n}\n}")
		sink := sinkOf(t, w.pbx, pbx4)
		// Without a fence they arrive and are tracked: the test can fail.
		invite := lab.Message("INVITE", "192.0.2.66", pbx4, "x")
		labtest.Must(t, labtest.Forge(stranger, pbx4+":5060", invite, 9, anybody))
		labtest.Until(t, "packets arrive without a fence", func() bool { return sink.Received('I') == 9 && strangersTracked(t, w.pbx) == 9 })
		labtest.In(t, w.pbx, func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) })

		s := newSite(t, w.pbx, "version: 1\nunknown: {allow_replies: true}\nproviders: [{name: acme, addresses: ["+edge1+"]}]\n")
		s.must(t, 0, "apply")
		rounds, tracked, packets := labtest.Count(1, 10), 0, 1000
		for round := range rounds {
			labtest.Must(t, labtest.Forge(stranger, pbx4+":5060", invite, million(), func(i int) netip.Addr {
				return anybody(i + round)
			}))
			tracked += strangersTracked(t, w.pbx)
			w.call(t, sink, packets)
		}
		arrived := sink.Received('I') - 9
		labtest.Report(t, "P14", labtest.Over(fmt.Sprintf("%d packets of strangers, then a call", million()), backendOf(t)), rounds,
			"%d arrived, %d conntrack entries, %d packets of calls lost", arrived, tracked, int64(rounds*packets)-sink.Received('C'))
		if arrived != 0 || tracked != 0 {
			t.Errorf("%d packets of strangers arrived, and %d connections of theirs are tracked", arrived, tracked)
		}
	})
}

// TestFloodOfScanners: a million forged scanners ban no more than bans.size addresses,
// nothing of them arrives, the service does not grow, and a call passes.
func TestFloodOfScanners(t *testing.T) {
	eachBackend(t, func(t *testing.T) {
		const size = 10_000
		w := newWorld(t)
		stranger, _, _ := w.stranger(t, 1)
		sink := sinkOf(t, w.pbx, pbx4)
		s := newSite(t, w.pbx, openPolicy+fmt.Sprintf("bans: {size: %d}\n", size))
		s.program = built(t)
		s.must(t, 0, "apply")
		r := serve(t, s)
		rounds, most := labtest.Count(1, 10), 0
		for round := range rounds {
			labtest.Must(t, labtest.Forge(stranger, pbx4+":5060", lab.Message("OPTIONS", "192.0.2.66", pbx4, "friendly-scanner"), million(), func(i int) netip.Addr {
				return anybody(i + round<<16)
			}))
			most = max(most, len(s.banned(t)))
			w.call(t, sink, 1000)
		}
		arrived, peak := sink.Received('O'), peakMemory(t, r.cmd.Process.Pid)
		labtest.Report(t, "P7", labtest.Over(fmt.Sprintf("%d forged scanners, bans.size %d", million(), size), backendOf(t)), rounds,
			"%d arrived, %d banned at most, the service had %d MB at most", arrived, most, peak>>20)
		if arrived != 0 || most > size || most < size/2 || peak > 256<<20 {
			t.Errorf("%d packets of scanners arrived, %d were banned, the service had %d bytes", arrived, most, peak)
		}
	})
}

// peakMemory is the most memory that a process has had.
func peakMemory(t *testing.T, process int) (bytes int64) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process))
	labtest.Must(t, err)
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	_, err = fmt.Sscan(rest, &bytes)
	labtest.Must(t, err)
	return bytes << 10
}

// TestRemovalIsReal takes the provider of a call out of the policy while the call is up,
// and answers of connections that this host has opened pass: once apply has ended, none
// of its packets arrives.
func TestRemovalIsReal(t *testing.T) {
	eachBackend(t, func(t *testing.T) {
		w := newWorld(t)
		sink := sinkOf(t, w.pbx, pbx4)
		s := newSite(t, w.pbx, "")
		s.program = built(t)
		policy := func(addresses string) string {
			return "version: 1\nunknown: {allow_replies: true}\nproviders: [{name: acme, addresses: [" + addresses + "]}]\n"
		}
		from := func(address string, first byte) *labtest.Source {
			source, err := labtest.NewSource(w.provider, address+":5060", pbx4+":5060", []byte{first})
			labtest.Must(t, err)
			return source
		}
		rounds := labtest.Count(3, 100)
		for range rounds {
			s.write(t, policy(edge1+", "+edge2))
			s.must(t, 0, "apply")
			call := from(edge1, 'C')
			before := sink.Received('C')
			labtest.Must(t, sink.Send(edge1+":5060", []byte{'P'})) // this host has opened the connection
			labtest.Must(t, call.Burst(50))
			labtest.Until(t, "the call is up", func() bool { return sink.Received('C') == before+50 })
			s.write(t, policy(edge2))
			s.must(t, 0, "apply", "--allow-cut-live")
			labtest.Must(t, call.Close())
			late, other := from(edge1, 'L'), from(edge2, 'O')
			others := sink.Received('O')
			labtest.Must(t, late.Burst(50))
			labtest.Must(t, other.Burst(1))
			labtest.Until(t, "what is sent behind them arrives", func() bool { return sink.Received('O') == others+1 })
			labtest.Must(t, late.Close())
			labtest.Must(t, other.Close())
		}
		arrived := sink.Received('L')
		labtest.Report(t, "P9", labtest.Over("an address removed while its call is up", backendOf(t)), rounds, "%d packets after the removal", arrived)
		if arrived != 0 {
			t.Errorf("%d packets of a removed address arrived", arrived)
		}
	})
}
