package classifier_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/classifier"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/signature"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
)

// thousand are the shipped signatures and others, a thousand in all.
func thousand() []signature.Signature {
	shipped := signaturetest.Shipped()
	return append(shipped, signaturetest.Many(1000-len(shipped))...)
}

// BenchmarkPacket measures what recognising scanners costs a packet on its way in,
// over veth: by one rule of iptables' string match, by 25 of them, by the
// classifier with 25 signatures and with 1,000; and, to tell the program from its
// place, by a filter that does nothing. All packets end in the same drop, later.
// The configurations take turns, so that a machine whose speed drifts is as unfair
// to one as to another; the figures are lowest deciles of the rounds in ns a
// packet, on top of those of no configuration at all.
func BenchmarkPacket(b *testing.B) {
	needBPF(b)
	const end = `table inet end {
	chain prerouting { type filter hook prerouting priority 0; policy drop; }
}
`
	list := signaturetest.Shipped()[:25]
	stringRule := func(h *lab.Namespace, s signature.Signature, options ...string) {
		labtest.Run(b, h, "iptables-nft", append([]string{
			"-t", "raw", "-A", "PREROUTING", "-p", "udp", "--dport", "5060",
			"-m", "string", "--algo", "bm", "--string", s.Value,
		}, options...)...)
	}
	configurations := []struct {
		name string
		make func(h *lab.Namespace)
	}{
		{"none", func(*lab.Namespace) {}},
		{"filter", func(h *lab.Namespace) {
			labtest.Run(b, h, "tc", "qdisc", "add", "dev", "eth0", "clsact")
			foreign(b, h, "eth0", "nothing", "ingress", "5", "0x1")
		}},
		{"bpf25", func(h *lab.Namespace) { change(b, h, loaded(b, list), "eth0") }},
		{"bpf1000", func(h *lab.Namespace) { change(b, h, loaded(b, thousand()), "eth0") }},
		// One that matches svmap's packet, behind half of it, one that does so in any
		// case, as the classifier does, and one that does not.
		{"string1", func(h *lab.Namespace) { stringRule(h, list[0]) }},
		{"string1anycase", func(h *lab.Namespace) { stringRule(h, list[0], "--icase") }},
		{"string1absent", func(h *lab.Namespace) { stringRule(h, list[1]) }},
		{"string25", func(h *lab.Namespace) {
			for _, s := range list {
				stringRule(h, s)
			}
		}},
	}
	packets := []struct {
		name    string
		port    int
		payload string
	}{{"otherport", 10000, signaturetest.Invite}, {"svmap", 5060, signaturetest.Svmap}, {"invite", 5060, signaturetest.Invite}}

	type cell struct {
		source *labtest.Source
		times  []float64
	}
	cells := map[string]*cell{}
	for _, c := range configurations {
		pbx, outside := pair(b)
		labtest.Rules(b, pbx, end)
		c.make(pbx)
		for _, p := range packets {
			source, err := labtest.NewSource(outside, outside4+":0", fmt.Sprintf("%s:%d", pbx4, p.port), []byte(p.payload))
			labtest.Must(b, err)
			b.Cleanup(func() { source.Close() })
			labtest.Must(b, source.Burst(1))
			cells[c.name+"-"+p.name] = &cell{source: source}
		}
	}
	// Sender and receiver are one thread on one processor.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	labtest.Must(b, unix.SchedGetaffinity(0, &all))
	one.Set(runtime.NumCPU() - 1)
	labtest.Must(b, unix.SchedSetaffinity(0, &one))
	defer unix.SchedSetaffinity(0, &all)
	const burst = 1024
	for b.Loop() {
		for _, c := range configurations {
			for _, p := range packets {
				cell := cells[c.name+"-"+p.name]
				// What ran before is not to be paid for by what is measured.
				labtest.Must(b, cell.source.Burst(burst/4))
				start := time.Now()
				labtest.Must(b, cell.source.Burst(burst))
				cell.times = append(cell.times, float64(time.Since(start).Nanoseconds())/burst)
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	for _, p := range packets {
		none := lowest(cells["none-"+p.name].times)
		b.ReportMetric(none, "ns/none-"+p.name)
		for _, c := range configurations[1:] {
			b.ReportMetric(lowest(cells[c.name+"-"+p.name].times)-none, "+ns/"+c.name+"-"+p.name)
		}
	}
}

// bounded loads a program that reads what its budget allows.
func bounded(b *testing.B, list []signature.Signature) *classifier.Loaded {
	a, err := signature.Compile(list, nil)
	labtest.Must(b, err)
	reading := sipPorts
	reading.Bounded = true
	l, err := classifier.New(a, reading).Load()
	labtest.Must(b, err)
	b.Cleanup(l.Close)
	return l
}

func lowest(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/10]
}

// BenchmarkProgram measures the program alone, by BPF_PROG_TEST_RUN, in ns a run.
// What is left for a frame that is no IP packet is the cost of the measurement.
func BenchmarkProgram(b *testing.B) {
	frames := []struct {
		name  string
		frame []byte
	}{
		{"noip", ethernet(0x0806, make([]byte, 60))},
		{"otherport", ethernet(ipv4Type, ipv4(udp, nil, datagram(10000, []byte(signaturetest.Invite))))},
		{"response", plain([]byte("SIP/2.0 200 OK\r\n" + signaturetest.Invite[64:]))},
		{"svmap", plain([]byte(signaturetest.Svmap))},
		{"invite", plain([]byte(signaturetest.Invite))},
	}
	programs := []struct {
		name   string
		loaded *classifier.Loaded
	}{
		{"25", loaded(b, signaturetest.Shipped()[:25])},
		{"1000", loaded(b, thousand())},
		// Nearly all of a flood is beyond the budget.
		{"bounded", bounded(b, signaturetest.Shipped()[:25])},
		{"everyheader", loaded(b, append(signaturetest.Shipped(), signature.Signature{
			Name: "short", Header: "from", Match: signature.Prefix, Value: "x", Class: signature.Ban,
		}))},
	}
	times := map[string][]float64{}
	for b.Loop() {
		for _, p := range programs {
			for _, f := range frames {
				took, err := p.loaded.Time(f.frame, 20_000)
				labtest.Must(b, err)
				times[p.name+"-"+f.name] = append(times[p.name+"-"+f.name], float64(took.Nanoseconds()))
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	for name, values := range times {
		b.ReportMetric(lowest(values), "ns/"+name)
	}
}

// BenchmarkLoad times the way from an automaton to a program that is attached.
func BenchmarkLoad(b *testing.B) {
	needBPF(b)
	for name, list := range map[string][]signature.Signature{"shipped": signaturetest.Shipped(), "1000": thousand()} {
		b.Run(name, func(b *testing.B) {
			h := host(b, "eth0")
			p := program(b, list)
			labtest.In(b, h, func() error {
				for b.Loop() {
					l, err := p.Load()
					if err != nil {
						return err
					}
					c, err := classifier.Begin(l, []string{"eth0"})
					if err == nil {
						err = c.Finish()
					}
					l.Close()
					if err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
}

// BenchmarkHyperscan matches the same messages in user space with Hyperscan, by
// the values alone and by expressions that look at the right header, beside the
// program in the kernel. It needs gcc and libhyperscan-dev.
func BenchmarkHyperscan(b *testing.B) {
	folder := b.TempDir()
	helper := filepath.Join(folder, "hyperscan")
	if out, err := exec.CommandContext(b.Context(), "gcc", "-O2", "-o", helper, "testdata/hyperscan.c", "-lhs").CombinedOutput(); err != nil {
		b.Skipf("gcc and libhyperscan-dev are not there: %v\n%s", err, out)
	}
	list := signaturetest.Shipped()[:25]
	var literals, exact []string
	for _, s := range list {
		literals = append(literals, regexp.QuoteMeta(s.Value))
		exact = append(exact, expression(s))
	}
	messages := map[string]string{"svmap": signaturetest.Svmap, "invite": signaturetest.Invite}
	times := map[string][]float64{}
	l := loaded(b, list)
	for b.Loop() {
		for name, message := range messages {
			file := filepath.Join(folder, name)
			labtest.Must(b, os.WriteFile(file, []byte(message), 0o644))
			for form, expressions := range map[string][]string{"literals": literals, "headers": exact} {
				cmd := exec.CommandContext(b.Context(), helper, file)
				cmd.Stdin = strings.NewReader(strings.Join(expressions, "\n") + "\n")
				out, err := cmd.Output()
				labtest.Must(b, err)
				ns, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
				labtest.Must(b, err)
				times[form+"-"+name] = append(times[form+"-"+name], ns)
			}
			for form, frame := range map[string][]byte{"program": plain([]byte(message)), "measuring": ethernet(0x0806, make([]byte, 60))} {
				took, err := l.Time(frame, 100_000)
				labtest.Must(b, err)
				times[form+"-"+name] = append(times[form+"-"+name], float64(took.Nanoseconds()))
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	for name, values := range times {
		b.ReportMetric(lowest(values), "ns/"+name)
	}
}

// expression is a signature as an expression of Hyperscan's.
func expression(s signature.Signature) string {
	short := map[string]string{"from": "|f", "to": "|t", "contact": "|m", "via": "|v", "subject": "|s"}
	value := regexp.QuoteMeta(s.Value)
	if s.Header == signature.RequestLine {
		return `\A[^\n]*` + value
	}
	head := `\n(?:` + s.Header + short[s.Header] + `)[ \t]*:`
	switch s.Match {
	case signature.Contains:
		return head + `(?:[^\n]|\n[ \t])*` + value
	case signature.Prefix:
		return head + `[ \t\r\n]*` + value
	}
	return head + `[ \t\r\n]*` + value + `[ \t]*\r?\n[^ \t]`
}
