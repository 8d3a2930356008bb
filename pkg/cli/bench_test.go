package cli_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// BenchmarkProcess times whole runs of the program, from its start to its end,
// with 1,000 addresses in the policy and no names to ask for; beside them nft
// loading and checking the same table.
func BenchmarkProcess(b *testing.B) {
	program := built(b)
	h := labtest.Host(b, "pbx")
	folder := b.TempDir()
	var policy strings.Builder
	policy.WriteString("version: 1\nproviders:\n  - name: acme\n    addresses:\n")
	for i := range 1000 {
		fmt.Fprintf(&policy, "      - 203.%d.%d.%d\n", i/250, i%250, 7)
	}
	labtest.Must(b, os.WriteFile(filepath.Join(folder, "policy.yaml"), []byte(policy.String()), 0o644))
	run := func(b *testing.B, args ...string) {
		b.Helper()
		labtest.Run(b, h, program, append([]string{
			"--policy", filepath.Join(folder, "policy.yaml"), "--state-dir", filepath.Join(folder, "state"), "--run-dir", filepath.Join(folder, "run"),
		}, args...)...)
	}
	table := filepath.Join(folder, "table.nft")
	run(b, "apply")
	labtest.Must(b, os.WriteFile(table, []byte(labtest.Run(b, h, "nft", "list", "table", "inet", "ringfence")), 0o644))

	flushed := func(b *testing.B) {
		b.StopTimer()
		labtest.Run(b, h, "nft", "flush", "ruleset")
		labtest.Must(b, os.RemoveAll(filepath.Join(folder, "state")))
		b.StartTimer()
	}
	b.Run("apply-cold", func(b *testing.B) {
		for b.Loop() {
			flushed(b)
			run(b, "apply")
		}
	})
	b.Run("nft-f", func(b *testing.B) {
		for b.Loop() {
			flushed(b)
			labtest.Run(b, h, "nft", "-f", table)
		}
	})
	b.Run("nft-c", func(b *testing.B) {
		for b.Loop() {
			labtest.Run(b, h, "nft", "-c", "-f", table)
		}
	})
	run(b, "apply")
	for _, command := range [][]string{{"apply"}, {"refresh"}, {"diff", "--offline"}, {"diff", "--full", "--offline"}, {"check"}, {"version"}} {
		b.Run(strings.Join(command, ""), func(b *testing.B) {
			for b.Loop() {
				run(b, command...)
			}
		})
	}
	b.Run("true", func(b *testing.B) {
		for b.Loop() {
			labtest.Run(b, h, "true")
		}
	})
}

// BenchmarkResolve asks a real name server on this machine for everything
// behind 500 registrars, 4,000 questions, as one run of the program.
func BenchmarkResolve(b *testing.B) {
	program := built(b)
	h := labtest.Host(b, "resolver")
	zone := "$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n"
	policy := filepath.Join(b.TempDir(), "policy.yaml")
	labtest.Must(b, os.WriteFile(policy, []byte("version: 1\ndns: {servers: [127.0.0.1]}\n"), 0o644))
	args := []string{"--policy", policy, "resolve", "-o", "json"}
	const registrars = 500
	for i := range registrars {
		zone += fmt.Sprintf("r%d NAPTR 10 10 \"s\" \"SIP+D2U\" \"\" _sip._udp.r%d\n_sip._udp.r%d SRV 10 50 5060 edge%d\n"+
			"edge%d A 203.0.%d.%d\nedge%d AAAA 2001:db8::%x\n", i, i, i, i, i, 1+i/250, i%250, i, i+1)
		args = append(args, fmt.Sprintf("r%d.bench.example", i))
	}
	named(b, h, "127.0.0.1", map[string]string{"bench.example": zone})
	for b.Loop() {
		var names []struct{ Addresses []struct{ Address string } }
		labtest.Must(b, json.Unmarshal([]byte(labtest.Run(b, h, program, args...)), &names))
		found := 0
		for _, n := range names {
			found += len(n.Addresses)
		}
		if found != 2*registrars {
			b.Fatalf("%d addresses were found, want %d", found, 2*registrars)
		}
	}
}
