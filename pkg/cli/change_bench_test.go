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
	"strconv"
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
	folder string
	args   []string
	table  string // as nft reads it
}

// withAddresses puts up a fence with n addresses in the policy and one name.
func withAddresses(b *testing.B, n int, more ...string) changing {
	b.Helper()
	c := changing{host: labtest.Host(b, "pbx"), server: &oneOfFour{}}
	running, err := c.host.ServeNames("127.0.0.1:53", c.server)
	labtest.Must(b, err)
	b.Cleanup(func() { running.Close() })
	folder := b.TempDir()
	var policy strings.Builder
	policy.WriteString("version: 1\n" + strings.Join(more, "\n") +
		"\ndns: {servers: [127.0.0.1], hold: 0s, refresh: {min: 1s, max: 1s}}\n" +
		"providers:\n  - name: acme\n    registrars: [sip.bench.example]\n    addresses:\n")
	for i := range n {
		fmt.Fprintf(&policy, "      - %s\n", net.IP(binary.BigEndian.AppendUint32(nil, 0x20000000+uint32(i)*3)))
	}
	c.folder = folder
	at := func(name string) string { return filepath.Join(folder, name) }
	labtest.Must(b, os.WriteFile(at("policy.yaml"), []byte(policy.String()), 0o644))
	c.args = []string{"--policy", at("policy.yaml"), "--state-dir", at("state"), "--run-dir", at("run")}
	c.table = at("table.nft")
	labtest.Run(b, c.host, built(b), append(c.args, "apply")...)
	list := labtest.Run(b, c.host, "nft", "list", "table", "inet", "ringfence")
	labtest.Must(b, os.WriteFile(c.table, []byte(list), 0o644))
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

// BenchmarkWhole measures a first apply, without the classifier, beside nft loading the
// same table, and check beside nft checking it, in turns: medians of the whole process.
func BenchmarkWhole(b *testing.B) {
	program := built(b)
	for _, n := range []int{10, 100_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			c := withAddresses(b, n, "signatures: {engine: off}")
			costs := map[string]*spent{"apply": {}, "nft-f": {}, "check": {}, "nft-c": {}, "status": {}, "version": {}}
			run := func(what, name string, args ...string) { costs[what].run(b, c.host, name, args...) }
			ringfence := func(command string) { run(command, program, append(c.args, command)...) }
			for b.Loop() {
				labtest.Run(b, c.host, "nft", "flush", "ruleset")
				run("nft-f", "nft", "-f", c.table)
				run("nft-c", "nft", "-c", "-f", c.table)
				labtest.Run(b, c.host, "nft", "flush", "ruleset")
				labtest.Must(b, os.RemoveAll(filepath.Join(c.folder, "state")))
				for _, command := range []string{"apply", "check", "status", "version"} {
					ringfence(command)
				}
			}
			b.ReportMetric(0, "ns/op")
			for name, cost := range costs {
				b.ReportMetric(median(cost.elapsed), "ms-"+name)
			}
			b.ReportMetric(median(costs["apply"].memory), "MB-apply")
			b.ReportMetric(median(costs["apply"].elapsed)/median(costs["nft-f"].elapsed), "x-nft-f")
			b.ReportMetric(median(costs["check"].elapsed)/median(costs["nft-c"].elapsed), "x-nft-c")
		})
	}
}

// BenchmarkService measures what the daemon costs that keeps 500 names, each of which is
// asked for once a minute, over a minute.
func BenchmarkService(b *testing.B) {
	program := built(b)
	h := labtest.Host(b, "pbx")
	running, err := h.ServeNames("127.0.0.1:53", &manyNames{})
	labtest.Must(b, err)
	b.Cleanup(func() { running.Close() })
	folder := b.TempDir()
	policy := "version: 1\ndns: {servers: [127.0.0.1]}\nproviders:\n  - name: acme\n    registrars:\n"
	for i := range 500 {
		policy += fmt.Sprintf("      - r%d.bench.example\n", i)
	}
	at := func(name string) string { return filepath.Join(folder, name) }
	labtest.Must(b, os.WriteFile(at("policy.yaml"), []byte(policy), 0o644))
	args := []string{"--policy", at("policy.yaml"), "--state-dir", at("state"), "--run-dir", at("run")}
	labtest.Run(b, h, program, append(args, "apply")...)
	cmd := exec.CommandContext(b.Context(), program, append(args, "run")...)
	labtest.Must(b, h.Start(cmd))
	defer func() {
		labtest.Must(b, cmd.Process.Signal(os.Interrupt))
		labtest.Must(b, cmd.Wait())
	}()
	const over = time.Minute
	time.Sleep(over / 10) // what it does at its start is no part of it
	for b.Loop() {
		cpu, woken := used(b, cmd.Process.Pid), wakeups(b, cmd.Process.Pid)
		time.Sleep(over)
		b.ReportMetric(100*float64(used(b, cmd.Process.Pid)-cpu)/float64(over), "%-of-a-core")
		b.ReportMetric(float64(wakeups(b, cmd.Process.Pid)-woken)/over.Seconds(), "wakeups/s")
		b.ReportMetric(float64(resident(b, cmd.Process.Pid))/1024, "MB")
	}
	b.ReportMetric(0, "ns/op")
}

// wakeups are how often the threads of a process have waited for something.
func wakeups(b *testing.B, pid int) int {
	b.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	labtest.Must(b, err)
	total := 0
	for _, f := range files {
		status, _ := os.ReadFile(f) // the thread may have ended
		n := 0
		if _, rest, ok := strings.Cut(string(status), "\nvoluntary_ctxt_switches:"); ok {
			fmt.Sscan(rest, &n)
		}
		total += n
	}
	return total
}
