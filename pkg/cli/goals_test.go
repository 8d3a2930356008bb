package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// commandsHost is a host with policies of n addresses, with and without classifier, and the
// table of the latter as nft reads it.
type commandsHost struct {
	host    *lab.Namespace
	program string
	folder  string
}

func newCommandsHost(b *testing.B, n int) commandsHost {
	b.Helper()
	c := commandsHost{host: labtest.Host(b, "pbx"), program: built(b), folder: b.TempDir()}
	outside := labtest.Host(b, "outside")
	labtest.Link(b,
		lab.End{Host: c.host, Interface: "eth0", Addresses: []string{"192.0.2.10/24"}},
		lab.End{Host: outside, Interface: "eth0", Addresses: []string{"192.0.2.100/24"}})
	var policy strings.Builder
	policy.WriteString("version: 1\nproviders:\n  - name: acme\n    addresses:\n")
	for i := range n {
		fmt.Fprintf(&policy, "      - 32.%d.%d.%d\n", i>>15, i>>7&0xff, i&0x7f<<1)
	}
	for name, more := range map[string]string{"with": "", "without": "signatures: {engine: 'off'}\n"} {
		labtest.Must(b, os.WriteFile(filepath.Join(c.folder, name), []byte(policy.String()+more), 0o644))
	}
	c.run(b, "without", "apply")
	labtest.Must(b, os.WriteFile(c.table(), []byte(labtest.Run(b, c.host, "nft", "list", "table", "inet", "ringfence")), 0o644))
	return c
}

func (c commandsHost) table() string { return filepath.Join(c.folder, "table.nft") }

// run runs a command over one of the policies. It returns how long that took, in ms.
func (c commandsHost) run(b *testing.B, policy string, args ...string) float64 {
	b.Helper()
	return c.timed(b, c.program, append([]string{
		"--policy", filepath.Join(c.folder, policy), "--state-dir", filepath.Join(c.folder, "state"), "--run-dir", filepath.Join(c.folder, "run"),
	}, args...)...)
}

func (c commandsHost) timed(b *testing.B, name string, args ...string) float64 {
	b.Helper()
	start := time.Now()
	labtest.Run(b, c.host, name, args...)
	return float64(time.Since(start).Microseconds()) / 1000
}

// empty takes away what was put up.
func (c commandsHost) empty(b *testing.B) {
	b.Helper()
	c.run(b, "with", "down")
	labtest.Must(b, os.RemoveAll(filepath.Join(c.folder, "state")))
}

// BenchmarkGoals times whole commands, from the start of the process to its end, in turn
// with nft doing the same, and says which goals are met. It does so -benchtime times.
func BenchmarkGoals(b *testing.B) {
	few, many := newCommandsHost(b, 10), newCommandsHost(b, 100_000)
	times := map[string][]float64{}
	note := func(name string, ms float64) { times[name] = append(times[name], ms) }
	for b.Loop() {
		few.empty(b)
		note("nft -f", few.timed(b, "nft", "-f", few.table()))
		labtest.Run(b, few.host, "nft", "flush", "ruleset")
		note("apply with", few.run(b, "with", "apply"))
		few.empty(b)
		note("apply without", few.run(b, "without", "apply"))
		note("refresh", few.run(b, "without", "refresh"))
		note("status", few.run(b, "without", "status"))
		note("check", few.run(b, "without", "check"))
		note("nft -c", few.timed(b, "nft", "-c", "-f", few.table()))
		note("version", few.run(b, "without", "version"))
		many.empty(b)
		note("many nft -f", many.timed(b, "nft", "-f", many.table()))
		labtest.Run(b, many.host, "nft", "flush", "ruleset")
		note("many apply without", many.run(b, "without", "apply"))
	}
	b.ReportMetric(0, "ns/op")
	beside := func(name, peer string) []float64 {
		ratios := make([]float64, len(times[name]))
		for i := range ratios {
			ratios[i] = times[name][i] / times[peer][i]
		}
		return ratios
	}
	for _, m := range []labtest.Measured{
		{What: "version", Unit: "ms", Most: 10, Values: times["version"]},
		{What: "check, beside nft -c -f", Unit: "x", Most: 1.2, Values: beside("check", "nft -c")},
		{What: "refresh without names and changes", Unit: "ms", Most: 25, Values: times["refresh"]},
		{What: "status", Unit: "ms", Most: 30, Values: times["status"]},
		{What: "the first apply, with classifier", Unit: "ms", Most: 120, Values: times["apply with"]},
		{What: "the first apply, without, beside nft -f", Unit: "x", Most: 1.5, Values: beside("apply without", "nft -f")},
		{What: "the same with 100,000 addresses", Unit: "x", Most: 1.5, Values: beside("many apply without", "many nft -f")},
	} {
		m.Write(b)
	}
}
