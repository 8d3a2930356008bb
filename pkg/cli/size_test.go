package cli_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// manyNames is a name server that knows any number of registrars, each with
// NAPTR, SRV and two addresses, and counts how often each was looked at.
type manyNames struct{ looks atomic.Int64 }

func (m *manyNames) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	reply := new(dns.Msg).SetReply(q)
	name, kind := q.Question[0].Name, q.Question[0].Qtype
	at := strings.LastIndexByte(strings.TrimSuffix(name, ".bench.example."), '.') + 1
	label := strings.TrimSuffix(name[at:], ".bench.example.")
	n := 0
	fmt.Sscanf(strings.TrimLeft(label, "edgr"), "%d", &n)
	header := dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: 60}
	edge := fmt.Sprintf("edge%d.bench.example.", n)
	isEdge := strings.HasPrefix(label, "edge")
	switch {
	case kind == dns.TypeNAPTR:
		m.looks.Add(1)
		reply.Answer = []dns.RR{&dns.NAPTR{Hdr: header, Flags: "s", Service: "SIP+D2U", Replacement: "_sip._udp." + label + ".bench.example."}}
	case kind == dns.TypeSRV && strings.HasPrefix(name, "_sip._udp."):
		reply.Answer = []dns.RR{&dns.SRV{Hdr: header, Port: 5060, Target: edge}}
	case kind == dns.TypeA && isEdge:
		reply.Answer = []dns.RR{&dns.A{Hdr: header, A: net.IPv4(203, 0, byte(n/250), byte(1+n%250))}}
	case kind == dns.TypeAAAA && isEdge:
		reply.Answer = []dns.RR{&dns.AAAA{Hdr: header, AAAA: net.ParseIP(fmt.Sprintf("2001:db8::%x", n+1))}}
	}
	w.WriteMsg(reply)
}

// BenchmarkSizeOfRun measures the memory of the service with 500 names over
// 10,000 looks at a name, each with ten questions, or in its long form, of three
// hours, over 10,000 looks at each name: how much is resident after the first
// thousand looks, at the end, and at most.
func BenchmarkSizeOfRun(b *testing.B) {
	const names = 500
	looks := int64(labtest.Count(10000, 10000*names))
	program := built(b)
	h := labtest.Host(b, "pbx")
	server := &manyNames{}
	running, err := h.ServeNames("127.0.0.1:53", server)
	labtest.Must(b, err)
	b.Cleanup(func() { running.Close() })
	folder := b.TempDir()
	var policy strings.Builder
	policy.WriteString("version: 1\nproviders:\n  - name: acme\n    registrars:\n")
	for i := range names {
		fmt.Fprintf(&policy, "      - r%d.bench.example\n", i)
	}
	policy.WriteString("dns: {servers: [127.0.0.1], refresh: {min: 1s, max: 1s}}\n")
	labtest.Must(b, os.WriteFile(filepath.Join(folder, "policy.yaml"), []byte(policy.String()), 0o644))
	args := []string{"--policy", filepath.Join(folder, "policy.yaml"), "--state-dir", filepath.Join(folder, "state"), "--run-dir", filepath.Join(folder, "run")}
	labtest.Run(b, h, program, append(args, "apply")...)

	for b.Loop() {
		server.looks.Store(0)
		var log bytes.Buffer
		cmd := exec.CommandContext(b.Context(), program, append(args, "run")...)
		cmd.Stderr = &log
		labtest.Must(b, h.Start(cmd))
		var first, most int
		for before := int64(0); before < looks; {
			time.Sleep(100 * time.Millisecond) // a sample now and then
			size := resident(b, cmd.Process.Pid)
			most = max(most, size)
			if now := server.looks.Load(); now >= 1000 && before < 1000 {
				first = size
			}
			before = server.looks.Load()
		}
		last := resident(b, cmd.Process.Pid)
		labtest.Must(b, cmd.Process.Signal(os.Interrupt))
		labtest.Must(b, cmd.Wait())
		b.ReportMetric(float64(first)/1024, "MB-early")
		b.ReportMetric(float64(last)/1024, "MB-late")
		b.ReportMetric(float64(most)/1024, "MB-most")
		if log.Len() > 0 {
			b.Fatalf("the service says:\n%s", log.String())
		}
	}
}

// resident is how much of a process is in memory, in KiB.
func resident(b testing.TB, pid int) int {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	labtest.Must(b, err)
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	size := 0
	fmt.Sscan(rest, &size)
	return size
}
