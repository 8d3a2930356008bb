package cli_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// oneOfFour is a name server whose every name has four addresses, of which one changes.
type oneOfFour struct{ turn, looks atomic.Uint32 }

func (o *oneOfFour) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	reply := new(dns.Msg).SetReply(q)
	if q.Question[0].Qtype == dns.TypeA && !strings.HasPrefix(q.Question[0].Name, "_") {
		o.looks.Add(1)
		header := dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}
		for _, a := range []uint32{1, 2, 3, 10 + o.turn.Load()} {
			reply.Answer = append(reply.Answer, &dns.A{Hdr: header, A: binary.BigEndian.AppendUint32(nil, 0xcb007100+a)})
		}
	}
	w.WriteMsg(reply)
}

// changing is a host with a fence of many addresses and one name that changes.
type changing struct {
	host   *lab.Namespace
	server *oneOfFour
	args   []string
	table  string // as nft reads it
}

// withAddresses puts up a fence with n addresses in the policy and one name.
func withAddresses(b *testing.B, n int) changing {
	b.Helper()
	c := changing{host: labtest.Host(b, "pbx"), server: &oneOfFour{}}
	running, err := c.host.ServeNames("127.0.0.1:53", c.server)
	labtest.Must(b, err)
	b.Cleanup(func() { running.Close() })
	folder := b.TempDir()
	var policy strings.Builder
	policy.WriteString("version: 1\ndns: {servers: [127.0.0.1], hold: 0s, refresh: {min: 1s, max: 1s}}\n" +
		"providers:\n  - name: acme\n    registrars: [sip.bench.example]\n    addresses:\n")
	for i := range n {
		fmt.Fprintf(&policy, "      - %s\n", net.IP(binary.BigEndian.AppendUint32(nil, 0x20000000+uint32(i)*3)))
	}
	at := func(name string) string { return filepath.Join(folder, name) }
	labtest.Must(b, os.WriteFile(at("policy.yaml"), []byte(policy.String()), 0o644))
	c.args = []string{"--policy", at("policy.yaml"), "--state-dir", at("state"), "--run-dir", at("run")}
	c.table = at("table.nft")
	labtest.Run(b, c.host, built(b), append(c.args, "apply")...)
	labtest.Must(b, os.WriteFile(c.table, []byte(labtest.Run(b, c.host, "nft", "list", "table", "inet", "ringfence")), 0o644))
	return c
}

// spent are what one process has cost.
type spent struct{ elapsed, cpu, memory []float64 } // ms, ms and MB of each run

func (s *spent) run(b *testing.B, h *lab.Namespace, name string, args ...string) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), name, args...)
	start := time.Now()
	labtest.Must(b, h.Start(cmd))
	err := cmd.Wait()
	s.elapsed = append(s.elapsed, milliseconds(time.Since(start)))
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 4) {
		b.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	s.cpu = append(s.cpu, milliseconds(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()))
	if used, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		s.memory = append(s.memory, float64(used.Maxrss)/1024)
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// BenchmarkOneChange measures refresh in fences of 10 and of 100,000 addresses, without a
// change and with a name that has got another address, and the daemon with such changes.
// The figures are medians; ms-more is the CPU time in the large fence beyond the small one.
func BenchmarkOneChange(b *testing.B) {
	program := built(b)
	sizes := []changing{withAddresses(b, 10), withAddresses(b, 100_000)}
	for _, name := range []string{"refresh-same", "refresh-change"} {
		b.Run(name, func(b *testing.B) {
			costs := make([]spent, len(sizes))
			for b.Loop() {
				for i, c := range sizes {
					if name == "refresh-change" {
						c.server.turn.Add(1)
					}
					costs[i].run(b, c.host, program, append(c.args, "refresh")...)
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(costs[0].cpu), "ms-cpu-small")
			b.ReportMetric(median(costs[1].cpu), "ms-cpu-large")
			b.ReportMetric(median(costs[1].cpu)-median(costs[0].cpu), "ms-more")
			b.ReportMetric(median(costs[1].memory), "MB-most")
		})
	}
	b.Run("run-change", func(b *testing.B) { benchmarkRun(b, program, sizes) })
}

// benchmarkRun measures what a change of the name and a look that finds none cost the
// daemon together.
func benchmarkRun(b *testing.B, program string, sizes []changing) {
	var services []*exec.Cmd
	for _, c := range sizes {
		cmd := exec.CommandContext(b.Context(), program, append(c.args, "run")...)
		labtest.Must(b, c.host.Start(cmd))
		defer func() {
			labtest.Must(b, cmd.Process.Signal(os.Interrupt))
			labtest.Must(b, cmd.Wait())
		}()
		services = append(services, cmd)
	}
	costs := make([][]float64, len(sizes))
	for b.Loop() {
		for i, c := range sizes {
			c.looked(b, 2) // what began before is over
			before := used(b, services[i].Process.Pid)
			c.server.turn.Add(1)
			c.looked(b, 2)
			costs[i] = append(costs[i], milliseconds(used(b, services[i].Process.Pid)-before))
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(costs[0]), "ms-cpu-small")
	b.ReportMetric(median(costs[1]), "ms-cpu-large")
	b.ReportMetric(median(costs[1])-median(costs[0]), "ms-more")
}

// looked waits until the name has been asked for so many times more.
func (c changing) looked(b *testing.B, times uint32) {
	b.Helper()
	for until := c.server.looks.Load() + times; c.server.looks.Load() < until; {
		time.Sleep(10 * time.Millisecond) // a look in a second
	}
}

// used is the CPU time of a process.
func used(b *testing.B, pid int) time.Duration {
	b.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	labtest.Must(b, err)
	total := time.Duration(0)
	for _, f := range files {
		var ns int64
		if text, err := os.ReadFile(f); err == nil {
			fmt.Sscan(string(text), &ns)
		}
		total += time.Duration(ns)
	}
	return total
}
